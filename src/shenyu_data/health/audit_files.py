"""The files of the audit log: which there are, opened without following a link, one process at a
time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shenyu_data.health.audit_lines import MOST_LINE_BYTES, Altered
from shenyu_data.model.errors import StateUnusable
from shenyu_data.storage.atomic import make_private

FOLDER = "audit"
LOCK = "audit.lock"
ASIDE = "audit.damaged-"
LOCK_WAIT_S = 10.0

_SEGMENT = re.compile(r"[0-9]{12}\.jsonl")
_BLOCK_BYTES = 1 << 16


def segments(folder: int) -> list[str]:
    """Return the names of the log's files, oldest first. Raises OSError."""
    return sorted(name for name in os.listdir(folder) if _SEGMENT.fullmatch(name))


def segment_name(sequence: int) -> str:
    """Return the name of the file whose first line has this number."""
    return f"{sequence:012}.jsonl"


@contextmanager
def segment(folder: int, name: str) -> Iterator[int]:
    """Give a file of the log, open for reading. Raise Altered if it is a link or no file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise Altered from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Altered
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(state: str) -> Iterator[int]:
    """Give the folder of the log, open. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    folder = os.open(os.path.join(state, FOLDER), flags)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def reading(state: str) -> Iterator[int]:
    """Give the folder of the log while nobody adds to it. Raise StateUnusable."""
    with locked(state, fcntl.LOCK_SH):
        make_private(os.path.join(state, FOLDER))
        with opened(state) as folder:
            yield folder


@contextmanager
def locked(state: str, how: int) -> Iterator[None]:
    """Hold the log's lock, shared or not (fcntl.LOCK_…). Raise StateUnusable, also instead of the
    system's errors inside.
    """
    try:
        make_private(state)
        lock = os.open(
            os.path.join(state, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            _lock(lock, how)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise StateUnusable(
            f"the audit log cannot be used: {os.path.join(state, FOLDER)}: {error.strerror}",
            hint="See whether its disk is full, and who may write there.",
        ) from None


def _lock(descriptor: int, how: int) -> None:
    """Take a lock, but not wait for ever for who may have been stopped. Raises OSError."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(errno.EBUSY, "another process holds it") from None
            time.sleep(0.01)
        else:
            return


def lines_backwards(descriptor: int) -> Iterator[bytes]:
    """Yield the whole lines of a file, last first; of one that is far too long only an end."""
    end = os.fstat(descriptor).st_size
    rest = b""
    ended = False  # what stands after the last line's end is cut off
    while end:
        start = max(end - _BLOCK_BYTES, 0)
        pieces = os.pread(descriptor, end - start, start).split(b"\n")
        pieces[-1] = (pieces[-1] + rest)[-2 * MOST_LINE_BYTES :]
        lines = pieces[:0:-1]
        yield from lines if ended else lines[1:]
        ended = ended or bool(lines)
        rest, end = pieces[0], start
    if ended:
        yield rest
