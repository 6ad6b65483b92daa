"""Directory trees as values: build one from a plan, and take one down into something
comparable. For tests.

Paths are bytes, relative to the tree's root, which is ``b""``.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from blake3 import blake3

Kind = Literal["file", "folder", "link", "fifo", "socket"]

_SHOWN_BYTES = 80  # longer contents are compared, and shown by a failing test, as their digest
_SOCKET_NAME_BYTES = 14  # what is left of the 108 that a socket's address may have


@contextmanager
def tree_folder() -> Iterator[Path]:
    """Give a folder that is gone afterwards, whatever modes were set in it."""
    with tempfile.TemporaryDirectory(prefix="tree-", ignore_cleanup_errors=True) as path:
        yield Path(path)
        for top, folders, _ in os.walk(os.fsencode(path)):
            for name in folders:
                full = os.path.join(top, name)
                if not os.path.islink(full):
                    os.chmod(full, 0o700)


class Item(NamedTuple):
    """One thing to build. ``same_as`` makes it a hard link to another item of the plan."""

    kind: Kind
    content: bytes = b""  # or a link's target
    mode: int = 0o644
    mtime_ns: int = 1_700_000_000_123_456_789
    same_as: bytes | None = None


class Node(NamedTuple):
    """One thing that was found. Of a link the mode says nothing."""

    kind: Kind
    content: bytes
    mode: int
    mtime_ns: int
    owner: tuple[int, int]


class Tree(NamedTuple):
    """A whole tree: its nodes by path, and which paths are names of one and the same file."""

    nodes: dict[bytes, Node]
    hard_links: frozenset[frozenset[bytes]]

    def without(self, paths: Iterable[bytes]) -> Tree:
        """Return the tree without some nodes; a file left with one name has no hard links any
        more.
        """
        left_out = set(paths)
        nodes = {path: node for path, node in self.nodes.items() if path not in left_out}
        groups = (group - left_out for group in self.hard_links)
        return Tree(nodes, frozenset(group for group in groups if len(group) > 1))

    def special(self) -> list[bytes]:
        """Return the paths of FIFOs and sockets."""
        return [path for path, node in self.nodes.items() if node.kind in ("fifo", "socket")]

    def below(self, wanted: Callable[[bytes], bool]) -> dict[bytes, Node]:
        """Return the nodes whose path is ``wanted``."""
        return {path: node for path, node in self.nodes.items() if wanted(path)}


def read_tree(root: str | Path) -> Tree:
    """Take down everything under ``root``, itself included. No link is followed, no FIFO opened."""
    nodes: dict[bytes, Node] = {}
    groups: dict[tuple[int, int], set[bytes]] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        nodes[b""] = _node("folder", b"", os.fstat(top))
        _read_folder(top, b"", nodes, groups)
    finally:
        os.close(top)
    shared = frozenset(frozenset(group) for group in groups.values() if len(group) > 1)
    return Tree(dict(sorted(nodes.items())), shared)


def _read_folder(
    folder: int, prefix: bytes, nodes: dict[bytes, Node], groups: dict[tuple[int, int], set[bytes]]
) -> None:
    for listed in sorted(os.listdir(folder)):
        name = os.fsencode(listed)
        path = prefix + name
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            nodes[path] = _node("folder", b"", found)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                _read_folder(below, path + b"/", nodes, groups)
            finally:
                os.close(below)
        elif stat.S_ISLNK(found.st_mode):
            nodes[path] = _node("link", os.readlink(name, dir_fd=folder), found)
        elif stat.S_ISREG(found.st_mode):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            with open(descriptor, "rb") as file:
                nodes[path] = _node("file", _brief(file.read()), found)
            groups.setdefault((found.st_dev, found.st_ino), set()).add(path)
        else:
            kind: Kind = "fifo" if stat.S_ISFIFO(found.st_mode) else "socket"
            nodes[path] = _node(kind, b"", found)


def _node(kind: Kind, content: bytes, found: os.stat_result) -> Node:
    mode = 0 if kind == "link" else stat.S_IMODE(found.st_mode)
    return Node(kind, content, mode, found.st_mtime_ns, (found.st_uid, found.st_gid))


def _brief(content: bytes) -> bytes:
    if len(content) <= _SHOWN_BYTES:
        return content
    return b"%d bytes, blake3 %b" % (len(content), blake3(content).hexdigest().encode())


def build_tree(root: str | Path, plan: Mapping[bytes, Item]) -> None:
    """Build the planned items under ``root``, which is made if it is missing.

    Folders that are not in the plan but needed are made. Modes and times are set last,
    deepest first.
    """
    base = os.fsencode(root)
    os.makedirs(base, exist_ok=True)
    for path in sorted(plan, key=lambda path: path.count(b"/")):
        item = plan[path]
        full = os.path.join(base, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if item.kind == "folder":
            os.makedirs(full, exist_ok=True)
        elif item.same_as is None:
            _make(full, item)
    for path, item in plan.items():
        if item.same_as is not None:
            os.link(
                os.path.join(base, item.same_as), os.path.join(base, path), follow_symlinks=False
            )
    for path in sorted(plan, key=lambda path: (path.count(b"/"), path), reverse=True):
        item = plan[path]
        full = os.path.join(base, path)
        if item.same_as is None:
            if item.kind != "link":
                os.chmod(full, item.mode)
            os.utime(full, ns=(item.mtime_ns, item.mtime_ns), follow_symlinks=False)


def _make(full: bytes, item: Item) -> None:
    if item.kind == "file":
        with open(full, "xb") as file:
            file.write(item.content)
    elif item.kind == "link":
        os.symlink(item.content, full)
    elif item.kind == "fifo":
        os.mkfifo(full)
    else:
        make_socket(full)


def make_socket(path: bytes) -> None:
    """Leave a socket at ``path``, however long that is: a socket's address holds 107 bytes."""
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    short = b"/proc/self/fd/%d/" % descriptor
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            if os.path.isdir(short) and len(short + name) < 108:
                listener.bind(short + name)
            else:
                temporary = short + os.urandom(_SOCKET_NAME_BYTES // 2).hex().encode()
                listener.bind(temporary)
                os.rename(temporary, path)
    finally:
        os.close(descriptor)
