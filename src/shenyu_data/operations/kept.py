"""Values that wait until a document can be written: a few in memory, millions in a nameless file.

For what is listed after it was counted, or in another order than it was found in.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

MOST_IN_MEMORY = 4000

_MOST_BYTES = 1 << 20  # of these
_LENGTH_BYTES = 4
_READ_BYTES = 1 << 13  # of each of the file's parts, which may be hundreds

_encode = msgspec.msgpack.Encoder().encode


class Kept(Generic[T]):
    """Values of one kind, in the order they were put in or, with ``key``, sorted by it. Past a
    bound they are written into a nameless temporary file; if that cannot be, they stay in memory:
    what was found must not end what is done. Half a character comes out as an escape.
    """

    def __init__(self, kind: type[T], key: Callable[[T], Any] | None = None) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._key = key
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._file: int | None = None
        self._parts: list[tuple[int, int]] = []
        self._written_bytes = 0
        self._is_full = False
        self._count = 0

    def append(self, value: T) -> None:
        """Keep a value."""
        if len(self._waiting) >= MOST_IN_MEMORY or self._waiting_bytes > _MOST_BYTES:
            self._write()
        self._count += 1
        text = self._encoded(value)
        self._waiting.append(text)
        self._waiting_bytes += len(text)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """Yield them in their order; as often as is wanted."""
        waiting = map(self._decode, list(self._waiting))
        parts = [self._read(*part) for part in self._parts]
        if self._key is None:
            return chain(*parts, waiting)
        return merge(*parts, sorted(waiting, key=self._key), key=self._key)

    def _encoded(self, value: T) -> bytes:
        try:
            return _encode(value)
        except UnicodeEncodeError:
            return _encode(_escaped(msgspec.to_builtins(value)))

    def _write(self) -> None:
        """Write what waits into the file: sorted as a part of its own, or behind what is there."""
        if self._is_full:
            return
        if self._key is not None:
            key = self._key
            self._waiting.sort(key=lambda text: key(self._decode(text)))
        records = [len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in self._waiting]
        place = start = self._written_bytes
        try:
            if self._file is None:
                self._file = self._made()
            left = memoryview(b"".join(records))
            while left:
                done = os.pwrite(self._file, left, place)
                left, place = left[done:], place + done
        except OSError:
            self._is_full = True  # what was written of it is passed over
            return
        if self._key is None and self._parts:
            start = self._parts.pop()[0]
        self._parts.append((start, place))
        self._written_bytes = place
        self._waiting, self._waiting_bytes = [], 0

    def _made(self) -> int:
        """Make the file, which is gone with the last who knows of these values."""
        import tempfile  # late: it takes 4 ms, and most often there are few values

        with tempfile.TemporaryFile(prefix="shenyu-data-") as file:
            descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _read(self, start: int, stop: int) -> Iterator[T]:
        """Yield the values of a part of the file."""
        held, at = b"", 0
        while start < stop and self._file is not None:
            block = os.pread(self._file, min(_READ_BYTES, stop - start), start)
            if not block:
                raise OSError("a temporary file was cut off")
            start += len(block)
            held, at = held[at:] + block, 0
            while len(held) - at >= _LENGTH_BYTES:
                begin = at + _LENGTH_BYTES
                end = begin + int.from_bytes(held[at:begin], "little")
                if end > len(held):
                    break
                yield self._decode(held[begin:end])
                at = end


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value
