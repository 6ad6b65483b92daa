"""A history too large for memory, taken apart and put together again as a stream: its chats, and
to the byte what stands between them. For whoever takes chats out of one or puts some back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from shenyu_data.datadir.chat_stream import ChatScan
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.records import MAX_PARSED_BYTES

_FIRST = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*")
_BETWEEN = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_LAST = re.compile(rb"[ \t\r\n]*\][ \t\r\n]*")
_EMPTY = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\][ \t\r\n]*")


class Part(NamedTuple):
    """A chat, and what stands between it and the one before. The last part is the end of the file:
    its ``chat`` is None.
    """

    gap: bytes
    chat: bytes | None


def history_parts(blocks: Iterable[bytes]) -> Iterator[Part]:
    """Given a history's bytes in blocks, yield its parts; joined they are the history again.

    In memory are at most two chats. What the chats hold is for the caller to parse. Raise
    Unparsable as :func:`shenyu_data.datadir.chat_stream.scan_chats` does, and also if anything but
    one comma and blanks stands between chats.
    """
    scan = ChatScan()
    begun = False
    window, base = b"", 0  # what was not given away yet, and where in the history it begins
    for block in blocks:
        window += block
        at = 0
        for piece in scan.feed(block):
            start = piece.start - base
            gap = window[at:start]
            if not (_BETWEEN if begun else _FIRST).fullmatch(gap):
                raise _odd()
            begun = True
            at = start + len(piece.data)
            yield Part(gap, piece.data)
        window, base = window[at:], base + at
        if len(window) > MAX_PARSED_BYTES + len(block):
            raise _odd()
    scan.finish()
    if not (_LAST if begun else _EMPTY).fullmatch(window):
        raise _odd()
    yield Part(window, None)


def write_without(
    parts: Iterable[Part], gone: Collection[int], write: Callable[[bytes], object]
) -> None:
    """Write a history without the chats at these places, to the byte as
    :func:`shenyu_data.model.chats_edit.remove_all` leaves it.
    """
    gap: bytes | None = None  # that after the last chat that stays
    index = -1
    kept = False
    for index, part in enumerate(parts):
        gap = part.gap if gap is None else gap
        if part.chat is None:
            if kept or index == 0:
                write(part.gap)
            else:
                write(gap[: gap.index(b"[") + 1] + part.gap[part.gap.index(b"]") :])
        elif index not in gone:
            write(gap)
            write(part.chat)
            gap, kept = None, True


class Insertion(NamedTuple):
    """Chats that go right before the chat at ``before``, or behind the last one (None)."""

    before: int | None
    chats: Iterator[bytes]


def write_with(
    parts: Iterable[Part], insertions: Iterable[Insertion], write: Callable[[bytes], object]
) -> None:
    """Write a history with more chats in it. ``insertions`` are in the order of their places, each
    is taken when its place has come.
    """
    waiting = iter(insertions)
    following = next(waiting, None)
    between: bytes | None = None
    indent = b"\n  "
    for index, part in enumerate(parts):
        if index == 0 and part.chat is not None:
            indent = part.gap.partition(b"[")[2]
        elif index == 1 and part.chat is not None:
            between = part.gap
        comma = between or b"," + indent
        if part.chat is not None:
            write(part.gap)
            while following is not None and following.before == index:
                for chat in following.chats:
                    write(chat)
                    write(comma)
                following = next(waiting, None)
            write(part.chat)
            continue
        gap = part.gap
        if index == 0:  # there are no chats: what is between the brackets gives way
            write(gap[: gap.index(b"[") + 1])
            gap = gap[gap.index(b"]") :]
        some = index > 0
        while following is not None:
            for chat in following.chats:
                write(comma if some else indent)
                write(chat)
                some = True
            following = next(waiting, None)
        write(b"\n" + gap if index == 0 and some else gap)


def _odd() -> Unparsable:
    return Unparsable(
        "too-large",
        "warning",
        "it is large, and something other than commas and blanks stands between its chats",
        "",
    )
