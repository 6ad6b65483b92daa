"""Writing what an import brings: what workers wrote aside is named in batches, other documents are
written one by one, and those that are there replaced as a restore does it. For ``import_data.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from shenyu_data.datadir.aside import name_of, sweep_asides
from shenyu_data.datadir.made import look_of
from shenyu_data.datadir.new_files import NewFiles, Waiting
from shenyu_data.datadir.replace import Attributes, read_live
from shenyu_data.model.findings import Finding
from shenyu_data.operations.erased import Gone
from shenyu_data.operations.import_checks import Entry, Part
from shenyu_data.operations.import_edits import (
    WRITTEN_SINCE,
    beside,
    contents_digest,
    entry_mtime_ns,
    holds,
    is_same,
    put_again,
    put_entry,
)
from shenyu_data.operations.import_failures import why_not_written
from shenyu_data.operations.import_items import ImportItems
from shenyu_data.operations.import_links import SameFiles, make_link
from shenyu_data.operations.import_place import Placer, StepNotes
from shenyu_data.operations.import_plan import ImportOptions
from shenyu_data.operations.import_task import WriteTask, Written
from shenyu_data.operations.import_watch import Watch
from shenyu_data.operations.journal import Digests, Journal, Step, encoded
from shenyu_data.operations.live_document import Edit, conflict_finding
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.restore_wanted import Saved

if TYPE_CHECKING:
    from shenyu_data.operations.import_data import ImportStats


class ImportWriter:
    """Writes entries of an export under the open folder ``root`` and counts how that went.

    ``saves``: there is a repository for what is replaced. ``resumed``: the last import was killed,
    and had made these. ``watched`` keeps what was made.
    """

    def __init__(
        self,
        root: int,
        journal: Journal,
        digests: Digests,
        options: ImportOptions,
        report: Callable[[Finding], None],
        *,
        fresh: bool,
        saves: bool,
        resumed: frozenset[bytes] | None,
        notes: BinaryIO,
        watched: BinaryIO,
    ) -> None:
        self._root = root
        self._journal = journal
        self._digests = digests
        self._options = options
        self._report = report
        self._fresh = fresh
        self._saves = saves
        self._resumed = resumed
        self._written: set[bytes] = set()
        self._notes = StepNotes(journal)
        self._owner = _owner_of_new(root)
        self._later: set[bytes] | None = None
        self.saved: Saved | None = None
        self.unsaved = False
        """Whether something waits for a safety snapshot."""
        self.erased: set[bytes] = set()
        self._watch = Watch(root, watched, options.quiet_s)
        self._files = NewFiles(
            root,
            journal.run,
            notes,
            before=self._note_steps,
            named=self._watch_named,
            made=self._notes.note_folder,
            owner=self._owner,
        )
        self._same = SameFiles(root, self._files)
        self._live = LiveWriter(root, journal, digests, options.quiet_s, report)
        self._placer = Placer(
            root,
            self._files,
            self._notes,
            self._fail,
            self._watch,
            exact=options.exact,
            fresh=fresh,
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
            self._digests if self._saves else None,
            noted=self._notes.kept,
            exact=self._options.exact,
            watched=self._options.quiet_s > 0,
            resumed=self._resumed is not None,
        )

    def take_part(self, part: Written, later: set[bytes] | None) -> None:
        """Take what a worker wrote aside; it is named when there is enough of it."""
        self._unchanged += part.unchanged
        self._skipped += part.skipped
        self.erased |= part.erased
        for folder, looks in part.found.items():
            self._watch.note(folder, bytes(looks))
        if self._placer.add(part):
            self.settle(later)

    def settle(self, later: set[bytes] | None) -> None:
        """Make what workers wrote durable, name it, and do what they left."""
        for entry in self._placer.settle():
            self.take(entry, later)

    def flush(self, later: set[bytes] | None) -> None:
        """Give what waits its names, and watch what was replaced and what was made until it is
        quiet. ``later``: add what the application wrote since it was made.
        """
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
        for path in self._watch.written(self._live.let_pass):
            if later is not None:
                self._written.add(path)
                later.add(path)
            else:
                self._created -= 1
                self._refused += 1
                self._report(conflict_finding("written-since", path, WRITTEN_SINCE))

    def finish(self) -> None:
        """Give folders their attributes."""
        self._files.finish()

    def close(self) -> None:
        """Remove what has no name yet; workers must be gone."""
        self._live.close()
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
        self._files.flush()
        folder = self._files.folder(entry.path.rpartition(b"/")[0])
        made = make_link(folder, entry, self._owner_for(entry))
        self._links += made
        self._unchanged += not made

    def _take_file(self, entry: Entry, later: set[bytes] | None) -> None:
        if entry.path in self._written:
            self._take_written(entry, later)
            return
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
            if self._resumed is not None:
                self._watch.note(above, look_of(name, live.stat, named=True))
            if self._options.exact:
                self._same.remember(entry)
        elif self._resumed is not None and entry.path in self._resumed:
            self._take_resumed(entry, later)
        elif self._options.policy == "skip":
            self._skipped += 1
        elif self._options.policy == "rename":
            self._put_beside(entry)
        else:
            self._replace(entry, later)

    def _take_written(self, entry: Entry, later: set[bytes] | None) -> None:
        """Bring in again what was made, if the application wrote it without having read it."""
        if self._options.policy == "rename":
            self._rename_written(entry)
            return
        live = self._live
        unchanged = live.unchanged
        edit = put_again(entry, self._edit(entry, made=True))
        if self._is_put_off(entry, edit, later):
            return
        self._written.discard(entry.path)
        if live.unchanged == unchanged:
            self._created -= 1
        live.unchanged = unchanged

    def _take_resumed(self, entry: Entry, later: set[bytes] | None) -> None:
        """As _take_written, of what a killed import had made."""
        self._written.add(entry.path)
        self._created += 1
        before = self._created
        self._take_written(entry, later)
        if self._created == before and (later is None or entry.path not in later):
            self._created -= 1
            self._unchanged += 1

    def _rename_written(self, entry: Entry) -> None:
        above, _, name = entry.path.rpartition(b"/")
        live = read_live(self._files.folder(above), name, entry.kind)
        if live is not None and not holds(live, entry):
            self._created -= 1
            self._put_beside(entry)

    def _create(self, entry: Entry) -> None:
        if entry.item.same is not None and self._joined(entry):
            return
        item = entry.item
        attributes = Attributes(item.mode, self._owner_for(entry), entry_mtime_ns(entry))
        self._files.add(entry.path, entry.write, attributes, self._new_step(entry))
        self._same.remember(entry)

    def _replace(self, entry: Entry, later: set[bytes] | None) -> None:
        before = self._live.unchanged
        self._is_put_off(entry, self._edit(entry), later)
        if self._live.unchanged > before and not self._is_merged(entry):
            self._live.unchanged = before
            self._skipped += 1

    def _is_put_off(self, entry: Entry, edit: Edit, later: set[bytes] | None) -> bool:
        """Make an edit; return whether what is there must be saved first."""
        self._live.apply(entry.path, entry.kind, edit, later=later)
        put_off = later is not None and entry.path in later
        self.unsaved |= put_off
        return put_off

    def _edit(self, entry: Entry, *, made: bool = False) -> Edit:
        """Return the edit for a document that is there; ``made``: because we had made it."""
        policy = self._options.policy
        # Where nothing can be saved, merging takes nothing away either.
        unsaved = self._options.unsaved_too or (made and policy == "merge")
        # Where it can be, it must: an undo takes what has nothing before it for new.
        unsaved &= self.saved is not None or not self._saves
        return put_entry(entry, policy, self._digests, self.saved, unsaved=unsaved)

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

    def _joined(self, entry: Entry) -> bool:
        """Make a file another name of one that came before, if it is the same."""
        found = self._same.join(entry)
        if found is None:
            return False
        self._note_steps([Waiting(entry.path, b"", self._new_step(entry))])
        above, _, name = entry.path.rpartition(b"/")
        self._watch.note(above, look_of(name, found, named=False))
        return True

    def _watch_named(self, item: Waiting) -> None:
        self._watch.note(item.path.rpartition(b"/")[0], item.look)

    def _new_step(self, entry: Entry) -> Step | None:
        if not self._notes.kept:
            return None
        data = entry.item.data if self._saves else None
        wrote = self._digests.of(data) if data is not None else None
        return Step(path=entry.path, user=entry.user, wrote=wrote)

    def _note_steps(self, batch: list[Waiting]) -> None:
        steps = [item.note for item in batch if isinstance(item.note, Step)]
        self._notes.note(encoded(steps), len(batch))

    def _owner_for(self, entry: Entry) -> tuple[int, int] | None:
        if self._options.exact and entry.item.owner is not None and os.geteuid() == 0:
            return entry.item.owner
        return self._owner

    def _fail(self, path: bytes, error: OSError) -> None:
        failure = why_not_written(path, error)
        self._refused += failure.refused
        self._failed += not failure.refused
        self._report(failure.finding)


def _owner_of_new(root: int) -> tuple[int, int] | None:
    """Return whom new files are to belong to: as root, whoever the data directory belongs to."""
    found = os.fstat(root)
    if os.geteuid() != 0 or (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid()):
        return None
    return found.st_uid, found.st_gid
