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
from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.chats import Chat, History, same_value
from shenyu_data.model.chats_edit import remove_all
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, Kind, Place, path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.regzip import gzip_like
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.cleanup_owner import (
    OwnerPlan,
    OwnerPlanner,
    Removal,
    digest_of,
)
from shenyu_data.operations.cleanup_plan import Planner, plan_cleanup, planner_of
from shenyu_data.operations.cleanup_values import Amounts, CleanupOptions, CleanupPlan
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.holds import read_holds
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import (
    CLEANUP,
    Began,
    Digests,
    Ended,
    FolderGone,
    Journals,
    Step,
    open_journals,
)
from shenyu_data.operations.journal import Saved as SavedIn
from shenyu_data.operations.live_document import Change, Refused
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.operations.restore_wanted import Saved
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
        self._digests = Digests(repository)
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
            folder, self._journal, self._digests, options.quiet_s, monitor.report
        )

    def run(self) -> None:
        """Take the safety snapshot, change every document, and watch them until they are quiet."""
        only = self._plan.affected if self._options.users is None else self._options.users
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
        options = BackupOptions(only_users=few, safety=True, tag=_TAG, jobs=self._options.jobs)
        stats = backup(self._data, self._repository, options, self._monitor)
        self._journal.write(SavedIn(stats.snapshot))
        self.safety = stats.snapshot
        return Saved(self._repository, stats.snapshot)

    def _change(self, plan: OwnerPlan, saved: Saved, later: set[bytes] | None) -> None:
        for removal in plan.removals:
            edit = _Edit(self, plan.user, removal, saved)
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

    def again(self, user: bytes, planned: Removal, data: bytes) -> Removal | None:
        """Plan a document anew that was written since. A chat that was changed meanwhile is in use,
        whatever its clock says: it stays.
        """
        bucket = self._repository.keys.user_bucket(user)
        planner: OwnerPlanner = planner_of(
            self._planner.task({bucket: [user]}, None), self._folders
        )
        removals = planner.plan(user, read={planned.name: data}).removals
        for removal in removals:
            if removal.name == planned.name:
                return _part(removal, planned)
        return None

    def step(
        self, path: bytes, user: bytes, saved: Saved, new: bytes | None, gone: list[Chat]
    ) -> Step:
        """Return the journal's step."""
        digests = self._digests
        return Step(
            path=path,
            user=user,
            chat=None,
            snapshot=None,
            before=saved.snapshot,
            wrote=None if new is None else digests.of(new),
            removed=[chat_digest(digests, chat.value) for chat in gone],
        )


class _Edit:
    """What becomes of one document; ``amounts`` is what went when it was last asked."""

    def __init__(self, apply: _Apply, user: bytes, removal: Removal, saved: Saved) -> None:
        self.path = path_of(user, Place.IN_HISTORY_FOLDER, removal.name)
        self.amounts = Amounts()
        self._apply = apply
        self._user = user
        self._removal = removal
        self._saved = saved

    def __call__(self, live: Live | None) -> Change | None:
        """Say what the document becomes."""
        if live is None or live.data is None:
            return None
        name, data = self._removal.name, live.data
        removal: Removal | None = self._removal
        if digest_of(data) != self._removal.digest:
            removal = self._apply.again(self._user, self._removal, data)
        if removal is None:
            return None
        try:
            history = read_chats(name, data)
        except Unparsable:
            return None
        gone = [history.chats[index] for index in removal.indexes]
        self._check_saved(data, gone, whole=removal.whole)
        self._count(history, gone, whole=removal.whole)
        if removal.whole:
            step = self._apply.step(self.path, self._user, self._saved, None, gone)
            return Change(None, None, step=step)
        new = remove_all(history, removal.indexes)
        if name.endswith(GZIP_SUFFIX):
            new = gzip_like(data, new)
        found = live.stat
        # Its time stays: it is the clock of those of its chats that have none.
        owner, mode = (found.st_uid, found.st_gid), found.st_mode & 0o7777
        step = self._apply.step(self.path, self._user, self._saved, new, gone)
        return Change(new, Attributes(mode, owner, found.st_mtime_ns), step=step)

    def _count(self, history: History, gone: list[Chat], *, whole: bool) -> None:
        self.amounts = Amounts(
            chats=len(gone),
            messages=sum(chat.messages for chat in gone),
            size_bytes=sum(chat.end - chat.start for chat in gone),
            documents=1,
            files=int(whole),
        )

    def _check_saved(self, data: bytes, gone: list[Chat], *, whole: bool) -> None:
        """Raise Refused if the safety snapshot does not hold what is about to be removed."""
        if self._saved.holds(self._user, self.path, data):
            return
        saved = None if whole else self._saved.read(self._user, self.path)
        if saved is not None:
            with suppress(Unparsable):
                kept = read_chats(self._removal.name, saved[1])
                there = {chat.identity: chat for chat in kept.chats}
                if all(
                    chat.identity in there and same_value(there[chat.identity].value, chat.value)
                    for chat in gone
                ):
                    return
        raise Refused(
            code="not-saved", message="the safety snapshot does not hold what is there now"
        )


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
