"""A restored tree, or the live directory beside it, looked at without following a link. For drills.

Names come out of the repository and from the network: every folder is opened from the one above it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from shenyu_data.datadir.folder import FILE_FLAGS, FOLDER_FLAGS

BLOCK_BYTES = 1 << 20

_OPEN_FOLDERS = 100


class Tree:
    """A folder with what is below it; the last few folders stay open.

    ``ours`` says that it was just made by us: a mode that keeps even its owner out is changed, once
    it was looked at.
    """

    def __init__(self, path: str, *, ours: bool = False) -> None:
        self._about = os.stat(path)
        if ours:
            os.chmod(path, 0o700)
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ours = ours
        self._open: dict[bytes, int] = {}

    def close(self) -> None:
        """Close the folders."""
        for descriptor in (*self._open.values(), self._root):
            os.close(descriptor)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stat(self, path: bytes) -> os.stat_result | None:
        """Return what stands at ``path``, a link as a link; None if nothing does. Raise OSError if
        that cannot be told.
        """
        if not path:
            return self._about
        folder, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self._folder(folder), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def link(self, path: bytes) -> bytes:
        """Return where the link at ``path`` leads. Raise OSError if there is none."""
        folder, _, name = path.rpartition(b"/")
        return os.readlink(name, dir_fd=self._folder(folder))

    @contextmanager
    def file(self, path: bytes) -> Iterator[int]:
        """Open the file at ``path``. Raise OSError if it cannot be read."""
        folder, _, name = path.rpartition(b"/")
        parent = self._folder(folder)
        descriptor = self._opened(name, FILE_FLAGS, parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def walk(self, folder: bytes = b"") -> Iterator[tuple[bytes, bool]]:
        """Yield the path of everything below, and whether it is a folder."""
        with os.scandir(self._folder(folder)) as entries:
            names = [
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries
            ]
        for name, is_folder in names:
            path = folder + b"/" + name if folder else name
            yield path, is_folder
            if is_folder:
                yield from self.walk(path)

    def _folder(self, path: bytes) -> int:
        if not path:
            return self._root
        descriptor = self._open.get(path)
        if descriptor is None:
            above, _, name = path.rpartition(b"/")
            descriptor = self._opened(name, FOLDER_FLAGS, self._folder(above))
            if self._ours and os.fstat(descriptor).st_mode & 0o700 != 0o700:
                os.fchmod(descriptor, 0o700)
            self._open[path] = descriptor
            if len(self._open) > _OPEN_FOLDERS:
                os.close(self._open.pop(next(iter(self._open))))
        return descriptor

    def _opened(self, name: bytes, flags: int, folder: int) -> int:
        try:
            return os.open(name, flags, dir_fd=folder)
        except PermissionError:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not self._ours or stat.S_ISLNK(found.st_mode):
                raise
            os.chmod(name, 0o700, dir_fd=folder)
            return os.open(name, flags, dir_fd=folder)


def read_all(descriptor: int, size: int) -> bytes:
    """Return what a file holds, of which ``size`` bytes are expected: at most one more."""
    data = os.read(descriptor, size + 1)
    while len(data) < size and (part := os.read(descriptor, size + 1 - len(data))):
        data += part  # the system gives large reads in parts
    return data


def blocks(descriptor: int) -> Iterator[bytes]:
    """Yield what a file holds, piece by piece."""
    while block := os.read(descriptor, BLOCK_BYTES):
        yield block
