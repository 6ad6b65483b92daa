"""Where an export is written to and read from: a file or a pipe, plain, gzip or zstd, and how much
may come out of what is compressed. Called by operations that export and import.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, NamedTuple, Protocol, cast

import zstandard

from shenyu_data.model.errors import ArchiveDamaged, ArchiveError, ShenyuDataError, UsageError
from shenyu_data.storage.atomic import new_file, write_all

MAX_RATIO = 200
"""Chats in JSON shrink to a tenth; what shrinks to less than a two hundredth is made to fill
disks.
"""

FREE_BYTES = 1 << 30
"""Up to here the ratio is of no matter."""

STANDARD = "-"
"""The name that means standard input or output."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MAGIC_BYTES = len(_ZSTD_MAGIC)
_READ_BYTES = 1 << 18
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_MOST_WINDOW_BYTES = 128 << 20
_FREE_MEMBERS = 10_000
_MEMBER_BYTES = 1000
"""Of gzip in members, each for itself, so many of this size are looked into, and no smaller ones on
the average: of nothing but tiny ones the unpacking takes hours.
"""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


Write = Callable[[bytes], None]


@contextmanager
def open_output(path: str, standard: BinaryIO, *, overwrite: bool) -> Iterator[Write]:
    """Give the function that writes to the new file ``path``, or to ``standard`` for ``-``,
    compressed if the name ends in ``.gz`` or ``.zst``.

    The file has its name when the block is left, whole and durable, and not if it is left by an
    exception. Raise UsageError if it is there already, ShenyuDataError if it cannot be written.
    """
    compressor = _compressor(path)
    if path == STANDARD:
        yield lambda data: _write_on(standard, data)
        standard.flush()
        return
    folder, name = os.path.split(os.path.abspath(path))
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with new_file(name, folder=opened, replace=overwrite) as descriptor:

            def write(data: bytes) -> None:
                if packed := compressor.compress(data):
                    write_all(descriptor, [packed])

            yield write
            write_all(descriptor, [compressor.flush()])
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        os.close(opened)


def _write_on(stream: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _compressor(path: str) -> _Compressor:
    if path.endswith(".gz"):
        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    if path.endswith(".zst"):
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    return _Plain()


def _exists(path: str) -> UsageError:
    return UsageError(f"{path} is there already", hint="Name a new file, or give --overwrite.")


def _unwritable(path: str, error: OSError) -> ShenyuDataError:
    return ShenyuDataError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Check the free space, and the owner and mode of the folder.",
    )


class PlainFile(NamedTuple):
    """A regular file as it is read, so that another process can read parts of it."""

    path: str
    device: int
    inode: int

    def read(self, at: int, size: int) -> bytes:
        """Return ``size`` bytes from ``at`` on. Raise ArchiveError if the file is another now."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                data = os.pread(file.fileno(), size, at)
                while len(data) < size and (more := os.pread(file.fileno(), size, at + len(data))):
                    data += more[: size - len(data)]
        except OSError as error:
            raise _unreadable(error) from error
        if (found.st_dev, found.st_ino) != (self.device, self.inode) or len(data) < size:
            raise changed_meanwhile()
        return data


def changed_meanwhile() -> ArchiveError:
    """Return the error of an export that is not what it was when it was read before."""
    return ArchiveError(
        "the export was changed while it was read", hint="Try again when it is complete."
    )


class Input:
    """Reads ``file``, plain or compressed; its first bytes tell which.

    With ``max_bytes`` so much may come out, and the ratio is of no matter.
    """

    def __init__(self, file: BinaryIO, *, max_bytes: int | None = None) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._given = self._members = 0
        self._source = source = _Source(file)
        self._ready = b""
        self._read: Callable[[int], bytes] = source.read
        if source.head.startswith(_GZIP_MAGIC):
            self._inflate = zlib.decompressobj(31)
            self._read = self._read_gzip
        elif source.head == _ZSTD_MAGIC:
            unpacker = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
            # It must not lead back to this object: what it holds would never be given back.
            self._zstd = unpacker.stream_reader(cast("IO[bytes]", source), read_across_frames=True)
            self._read = self._read_zstd

    @property
    def plain_file(self) -> PlainFile | None:
        """The file that is read, if what it gives is what stands in it, from its beginning."""
        name = getattr(self._file, "name", None)
        if self._read != self._source.read or not isinstance(name, str):
            return None
        found = os.fstat(self._file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return None
        return PlainFile(os.path.abspath(name), found.st_dev, found.st_ino)

    def read(self, count: int) -> bytes:
        """Return at most ``count`` bytes, at least one before the end.

        Raise ArchiveDamaged if it is not what was compressed, ArchiveError if too much comes out or
        it cannot be read.
        """
        if self._ready:
            data, self._ready = self._ready[:count], self._ready[count:]
            return data
        data = self._read(count)
        self._given += len(data)
        self._check_bounds()
        return data

    def peek(self, count: int) -> bytes:
        """Return the first bytes, ``count`` of them if there are so many, and let them be read."""
        while len(self._ready) < count:
            data = self._read(count - len(self._ready))
            if not data:
                break
            self._given += len(data)
            self._ready += data
        return self._ready[:count]

    def _read_gzip(self, count: int) -> bytes:
        inflate = self._inflate
        packed = inflate.unconsumed_tail
        while True:
            if inflate.eof:  # several gzip files in a row are one; zeros may follow the last
                packed = inflate.unused_data.lstrip(b"\0")
                while not packed:
                    more = self._source.read(_READ_BYTES)
                    if not more:
                        return b""
                    packed = more.lstrip(b"\0")
                self._members += 1
                if self._members > _FREE_MEMBERS + self._source.taken // _MEMBER_BYTES:
                    raise _damaged("it is cut into a great many tiny pieces")
                self._inflate = inflate = zlib.decompressobj(31)
            packed = packed or self._source.read(_READ_BYTES)
            if not packed:
                raise _damaged("it is cut off")
            try:
                data = inflate.decompress(packed, count)
            except zlib.error:
                raise _damaged("its compressed data is altered") from None
            if data:
                return data
            packed = inflate.unconsumed_tail

    def _read_zstd(self, count: int) -> bytes:
        try:
            data: bytes = self._zstd.read(count)
        except zstandard.ZstdError:
            raise _damaged("its compressed data is altered") from None
        return data

    def _check_bounds(self) -> None:
        if self._max_bytes is not None:
            if self._given > self._max_bytes:
                raise ArchiveError(
                    f"it unpacks to more than {self._max_bytes:,} bytes",
                    hint="Give a greater --max-size if it may be that large.",
                )
        elif self._read != self._source.read and (
            self._given > FREE_BYTES + MAX_RATIO * self._source.taken
        ):
            raise ArchiveError(
                f"it unpacks to more than {MAX_RATIO} times its size, as if to fill the disk",
                hint="If it is to be trusted, say with --max-size how large it may become.",
            )


class _Source:
    """A file as it lies there; ``head`` are its first bytes, as long as they are not read, and
    ``taken`` counts what was read of it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        self.head = b""
        while len(self.head) < _MAGIC_BYTES and (more := self._take(_MAGIC_BYTES - len(self.head))):
            self.head += more

    def read(self, count: int) -> bytes:
        """Return at most ``count`` bytes, none at the end. Raise ArchiveError."""
        if self.head:
            head, self.head = self.head[:count], self.head[count:]
            return head
        return self._take(count)

    def _take(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            raise _unreadable(error) from error
        self.taken += len(data)
        return data


def _unreadable(error: OSError) -> ArchiveError:
    return ArchiveError(
        f"cannot read it: {error.strerror}", hint="Check the name, its owner and its mode."
    )


def _damaged(why: str) -> ArchiveDamaged:
    return ArchiveDamaged(f"the export is damaged: {why}", hint="Take another copy of it.")
