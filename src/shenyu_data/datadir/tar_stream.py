"""The bytes of an archive, gzip or plain, as a stream that is unpacked within bounds. For
``tar.py``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from shenyu_data.model.errors import ArchiveDamaged, ArchiveError

MAX_RATIO = 200
"""Chats in JSON shrink to a tenth; what shrinks to less than a two hundredth is made to fill
disks.
"""

FREE_BYTES = 1 << 30
"""Up to here the ratio is of no matter."""

_READ_BYTES = 1 << 18
_UNPACKED_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def damaged(why: str) -> ArchiveDamaged:
    """Return the error for an archive that cannot be read to its end."""
    return ArchiveDamaged(
        f"the archive is damaged: {why}",
        hint="Take another copy of it; --damaged-too imports what can be read, as degraded.",
    )


def unreadable(error: OSError) -> ArchiveError:
    """Return the error for an archive that the system does not let us read."""
    return ArchiveError(
        f"cannot read it: {error.strerror}", hint="Check the name, its owner and its mode."
    )


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file, as it lies there. Raise ArchiveError if it cannot be read."""
    while True:
        try:
            piece = file.read(_READ_BYTES)
        except OSError as error:
            raise unreadable(error) from error
        if not piece:
            return
        yield piece


class ArchiveStream:
    """Reads ``file`` from where it stands; ``watch`` is told every piece as it lies in the file.

    With ``max_bytes`` so much may come out, and the ratio is of no matter.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        watch: Callable[[bytes], None] | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._pieces = pieces(file)
        self._watch = watch
        self._max_bytes = max_bytes
        self._taken = 0
        self._given = 0
        self._buffer = b""
        self._position = 0
        self._packed = self._take()
        gzip = self._packed.startswith(_GZIP_MAGIC)
        self._inflate = zlib.decompressobj(31) if gzip else None
        self._ended = False

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes. Raise ArchiveDamaged if there are not so many."""
        end = self._position + count
        if end <= len(self._buffer):
            piece = self._buffer[self._position : end]
            self._position = end
            return piece
        pieces = [self._buffer[self._position :]]
        missing = count - len(pieces[0])
        while missing:
            self._fill()
            piece = self._buffer[:missing]
            self._position = len(piece)
            missing -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        while count:
            if self._position == len(self._buffer):
                self._fill()
            step = min(count, len(self._buffer) - self._position)
            self._position += step
            count -= step

    def count(self, size: int) -> None:
        """Count ``size`` bytes more as if they had come out. Raise ArchiveError if that is too
        much.
        """
        self._given += size
        self._check_bounds()

    def finish(self) -> None:
        """Read to the end, which is where gzip has its checksum; nothing but zeros may follow."""
        while True:
            if self._buffer[self._position :].strip(b"\0"):
                raise damaged("something follows its end")
            if not self._more():
                return

    def _fill(self) -> None:
        if not self._more():
            raise damaged("it is cut off")

    def _more(self) -> bool:
        """Put the next bytes into the buffer; return whether there are any."""
        self._buffer, self._position = b"", 0
        while not self._buffer and not self._ended:
            self._buffer = self._plain() if self._inflate is None else self._unpack(self._inflate)
        self._given += len(self._buffer)
        self._check_bounds()
        return bool(self._buffer)

    def _plain(self) -> bytes:
        piece = self._packed
        self._ended = not piece
        self._packed = self._take() if piece else b""
        return piece

    def _unpack(self, inflate: zlib._Decompress) -> bytes:
        if inflate.eof:
            # Several gzip files in a row are one; gzip itself passes over zeros at the end.
            self._packed = inflate.unused_data.lstrip(b"\0")
            while not self._packed:
                piece = self._take()
                if not piece:
                    self._ended = True
                    return b""
                self._packed = piece.lstrip(b"\0")
            self._inflate = inflate = zlib.decompressobj(31)
        elif not self._packed:
            self._packed = self._take()
            if not self._packed:
                raise damaged("it is cut off")
        try:
            piece = inflate.decompress(self._packed, _UNPACKED_BYTES)
        except zlib.error:
            raise damaged("its compressed data is altered") from None
        self._packed = inflate.unconsumed_tail
        return piece

    def _take(self) -> bytes:
        piece = next(self._pieces, b"")
        self._taken += len(piece)
        if self._watch is not None:
            self._watch(piece)
        return piece

    def _check_bounds(self) -> None:
        if self._max_bytes is not None:
            if self._given > self._max_bytes:
                raise ArchiveError(
                    f"the archive unpacks to more than {self._max_bytes:,} bytes",
                    hint="Give a greater --max-size if it may be that large.",
                )
        elif self._given > FREE_BYTES + MAX_RATIO * self._taken:
            raise ArchiveError(
                f"the archive unpacks to more than {MAX_RATIO} times its size, as if to fill the "
                "disk",
                hint="If it is to be trusted, say with --max-size how large it may become.",
            )
