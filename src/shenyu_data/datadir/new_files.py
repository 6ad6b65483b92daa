"""Many new files in a data directory, quickly: each is whole or not there, at every moment.

A batch of files is written under names that nobody reads, made durable in one go, and then named.
Nothing that is there is ever replaced, no link is followed. Called by operations/import_data.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import msgspec

from shenyu_data.datadir.exchange import rename_new, sync_all
from shenyu_data.datadir.folder import make_folder, open_folder
from shenyu_data.datadir.made import look_of
from shenyu_data.datadir.replace import Attributes
from shenyu_data.model.layout import NEW_PREFIX, is_passing
from shenyu_data.storage.atomic import passing_file, set_attributes, write_all

_BATCH_FILES = 4096
_BATCH_BYTES = 64 << 20
_REMEMBERED_FOLDERS = 4096


class Waiting(NamedTuple):
    """A file that is written and waits for its name."""

    path: bytes
    temporary: bytes
    note: object
    look: bytes = b""
    """What it looks like: see made.py."""


class _FolderNote(msgspec.Struct, array_like=True):
    path: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int | None


class NewFiles:
    """Writes new files and folders under the open folder ``root``.

    ``run`` is 8 hexadecimal digits that tell this run's temporary files from others'; ``owner`` is
    whom folders belong to. ``before`` is told of a batch right before its files get their names,
    ``named`` of each that has its name, ``made`` of each folder that is made. ``notes`` keeps
    folders' attributes till the end.
    """

    def __init__(
        self,
        root: int,
        run: str,
        notes: BinaryIO,
        *,
        before: Callable[[list[Waiting]], None],
        named: Callable[[Waiting], None],
        made: Callable[[bytes], None],
        owner: tuple[int, int] | None = None,
    ) -> None:
        self._root = root
        self._run = run
        self._notes = notes
        self._before = before
        self._named = named
        self._made = made
        self._owner = owner
        self._count = 0
        self._bytes = 0
        self._batch: list[Waiting] = []
        self._pending: set[bytes] = set()
        self._folder: tuple[bytes, int] | None = None
        self.made_folders: dict[bytes, None] = {}
        """The last ones that were made."""
        self.taken: list[Waiting] = []
        """Files whose name somebody else took meanwhile: they are not there."""

    def close(self) -> None:
        """Remove what has no name yet, and close the folder."""
        for item in self._batch:
            above = item.path.rpartition(b"/")[0]
            with suppress(OSError):
                folder = open_folder(self._root, above)
                try:
                    os.unlink(item.temporary, dir_fd=folder)
                finally:
                    os.close(folder)
        self._batch = []
        self._leave()

    def folder(self, path: bytes) -> int:
        """Return the open folder at ``path``, made if it is missing; it stays open until another
        one is asked for. Raises OSError if something else is in its place.
        """
        if self._folder is not None and self._folder[0] == path:
            return self._folder[1]
        self._leave()
        try:
            opened = open_folder(self._root, path)
        except FileNotFoundError:
            opened = self._make(path)
        self._folder = (path, opened)
        return opened

    def is_pending(self, path: bytes) -> bool:
        """Whether a file waits for this name."""
        return path in self._pending

    def is_there(self, path: bytes) -> bool:
        """Whether a name is taken, by a file of the batch at hand or by anything else."""
        above, _, name = path.rpartition(b"/")
        if path in self._pending:
            return True
        try:
            os.stat(name, dir_fd=self.folder(above), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def add(
        self,
        path: bytes,
        fill: Callable[[Callable[[bytes], object]], object],
        attributes: Attributes,
        note: object,
    ) -> None:
        """Write a file that is to be at ``path``. Raises OSError: then nothing of it is left."""
        above, _, name = path.rpartition(b"/")
        folder = self.folder(above)
        temporary = NEW_PREFIX + b"%b%08x" % (self._run.encode(), self._count & 0xFFFFFFFF)
        self._count += 1
        with passing_file(temporary, folder=folder) as descriptor:
            fill(lambda piece: self._write(descriptor, piece))
            mode, owner, mtime_ns = attributes
            set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
            look = look_of(name, os.fstat(descriptor), named=False)
        self._batch.append(Waiting(path, temporary, note, look))
        self._pending.add(path)
        if len(self._batch) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Make what was written durable and give it its names."""
        if not self._batch:
            return
        sync_all(self._root)
        self._before(self._batch)
        while self._batch:
            item = self._batch[-1]
            above, _, name = item.path.rpartition(b"/")
            folder = self.folder(above)
            try:
                rename_new(folder, item.temporary, name)
            except FileExistsError:
                os.unlink(item.temporary, dir_fd=folder)
                self.taken.append(item)
            else:
                self._named(item)
            self._batch.pop()
        self._pending.clear()
        self._bytes = 0

    def note_folder(self, path: bytes, attributes: Attributes) -> None:
        """Give a folder its attributes in the end, when nothing is made in it any more."""
        mode, owner, mtime_ns = attributes
        uid, gid = owner if owner is not None else (-1, -1)
        encoded = msgspec.msgpack.encode(_FolderNote(path, mode, uid, gid, mtime_ns))
        self._notes.write(encoded + len(encoded).to_bytes(4, "little"))

    def finish(self) -> None:
        """Name what is written, give folders their attributes, and make all of it durable."""
        self.flush()
        self._leave()
        end = self._notes.seek(0, os.SEEK_END)
        while end:  # the last first: what is deeper comes later
            self._notes.seek(end - 4)
            size = int.from_bytes(self._notes.read(4), "little")
            end -= 4 + size
            self._notes.seek(end)
            self._set_folder(msgspec.msgpack.decode(self._notes.read(size), type=_FolderNote))
        sync_all(self._root)

    def _set_folder(self, note: _FolderNote) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder = open_folder(self._root, note.path)
            try:
                owner = (note.uid, note.gid) if note.uid >= 0 else None
                if owner is not None:
                    os.fchown(folder, *owner)
                os.fchmod(folder, note.mode)
                if note.mtime_ns is not None:
                    os.utime(folder, ns=(note.mtime_ns, note.mtime_ns))
            finally:
                os.close(folder)

    def _write(self, descriptor: int, piece: bytes) -> None:
        self._bytes += write_all(descriptor, [piece])

    def _make(self, path: bytes) -> int:
        parts = path.split(b"/")
        for count in range(1, len(parts) + 1):
            above = b"/".join(parts[:count])
            try:
                os.close(open_folder(self._root, above))
            except FileNotFoundError:
                self._made(above)
                made = make_folder(self._root, above)
                if self._owner is not None:
                    os.fchown(made, *self._owner)
                os.close(made)
                self.remember_made(above)
        return open_folder(self._root, path)

    def remember_made(self, path: bytes) -> None:
        """Take note of a folder that is new."""
        self.made_folders[path] = None
        if len(self.made_folders) > _REMEMBERED_FOLDERS:
            del self.made_folders[next(iter(self.made_folders))]

    def _leave(self) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None


def sweep(root: int, runs: Collection[str]) -> None:
    """Remove the temporary files that runs which were killed left, wherever they are."""
    prefixes = tuple(NEW_PREFIX + run.encode() for run in runs)
    pending = [b""]
    while pending:
        path = pending.pop()
        with suppress(OSError):
            folder = open_folder(root, path)
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = os.fsencode(entry.name)
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(path + b"/" + name if path else name)
                        elif name.startswith(prefixes) and is_passing(name):
                            os.unlink(name, dir_fd=folder)
            finally:
                os.close(folder)
