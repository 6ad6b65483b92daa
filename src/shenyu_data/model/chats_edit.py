"""Putting one chat into a history, in its place, and taking one out: on bytes. Pure.

The bytes of every other chat stay as they are, and so do the brackets, the blanks, the end of the
file. A chat goes where it belongs by its neighbours and the clock: see :func:`place_of`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from shenyu_data.model.activity import clock_ms
from shenyu_data.model.chats import Chat, History, read_history


def place_of(chat: Chat, around: Sequence[Chat], live: Sequence[Chat]) -> int:
    """Return the index at which ``chat``, which stood among ``around``, belongs among ``live``.

    The place lies after the nearest chat that stood above it and is still there, and before the
    nearest that stood below it. Among chats in between, which the old array did not know, and where
    live order contradicts the old one, the clock decides: before the first chat that is older.
    Without a clock: right below the one above, else right above the one below, else last.
    """
    where = {item.identity: index for index, item in enumerate(live)}
    at = next((i for i, item in enumerate(around) if item.identity == chat.identity), len(around))
    above = next((where[i.identity] for i in reversed(around[:at]) if i.identity in where), None)
    below = next((where[i.identity] for i in around[at + 1 :] if i.identity in where), None)
    first = 0 if above is None else above + 1
    last = len(live) if below is None else below
    if first > last:
        first, last = 0, len(live)
        above = below = None
    clock = clock_ms(chat.value)
    if clock is None:
        return first if above is not None else last
    for index in range(first, last):
        other = clock_ms(live[index].value)
        if other is not None and other < clock:
            return index
    return last


def insert(history: History, index: int, source: History, chat: Chat) -> bytes:
    """Return ``history`` with ``chat``, which comes from ``source``, at ``index`` of its array.

    Its bytes are those of the source, indented as the others here. Raise ValueError if the history
    is no array.
    """
    data, inside = history.data, _inside(history)
    if not history.chats:
        before, after = _frame(source)
        piece = before + source.data[chat.start : chat.end] + after
        return b"".join((data[: inside[0]], piece, data[inside[1] :]))
    piece = _fitted(history, source, chat)
    blank = _separator(history)
    if index < len(history.chats):
        at = history.chats[index].start
        return b"".join((data[:at], piece, b",", blank, data[at:]))
    at = history.chats[-1].end
    return b"".join((data[:at], b",", blank, piece, data[at:]))


def insert_all(history: History, wanted: Sequence[tuple[Chat, History]]) -> bytes:
    """As :func:`insert`, each at its :func:`place_of`, of several chats that the history lacks,
    each with the history that it comes from. Raise ValueError if the history is no array.
    """
    _inside(history)
    if not wanted:
        return history.data
    if not history.chats:
        chat, source = wanted[0]
        return insert_all(read_history(insert(history, 0, source, chat)), wanted[1:])
    order = list(history.chats)
    sources: dict[int, History] = {}
    for chat, source in reversed(wanted):  # so that each finds its neighbour below in place
        order.insert(place_of(chat, source.chats, order), chat)
        sources[id(chat)] = source
    blank = _separator(history)
    pieces, at, passed = [], 0, 0
    for chat in order:
        if id(chat) not in sources:
            passed += 1
            pieces.append(history.data[at : chat.end])
            at = chat.end
            continue
        piece = _fitted(history, sources[id(chat)], chat)
        if passed == len(history.chats):
            pieces += (b",", blank, piece)
        else:
            following = history.chats[passed].start
            pieces += (history.data[at:following], piece, b",", blank)
            at = following
    return b"".join([*pieces, history.data[at:]])


def replace(history: History, index: int, source: History, chat: Chat) -> bytes:
    """Return ``history`` with ``chat``, from ``source``, instead of the one at ``index``."""
    old = history.chats[index]
    piece = source.data[chat.start : chat.end]
    if history.inside is not None:
        piece = _fitted(history, source, chat)
    return b"".join((history.data[: old.start], piece, history.data[old.end :]))


def remove(history: History, index: int) -> bytes:
    """Return ``history`` without the chat at ``index``: :func:`insert`, undone. Raise ValueError if
    it is no array.
    """
    data, chats, inside = history.data, history.chats, _inside(history)
    if len(chats) == 1:
        return data[: inside[0]] + data[inside[1] :]
    if index + 1 < len(chats):
        start, end = chats[index].start, chats[index + 1].start
    else:
        start, end = chats[index - 1].end, chats[index].end
    return data[:start] + data[end:]


def remove_all(history: History, indexes: Sequence[int]) -> bytes:
    """As :func:`remove`, of several chats at once."""
    gone = set(indexes)
    data, chats, inside = history.data, history.chats, _inside(history)
    if len(gone) == len(chats):
        return data[: inside[0]] + data[inside[1] :]
    pieces, at = [], 0
    last = max(index for index in range(len(chats)) if index not in gone)
    for index in sorted(gone):
        if index < last:
            start, end = chats[index].start, chats[index + 1].start
        else:
            start, end = chats[index - 1].end, chats[index].end
        pieces.append(data[at:start])
        at = end
    return b"".join([*pieces, data[at:]])


def alone(source: History, chat: Chat) -> bytes:
    """Return a history of this one chat: an array in the style of the one it comes from, or, where
    a history is one chat, that history as it is.
    """
    if source.inside is None:
        return source.data
    before, after = _frame(source)
    return b"".join((b"[", before, source.data[chat.start : chat.end], after, b"]"))


def _inside(history: History) -> tuple[int, int]:
    if history.inside is None:
        raise ValueError("the history is one chat, not an array")
    return history.inside


def _frame(source: History) -> tuple[bytes, bytes]:
    """Return what stands between the brackets and the first and the last chat."""
    if source.inside is None or not source.chats:
        return b"", b""
    first, last = source.inside
    return source.data[first : source.chats[0].start], source.data[source.chats[-1].end : last]


def _separator(history: History) -> bytes:
    """Return the blanks between a comma and the next chat."""
    if len(history.chats) > 1:
        between = history.data[history.chats[0].end : history.chats[1].start]
        return between.partition(b",")[2]
    return _frame(history)[0]


def _fitted(history: History, source: History, chat: Chat) -> bytes:
    """Return a chat's bytes, indented as the chats of ``history``."""
    piece = source.data[chat.start : chat.end]
    here, there = _separator(history), _separator(source) if source.inside else b""
    if here == there:
        return piece
    newline, _, indent = here.rpartition(b"\n")
    try:
        if b"\n" not in here:
            return msgspec.json.format(piece, indent=-1)
        unit = len(indent) if indent.strip(b" ") == b"" else 0
        shaped = msgspec.json.format(piece, indent=unit or 2)
    except msgspec.DecodeError:  # half a character, which only the application takes
        return piece
    end = b"\r\n" if newline.endswith(b"\r") else b"\n"
    return re.sub(rb"\n", lambda _: end + indent, shaped)
