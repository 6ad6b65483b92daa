"""One operation alone with what is remembered in a folder: its lock, which goes with its process.

For ``journal.py`` and ``recover_record.py``.
"""

from __future__ import annotations

import fcntl
import os

from shenyu_data.storage.atomic import make_private

_NAME = "lock"


def take_lock(folder: str) -> int | None:
    """Make a folder if it is missing, and lock it for whoever calls; return the open lock, which
    is to be closed in the end. None if somebody else has it. Raises OSError.
    """
    make_private(folder)
    lock = os.open(os.path.join(folder, _NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def is_locked(folder: str) -> bool:
    """Whether somebody has the lock of a folder just now."""
    try:
        lock = os.open(os.path.join(folder, _NAME), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # nobody ever did, or nothing can be told
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
