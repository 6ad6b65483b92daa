"""What Linux knows about files that Python does not say: two names exchanged in one step, and
whether anybody has a file open for writing. For ``replace.py`` alone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
from functools import cache
from typing import Any

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
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(error, os.strerror(error), os.fsdecode(other))


@cache
def _renameat2() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def is_open_for_writing(descriptor: int) -> bool | None:
    """Whether somebody has the file open for writing; None if the system does not tell.

    Given a file that is open for reading only. The system grants a read lease on it, given back at
    once, only if nobody has; to the file's owner, and to root.
    """
    if sys.platform != "linux":
        return None
    try:
        # Should the lease be broken while we have it, the signal is one that does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False
