"""The chats of a history too large to be held in memory, found one after another in its bytes.

Memory is bounded by the largest chat, not by the history. For the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shenyu_data.model.documents import Unparsable
from shenyu_data.model.records import MAX_PARSED_BYTES

# A string that is cut off at the end of what was read so far matches without its last quote.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{}]', re.DOTALL)
_BLANKS = b" \t\r\n"


class NoArray(Unparsable):
    """It is not an array of chats; it may be one chat."""


class Piece(NamedTuple):
    """One element of a history: where it begins, and its bytes."""

    start: int
    data: bytes


def scan_chats(blocks: Iterable[bytes]) -> Iterator[Piece]:
    """Given a history's bytes in blocks, yield the objects and arrays in its outermost array.

    What they hold is for the caller to parse. Raise NoArray if the whole is something else,
    Unparsable if it is cut off or has an element larger than ``MAX_PARSED_BYTES``.
    """
    scan = ChatScan()
    for block in blocks:
        yield from scan.feed(block)
    scan.finish()


class ChatScan:
    """As :func:`scan_chats`, for whoever is given the blocks one by one."""

    def __init__(self) -> None:
        self._data = b""
        self._base = 0  # where _data begins in the history
        self._at = 0  # how far _data was looked through
        self._depth = 0
        self._first: int | None = None  # where in _data the element begins that is open
        self._ended = False

    def feed(self, block: bytes) -> Iterator[Piece]:
        """Take the next block; yield the elements that end in it. All must be taken."""
        kept = self._at if self._first is None else self._first
        self._data = self._data[kept:] + block
        self._base += kept
        self._at -= kept
        if self._first is not None:
            self._first = 0
        if not self._depth and not self._ended and not self._begin():
            return
        yield from self._elements()
        if self._ended:
            if self._data[self._at :].strip(_BLANKS):
                raise _torn("something follows its end")
            self._at = len(self._data)
        kept = self._at if self._first is None else self._first
        if len(self._data) - kept > MAX_PARSED_BYTES:
            raise Unparsable("too-large", "warning", "one of its chats is too large to be read", "")

    def finish(self) -> None:
        """Raise Unparsable if the history is cut off."""
        if not self._ended:
            raise _torn("it is cut off")

    def _begin(self) -> bool:
        """Step into the array; return whether there was anything but blanks yet."""
        inside = self._data.lstrip(_BLANKS)
        if not inside:
            self._at = len(self._data)
            return False
        if inside[:1] != b"[":
            raise NoArray("torn-json", "error", "torn: it is no array", "Restore the document.")
        self._at = len(self._data) - len(inside) + 1
        self._depth = 1
        return True

    def _elements(self) -> Iterator[Piece]:
        """Yield the elements that are whole by now; what is not waits for the next block."""
        data = self._data
        for token in () if self._ended else _TOKEN.finditer(data, self._at):
            mark = data[token.start()]
            if mark == ord('"'):
                if not token[1]:
                    self._at = token.start()
                    return
            elif mark in b"[{":
                if self._depth == 1:
                    self._first = token.start()
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 1 and self._first is not None:
                    yield Piece(self._base + self._first, data[self._first : token.end()])
                    self._first = None
                elif self._depth == 0:
                    self._at, self._ended = token.end(), True
                    return
        if not self._ended:
            self._at = len(data)


def _torn(why: str) -> Unparsable:
    return Unparsable("torn-json", "error", f"torn: {why}", "Restore the document.")
