"""Walking a data directory for modes and owners, and changing them; no link is ever followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.model.permissions import Mending, Node

_SORTED_NAMES = 4096

_ACCESS_LIST = "system.posix_acl_access"
_DEFAULT_LIST = "system.posix_acl_default"


class Met(NamedTuple):
    """One entry met on the way: a file or folder (``node``), a link (``target``), something else
    (its ``st_mode`` as ``special``), or a folder that could not be listed (``error``).
    """

    path: bytes
    node: Node | None = None
    target: bytes | None = None
    special: int | None = None
    error: OSError | None = None


def walk(root: int) -> Iterator[Met]:
    """Yield the folder ``root`` itself (its path is empty) and everything in it, a folder right
    before what it holds; what the caller changes of a folder counts when it is listed.

    However many entries there are, a part of each folder's on the way down is in memory.
    """
    yield Met(b"", _node(os.fstat(root), root))
    yield from _inside(root, b"", 0)


def _inside(root: int, path: bytes, depth: int) -> Iterator[Met]:
    try:
        folder = open_folder(root, path)
    except FileNotFoundError:
        return  # it vanished since it was met
    except OSError as error:
        yield Met(path, error=error)
        return
    try:
        for name in _names(folder):
            below = b"%b/%b" % (path, name) if path else name
            met = _meet(folder, name, below)
            if met is None:
                continue
            yield met
            if met.node is not None and met.node.is_folder:
                if depth < MAX_DEPTH:
                    yield from _inside(root, below, depth + 1)
                else:
                    yield Met(below, error=OSError(0, "it is nested too deep"))
    except OSError as error:
        yield Met(path, error=error)
    finally:
        os.close(folder)


def _names(folder: int) -> Iterator[bytes]:
    """Yield the names in an open folder, sorted as far as memory goes."""
    with os.scandir(folder) as entries:
        names = (os.fsencode(entry.name) for entry in entries)
        while part := sorted(islice(names, _SORTED_NAMES)):
            yield from part


def change(root: int, path: bytes, node: Node, mending: Mending) -> bool:
    """Change an entry's mode and owner; False if it is not the one that was met any more.

    Raise OSError if it may not be changed.
    """
    above, _, name = path.rpartition(b"/")
    folder = open_folder(root, above)
    try:
        # O_PATH opens what one may not read, and never what a link leads to.
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name or b".", flags, dir_fd=folder)
    except FileNotFoundError:
        return False
    finally:
        os.close(folder)
    try:
        if _node(os.fstat(descriptor), None) != node._replace(has_access_list=False):
            return False
        door = f"/proc/self/fd/{descriptor}"
        if mending.owner is not None:
            os.chown(door, *mending.owner)
        # A change of owner may clear bits: the mode comes last.
        mode = mending.mode
        if mode is None and mending.owner is not None:
            mode = stat.S_IMODE(node.st_mode)
        if mode is not None:
            os.chmod(door, mode)
    finally:
        os.close(descriptor)
    return True


def _meet(folder: int, name: bytes, path: bytes) -> Met | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return Met(path, target=os.readlink(name, dir_fd=folder))
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return Met(path, special=found.st_mode)
    return Met(path, _node(found, b"/proc/self/fd/%d/%b" % (folder, name)))


def _node(found: os.stat_result, where: int | bytes | None) -> Node:
    names = 1 if stat.S_ISDIR(found.st_mode) else found.st_nlink
    return Node(found.st_mode, found.st_uid, found.st_gid, names, _has_access_list(where))


def _has_access_list(where: int | bytes | None) -> bool:
    if where is None:
        return False
    try:
        if isinstance(where, int):
            lists = os.listxattr(where)
        else:
            lists = os.listxattr(where, follow_symlinks=False)
    except OSError:
        return False  # the file system has none, or we may not see them
    return _ACCESS_LIST in lists or _DEFAULT_LIST in lists
