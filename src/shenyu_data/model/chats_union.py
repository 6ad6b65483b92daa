"""All chats of two histories in one: what an import merges. Pure.

No chat is lost. A chat that both have, and of which one goes on where the other ends, is there
once, the longer one. If they contradict each other both are there, the other one under an id of its
own.
"""

from __future__ import annotations

import hashlib
from typing import Any

from shenyu_data.model.chats import Chat, History, as_written, canonical, read_history, same_value
from shenyu_data.model.chats_edit import insert, place_of, replace


def union(ours: bytes, theirs: bytes) -> bytes:
    """Return ``ours`` with every chat of ``theirs``; the bytes of chats that stay are kept.

    Raise Unparsable if one of them is no history, ValueError if ``ours`` is a single chat, and
    ``theirs`` has more than that or contradicts it.
    """
    history, source = read_history(ours), read_history(theirs)
    for chat in reversed(source.chats):  # so that each finds its neighbour below in place
        data = _with(history, source, chat)
        if data is not None:
            history = read_history(data)
    return history.data


def _with(history: History, source: History, chat: Chat) -> bytes | None:
    """Return the history with one chat more; None if it holds it already."""
    known = _versions(history, source, chat)
    if any(_holds(history.chats[index], chat) for index in known):
        return None
    for index in known:
        if _holds(chat, history.chats[index]):
            return replace(history, index, source, chat)
    if not known:
        return insert(history, place_of(chat, source.chats, history.chats), source, chat)
    renamed = _renamed(chat)
    if history.find(renamed.chats[0].key or ""):
        return None
    return insert(history, known[0] + 1, renamed, renamed.chats[0])


def _versions(history: History, source: History, chat: Chat) -> list[int]:
    """Return where versions of a chat stand: by its id, or without one, the same words. Two files
    of one chat each are versions of one unless their ids differ.
    """
    if history.inside is None and source.inside is None:
        return [0] if len({history.chats[0].key, chat.key} - {None}) < 2 else []
    if chat.key is not None:
        return history.find(chat.key)
    return [
        index
        for index, live in enumerate(history.chats)
        if live.key is None and same_value(live.value, chat.value)
    ]


def _holds(one: Chat, other: Chat) -> bool:
    """Whether a version of a chat has all that another one has."""
    return same_value(one.value, other.value) or _goes_on(one.value, other.value)


def _goes_on(longer: object, shorter: object) -> bool:
    """Whether a version has the same messages as the other one first, and every other member as it
    is there.
    """
    if not (isinstance(longer, dict) and isinstance(shorter, dict)):
        return False
    for name, value in shorter.items():
        if name not in longer:
            return False
        other = longer[name]
        if name == "messages" and isinstance(value, list) and isinstance(other, list):
            if not same_value(other[: len(value)], value):
                return False
        elif name not in _MAY_DIFFER and not same_value(value, other):
            return False
    return True


_MAY_DIFFER = ("id", "timestamp")
"""Of two versions: an id may be a number here and digits in a string there."""


def _renamed(chat: Chat) -> History:
    """Return a chat under an id that says what it is, and is the same whenever it is made."""
    value: dict[str, Any] = dict(chat.value) if isinstance(chat.value, dict) else {}
    digest = hashlib.blake2b(canonical(chat.value).encode("utf-8", "surrogatepass"), digest_size=4)
    value["id"] = f"{chat.key or 'chat'}-imported-{digest.hexdigest()}"
    return read_history(as_written([value]))
