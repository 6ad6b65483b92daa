"""Reading one huge JSON text piece by piece: its structure is followed, its values come as the
bytes they are. Pure but for the stream it reads.

A value's end is found by its indentation, as JSON.stringify writes it, and proved by a parser;
where that fails, by its brackets. No more is in memory than one value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from shenyu_data.model.errors import ArchiveDamaged, ArchiveError

MOST_VALUE_BYTES = 64 << 20
"""A document of a greater size is not read from such an export."""

_READ_BYTES = 1 << 20
_MOST_KEY_BYTES = 1 << 16
_MOST_BLANKS = 1 << 16
_MOST_DEPTH = 100_000  # no parser that anybody uses goes so far
_BLANK = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?\Z)', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?\Z)|[\[\]{}]', re.DOTALL)
_PLAIN = re.compile(rb"[^ \t\r\n,\]}]*")
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_decode_string = msgspec.json.Decoder(str).decode


class Stretch(NamedTuple):
    """Members of an object that were passed over: at which byte they begin, how many bytes they
    are, and what stands ``between`` two of them.
    """

    at: int
    size: int
    between: bytes


class JsonStream:
    """Reads from ``read(count)``, which gives at most so many bytes, none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self._passed = 0
        self._indent = b""
        self._undivided = 0

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._passed + self._at

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that comes; what each stands for must be taken in between.

        Raise ArchiveDamaged if there is no object, or it is cut off.
        """
        for key in self.parts(0):
            if isinstance(key, str):
                yield key

    def parts(self, most: int, *, last: bool = False) -> Iterator[str | Stretch]:
        """As :meth:`members`, but pass over at most so many bytes at a time of whole members, as
        far as their indentation tells which these are. That they are is not proved.

        ``last``: no other object like it is likely to come, so that its end need not be sought.
        """
        self._expect(b"{")
        first = True
        while not self._take(b"}"):
            if not first:
                self._expect(b",")
            first = False
            if most and (stretch := self._stretch(most, last=last)) is not None:
                yield stretch
                continue
            key = self._key()
            self._expect(b":")
            yield key

    def _stretch(self, most: int, *, last: bool) -> Stretch | None:
        if self._peek() != b'"' or not self._indent or self.position < self._undivided:
            return None
        while len(self._buffer) - self._at < most and self._more():
            pass
        until = self._at + most
        if not last:  # members are indented twice as far as what they are members of
            closing = b"\n" + self._indent[: len(self._indent) // 2] + b"}"
            found = self._buffer.find(closing, self._at, until)
            until = found if found >= 0 else until
        between = b",\n" + self._indent + b'"'
        end = self._buffer.rfind(between, self._at, until)
        if end < 0:
            self._undivided = self.position + most // 2  # do not look for it at each member
            return None
        stretch = Stretch(self.position, end - self._at, between)
        self._at = end
        return stretch

    def elements(self) -> Iterator[None]:
        """Yield for each element of the array that comes; it must be taken in between."""
        self._expect(b"[")
        first = True
        while not self._take(b"]"):
            if not first:
                self._expect(b",")
            first = False
            yield

    def next_is(self, mark: bytes) -> bool:
        """Whether the next value begins so."""
        return self._peek() == mark

    def value(self) -> bytes:
        """Return the next value's bytes. Raise ArchiveError if it is too large, ArchiveDamaged if
        it is cut off. That it is JSON is proved only if its end was found by its indentation.
        """
        mark = self._peek()
        if mark == b'"':
            return self._slice(self._string_end())
        if mark not in (b"{", b"["):
            return self._slice(self._plain_end())
        end = self._end_by_indentation(b"}" if mark == b"{" else b"]")
        return self._slice(end if end is not None else self._end_by_brackets())

    def end(self) -> None:
        """Raise ArchiveDamaged if anything follows."""
        if self._peek():
            raise _damaged(f"something follows its end, at byte {self.position:,}")

    def _key(self) -> str:
        if self._peek() != b'"':
            raise _damaged(f"there is no name at byte {self.position:,}")
        raw = self._slice(self._string_end(_MOST_KEY_BYTES))
        try:
            return _decode_string(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return raw[1:-1].decode("utf-8", "replace") + "\0"  # a name that nothing can have

    def _peek(self) -> bytes:
        """Pass over blanks; return the next byte, nothing at the end."""
        mark = self._buffer[self._at : self._at + 1]
        if mark and mark not in b" \t\r\n":
            return mark
        passed = 0
        while True:
            found = _BLANK.match(self._buffer, self._at)
            end = found.end() if found is not None else self._at
            line = self._buffer.rfind(b"\n", self._at, end)
            if line >= 0:
                self._indent = self._buffer[line + 1 : end]
            if end < len(self._buffer):
                self._at = end
                return self._buffer[end : end + 1]
            if end - self._at > _MOST_BLANKS:
                passed += end - self._at
                self._at = end
            if passed > MOST_VALUE_BYTES:
                raise _damaged(f"there is nothing but blanks before byte {self.position:,}")
            if not self._more():
                self._at = end
                return b""

    def _take(self, mark: bytes) -> bool:
        if self._peek() != mark:
            return False
        self._at += 1
        return True

    def _expect(self, mark: bytes) -> None:
        if not self._take(mark):
            if not self._peek():
                raise _cut_off()
            raise _damaged(f"there is no {mark.decode()} at byte {self.position:,}")

    def _more(self) -> bool:
        """Read on; what was passed is given up."""
        piece = self._read(_READ_BYTES)
        if not piece:
            return False
        self._passed += self._at
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return True

    def _grow(self, most: int = MOST_VALUE_BYTES) -> None:
        """As :meth:`_grown`, but raise ArchiveDamaged at the end."""
        if not self._grown(most):
            raise _cut_off()

    def _grown(self, most: int = MOST_VALUE_BYTES) -> bool:
        """Read on within a value; return False at the end. Raise ArchiveError if it is too large.

        What is read doubles, so that a large value is not looked at again and again.
        """
        waiting = len(self._buffer) - self._at
        if waiting > most:
            raise ArchiveError(
                f"the value at byte {self.position:,} is larger than {most:,} bytes",
                hint="Take the native format, which has no such bound.",
            )
        wanted = max(waiting, 1)
        pieces = [self._buffer[self._at :]]
        while wanted > 0 and (piece := self._read(_READ_BYTES)):
            pieces.append(piece)
            wanted -= len(piece)
        self._passed += self._at
        self._buffer = b"".join(pieces)
        self._at = 0
        return len(pieces) > 1

    def _slice(self, end: int) -> bytes:
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def _string_end(self, most: int = MOST_VALUE_BYTES) -> int:
        while True:
            found = _STRING.match(self._buffer, self._at)
            if found is not None and found[1] == b'"':
                return found.end()
            self._grow(most)

    def _plain_end(self) -> int:
        while True:
            found = _PLAIN.match(self._buffer, self._at)
            end = found.end() if found is not None else self._at
            if end == self._at:
                raise (
                    _cut_off()
                    if end == len(self._buffer)
                    else _damaged(f"there is no value at byte {self.position:,}")
                )
            if end < len(self._buffer):
                return end
            self._grow()

    def _end_by_indentation(self, mark: bytes) -> int | None:
        """Return where the value ends, if it is indented as JSON.stringify does it."""
        wanted = b"\n" + self._indent + mark
        searched = 0
        while True:
            first = self._buffer.find(b"\n", self._at, self._at + 3)
            if first < 0 and len(self._buffer) - self._at >= 3:
                return None  # on one line
            end = self._buffer.find(wanted, self._at + searched)
            if end >= 0:
                end += len(wanted)
                try:
                    _decode_any(memoryview(self._buffer)[self._at : end])
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                    return None
                return end
            searched = max(0, len(self._buffer) - self._at - len(wanted))
            if len(self._buffer) - self._at > MOST_VALUE_BYTES or not self._grown():
                return None

    def _end_by_brackets(self) -> int:
        depth, start = 0, 0
        while True:
            for token in _TOKEN.finditer(self._buffer, self._at + start):
                mark = token[0]
                if mark[:1] == b'"':
                    if token[1] != b'"':
                        start = token.start() - self._at
                        break
                elif mark in b"[{":
                    depth += 1
                    if depth > _MOST_DEPTH:
                        raise _damaged(
                            f"the value at byte {self.position:,} is nested deeper than "
                            f"{_MOST_DEPTH:,} levels"
                        )
                else:
                    depth -= 1
                    if not depth:
                        return token.end()
            else:
                start = len(self._buffer) - self._at
            self._grow()


def _damaged(why: str) -> ArchiveDamaged:
    return ArchiveDamaged(f"the export is damaged: {why}", hint="Take another copy of it.")


def _cut_off() -> ArchiveDamaged:
    return ArchiveDamaged("the export is cut off", hint="Take another copy of it.")
