"""What new documents looked like when they were made: how it is seen later that somebody wrote to
one of them. For the import and for who makes new documents for it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_LOOK = struct.Struct("<QQQQB")
_BITS = (1 << 64) - 1  # a time may lie centuries away
_WHENEVER = _BITS


def look_of(name: bytes, found: os.stat_result, *, named: bool) -> bytes:
    """Return what a document looks like that is, or is to be, called ``name`` in its folder.

    ``named``: it has that name already, or its folder will be moved with it. Otherwise what gives
    it the name sets its time of change, which then says nothing.
    """
    changed_ns = found.st_ctime_ns & _BITS if named else _WHENEVER
    mtime_ns = found.st_mtime_ns & _BITS
    return _LOOK.pack(found.st_ino, found.st_size, mtime_ns, changed_ns, len(name)) + name


def written_since(folder: int, looks: bytes) -> Iterator[bytes]:
    """Given documents of an open folder as they looked, one after another, yield the names of those
    that look otherwise now. What is there no more was taken away, and not written.
    """
    position = 0
    while position < len(looks):
        inode, size, mtime_ns, changed_ns, length = _LOOK.unpack_from(looks, position)
        position += _LOOK.size + length
        name = looks[position - length : position]
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if (found.st_ino, found.st_size, found.st_mtime_ns & _BITS) != (inode, size, mtime_ns) or (
            changed_ns not in (_WHENEVER, found.st_ctime_ns & _BITS)
        ):
            yield name
