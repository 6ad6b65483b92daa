"""``chats show``: a live chat, read from its document at the place that the catalog knows.

What the catalog says is checked against the document's bytes; if those are others by now, the
document is looked through anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_pages import ChatEntry, chats_called, count_unlisted, has_user
from shenyu_data.datadir.catalog_read import read_chat, read_document
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.chats import chat_value
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import ChatNotFound, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.messages import Message, messages_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.operations.listings import user_not_found

_TRIES = 5
_PAUSE_S = 0.05
_MOST_NAMED = 20


class WantedChats(msgspec.Struct, frozen=True, kw_only=True):
    """The ``ids`` of chats, of anybody or only of a ``user``, or of histories of a storage key."""

    ids: Sequence[str]
    user: bytes | None = None
    history: bytes | None = None


class LiveChat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat as it stands in its document now."""

    entry: ChatEntry
    messages: list[Message]


def show_chats(options: CatalogOptions, wanted: WantedChats, monitor: Monitor) -> list[LiveChat]:
    """Return the chats of these ids; of an id that a history has twice, the first.

    Raise OwnerNotFound, ChatNotFound, or UsageError if chats of several histories answer to an id.
    """

    def query(catalog: Catalog) -> list[ChatEntry]:
        if wanted.user is not None and not has_user(catalog, wanted.user):
            raise user_not_found(wanted.user, options.data)
        return [_find(catalog, wanted, key) for key in wanted.ids]

    entries = ask(options, query, monitor)
    with DataFolders(options.data) as folders:
        return [_live_chat(folders, entry) for entry in entries]


def _find(catalog: Catalog, wanted: WantedChats, key: str) -> ChatEntry:
    found = chats_called(catalog, key, wanted.user, wanted.history, _MOST_NAMED)
    histories = dict.fromkeys((entry.user, entry.history) for entry in found)
    if not found:
        unlisted = count_unlisted(catalog, wanted.user)
        more = f" {unlisted:,} histories are not looked into: `shenyu-data validate` names them."
        raise ChatNotFound(
            f"there is no chat {printable(key)}" + _where(wanted),
            hint="`shenyu-data chats list` lists chats." + more * bool(unlisted),
        )
    if len(histories) > 1:
        names = ", ".join(f"{printable(user)}/{printable(name)}" for user, name in histories)
        raise UsageError(
            f"several histories have a chat {printable(key)}: {names}",
            hint="Say whose with --user, and which one with --history.",
        )
    return found[0]


def _where(wanted: WantedChats) -> str:
    user = f" of the user {printable(wanted.user)}" if wanted.user is not None else ""
    return user + (f" in {printable(wanted.history)}" if wanted.history is not None else "")


def _live_chat(folders: DataFolders, entry: ChatEntry) -> LiveChat:
    for _ in range(_TRIES):
        data = read_chat(folders, entry.user, entry.piece)
        if data is not None:
            try:
                return LiveChat(entry=entry, messages=list(messages_of(chat_value(data))))
            except Unparsable:
                break  # nobody but a forger makes such a catalog
        again = _found_again(folders, entry)
        if again is None:
            time.sleep(_PAUSE_S)  # it may be being rewritten
        else:
            entry = again
    raise ChatNotFound(
        f"the chat {printable(entry.id)} is no longer in {printable(entry.path)}",
        hint="It was just changed, moved or removed: look for it with `shenyu-data chats list`.",
    )


def _found_again(folders: DataFolders, entry: ChatEntry) -> ChatEntry | None:
    """Return a chat's place in its document as it is now; None if it is not in there."""
    document = read_document(folders, entry.user, entry.slot, time.time_ns() // 1_000_000)
    rows = [] if document is None else [row for row in document.chats if row.key == entry.id]
    if not rows:
        return None
    row = next((row for row in rows if row.tie == entry.tie), rows[0])
    return msgspec.structs.replace(
        entry,
        title=row.title,
        model=row.model,
        messages=row.messages,
        began_ms=row.began_ms,
        activity_ms=row.activity_ms,
        activity_source=row.activity_source,
        offset=row.offset,
        size_bytes=row.length,
        digest=row.digest,
    )
