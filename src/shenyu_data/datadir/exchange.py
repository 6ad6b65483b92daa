"""What Linux can do with files and Python does not say: exchange two names in one step, tell
whether anybody has a file open for writing, and hold writers off for a moment. For ``replace.py``
and who replaces documents with it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from shenyu_data.datadir.folder import FILE_FLAGS

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


def exchange(folder: int, one: bytes, other: bytes) -> bool:
    """Exchange two names of an open folder in one step; return False if that cannot be had here.

    Raises OSError: FileNotFoundError if one of them is not there.
    """
    call = _renameat2()
    if call is None:
        return False
    if call(folder, one, folder, other, _RENAME_EXCHANGE) == 0:
        return True
    error = _errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(error, os.strerror(error), os.fsdecode(other))


def rename_new(folder: int, old: bytes, new: bytes, *, to: int | None = None) -> None:
    """Rename a file of an open folder to a name, there or in the open folder ``to``, that must be
    free. Raises OSError: FileExistsError if it is not. Not every system can do it with a folder.
    """
    target = folder if to is None else to
    call = _renameat2()
    if call is not None:
        if call(folder, old, target, new, _RENAME_NOREPLACE) == 0:
            return
        error = _errno()
        if error not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise OSError(error, os.strerror(error), os.fsdecode(new))
    os.link(old, new, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(old, dir_fd=folder)


def sync_all(folder: int) -> None:
    """Make all that was written to the file system of an open folder durable."""
    call = _syncfs()
    if call is None:
        os.sync()
    elif call(folder) != 0:
        error = _errno()
        raise OSError(error, os.strerror(error))


@cache
def _syncfs() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(_libc(), "syncfs", None)


@cache
def _renameat2() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(_libc(), "renameat2", None)


def _libc() -> Any:
    import ctypes  # late: many import this module and call nothing of it

    return ctypes.CDLL(None, use_errno=True)


def _errno() -> int:
    import ctypes  # it is there already

    return ctypes.get_errno()


@contextmanager
def writers_held_off(folder: int, name: bytes, wait_s: float) -> Iterator[Callable[[], bool]]:
    """Keep others from opening a file for writing while the block runs; gives a function that tells
    whether somebody is waiting to.

    They wait until the block is left, or until the system takes the lease away (45 s). Waits at
    most ``wait_s`` for a moment in which nobody has the file open for writing. Where there are no
    leases, or no file, nobody is held off.
    """
    try:
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    except OSError:
        yield lambda: False
        return
    try:
        until = time.monotonic() + wait_s
        leased = _take_lease(descriptor)
        while leased is False and time.monotonic() < until:
            time.sleep(0.0002)
            leased = _take_lease(descriptor)
        yield lambda: bool(leased) and fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK
    finally:
        os.close(descriptor)  # and with it the lease


def is_open_for_writing(descriptor: int) -> bool | None:
    """Whether somebody has the file open for writing; None if the system does not tell.

    Given a file that is open for reading only. The system grants a read lease on it, given back at
    once, only if nobody has; to the file's owner, and to root.
    """
    leased = _take_lease(descriptor)
    if leased:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None if leased is None else not leased


def _take_lease(descriptor: int) -> bool | None:
    """Take a read lease; return False if somebody has the file open for writing, None if there are
    no leases to be had.
    """
    if sys.platform != "linux":
        return None
    try:
        # Should the lease be broken while we have it, the signal is one that does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True
