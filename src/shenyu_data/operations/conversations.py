"""Chats as a person names and sees them: found by their ids, with titles, messages, times.

For ``show``, ``diff``, ``timeline`` and restores of one chat. What changes histories works on
model/chats.py itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from shenyu_data.model.activity import clock_ms
from shenyu_data.model.chats import Chat, History, as_text, read_history
from shenyu_data.model.documents import MAX_PARSED_VALUES, Unparsable
from shenyu_data.model.errors import ChatNotFound, RepositoryError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import GZIP_SUFFIX
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.operations.past import (
    OwnerDocuments,
    chosen,
    histories,
    history_not_found,
    storage_key,
)
from shenyu_data.repository.format import FileEntry, LastGood, Root

UNPARSED = frozenset(("too-large", "json-too-deep"))
"""Codes of histories that may be sound and are not looked into."""


class ChatInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One chat of a history. ``time_ms``: when it began, as far as it says so."""

    id: str | None
    title: str | None
    messages: int
    model: str | None
    time_ms: int | None


def read_chats(name: bytes, data: bytes) -> History:
    """Given a history's file name and bytes, return its chats. Raise Unparsable if it is torn, too
    large to be looked into, or no history at all.
    """
    if name.endswith(GZIP_SUFFIX):
        unpacked = gunzip(data, MAX_PARSED_BYTES)
        if unpacked is None:
            raise Unparsable(
                "damaged-gzip", "error", "it is cut off or is not gzip", "Restore the document."
            )
        data = unpacked
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if len(data) > MAX_PARSED_BYTES or values > MAX_PARSED_VALUES:
        raise Unparsable(
            "too-large", "warning", "too large to be looked into", "Restore it, and look there."
        )
    return read_history(data)


def key_of(name: bytes, history: History, chat: Chat) -> str | None:
    """Return what a person calls a chat: its id. The guide's, alone in its file, may have none and
    goes by the file's name then.
    """
    if chat.key is None and history.inside is None:
        return printable(storage_key(name))
    return chat.key


def chat_info(name: bytes, history: History, chat: Chat) -> ChatInfo:
    """Return what a list says of a chat."""
    value = chat.value if isinstance(chat.value, dict) else {}
    began = clock_ms(value)
    return ChatInfo(
        id=key_of(name, history, chat),
        title=as_text(value.get("title")),
        messages=chat.messages,
        model=as_text(value.get("model")),
        time_ms=int(began) if began is not None else None,
    )


def find_chats(name: bytes, history: History, wanted: str) -> list[Chat]:
    """Return the chats a person means by an id: one, unless the history has that id twice."""
    return [chat for chat in history.chats if key_of(name, history, chat) == wanted]


class FoundChat(NamedTuple):
    """A chat of a snapshot, the history it stands in, and that history's entry and version."""

    entry: FileEntry
    version: FileEntry | LastGood
    history: History
    chat: Chat

    @property
    def compressed(self) -> bool:
        """Whether the history is a ``.json.gz``; ``history`` is what it holds, unpacked."""
        return self.entry.name.endswith(GZIP_SUFFIX)


def find_chat(
    owner: OwnerDocuments, root: Root, key: bytes | None, wanted: str, *, last_good: bool
) -> FoundChat:
    """Find a chat by its id in one history of a user or, without ``key``, in all of them. Of a
    history that has it twice the first counts, and a plain one before a compressed one.

    Raise HistoryNotFound, ChatNotFound, UsageError if several histories have it, RepositoryError if
    it is nowhere but perhaps in a history that is damaged.
    """
    user = owner.record.owner
    entries = list(histories(owner.record, key))
    if key is not None and not entries:
        known = [storage_key(entry.name) for entry in histories(owner.record)]
        raise history_not_found(key, user, root, known=known)
    found: dict[bytes, FoundChat] = {}
    damaged: RepositoryError | None = None
    closed: list[str] = []
    for entry in entries:
        version = chosen(entry, last_good)
        if version is None:
            continue
        try:
            history = read_chats(entry.name, owner.reader.read(version))
        except RepositoryError as error:
            damaged = error
            continue
        except Unparsable as why:
            closed.append(f"{printable(entry.name)}: {why.message}")
            continue
        for chat in find_chats(entry.name, history, wanted)[:1]:
            found.setdefault(storage_key(entry.name), FoundChat(entry, version, history, chat))
    if len(found) > 1:
        names = ", ".join(map(printable, sorted(found)))
        raise UsageError(
            f"several histories have a chat {printable(wanted)}: {names}",
            hint="Say which one with --history.",
        )
    if not found:
        raise damaged or chat_not_found(wanted, user, root, closed=closed)
    return next(iter(found.values()))


def chat_not_found(
    wanted: str, user: bytes, root: Root | None = None, *, closed: Sequence[str] = ()
) -> ChatNotFound:
    """Return the error that says that a snapshot, or none at all, holds such a chat; ``closed``
    says which histories were not looked into, and why.
    """
    who = printable(user)
    hint = f"`shenyu-data timeline --user {who} --search WORDS` finds chats by their words."
    if closed:
        hint = f"Not looked into: {'; '.join(closed)}. Of a torn history, add --last-good."
    where = "no snapshot holds a" if root is None else f"the snapshot {root.id.hex()[:8]} holds no"
    return ChatNotFound(f"{where} chat {printable(wanted)} of the user {who}", hint=hint)


def canonical(chat: Chat) -> bytes:
    """Return a chat so that two that say the same are equal, however they are written."""
    text = json.dumps(chat.value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
