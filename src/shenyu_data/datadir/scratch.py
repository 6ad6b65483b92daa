"""Private temporary folders for what is unpacked or restored for a moment, and removing those that
a killed run left behind.

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
from typing import NamedTuple

from shenyu_data.model.errors import ArchiveError, ShenyuDataError

PREFIX = "shenyu-data-unpacked-"
YOUNG_S = 60
"""Between making a folder and locking it there is a moment, in which it is empty."""


class Purpose(NamedTuple):
    """What folders are for: how their names begin, what is raised where one cannot be made or
    removed, the flag by which people say where they are, what they hold.
    """

    prefix: str
    error: type[ShenyuDataError]
    flag: str
    holds: str


UNPACKING = Purpose(PREFIX, ArchiveError, "--temp", "unpacked documents")


@contextmanager
def scratch_folder(place: str | None = None, purpose: Purpose = UNPACKING) -> Iterator[str]:
    """Make a folder that only its owner may look into, in ``place`` or where the system has such
    folders; it is gone afterwards.

    Raise the purpose's error if it cannot be made, or cannot be removed: it holds users' documents.
    """
    try:
        path = tempfile.mkdtemp(prefix=purpose.prefix, dir=place)
    except OSError as error:
        raise purpose.error(
            f"cannot make a temporary folder: {error.strerror}: {error.filename}",
            hint=f"Give a folder that can hold {purpose.holds}, with {purpose.flag}.",
        ) from error
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        remove_tree(path)
        os.close(lock)
        if os.path.lexists(path):
            raise purpose.error(
                f"cannot remove {path}, which holds {purpose.holds}",
                hint="Remove it by hand.",
            )


def remove_stale(place: str | None = None, purpose: Purpose = UNPACKING) -> list[str]:
    """Remove the folders that killed runs of ours left in ``place``; return their paths."""
    base = place or tempfile.gettempdir()
    removed = []
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(purpose.prefix) and _is_stale(entry.path):
                remove_tree(entry.path)
                removed.append(entry.path)
    return removed


def remove_tree(path: str) -> None:
    """Remove a folder of ours with everything in it, also below folders whose modes forbid that to
    their owner. What cannot be removed is left.
    """
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _open_to_owner(path)
        for folder, names, _ in os.walk(path):  # follows no link; goes down after this
            for name in names:
                _open_to_owner(os.path.join(folder, name))
        shutil.rmtree(path, ignore_errors=True)


def _open_to_owner(path: str) -> None:
    if not os.path.islink(path):
        with suppress(OSError):
            os.chmod(path, 0o700)


def _is_stale(path: str) -> bool:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        about = os.fstat(folder)
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) != 0o700:
            return False
        if time.time() - about.st_ctime < YOUNG_S and not os.listdir(folder):
            return False
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True
