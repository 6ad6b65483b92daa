"""Private temporary folders for what is unpacked, and removing those that a killed run left behind.

A folder is ours as long as its maker holds a lock on it: what is not locked, its maker is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shenyu_data.model.errors import ArchiveError

PREFIX = "shenyu-data-unpacked-"
YOUNG_S = 60
"""Between making a folder and locking it there is a moment."""


@contextmanager
def scratch_folder(place: str | None = None) -> Iterator[str]:
    """Make a folder that only its owner may look into, in ``place`` or where the system has such
    folders; it is gone afterwards.

    Raise ArchiveError if it cannot be made, or cannot be removed: it holds users' documents.
    """
    try:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    except OSError as error:
        raise ArchiveError(
            f"cannot make a temporary folder: {error.strerror}: {error.filename}",
            hint="Give a folder to unpack into, with --temp.",
        ) from error
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(lock)
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            raise ArchiveError(
                f"cannot remove {path}, which holds unpacked documents",
                hint="Remove it by hand.",
            )


def remove_stale(place: str | None = None) -> list[str]:
    """Remove the folders that killed runs of ours left in ``place``; return their paths."""
    base = place or tempfile.gettempdir()
    removed = []
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_stale(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed.append(entry.path)
    return removed


def _is_stale(path: str) -> bool:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        about = os.fstat(folder)
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) != 0o700:
            return False
        if time.time() - about.st_ctime < YOUNG_S:
            return False
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True
