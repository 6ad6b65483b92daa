"""Writing what an import brings: what workers wrote aside is named in batches, other documents are
written one by one, and those that are there replaced as a restore does it. For ``import_data.py``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from shenyu_data.datadir.aside import (
    name_of,
    sweep_asides,
)
from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.new_files import NewFiles, Waiting
from shenyu_data.datadir.replace import Attributes, read_live
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.erased import Gone
from shenyu_data.operations.import_checks import Entry, Part
from shenyu_data.operations.import_edits import (
    beside,
    contents_digest,
    entry_mtime_ns,
    is_same,
    put_entry,
)
from shenyu_data.operations.import_items import ImportItems
from shenyu_data.operations.import_place import Placer, StepNotes
from shenyu_data.operations.import_plan import ImportOptions
from shenyu_data.operations.import_task import WriteTask, Written
from shenyu_data.operations.journal import Digests, Journal, Step, encoded
from shenyu_data.operations.live_document import conflict_finding
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.restore_wanted import Saved

if TYPE_CHECKING:
    from shenyu_data.operations.import_data import ImportStats

_MOST_SAME = 100_000


class ImportWriter:
    """Writes entries of an export under the open folder ``root`` and counts how that went."""

    def __init__(
        self,
        root: int,
        journal: Journal,
        digests: Digests,
        options: ImportOptions,
        report: Callable[[Finding], None],
        *,
        fresh: bool,
        notes: BinaryIO,
    ) -> None:
        self._root = root
        self._journal = journal
        self._digests = digests
        self._options = options
        self._report = report
        self._fresh = fresh
        self._notes = StepNotes(journal)
        self._same: dict[str, tuple[bytes, bytes]] = {}
        self._owner = _owner_of_new(root)
        self._later: set[bytes] | None = None
        self.saved: Saved | None = None
        self.erased: set[bytes] = set()
        self._files = NewFiles(
            root,
            journal.run,
            notes,
            before=self._note_steps,
            made=self._notes.note_folder,
            owner=self._owner,
        )
        self._live = LiveWriter(root, journal, digests, options.quiet_s, report)
        self._placer = Placer(
            root, self._files, self._notes, self._fail, exact=options.exact, fresh=fresh
        )
        self._parts = 0
        self._created = self._renamed = self._skipped = self._unchanged = 0
        self._folders = self._links = self._refused = self._failed = 0

    def take(self, entry: Entry, later: set[bytes] | None) -> None:
        """Bring one entry in. ``later``: add its path if what is there is not saved yet."""
        self._later = later
        self._placer.unseal(entry.path)
        try:
            if entry.item.kind == "folder":
                self._take_folder(entry)
            elif entry.item.kind == "link":
                self._take_link(entry)
            else:
                self._take_file(entry, later)
        except OSError as error:
            self._fail(entry.path, error)

    def task(self, part: Part, data: str, gone: Gone) -> WriteTask:
        """Return what a worker is to do with a part of the export."""
        self._parts += 1
        return WriteTask(
            part,
            data,
            name_of(self._journal.run, self._parts),
            self._options.policy,
            gone,
            self._owner,
            self._digests if self._notes.kept else None,
            exact=self._options.exact,
        )

    def take_part(self, part: Written, later: set[bytes] | None) -> None:
        """Take what a worker wrote aside; it is named when there is enough of it."""
        self._unchanged += part.unchanged
        self._skipped += part.skipped
        self.erased |= part.erased
        if self._placer.add(part):
            self.settle(later)

    def settle(self, later: set[bytes] | None) -> None:
        """Make what workers wrote durable, name it, and do what they left."""
        for entry in self._placer.settle():
            self.take(entry, later)

    def flush(self, later: set[bytes] | None) -> None:
        """Give what waits its names, and watch what was replaced until it is quiet."""
        self.settle(later)
        self._files.flush()
        for item in self._files.taken:
            self._created -= 1
            if later is not None:
                later.add(item.path)
            else:
                self._refused += 1
                self._report(
                    conflict_finding(
                        "changed-since", item.path, "it came to be there meanwhile; it stands"
                    )
                )
        self._files.taken.clear()
        self._live.drain()

    def finish(self) -> None:
        """Give folders their attributes."""
        self._files.finish()

    def close(self) -> None:
        """Remove what has no name yet; workers must be gone."""
        self._files.close()
        if self._parts:
            sweep_asides(self._root, [self._journal.run])

    def stats(self, items: ImportItems, *, elapsed_s: float) -> ImportStats:
        """Return the numbers."""
        from shenyu_data.operations.import_data import ImportStats

        live = self._live
        return ImportStats(
            safety=self.saved.snapshot if self.saved is not None else None,
            created=self._created + self._placer.created,
            replaced=live.changed,
            renamed=self._renamed,
            skipped=self._skipped,
            unchanged=self._unchanged + live.unchanged,
            folders=self._folders + self._placer.folders,
            links=self._links,
            erased=len(self.erased),
            refused=self._refused + live.refused + items.refused,
            busy=live.busy,
            failed=self._failed + live.failed,
            damaged=items.damaged,
            names=items.names,
            elapsed_s=elapsed_s,
        )

    def _take_folder(self, entry: Entry) -> None:
        path = entry.path
        if path:
            self._files.folder(path)
        if not self._fresh and path not in self._files.made_folders:
            return
        self._folders += 1
        item = entry.item
        attributes = Attributes(item.mode, self._owner_for(entry), item.mtime_ns)
        self._files.note_folder(path, attributes)

    def _take_link(self, entry: Entry) -> None:
        above, _, name = entry.path.rpartition(b"/")
        target = entry.item.data or b""
        self._files.flush()
        folder = self._files.folder(above)
        try:
            os.symlink(target, name, dir_fd=folder)
        except FileExistsError:
            self._look_at_link(folder, name, target)
            self._unchanged += 1
            return
        owner = self._owner_for(entry)
        if owner is not None:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        if (mtime_ns := entry.item.mtime_ns) is not None:
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)
        self._links += 1

    def _look_at_link(self, folder: int, name: bytes, target: bytes) -> None:
        """Raise NotADirectoryError, "something is in the way", if it is not this link."""
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode) or os.readlink(name, dir_fd=folder) != target:
            raise NotADirectoryError(20, "it is there, and is not this link")

    def _take_file(self, entry: Entry, later: set[bytes] | None) -> None:
        if not self._files.is_there(entry.path):
            self._create(entry)
            self._created += 1
            return
        if self._files.is_pending(entry.path):
            self._files.flush()  # a second entry of the same name
        above, _, name = entry.path.rpartition(b"/")
        live = read_live(self._files.folder(above), name, entry.kind)
        if live is None:  # it went away meanwhile
            self._create(entry)
            self._created += 1
        elif is_same(entry, live):
            self._unchanged += 1
            if self._options.exact:
                self._remember_same(entry)
        elif self._options.policy == "skip":
            self._skipped += 1
        elif self._options.policy == "rename":
            self._put_beside(entry)
        else:
            self._replace(entry, later)

    def _create(self, entry: Entry) -> None:
        if entry.item.same is not None and self._joined(entry):
            return
        item = entry.item
        attributes = Attributes(item.mode, self._owner_for(entry), entry_mtime_ns(entry))
        self._files.add(entry.path, entry.write, attributes, self._new_step(entry))
        self._remember_same(entry)

    def _replace(self, entry: Entry, later: set[bytes] | None) -> None:
        edit = put_entry(
            entry,
            self._options.policy,
            self._digests,
            self.saved,
            unsaved=self._options.unsaved_too,
        )
        before = self._live.unchanged
        self._live.apply(entry.path, entry.kind, edit, later=later)
        if self._live.unchanged > before and not self._is_merged(entry):
            self._live.unchanged = before
            self._skipped += 1

    def _is_merged(self, entry: Entry) -> bool:
        return self._options.policy == "merge" and entry.kind == "history"

    def _put_beside(self, entry: Entry) -> None:
        path = beside(entry, contents_digest(entry))
        if self._files.is_there(path):
            self._unchanged += 1
            return
        moved = entry.at(path)
        attributes = Attributes(moved.item.mode, self._owner_for(moved), entry_mtime_ns(moved))
        self._files.add(path, moved.write, attributes, self._new_step(moved))
        self._renamed += 1

    def _remember_same(self, entry: Entry) -> None:
        same = entry.item.same
        if same is not None and same not in self._same and len(self._same) < _MOST_SAME:
            self._same[same] = (entry.path, contents_digest(entry))

    def _joined(self, entry: Entry) -> bool:
        """Make a file another name of one that came before, if it is the same."""
        first = self._same.get(entry.item.same or "")
        if first is None or first[1] != contents_digest(entry):
            return False
        self._files.flush()
        above, _, name = entry.path.rpartition(b"/")
        first_above, _, first_name = first[0].rpartition(b"/")
        folder = self._files.folder(above)
        try:
            source = open_folder(self._root, first_above)
            try:
                os.link(
                    first_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False
                )
            finally:
                os.close(source)
        except OSError:
            return False
        self._note_steps([Waiting(entry.path, b"", self._new_step(entry))])
        return True

    def _new_step(self, entry: Entry) -> Step | None:
        if not self._notes.kept:
            return None
        data = entry.item.data
        return Step(
            path=entry.path,
            user=entry.user,
            chat=None,
            snapshot=None,
            before=None,
            wrote=self._digests.of(data) if data is not None else None,
        )

    def _note_steps(self, batch: list[Waiting]) -> None:
        steps = [item.note for item in batch if isinstance(item.note, Step)]
        self._notes.note(encoded(steps), len(batch))

    def _owner_for(self, entry: Entry) -> tuple[int, int] | None:
        if self._options.exact and entry.item.owner is not None and os.geteuid() == 0:
            return entry.item.owner
        return self._owner

    def _fail(self, path: bytes, error: OSError) -> None:
        if error.errno in _IN_THE_WAY or error.errno is None:
            self._refused += 1
            message = f"something stands in its way: {error.strerror or 'it is no regular file'}"
            self._report(conflict_finding("in-the-way", path, message))
            return
        if error.errno in _FULL:
            raise DataDirectoryError(
                f"cannot write {printable(path)}: {error.strerror}",
                hint="Make room, then import again: what is there already is recognised.",
            ) from error
        self._failed += 1
        self._report(
            Finding(
                code="not-written",
                severity="error",
                path=printable(path),
                message=f"it could not be written: {error.strerror or error}",
                hint="Check the free space, owner and mode of the data directory.",
            )
        )


_IN_THE_WAY = frozenset((20, 40, 21))  # ENOTDIR, ELOOP, EISDIR
_FULL = frozenset((28, 122, 30))  # ENOSPC, EDQUOT, EROFS: nothing more will fit


def _owner_of_new(root: int) -> tuple[int, int] | None:
    """Return whom new files are to belong to: as root, whoever the data directory belongs to."""
    found = os.fstat(root)
    if os.geteuid() != 0 or (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid()):
        return None
    return found.st_uid, found.st_gid
