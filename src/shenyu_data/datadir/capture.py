"""Reading a document while the application may be rewriting it: stable and whole, or honestly torn.

The application truncates a file and then writes it, without a lock. A read counts as stable when
the file's stat is the same before and after, and as whole when the bytes parse; else it is tried
again a few times.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from shenyu_data.datadir.folder import FILE_FLAGS
from shenyu_data.model.layout import Kind
from shenyu_data.model.records import MAX_PARSED_BYTES, TORN, Outline, outline

TRIES = 5
_FIRST_PAUSE_S = 0.01  # doubled at every try: 150 ms in all
_MOST_BYTES = (
    2 * MAX_PARSED_BYTES
)  # a file that grows beyond this while it is read is torn, not followed
_BEING_WRITTEN_S = 2.0  # a file this recently written may be whole in a moment


class Captured(NamedTuple):
    """A document's bytes as they were at one moment, or as good as could be had.

    ``settled`` is false where a later write could hide behind the same stat (see
    :func:`is_settled`).
    """

    data: bytes
    stat: os.stat_result
    outline: Outline
    settled: bool


def capture(
    folder: int,
    name: bytes | str,
    kind: Kind,
    path: bytes,
    seen: os.stat_result | None = None,
) -> Captured:
    """Read the file ``name`` in an open folder whole, trying again while it changes or does not
    parse.

    ``path`` tells by its suffix whether it is compressed; ``seen`` is its stat if a scan just met
    it. The last try's bytes come back marked torn if none was good. Raises OSError if it cannot be
    opened or read: FileNotFoundError if it vanished or is not a regular file any more.
    """
    pause = _FIRST_PAUSE_S
    for attempt in range(TRIES):
        before = seen or os.stat(name, dir_fd=folder, follow_symlinks=False)
        seen = None
        data, found = _read_once(folder, name, before.st_size)
        if _same(before, found, data):
            look = outline(kind, path, data)
            if look.state != "torn":
                return Captured(data, found, look, is_settled(found))
            if time.time() - found.st_mtime > _BEING_WRITTEN_S:
                break  # nobody is writing it: it will not get better
        if attempt + 1 < TRIES:
            time.sleep(pause)
            pause *= 2
    return Captured(data, found, TORN, False)


def _read_once(folder: int, name: bytes | str, size: int) -> tuple[bytes, os.stat_result]:
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        data = os.read(descriptor, min(size, _MOST_BYTES) + 1)
        if len(data) != size:  # it grew or shrank, or the system gives large reads in parts
            data = _read_rest(descriptor, data)
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(f"{name!r} is not a regular file any more")
    return data, found


def _same(before: os.stat_result, after: os.stat_result, data: bytes) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_ino == after.st_ino
        and after.st_size == len(data)
    )


def _read_rest(descriptor: int, data: bytes) -> bytes:
    parts, size = [data], len(data)
    while size <= _MOST_BYTES and (part := os.read(descriptor, 1 << 20)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def is_settled(found: os.stat_result, now_ns: int | None = None) -> bool:
    """Whether a write after now, or after ``now_ns``, must change this stat.

    File systems stamp times with a coarse clock (4 ms on most Linux kernels, 1 to 2 s on some file
    systems, whose stamps then end in whole seconds): a file written a moment ago can be written
    again with the same size and stamp. Such a file is not settled and must be read again next time.
    """
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    age_ns = (time.time_ns() if now_ns is None else now_ns) - newest
    return age_ns > 2_000_000_000 or (age_ns > 50_000_000 and newest % 1_000_000_000 != 0)


class Streamed(NamedTuple):
    """How reading a large file went; ``stable`` is false if it changed meanwhile."""

    stat: os.stat_result
    stable: bool


def stream(folder: int, name: bytes | str, sink: Callable[[bytes], object]) -> Streamed:
    """Read a file too large for memory into ``sink``, piece by piece, once, up to the size it has
    now.

    Raises OSError as :func:`capture` does.
    """
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise FileNotFoundError(f"{name!r} is not a regular file any more")
        left = before.st_size
        while left and (piece := os.read(descriptor, min(left, _STREAM_BYTES))):
            sink(piece)
            left -= len(piece)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    stable = not left and (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    )
    return Streamed(before, stable)


_STREAM_BYTES = 1 << 20
