"""Documents too large for memory: read piece by piece, and whether a history that is too large or
too deep to be unfolded is whole. For validate, repair and cleanup.

A history is followed as a stream, chat by chat; no more is in memory than the largest chat.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator

from shenyu_data.datadir.capture import is_settled
from shenyu_data.datadir.chat_stream import ChatScan, NoArray
from shenyu_data.datadir.folder import FILE_FLAGS, open_folder
from shenyu_data.datadir.replace import identity_of
from shenyu_data.model.documents import Unparsable

Blocks = Callable[[Callable[[bytes], object]], object]
"""Gives a document's bytes, piece by piece, to the function it is given."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_READ_BYTES = 1 << 20
_WAIT_S = 0.02
_MOST_WAITS = 100


def structure_trouble(blocks: Blocks) -> Unparsable | None:
    """Return why a history's outermost array is not whole; None if it is, or is no array.

    What its chats hold is not looked into.
    """
    scan = ChatScan()
    begun = b""

    def take(block: bytes) -> None:
        nonlocal begun
        begun = begun or block[:4096]
        for _ in scan.feed(block):
            pass

    try:
        blocks(take)
        scan.finish()
    except NoArray:
        return _no_array(begun, blocks)
    except Unparsable as why:
        return why if why.code == "torn-json" else None
    return None


def _no_array(begun: bytes, blocks: Blocks) -> Unparsable | None:
    if begun.startswith(_BYTE_ORDER_MARK):
        return _lost("byte-order-mark", "the file begins with a byte order mark")
    if begun.lstrip(b" \t\r\n")[:1] == b"\0":
        held = False

        def take(block: bytes) -> None:
            nonlocal held
            held = held or bool(block.strip(b" \t\r\n\0"))

        blocks(take)
        if not held:
            return _lost("blank-file", "nothing but NUL bytes or blanks")
        return _lost("not-json", "NUL bytes at its beginning")
    return None


def _lost(code: str, message: str) -> Unparsable:
    return Unparsable(
        code=code,
        severity="error",
        message=message,
        hint="The application takes it for empty and overwrites it: `shenyu-data repair`.",
    )


def file_blocks(root: int, path: bytes) -> Blocks:
    """Return what gives the bytes of a live document. It raises OSError as the system does."""

    def blocks(take: Callable[[bytes], object]) -> None:
        folder = open_folder(root, path.rpartition(b"/")[0])
        try:
            descriptor = os.open(path.rpartition(b"/")[2], FILE_FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            while block := os.read(descriptor, _READ_BYTES):
                take(block)
        finally:
            os.close(descriptor)

    return blocks


def memory_blocks(data: bytes) -> Blocks:
    """Return what gives the bytes of a document in memory."""

    def blocks(take: Callable[[bytes], object]) -> None:
        for start in range(0, len(data), _READ_BYTES):
            take(data[start : start + _READ_BYTES])

    return blocks


def memory_pieces(data: bytes) -> Iterator[bytes]:
    """Yield the bytes of a document in memory, piece by piece."""
    return (data[start : start + _READ_BYTES] for start in range(0, len(data), _READ_BYTES))


class LargeFile:
    """A live document that is open to be read piece by piece, as often as is wanted; ``stat`` is
    from when it was opened.
    """

    def __init__(self, folder: int, name: bytes) -> None:
        """Raises OSError as the system does; FileNotFoundError also if it is no regular file."""
        self._descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
        self.stat = os.fstat(self._descriptor)
        if not stat.S_ISREG(self.stat.st_mode):
            self.close()
            raise FileNotFoundError(f"{name!r} is not a regular file any more")

    def __enter__(self) -> LargeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def settle(self) -> bool:
        """Wait, for two seconds at most, until whoever writes to it from now on must change its
        stat; return whether that is so.
        """
        for _ in range(_MOST_WAITS):
            if is_settled(self.stat):
                return True
            time.sleep(_WAIT_S)
        return is_settled(self.stat)

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes, up to the size it had when it was opened."""
        at = 0
        while at < self.stat.st_size:
            piece = os.pread(self._descriptor, min(_READ_BYTES, self.stat.st_size - at), at)
            if not piece:
                return
            yield piece
            at += len(piece)

    def is_as_it_was(self) -> bool:
        """Whether nobody wrote to it since it was opened, as far as its stat tells."""
        now = os.fstat(self._descriptor)
        return identity_of(now) == identity_of(self.stat)
