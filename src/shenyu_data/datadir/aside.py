"""New documents written aside, and moved to where they belong once they are durable: a whole folder
of histories in one step.

Aside is a folder in the data directory under a name that nobody reads. What stands in it has
numbers for names, and below them the names that documents are to have. Called by the import, whose
workers fill such folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from shenyu_data.datadir.exchange import rename_new
from shenyu_data.datadir.folder import FILE_FLAGS, FOLDER_FLAGS, open_folder
from shenyu_data.datadir.made import look_of
from shenyu_data.datadir.replace import Attributes
from shenyu_data.model.layout import NEW_PREFIX, is_passing
from shenyu_data.storage.atomic import NEW_FILE_FLAGS, set_attributes, write_all

_OWNERS = 0o700
_FIRST = 1 << 31  # the numbers below are those of files that are written where they belong


class Move(NamedTuple):
    """Something aside that belongs at ``path``: a document, or a folder with so many of them.

    ``attributes``: what a folder got or, if it is not ``sealed``, is to get in the end; None: of
    none is known.
    """

    number: int
    path: bytes
    documents: int
    is_folder: bool
    attributes: Attributes | None = None
    sealed: bool = False
    looks: bytes = b""
    """What the document, or all of them, look like: see made.py."""


class Back(NamedTuple):
    """A document that could not be moved, read back."""

    path: bytes
    data: bytes
    attributes: Attributes


def name_of(run: str, number: int) -> bytes:
    """Return the name of the folder aside of a run's part ``number``."""
    return NEW_PREFIX + b"%b%08x" % (run.encode(), _FIRST + number % _FIRST)


class Aside:
    """Writes new documents into the folder ``name``, made when it is needed, of the open folder
    ``root``. ``owner``: whom folders belong to of which nothing else is known. ``watched`` false:
    nobody is going to ask what the documents look like.
    """

    def __init__(
        self, root: int, name: bytes, owner: tuple[int, int] | None, *, watched: bool
    ) -> None:
        self._watched = watched
        self._root = root
        self._name = name
        self._owner = owner
        self._top: int | None = None
        self._moves: list[Move] = []
        self._looks: list[bytearray] = []
        self._numbers: dict[bytes, int] = {}
        self._documents: dict[int, int] = {}
        self._open: tuple[int, int] | None = None

    @property
    def moves(self) -> list[Move]:
        """What is to be moved, once all is closed."""
        counts, looks = self._documents, map(bytes, self._looks)
        return [
            move._replace(looks=look, documents=counts.get(move.number, move.documents))
            for move, look in zip(self._moves, looks, strict=True)
        ]

    def close(self) -> None:
        """Close the folders; those of histories get their attributes."""
        self._leave()
        if self._top is not None:
            os.close(self._top)
            self._top = None

    def add_folder(self, path: bytes, attributes: Attributes | None) -> bool:
        """Make a folder that is to be at ``path``; return whether it is a new one."""
        number = self._numbers.get(path)
        new = number is None
        if number is None:
            number = len(self._moves)
            os.mkdir(b"%d" % number, _OWNERS, dir_fd=self._there())
            self._moves.append(Move(number, path, 0, True))
            self._looks.append(bytearray())
            self._documents[number] = 0
            self._numbers[path] = number
        if attributes is not None:
            self._enter(number)
            self._moves[number] = self._moves[number]._replace(attributes=attributes)
        return new

    def add(
        self,
        path: bytes,
        data: bytes,
        mode: int,
        owner: tuple[int, int] | None,
        mtime_ns: int | None,
    ) -> None:
        """Write a document that is to be at ``path``.

        Raises OSError, FileExistsError if there is one of that path: then nothing of it is left.
        """
        if path in self._numbers:
            raise FileExistsError(path)
        number = len(self._moves)
        made = self._write(self._there(), b"%d" % number, data, mode, owner, mtime_ns)
        name = path.rpartition(b"/")[2]
        look = look_of(name, made, named=False) if made is not None else b""
        self._looks.append(bytearray(look))
        self._numbers[path] = number
        self._moves.append(Move(number, path, 1, False))

    def add_inside(
        self,
        folder: bytes,
        name: bytes,
        data: bytes,
        mode: int,
        owner: tuple[int, int] | None,
        mtime_ns: int | None,
    ) -> None:
        """As :meth:`add`, but in a folder that was added."""
        number = self._numbers[folder]
        made = self._write(self._enter(number), name, data, mode, owner, mtime_ns)
        if made is not None:
            self._looks[number] += look_of(name, made, named=True)
        self._documents[number] += 1

    def _write(
        self,
        folder: int,
        name: bytes,
        data: bytes,
        mode: int,
        owner: tuple[int, int] | None,
        mtime_ns: int | None,
    ) -> os.stat_result | None:
        """Write a file; return what it looks like, if anybody is going to ask."""
        descriptor = os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
        try:
            try:
                write_all(descriptor, [data])
                set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
                return os.fstat(descriptor) if self._watched else None
            finally:
                os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise

    def _there(self) -> int:
        if self._top is None:
            os.mkdir(self._name, _OWNERS, dir_fd=self._root)
            self._top = os.open(self._name, FOLDER_FLAGS, dir_fd=self._root)
        return self._top

    def _enter(self, number: int) -> int:
        if self._open is not None and self._open[0] == number:
            return self._open[1]
        self._leave()
        opened = os.open(b"%d" % number, FOLDER_FLAGS, dir_fd=self._there())
        self._open = (number, opened)
        return opened

    def _leave(self) -> None:
        """Give the open folder its attributes, unless it could not be moved with them."""
        if self._open is None:
            return
        number, opened = self._open
        self._open = None
        move = self._moves[number]
        mode, owner, mtime_ns = move.attributes or Attributes(_OWNERS, self._owner, None)
        try:
            if owner is not None:
                os.fchown(opened, *owner)
            if mode & _OWNERS == _OWNERS:
                if mode != _OWNERS:
                    os.fchmod(opened, mode)
                if mtime_ns is not None:
                    os.utime(opened, ns=(mtime_ns, mtime_ns))
                self._moves[number] = move._replace(sealed=True)
        except OSError:
            return  # then in the end, where it is told
        finally:
            os.close(opened)


def place(
    root: int, name: bytes, moves: Sequence[Move], folder_of: Callable[[bytes], int]
) -> tuple[list[Move], list[Move]]:
    """Move what is aside to where it belongs, if nothing is there; return what could be moved, and
    what could not. ``folder_of`` gives the open folder of a path.
    """
    done: list[Move] = []
    left: list[Move] = []
    top = os.open(name, FOLDER_FLAGS, dir_fd=root)
    try:
        for move in sorted(moves, key=lambda move: move.is_folder):
            above, _, new = move.path.rpartition(b"/")
            try:
                rename_new(top, b"%d" % move.number, new, to=folder_of(above))
            except OSError:
                left.append(move)
            else:
                done.append(move)
    finally:
        os.close(top)
    return done, left


def read_back(root: int, name: bytes, move: Move) -> Iterator[Back]:
    """Yield the documents that could not be moved. Raises OSError."""
    top = os.open(name, FOLDER_FLAGS, dir_fd=root)
    try:
        if not move.is_folder:
            yield _read(top, b"%d" % move.number, move.path)
            return
        folder = os.open(b"%d" % move.number, FOLDER_FLAGS, dir_fd=top)
        try:
            for listed in sorted(map(os.fsencode, os.listdir(folder))):
                yield _read(folder, listed, b"%b/%b" % (move.path, listed))
        finally:
            os.close(folder)
    finally:
        os.close(top)


def remove_aside(root: int, name: bytes, *, depth: int = 1) -> None:
    """Remove a folder aside with what is left in it."""
    with suppress(OSError):
        folder = open_folder(root, name)
        try:
            for listed in map(os.fsencode, os.listdir(folder)):
                found = os.stat(listed, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    if depth:
                        remove_aside(folder, listed, depth=depth - 1)
                else:
                    os.unlink(listed, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=root)


def sweep_asides(root: int, runs: Collection[str]) -> None:
    """Remove what runs that were killed left aside."""
    prefixes = tuple(NEW_PREFIX + run.encode() for run in runs)
    for name in map(os.fsencode, os.listdir(root)):
        if name.startswith(prefixes) and is_passing(name):
            remove_aside(root, name)


def _read(folder: int, name: bytes, path: bytes) -> Back:
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read()
    finally:
        os.close(descriptor)
    attributes = Attributes(
        stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid), found.st_mtime_ns
    )
    return Back(path, data, attributes)
