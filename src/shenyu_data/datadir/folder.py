"""Opening folders and files under a root without following a link: the door into a data directory.

Every step is an ``openat`` with O_NOFOLLOW from a descriptor already held, so that a folder that is
swapped for a link while we work leads nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shenyu_data.model.errors import DataDirectoryError, UsageError

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def target_inside(data: bytes, folder: bytes, target: bytes) -> bytes | None:
    """Work out from its text where a link in ``folder`` leads under ``data``; None: outside."""
    led = os.path.normpath(os.path.join(data, folder, target))
    if led == data:
        return b""
    return led.removeprefix(data + b"/") if led.startswith(data + b"/") else None


@contextmanager
def open_root(path: str) -> Iterator[int]:
    """Open a data directory (``path`` itself may be a link: a person named it) as a descriptor.

    Raise DataDirectoryError if it is missing or is not a folder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot open the data directory {path}: {error.strerror}",
            hint="Give the folder that holds users/ and histories/, with --data.",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check_outside(data: str, location: str) -> None:
    """Raise UsageError if a repository in the folder ``location`` would lie inside ``data``."""
    if not os.path.isabs(location):
        return  # not a folder
    above = os.path.realpath(data)
    if os.path.commonpath([above, os.path.realpath(location)]) == above:
        raise UsageError(
            f"the repository {location} lies inside the data directory {data}",
            hint="Choose a place outside it, best on another disk.",
        )


def open_folder(root: int, path: bytes) -> int:
    """Open the folder at the relative ``path`` ("" is the root itself); the caller closes it.

    Raises OSError: FileNotFoundError if it is gone, NotADirectoryError or ELOOP if it, or a folder
    on the way, is not a folder but a link.
    """
    descriptor = os.open(b".", FOLDER_FLAGS, dir_fd=root)
    for part in path.split(b"/") if path else ():
        try:
            below = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def make_folder(root: int, path: bytes, *, mode: int = 0o700) -> int:
    """As :func:`open_folder`, but make what is missing of the path, with ``mode``; as root, for
    whoever the folder it stands in belongs to.
    """
    descriptor = os.open(b".", FOLDER_FLAGS, dir_fd=root)
    for part in path.split(b"/") if path else ():
        try:
            made = False
            with suppress(FileExistsError):
                os.mkdir(part, mode, dir_fd=descriptor)
                made = True
            below = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            if made and (owner := owner_of_new(descriptor)) is not None:
                os.fchown(below, *owner)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def owner_of_new(folder: int) -> tuple[int, int] | None:
    """Return whom what is made in an open folder is to be given to; None: it is left to the system.

    What root makes for an application that is not root would be of no use to that.
    """
    if os.geteuid() != 0:
        return None
    found = os.fstat(folder)
    return found.st_uid, found.st_gid
