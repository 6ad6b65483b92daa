"""What the workers of an import do: look into a part of an export, and write what is new of it
aside. What is there already and may be another, links and the like are left to the main process.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.aside import Aside, Move
from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.made import look_of
from shenyu_data.datadir.replace import Attributes, read_live
from shenyu_data.model.layout import HISTORIES, USERS
from shenyu_data.operations.erased import Gone
from shenyu_data.operations.import_checks import Entry, Looked, Part, PartEntries
from shenyu_data.operations.import_edits import Policy, entry_mtime_ns, is_same
from shenyu_data.operations.journal import Digests, Folder, Step, encoded


class WriteTask(NamedTuple):
    """A part of an export to be written aside, into the folder ``name`` of the data directory.

    ``owner``: whom new files belong to. ``noted``: it is written down in the journal; with
    ``digests`` of what is written, if it can ever be taken back. ``watched``: what is made will be
    watched. ``resumed``: what is there may be what the last import made, which was killed.
    """

    part: Part
    data: str
    name: bytes
    policy: Policy
    gone: Gone
    owner: tuple[int, int] | None
    digests: Digests | None
    noted: bool
    exact: bool
    watched: bool
    resumed: bool


class Written(msgspec.Struct):
    """What a worker made of a part. ``left``: entries for the main process. ``notes``: lines of the
    journal, ``steps`` of them documents. ``found``: what is there already and may be watched, by
    its folder.
    """

    name: bytes
    looked: Looked = msgspec.field(default_factory=Looked)
    moves: list[Move] = []
    left: list[Entry] = []
    erased: set[bytes] = set()
    found: dict[bytes, bytearray] = {}
    notes: bytes = b""
    steps: int = 0
    entries: int = 0
    written_bytes: int = 0
    unchanged: int = 0
    skipped: int = 0


def write_part(task: WriteTask) -> Written:
    """Write what is new of a part aside. Raises OSError if the data directory cannot be read."""
    done = Written(task.name)
    entries = PartEntries(task.part, exact=task.exact)
    with open_root(task.data) as root:
        writer = _Writer(root, task, done)
        try:
            for entry in entries:
                writer.take(entry)
        finally:
            writer.close()
    done.moves = writer.aside.moves
    done.notes = encoded(writer.notes)
    done.looked = entries.looked
    return done


class _Writer:
    def __init__(self, root: int, task: WriteTask, done: Written) -> None:
        self._root = root
        self._task = task
        self._done = done
        self.aside = Aside(root, task.name, task.owner, watched=task.watched)
        self.notes: list[Folder | Step] = []
        self._users = self._open(USERS)
        self._histories = self._open(HISTORIES)
        self._looked_at: tuple[bytes, bool] | None = None
        self._added: bytes | None = None  # the folder that came last, if it is a new one
        self._user: bytes | None = None  # whose entry came last, and whether he was erased
        self._is_gone = False

    def close(self) -> None:
        """Close all folders."""
        self.aside.close()
        for opened in (self._users, self._histories):
            if opened:
                os.close(opened)

    def _open(self, path: bytes) -> int | None:
        """Return a folder; None if it is missing, 0 if something else is in its place."""
        try:
            return open_folder(self._root, path)
        except FileNotFoundError:
            return None
        except OSError:
            return 0

    def take(self, entry: Entry) -> None:
        """Write an entry aside, if it is one of the new ones; leave it otherwise."""
        self._done.entries += 1
        user = entry.user
        if user is not None:
            if user != self._user:
                self._user, self._is_gone = user, self._task.gone(user)
            if self._is_gone:
                self._done.erased.add(user)
                return
        try:
            if not self._is_taken(entry):
                self._done.left.append(entry)
        except OSError:
            self._done.left.append(entry)  # the main process meets the same, and tells

    def _is_taken(self, entry: Entry) -> bool:
        item = entry.item
        above, _, name = item.path.rpartition(b"/")
        if item.kind == "folder":
            if above != HISTORIES or not self._is_new_folder(item.path):
                return False
            attributes = Attributes(item.mode, self._owner_of(entry), item.mtime_ns)
            if self.aside.add_folder(item.path, attributes):
                self._note(Folder(item.path))
            self._added = item.path
            return True
        if item.kind != "file" or item.same is not None:
            return False
        if above == self._added:
            self._write(entry, above, name)
            return True
        inside = above.startswith(b"histories/") and above.count(b"/") == 1
        if inside and self._is_new_folder(above):
            if self.aside.add_folder(above, None):
                self._note(Folder(above))
            self._added = above
            self._write(entry, above, name)
            return True
        if above == USERS and self._is_missing(self._users, name):
            self._write(entry, None, name)
            return True
        return (inside or above == USERS) and self._is_settled(entry, above, name)

    def _is_new_folder(self, path: bytes) -> bool:
        """Whether nothing is there where a folder of histories is to be."""
        if self._looked_at is None or self._looked_at[0] != path:
            name = path.rpartition(b"/")[2]
            self._looked_at = (path, self._is_missing(self._histories, name))
        return self._looked_at[1]

    def _is_missing(self, folder: int | None, name: bytes) -> bool:
        if not folder:
            return folder is None
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def _write(self, entry: Entry, folder: bytes | None, name: bytes) -> None:
        """Write a document aside, in a folder that is aside, too, or alone."""
        item, task = entry.item, self._task
        data = item.data or b""
        owner = self._owner_of(entry)
        mtime_ns = entry_mtime_ns(entry)
        if folder is None:
            self.aside.add(item.path, data, item.mode, owner, mtime_ns)
        else:
            self.aside.add_inside(folder, name, data, item.mode, owner, mtime_ns)
        self._done.written_bytes += len(data)
        if task.noted:
            self._done.steps += 1
            wrote = task.digests.of(data) if task.digests is not None else None
            self.notes.append(Step(path=item.path, user=entry.user, wrote=wrote))

    def _note(self, folder: Folder) -> None:
        if self._task.noted:
            self.notes.append(folder)

    def _is_settled(self, entry: Entry, above: bytes, name: bytes) -> bool:
        """Whether what is there already stays as it is."""
        folder = open_folder(self._root, above)
        try:
            live = read_live(folder, name, entry.kind)
        finally:
            os.close(folder)
        if live is None:
            return False
        if is_same(entry, live):
            self._done.unchanged += 1
            if self._task.resumed:
                looks = self._done.found.setdefault(above, bytearray())
                looks += look_of(name, live.stat, named=True)
            return True
        if self._task.policy == "skip" and not self._task.resumed:
            self._done.skipped += 1
            return True
        return False

    def _owner_of(self, entry: Entry) -> tuple[int, int] | None:
        if self._task.exact and entry.item.owner is not None and os.geteuid() == 0:
            return entry.item.owner
        return self._task.owner
