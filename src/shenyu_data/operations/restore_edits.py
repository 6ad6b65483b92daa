"""What an in-place restore makes of one live document: pure functions from what is there to what
shall be. Called by the plan, to show it, and by the restore, at the moment of the exchange.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.chats import History, canonical, read_history, same_value
from shenyu_data.model.chats_edit import alone, insert, place_of, replace
from shenyu_data.model.documents import Unparsable
from shenyu_data.operations.conversations import FoundChat
from shenyu_data.operations.journal import Digests, Step
from shenyu_data.operations.live_document import Change, Edit, Refused, kept_attributes
from shenyu_data.operations.restore_wanted import Saved, Wanted, is_version
from shenyu_data.repository.documents import LARGE_BYTES

Action = Literal["create", "replace", "insert", "unchanged", "remove"]


class Steps:
    """Makes the journal's steps of one restore; without a safety snapshot (in a plan) none."""

    def __init__(self, digests: Digests, snapshot: bytes, saved: Saved | None) -> None:
        self.digests = digests
        self.snapshot = snapshot
        self.saved = saved

    def whole(self, wanted: Wanted, live: Live | None, data: bytes | None) -> Step | None:
        """Return the step for a whole document."""
        if self.saved is None:
            return None
        return Step(
            path=wanted.path,
            user=wanted.user,
            chat=None,
            snapshot=self.snapshot,
            before=self.saved.snapshot if live is not None else None,
            wrote=self.digests.of(data) if data is not None else None,
        )

    def chat(
        self, path: bytes, user: bytes, key: str, value: object, replaced: bool
    ) -> Step | None:
        """Return the step for one chat; ``replaced`` if another version of it was there."""
        if self.saved is None:
            return None
        return Step(
            path=path,
            user=user,
            chat=key,
            snapshot=self.snapshot,
            before=self.saved.snapshot if replaced else None,
            wrote=chat_digest(self.digests, value),
        )


def chat_digest(digests: Digests, value: object) -> bytes:
    """Return a digest of a chat's value, in whatever order its members stand."""
    return digests.of(canonical(value).encode("utf-8", "surrogatepass"))


def put_document(wanted: Wanted, steps: Steps) -> Edit:
    """Put a document of the snapshot in its place, whole."""
    version = wanted.version

    def edit(live: Live | None) -> Change | None:
        large = version.size > LARGE_BYTES
        if live is not None:
            if live.data is not None and is_version(wanted.owner, version, live.data):
                return None
            _check_saved(steps, wanted, live)
        data = None if large else wanted.owner.reader.read(version)
        attributes = Attributes(version.mode, _owner(wanted, live), version.mtime_ns)
        step = steps.whole(wanted, live, data)
        if data is None:
            return Change(
                None,
                attributes,
                fill=lambda write: wanted.owner.reader.stream(version, write),
                step=step,
            )
        return Change(data, attributes, step=step)

    return edit


def put_chat(wanted: Wanted, found: FoundChat, steps: Steps, *, overwrite: bool) -> Edit:
    """Put one chat of the snapshot into the live history, in its place."""
    chat, source = found.chat, found.history
    if source.inside is None:
        return _put_only_chat(wanted, found, steps, overwrite)
    key = chat.key or ""

    def edit(live: Live | None) -> Change | None:
        if live is None or (live.data is not None and not live.data.strip()):
            data = alone(source, chat)
            owner = _owner(wanted, live)
            attributes = Attributes(found.version.mode, owner, None)
            step = steps.chat(wanted.path, wanted.user or b"", key, chat.value, False)
            return Change(data, attributes, step=step)
        history = _live_history(live)
        index = next(iter(history.find(key)), None)
        if index is None:
            if history.inside is None:
                raise Refused(
                    code="in-the-way", message="the live file is one other chat, not an array"
                )
            at = place_of(chat, source.chats, history.chats)
            data = insert(history, at, source, chat)
        elif same_value(history.chats[index].value, chat.value):
            return None
        else:
            if not overwrite:
                raise Refused(
                    code="changed-since",
                    message=f"the chat is there, and not as it was: {history.chats[index].messages}"
                    f" messages now, {chat.messages} in the snapshot",
                )
            _check_chat_saved(steps, wanted, history, index)
            data = replace(history, index, source, chat)
        step = steps.chat(wanted.path, wanted.user or b"", key, chat.value, index is not None)
        return Change(data, kept_attributes(live), step=step)

    return edit


def _put_only_chat(wanted: Wanted, found: FoundChat, steps: Steps, overwrite: bool) -> Edit:
    """Put a chat that is a file of its own, as in the guide's layout."""
    whole = put_document(wanted, steps)

    def edit(live: Live | None) -> Change | None:
        change = whole(live)
        if change is None or live is None or not (live.data or b"").strip():
            return change
        history = _live_history(live)
        if history.inside is not None:
            raise Refused(code="in-the-way", message="the live file is an array of chats now")
        if same_value(history.chats[0].value, found.chat.value):
            return None
        if not overwrite:
            raise Refused(
                code="changed-since",
                message=f"the chat is there, and not as it was: {history.messages} messages now, "
                f"{found.chat.messages} in the snapshot",
            )
        return change

    return edit


def _live_history(live: Live) -> History:
    try:
        return read_history(live.data or b"")
    except Unparsable as error:
        raise Refused(
            code="live-torn",
            message=f"the live history cannot be read, so no chat can be put into it: {error}",
        ) from None


def _owner(wanted: Wanted, live: Live | None) -> tuple[int, int] | None:
    """Return whom the document belongs to: as root as in the snapshot, else as it is now."""
    if os.geteuid() == 0:
        return wanted.entry.uid, wanted.entry.gid
    return None if live is None else (live.stat.st_uid, live.stat.st_gid)


def _check_saved(steps: Steps, wanted: Wanted, live: Live) -> None:
    """Raise Refused if the safety snapshot does not hold what is about to be replaced."""
    if steps.saved is None:
        return
    if live.data is not None:
        if steps.saved.holds(wanted.user, wanted.path, live.data):
            return
    elif steps.saved.has_same_stat(wanted.user, wanted.path, live.stat):
        return
    raise Refused(code="not-saved", message="the safety snapshot does not hold what is there now")


def _check_chat_saved(steps: Steps, wanted: Wanted, history: History, index: int) -> None:
    if steps.saved is None:
        return
    saved = steps.saved.read(wanted.user, wanted.path)
    if saved is not None:
        try:
            kept = read_history(saved[1])
        except Unparsable:
            kept = History(b"", [], None)
        now = history.chats[index]
        for chat in kept.chats:
            if chat.identity == now.identity and same_value(chat.value, now.value):
                return
    raise Refused(code="not-saved", message="the safety snapshot does not hold the chat as it is")


class Outline(msgspec.Struct, frozen=True):
    """How much a document holds: bytes, and of a history, chats and messages."""

    size_bytes: int = 0
    chats: int = 0
    messages: int = 0


def outline_of(data: bytes | None, size: int) -> Outline:
    """Return the outline of a document; of one that is no history only its size."""
    if data is None:
        return Outline(size)
    try:
        history = read_history(data)
    except Unparsable:
        return Outline(len(data))
    return Outline(len(data), len(history.chats), history.messages)
