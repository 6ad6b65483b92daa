"""What one writer did to a history, done to another version of it: a three-way merge by chats.
Pure.

Chats that were added or changed come over; chats that were removed do not: where two write at once,
a chat that is there once too often is better than one that is gone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from shenyu_data.model.chats import (
    Chat,
    History,
    Identity,
    as_written,
    canonical,
    read_history,
    same_value,
)
from shenyu_data.model.chats_edit import insert, place_of, replace
from shenyu_data.model.documents import Unparsable


class Merged(NamedTuple):
    """The merged history, and the chats that both sides changed, each its own way: ours stand."""

    data: bytes
    conflicts: list[Chat]


def merge(base: bytes, theirs: bytes, ours: bytes) -> Merged:
    """Return ``ours`` with what ``theirs`` added to ``base`` or changed in it.

    Of a conversation that went on on both sides, the messages of both come, ours first.

    Raise Unparsable if one of them is no history, ValueError if chats are to come and one of them
    is no array. An empty ``base`` or ``theirs`` is a history without chats.
    """
    old, source = history_of(base), history_of(theirs)
    before = by_identity(old)
    conflicts: list[Chat] = []
    for chat in reversed(source.chats):  # so that each finds its neighbour below in place
        was = before.get(chat.identity)
        if same_chat(old, was, source, chat):
            continue
        history = history_of(ours)
        index = _index(history, chat.identity)
        if index is None:
            at = place_of(chat, source.chats, history.chats)
            ours = insert(history, at, source, chat)
        elif same_value(history.chats[index].value, chat.value):
            continue
        elif was is not None and same_value(history.chats[index].value, was.value):
            ours = replace(history, index, source, chat)
        else:
            value = _both(was, chat, history.chats[index])
            if value is None:
                conflicts.append(chat)
                continue
            both = read_history(as_written([value]))
            ours = replace(history, index, both, both.chats[0])
    return Merged(ours, conflicts)


def _both(was: Chat | None, theirs: Chat, ours: Chat) -> dict[str, Any] | None:
    """Return a chat that both sides changed, with what both did: messages put at the end, other
    members changed by one of them. None if they contradict each other.
    """
    base, one, two = (was.value if was else None), ours.value, theirs.value
    if not (isinstance(base, dict) and isinstance(one, dict) and isinstance(two, dict)):
        return None
    merged: dict[str, Any] = {}
    for name in {**one, **two}:
        values = [side.get(name, _ABSENT) for side in (base, one, two)]
        texts = [None if value is _ABSENT else canonical(value) for value in values]
        if texts[1] == texts[2] or texts[2] == texts[0]:
            value = values[1]
        elif texts[1] == texts[0]:
            value = values[2]
        elif name == "messages":
            value = _longer(*values)
        else:
            return None
        if value is None and name == "messages":
            return None
        if value is not _ABSENT:
            merged[name] = value
    return merged


def _longer(base: Any, one: Any, two: Any) -> list[Any] | None:
    """Return the messages of two conversations that went on from one, one after the other."""
    if not (isinstance(base, list) and isinstance(one, list) and isinstance(two, list)):
        return None
    size = len(base)
    if not same_value(one[:size], base) or not same_value(two[:size], base):
        return None
    return [*one, *two[size:]]


_ABSENT = object()


def readable(data: bytes) -> bytes:
    """Return a history's bytes; nothing if the application could not read them either."""
    try:
        history_of(data)
    except Unparsable:
        return b""
    return data


def same_chat(one: History, chat: Chat | None, other: History, twin: Chat | None) -> bool:
    """Whether two histories have the same chat, or both none."""
    if chat is None or twin is None:
        return chat is twin
    return one.text_of(chat) == other.text_of(twin) or same_value(chat.value, twin.value)


def history_of(data: bytes) -> History:
    """Read a history; nothing is one without chats. Raise Unparsable. Small ones are remembered."""
    if len(data) > _CACHED_BYTES:
        return read_history(data)
    return _read_cached(data if data.strip() else b"[]")


_read_cached = lru_cache(16)(read_history)
"""Who watches a document compares the same few versions again and again."""

_CACHED_BYTES = 4 << 20


def by_identity(history: History) -> dict[Identity, Chat]:
    """Return the chats of a history by what tells them apart."""
    return {chat.identity: chat for chat in history.chats}


def _index(history: History, identity: Identity) -> int | None:
    for index, chat in enumerate(history.chats):
        if chat.identity == identity:
            return index
    return None
