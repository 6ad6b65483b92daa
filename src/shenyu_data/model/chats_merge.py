"""What one writer did to a history, done to another version of it: a three-way merge by chats.
Pure.

Chats that were added or changed come over; chats that were removed do not: where two write at once,
a chat that is there once too often is better than one that is gone.
"""

from __future__ import annotations

from typing import NamedTuple

from shenyu_data.model.chats import Chat, History, Identity, read_history, same_value
from shenyu_data.model.chats_edit import insert, place_of, replace


class Merged(NamedTuple):
    """The merged history, and the chats that both sides changed, each its own way: ours stand."""

    data: bytes
    conflicts: list[Chat]


def merge(base: bytes, theirs: bytes, ours: bytes) -> Merged:
    """Return ``ours`` with what ``theirs`` added to ``base`` or changed in it.

    Raise Unparsable if one of them is no history, ValueError if chats are to come and one of them
    is no array. An empty ``base`` or ``theirs`` is a history without chats.
    """
    before = _by_identity(_history(base))
    source = _history(theirs)
    conflicts: list[Chat] = []
    for chat in reversed(source.chats):  # so that each finds its neighbour below in place
        was = before.get(chat.identity)
        if was is not None and same_value(was.value, chat.value):
            continue
        history = _history(ours)
        index = _index(history, chat.identity)
        if index is None:
            at = place_of(chat, source.chats, history.chats)
            ours = insert(history, at, source, chat)
        elif same_value(history.chats[index].value, chat.value):
            continue
        elif was is not None and same_value(history.chats[index].value, was.value):
            ours = replace(history, index, source, chat)
        else:
            conflicts.append(chat)
    return Merged(ours, conflicts)


def went_back(before: bytes, after: bytes, now: bytes) -> bool:
    """Whether a history that was changed from ``before`` to ``after`` is, in some chat, as before.

    That is what it looks like when the application read it before the change and wrote it after.
    Raise Unparsable if one of them is no history.
    """
    old, new = _by_identity(_history(before)), _by_identity(_history(after))
    live = _by_identity(_history(now))
    for identity in old.keys() | new.keys():
        was, put, found = old.get(identity), new.get(identity), live.get(identity)
        if not _same(was, put) and _same(was, found):
            return True
    return False


def _same(one: Chat | None, other: Chat | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_value(one.value, other.value)


def _history(data: bytes) -> History:
    return read_history(data if data.strip() else b"[]")


def _by_identity(history: History) -> dict[Identity, Chat]:
    return {chat.identity: chat for chat in history.chats}


def _index(history: History, identity: Identity) -> int | None:
    for index, chat in enumerate(history.chats):
        if chat.identity == identity:
            return index
    return None
