"""Finding the data directory in an unpacked archive, and removing users from it. For
operations/import_archive.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from shenyu_data.datadir.unpack import safe_path
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, USERS, owner_of_user_file

MAX_LOOKED_AT = 10_000
"""Entries looked at above the data directory: an archive of it has a handful."""


def find_data_directory(tree: bytes, inside: bytes | None = None) -> tuple[bytes, list[str]]:
    """Given where an archive was unpacked, return the folder that holds ``users`` or ``histories``,
    the nearest one, and the printable names of what lies beside it on the way.

    ``inside`` says where it is instead. Raise ArchiveError if there is none, or several.
    """
    found = _nearest(tree) if inside is None else _named(tree, inside)
    return found, [printable(path) for path in _beside(tree, found)]


def _named(tree: bytes, inside: bytes) -> bytes:
    path = safe_path(inside)
    folder = tree
    for part in path.split(b"/") if path else ():
        folder = os.path.join(folder, part)
        if not _is_folder(folder):
            path = None
            break
    if path is None:
        raise ArchiveError(
            f"it holds no folder {printable(inside)}",
            hint="--inside is the path of the data directory in the archive.",
        )
    return folder


def _beside(tree: bytes, found: bytes) -> Iterator[bytes]:
    folder = tree
    inside = os.path.relpath(found, tree)
    for part in inside.split(b"/") if inside != b"." else ():
        for other in sorted(os.listdir(folder)):
            if other != part:
                yield os.path.relpath(os.path.join(folder, other), tree)
        folder = os.path.join(folder, part)


def _nearest(tree: bytes) -> bytes:
    level, looked_at = [tree], 0
    while level:
        found = [
            folder
            for folder in level
            if any(_is_folder(os.path.join(folder, name)) for name in (USERS, HISTORIES))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(printable(os.path.relpath(folder, tree)) for folder in found[:2])
            raise ArchiveError(
                f"it holds several data directories: {names}",
                hint="Say which with --inside.",
            )
        below = []
        for folder in level:
            for name in os.listdir(folder):
                looked_at += 1
                path = os.path.join(folder, name)
                if _is_folder(path):
                    below.append(path)
            if looked_at > MAX_LOOKED_AT:
                below = []
                break
        level = below
    raise ArchiveError(
        "it holds neither users/ nor histories/",
        hint="If it is a data directory all the same, say where in the archive with --inside.",
    )


def _is_folder(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def remove_users(data: bytes, erased: Callable[[bytes], bool]) -> int:
    """Remove the files and folders of all users of whom ``erased`` is true; return how many users
    that were.
    """
    removed = set()
    for entry in _entries(os.path.join(data, USERS)):
        owner = owner_of_user_file(entry.name)
        if owner and not entry.is_dir(follow_symlinks=False) and erased(owner[0]):
            os.unlink(entry.path)
            removed.add(owner[0])
    for entry in _entries(os.path.join(data, HISTORIES)):
        if entry.is_file(follow_symlinks=False) or not erased(entry.name):
            continue
        if entry.is_symlink():
            os.unlink(entry.path)
        else:
            shutil.rmtree(entry.path)
        removed.add(entry.name)
    return len(removed)


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    if _is_folder(folder):  # else a link could lead out
        with os.scandir(folder) as entries:
            yield from entries
