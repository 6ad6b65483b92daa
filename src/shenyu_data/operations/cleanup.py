"""``cleanup``: takes expired chats out of the live data directory, beside the running application.

A safety snapshot first; then user by user what the plan says, one document after another, journaled
so that ``restore --undo`` takes it back. A document that was written since it was planned is
planned anew at the moment it is replaced: what became active meanwhile stays.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

import msgspec

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.large import LargeFile
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, Kind, Place, path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.cleanup_documents import open_large
from shenyu_data.operations.cleanup_edits import RemovalEdit
from shenyu_data.operations.cleanup_owner import OwnerPlan, OwnerPlanner, Removal
from shenyu_data.operations.cleanup_plan import Planner, plan_cleanup, planner_of
from shenyu_data.operations.cleanup_values import Amounts, CleanupOptions, CleanupPlan
from shenyu_data.operations.holds import read_holds
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import (
    CLEANUP,
    Began,
    Digests,
    Ended,
    FolderGone,
    Journals,
    open_journals,
)
from shenyu_data.operations.journal import Saved as SavedIn
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.restore_wanted import Saved
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.repository import Repository

_SAVE_ROUNDS = 3
_TAG = "before-cleanup"
_FEW_USERS = 1000  # of more than these, all are compared for the safety snapshot
_FOLDERS_AT_ONCE = 1000


class CleanupStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleanup did. ``done`` is how much went; ``safety`` the snapshot of what was there
    before, None if there was nothing to do.
    """

    safety: bytes | None
    done: Amounts
    refused: int
    busy: int
    failed: int
    damaged: int
    elapsed_s: float


def cleanup(
    repository: Repository,
    data: str,
    options: CleanupOptions,
    monitor: Monitor,
    plan: CleanupPlan | None = None,
) -> CleanupStats:
    """Remove what the options' policy says; ``plan`` is what was planned before, if it was.

    What cannot be done safely is refused and reported, document by document. Raise UsageError if
    another operation is changing the directory, and what a backup raises: then nothing was changed.
    """
    started = time.monotonic()
    with open_journals(options.state) as journals, open_root(data) as folder:
        finish_interrupted(repository, folder, journals, options.quiet_s, monitor)
        if options.hold_files is not None:  # which nobody can change from now on
            holds = read_holds(options.hold_files)
            if holds != options.holds:
                options = msgspec.structs.replace(options, holds=holds)
                plan = None
        if plan is None:
            plan = plan_cleanup(repository, data, options, monitor)
        if plan.empty:
            return CleanupStats(
                safety=None,
                done=msgspec.structs.replace(plan.total),
                refused=0,
                busy=0,
                failed=0,
                damaged=0,
                elapsed_s=time.monotonic() - started,
            )
        options = msgspec.structs.replace(options, every=False)  # what goes is listed already
        with DataFolders(data) as folders:
            apply = _Apply(repository, data, options, plan, journals, folder, folders, monitor)
            apply.run()
        writer = apply.writer
        return CleanupStats(
            safety=apply.safety,
            done=apply.done,
            refused=writer.refused,
            busy=writer.busy,
            failed=writer.failed,
            damaged=apply.damaged,
            elapsed_s=time.monotonic() - started,
        )


class _Apply:
    """One cleanup under way."""

    def __init__(
        self,
        repository: Repository,
        data: str,
        options: CleanupOptions,
        plan: CleanupPlan,
        journals: Journals,
        folder: int,
        folders: DataFolders,
        monitor: Monitor,
    ) -> None:
        self._repository = repository
        self._data = data
        self._options = options
        self._plan = plan
        self._folder = folder
        self._monitor = monitor
        self.digests = Digests(repository)
        self._planner = Planner(repository, data, options, monitor)
        self._folders = folders
        self._empty_folders: list[bytes] = []
        self.done = Amounts()
        self.damaged = 0
        self.safety: bytes | None = None
        self._journal = journals.begin(
            Began(
                operation=CLEANUP,
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id,
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        self.writer = LiveWriter(
            folder, self._journal, self.digests, options.quiet_s, monitor.report
        )

    def run(self) -> None:
        """Take the safety snapshot, change every document, and watch them until they are quiet."""
        only = self._plan.affected if self._options.users is None else self._options.users
        with self.writer:
            for number in range(_SAVE_ROUNDS):
                saved = self._save(only)
                unsaved: set[bytes] = set()
                later = None if number + 1 == _SAVE_ROUNDS else unsaved
                for part in self._planner.plans(only):
                    for plan in part.plans:
                        self._change(plan, saved, later)
                self._remove_folders()
                if not unsaved:
                    break
                only = frozenset(path.split(b"/")[1] for path in unsaved)
        self._journal.write(Ended())

    def _save(self, users: frozenset[bytes] | None) -> Saved:
        few = users if users is not None and len(users) <= _FEW_USERS else None
        if not self._planner.witnesses.snapshots:
            few = None  # without a snapshot before it, one of some users would hold nothing
        watch = Watch(state=self._options.state)
        options = BackupOptions(
            only_users=few, safety=True, tag=_TAG, jobs=self._options.jobs, watch=watch
        )
        stats = backup(self._data, self._repository, options, self._monitor)
        self._journal.write(SavedIn(stats.snapshot))
        self.safety = stats.snapshot
        return Saved(self._repository, stats.snapshot)

    def _change(self, plan: OwnerPlan, saved: Saved, later: set[bytes] | None) -> None:
        for removal in plan.removals:
            edit = RemovalEdit(self, plan.user, removal, saved)
            before = self.writer.changed + self.writer.removed
            # A compressed one is none that the application writes: it is not merged with anything.
            kind: Kind = "other" if removal.name.endswith(GZIP_SUFFIX) else "history"
            try:
                self.writer.apply(edit.path, kind, edit, make=False, later=later)
            except RepositoryError as error:
                self.damaged += 1
                self._monitor.report(_not_saved(edit.path, error))
                continue
            if self.writer.changed + self.writer.removed > before:
                self.done.add(edit.amounts)
        if plan.folder:
            self._empty_folders.append(plan.user)
            if len(self._empty_folders) >= _FOLDERS_AT_ONCE:
                self._remove_folders()

    def _remove_folders(self) -> None:
        """Remove the folders that are empty by now; whatever stands in one keeps it."""
        self.writer.drain()
        for user in self._empty_folders:
            with suppress(OSError):
                self.done.folders += self._remove_folder(user)
        self._empty_folders.clear()

    def _remove_folder(self, user: bytes) -> bool:
        descriptor = open_folder(self._folder, HISTORIES)
        try:
            found = os.stat(user, dir_fd=descriptor, follow_symlinks=False)
            below = open_folder(descriptor, user)
            try:
                if os.listdir(below):
                    return False
            finally:
                os.close(below)
            path = path_of(user, Place.HISTORY_FOLDER, b"")
            mode = found.st_mode & 0o7777
            gone = FolderGone(path=path, mode=mode, uid=found.st_uid, gid=found.st_gid)
            self._journal.write(gone)
            os.rmdir(user, dir_fd=descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def again(self, user: bytes, planned: Removal, data: bytes | None) -> Removal | None:
        """Plan a document anew that was written since; without ``data`` it is read. A chat that was
        changed meanwhile is in use, whatever its clock says: it stays.
        """
        bucket = self._repository.keys.user_bucket(user)
        planner: OwnerPlanner = planner_of(
            self._planner.task({bucket: [user]}, None), self._folders
        )
        read = {} if data is None else {planned.name: data}
        removals = planner.plan(user, read=read).removals
        for removal in removals:
            if removal.name == planned.name:
                return _part(removal, planned)
        return None

    def open(self, user: bytes, name: bytes) -> LargeFile:
        """Open a history to be followed as a stream. Raises OSError."""
        folder = open_folder(self._folder, HISTORIES)
        try:
            return open_large(folder, user, name)
        finally:
            os.close(folder)


def _part(removal: Removal, planned: Removal) -> Removal | None:
    """Return what was planned before, too, of a removal."""
    known = set(planned.texts)
    if known.issuperset(removal.texts):
        return removal
    both = [pair for pair in zip(removal.indexes, removal.texts, strict=True) if pair[1] in known]
    if not both:
        return None
    indexes, texts = zip(*both, strict=True)
    return removal._replace(indexes=list(indexes), texts=list(texts), whole=False)


def _not_saved(path: bytes, error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path=printable(path),
        message=f"it is left as it is, as its safety copy cannot be read: {error.message}",
        hint="`shenyu-data verify --read-data` names all that is affected.",
    )
