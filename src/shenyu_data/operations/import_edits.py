"""What an import makes of a document that is there already: pure functions from what is there and
what the export has to what shall be. Called by the plan, to show it, and by the import.
"""

from __future__ import annotations

import os
import time
from typing import Literal

from blake3 import blake3

from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.activity import last_activity
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_union import union
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, path_of
from shenyu_data.model.quick_chats import decode_quick_chat, decode_quick_chats
from shenyu_data.model.user_rules import is_same_but_the_visit
from shenyu_data.operations.import_checks import MOST_NAME_BYTES, Entry
from shenyu_data.operations.journal import Digests, Step
from shenyu_data.operations.live_document import Change, Edit, Refused, kept_attributes
from shenyu_data.operations.restore_wanted import Saved

WRITTEN_SINCE = "the application wrote it after the import had made it"

Policy = Literal["skip", "overwrite", "newer", "merge", "rename"]


def is_same(entry: Entry, live: Live) -> bool:
    """Whether a live document has the bytes that the export has."""
    return live.data is not None and entry.large is None and live.data == entry.item.data


def becomes(entry: Entry, live: Live, policy: Policy) -> bytes | Entry | None:
    """Return what a live document becomes under a policy: bytes, the entry itself, or None: it
    stays. Raise Refused if it must not be decided so.
    """
    if policy == "merge":
        return _merged(entry, live)
    if policy == "newer":
        return entry if _clock_ns(entry) > _live_clock_ns(entry, live) else None
    return entry if policy == "overwrite" else None


def _merged(entry: Entry, live: Live) -> bytes | None:
    if entry.kind != "history":
        return None
    if live.data is None or entry.item.data is None:
        raise Refused(code="changed-since", message="it is too large to be merged chat by chat")
    try:
        merged = union(live.data, entry.item.data)
    except Unparsable as error:
        raise Refused(
            code="live-torn",
            message=f"one of the two cannot be read, so they cannot be merged: {error}",
        ) from None
    except ValueError:
        raise Refused(
            code="changed-since",
            message="both are one chat, and not the same: neither holds the other",
        ) from None
    return None if merged == live.data else merged


def put_entry(
    entry: Entry, policy: Policy, digests: Digests, saved: Saved | None, *, unsaved: bool
) -> Edit:
    """Return the edit that brings a document of an export in; ``unsaved``: what is there may be
    replaced though no snapshot holds it.
    """

    def edit(live: Live | None) -> Change | None:
        if live is None:
            return _change(entry, _attributes(entry), _step(entry, digests, None, entry.item.data))
        if is_same(entry, live):
            return None
        result = becomes(entry, live, policy)
        if result is None:
            return None
        _check_saved(entry, live, saved, unsaved=unsaved)
        if isinstance(result, bytes):
            step = _step(entry, digests, saved, result)
            return Change(result, kept_attributes(live), step=step)
        attributes = _attributes(entry)
        if attributes.owner is None:
            attributes = attributes._replace(owner=(live.stat.st_uid, live.stat.st_gid))
        return _change(entry, attributes, _step(entry, digests, saved, entry.item.data))

    return edit


def put_again(entry: Entry, put: Edit) -> Edit:
    """Return the edit for a document that the import had made and the application wrote since:
    ``put`` is that of a document that was there.

    What the application took away stays so, and what it went on from is in what it wrote.
    """

    def edit(live: Live | None) -> Change | None:
        if live is None or holds(live, entry):
            return None
        change = put(live)
        if change is None:
            raise Refused(
                code="written-since",
                message=f"{WRITTEN_SINCE}; it stands, and not all that the import brought is in it",
            )
        return change

    return edit


def holds(live: Live, entry: Entry) -> bool:
    """Whether a live document has all that an entry brings."""
    if live.data is None or entry.item.data is None:
        return False
    try:
        if entry.kind == "history":
            return union(live.data, entry.item.data) == live.data
    except (Unparsable, ValueError):
        return False
    if entry.kind == "user" and is_same_but_the_visit(live.data, entry.item.data):
        return True
    return live.data == entry.item.data


def _check_saved(entry: Entry, live: Live, saved: Saved | None, *, unsaved: bool) -> None:
    if unsaved:
        return
    if saved is not None:
        if live.data is not None:
            if saved.holds(entry.user, entry.path, live.data):
                return
        elif saved.has_same_stat(entry.user, entry.path, live.stat):
            return
    raise Refused(code="not-saved", message="no safety snapshot holds what is there now")


def _change(entry: Entry, attributes: Attributes, step: Step | None) -> Change:
    if entry.large is not None:
        return Change(None, attributes, fill=entry.write, step=step)
    return Change(entry.item.data, attributes, step=step)


def _step(entry: Entry, digests: Digests, saved: Saved | None, data: bytes | None) -> Step:
    return Step(
        path=entry.path,
        user=entry.user,
        chat=None,
        snapshot=None,
        before=saved.snapshot if saved is not None else None,
        wrote=digests.of(data) if data is not None else None,
    )


def _attributes(entry: Entry) -> Attributes:
    item = entry.item
    return Attributes(item.mode, item.owner, entry_mtime_ns(entry))


def entry_mtime_ns(entry: Entry) -> int | None:
    """Return the time a document gets: its own, or when its chats were last active, if known."""
    item = entry.item
    if item.mtime_ns is not None or item.data is None or entry.kind != "history":
        return item.mtime_ns
    return _activity_ns(item.data)


def _activity_ns(data: bytes) -> int | None:
    now_ms = time.time_ns() // 1_000_000
    try:
        chats = decode_quick_chats(data) if data[:1] == b"[" else [decode_quick_chat(data)]
        known = [chat.last_active_ms(now_ms) for chat in chats]
    except (ValueError, RecursionError):
        known = _activity_of_odd_chats(data, now_ms)
    moments = [moment_ms for moment_ms in known if moment_ms is not None]
    return max(moments) * 1_000_000 if moments else None


def _activity_of_odd_chats(data: bytes, now_ms: int) -> list[int | None]:
    try:
        chats = read_history(data).chats
    except Unparsable:
        return []
    clocks = [last_activity(chat.value, 0, now_ms) for chat in chats]
    return [clock.ms for clock in clocks if clock.source != "mtime"]


def _clock_ns(entry: Entry) -> int:
    return entry_mtime_ns(entry) or 0


def _live_clock_ns(entry: Entry, live: Live) -> int:
    if entry.item.mtime_ns is None and live.data is not None:
        return _activity_ns(live.data) or live.stat.st_mtime_ns
    return live.stat.st_mtime_ns


def beside(entry: Entry, digest: bytes) -> bytes:
    """Return the path at which a document comes to stand beside the one that is there.

    It has a digest of the contents in it: importing them again finds them there. A user's document
    comes into the folder of that user's histories: there it is the user's, and erased with all
    else; in ``users/`` it would be nobody's, or somebody else's.
    """
    folder, name = os.path.split(entry.path)
    if entry.kind == "user" and entry.user is not None:
        folder = path_of(entry.user, Place.HISTORY_FOLDER, b"")
    label = b".imported-" + digest.hex()[:8].encode()
    suffix = b""
    if entry.kind == "history":  # a user of that name there is none
        suffix = next(end for end in (GZIP_SUFFIX, JSON_SUFFIX) if name.endswith(end))
    stem = name[: len(name) - len(suffix)][: MOST_NAME_BYTES - len(label) - len(suffix)]
    return os.path.join(folder, stem + label + suffix)


def contents_digest(entry: Entry) -> bytes:
    """Return a digest of an entry's contents."""
    hasher = blake3()

    def update(piece: bytes) -> None:
        hasher.update(piece)

    entry.write(update)
    return hasher.digest(16)
