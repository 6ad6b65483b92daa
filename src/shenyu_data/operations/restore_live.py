"""``restore --in-place``: puts a snapshot, a user, a history or one chat back into the live data
directory, beside the running application.

First a plan, which says what each document becomes; then a safety snapshot of what is there; then
the changes, one document after another, journaled so that they can be taken back. Nothing is ever
deleted; documents that the snapshot does not have are left alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Literal

import msgspec

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import InTheWay, read_live
from shenyu_data.model.errors import RepositoryError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import JSON_SUFFIX, USERS, kind_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.conversations import find_chat
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import Began, Digests, Ended, Journal, Journals, open_journals
from shenyu_data.operations.live_document import (
    QUIET_S,
    Edit,
    Refused,
)
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.past import open_user, storage_key
from shenyu_data.operations.restore_edits import (
    Action,
    Outline,
    Steps,
    outline_of,
    put_chat,
    put_document,
)
from shenyu_data.operations.restore_wanted import Saved, Wanted, wanted_documents
from shenyu_data.operations.safety import save_first
from shenyu_data.repository.format import Root
from shenyu_data.repository.repository import Repository

MOST_ITEMS = 1000
"""A plan lists this many documents; of the rest it gives the numbers."""

_SAVE_ROUNDS = 3
_TAG = "before-restore"


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``user``, ``history`` and ``chat`` narrow down what is restored; ``overwrite`` replaces a
    chat that changed since. ``state`` is the folder of the journals; ``quiet_s`` says how long a
    document in use is watched after it was replaced.
    """

    user: bytes | None = None
    history: bytes | None = None
    chat: str | None = None
    overwrite: bool = False
    last_good: bool = False
    state: str
    quiet_s: float = QUIET_S
    jobs: int = 1


class LiveItem(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one document. ``conflict``: why nothing does, as a finding's code;
    ``user_deleted``: its user is there no more.
    """

    path: str
    chat: str | None
    action: Action
    conflict: str | None = None
    message: str = ""
    user_deleted: bool = False
    before: Outline
    after: Outline


class LivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an in-place restore would do: the first documents that change, and how many do."""

    snapshot: bytes
    items: list[LiveItem]
    changes: int
    conflicts: int
    unchanged: int
    damaged: int


class LiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of the live directory did. ``safety`` is the snapshot of what was there
    before; None if nothing had to be changed.
    """

    snapshot: bytes | None
    safety: bytes | None
    changed: int
    removed: int
    unchanged: int
    refused: int
    busy: int
    failed: int
    damaged: int
    elapsed_s: float


class _Reporter:
    """Passes findings on and counts what the exit status depends on."""

    def __init__(self, monitor: Monitor | None) -> None:
        self._monitor = monitor
        self.damaged = 0

    def __call__(self, finding: Finding) -> None:
        self.damaged += finding.code in _DAMAGE
        if self._monitor is not None:
            self._monitor.report(finding)


_DAMAGE = {RepositoryError.code, *(kind.code for kind in RepositoryError.__subclasses__())}


def plan_in_place(
    repository: Repository, root: Root, data: str, options: LiveOptions, monitor: Monitor
) -> LivePlan:
    """Say what :func:`restore_in_place` would do now. Writes nothing.

    Raise OwnerNotFound, OwnerErased, HistoryNotFound or ChatNotFound if there is no such thing,
    RepositoryError if it cannot be told who was erased.
    """
    check_tombstones(repository)
    report = _Reporter(monitor)
    items: list[LiveItem] = []
    counts = {"change": 0, "conflict": 0, "unchanged": 0}
    steps = Steps(Digests(repository), root.id, None)
    with open_root(data) as folder:
        for wanted, edit in _wanted(repository, root, options, steps, report):
            try:
                item = _plan_document(folder, wanted, edit, options)
            except RepositoryError as error:
                report(_unreadable(wanted.path, error))
                continue
            what: Literal["change", "conflict", "unchanged"] = "change"
            if item.conflict is not None:
                what = "conflict"
            elif item.action == "unchanged":
                what = "unchanged"
            counts[what] += 1
            if len(items) < MOST_ITEMS and (what != "unchanged" or options.user is not None):
                items.append(item)
    return LivePlan(
        snapshot=root.id,
        items=items,
        changes=counts["change"],
        conflicts=counts["conflict"],
        unchanged=counts["unchanged"],
        damaged=report.damaged,
    )


def _wanted(
    repository: Repository, root: Root, options: LiveOptions, steps: Steps, report: _Reporter
) -> Iterator[tuple[Wanted, Edit]]:
    """Yield what the snapshot has of what is wanted, with how it is put there."""
    if options.chat is None:
        for wanted in wanted_documents(
            repository, root, options.user, options.history, options.last_good, report
        ):
            yield wanted, put_document(wanted, steps)
        return
    if options.user is None:
        raise UsageError("whose chat?", hint="Name the user with --user.")
    owner = open_user(repository, root, options.user)
    found = find_chat(owner, root, options.history, options.chat, last_good=options.last_good)
    name = found.entry.name
    if found.compressed:
        raise UsageError(
            f"the chat stands in the compressed history {printable(name)}, which the application "
            "does not read, so it is not put in place alone",
            hint="Restore it with --to FOLDER.",
        )
    key = storage_key(name)
    for wanted in wanted_documents(repository, root, options.user, key, options.last_good, report):
        if wanted.entry.name == name:  # not a compressed one of the same key
            yield wanted, put_chat(wanted, found, steps, overwrite=options.overwrite)


def _plan_document(folder: int, wanted: Wanted, edit: Edit, options: LiveOptions) -> LiveItem:
    above, _, name = wanted.path.rpartition(b"/")
    kind = kind_of(wanted.entry.place, wanted.entry.name)
    whose = None if options.chat is None else options.chat
    before, after = Outline(), Outline()
    action: Action = "unchanged"
    conflict, message = None, ""
    try:
        descriptor = open_folder(folder, above)
        try:
            live = read_live(descriptor, name, kind)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        live = None
    except OSError as error:
        live, conflict, message = None, "in-the-way", _in_the_way(error)
    if live is not None:
        before = after = _outline(kind, live.data, live.stat.st_size)
    if conflict is None:
        try:
            change = edit(live)
            if change is not None:
                size = wanted.version.size
                after = _outline(kind, change.data, size)
                action = "create" if live is None else "replace"
                if options.chat is not None and after.chats > before.chats and live is not None:
                    action = "insert"
        except Refused as refused:
            conflict, message = refused.code, refused.message
    deleted = wanted.user is not None and not _has_user(folder, wanted.user)
    return LiveItem(
        path=printable(wanted.path),
        chat=whose,
        action=action,
        conflict=conflict,
        message=message,
        user_deleted=deleted,
        before=before,
        after=after,
    )


def _outline(kind: str, data: bytes | None, size: int) -> Outline:
    return outline_of(data if kind == "history" else None, size)


def _has_user(folder: int, user: bytes) -> bool:
    try:
        descriptor = open_folder(folder, USERS)
        try:
            os.stat(user + JSON_SUFFIX, dir_fd=descriptor, follow_symlinks=False)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _in_the_way(error: OSError) -> str:
    if isinstance(error, InTheWay):
        return "something that is no file stands in its place"
    return f"a link or something else stands in its way: {error.strerror}"


def restore_in_place(
    repository: Repository, root: Root, data: str, options: LiveOptions, monitor: Monitor
) -> LiveStats:
    """Put back what ``options`` say, as it is in the snapshot ``root``, into ``data``.

    What cannot be done safely is refused and reported, document by document; everything else is
    done. Raises as :func:`plan_in_place` does, UsageError if another operation is changing the
    directory, and what a backup raises: then nothing was changed.
    """
    started = time.monotonic()
    report = _Reporter(monitor)
    with open_journals(options.state) as journals, open_root(data) as folder:
        finish_interrupted(repository, folder, journals, options.quiet_s, monitor)
        apply = _Apply(repository, root, data, options, journals, folder, report)
        apply.run(monitor)
        writer = apply.writer
        return LiveStats(
            snapshot=root.id,
            safety=apply.safety,
            changed=writer.changed,
            removed=writer.removed,
            unchanged=writer.unchanged,
            refused=writer.refused,
            busy=writer.busy,
            failed=writer.failed,
            damaged=report.damaged,
            elapsed_s=time.monotonic() - started,
        )


class _Apply:
    """One in-place restore under way."""

    def __init__(
        self,
        repository: Repository,
        root: Root,
        data: str,
        options: LiveOptions,
        journals: Journals,
        folder: int,
        report: _Reporter,
    ) -> None:
        self._repository = repository
        self._root = root
        self._data = data
        self._options = options
        self._report = report
        self._digests = Digests(repository)
        self._journals = journals
        self._folder = folder
        self.safety: bytes | None = None
        self.writer: LiveWriter

    def run(self, monitor: Monitor) -> None:
        """Take the safety snapshot, change every document, and watch them until they are quiet."""
        options = self._options
        quiet = _Reporter(None)
        self._check_there_is_such()
        journal = self._journals.begin(
            Began(
                operation="restore",
                time_ms=time.time_ns() // 1_000_000,
                repository=self._repository.keys.repository_id,
                data=printable(os.path.abspath(self._data)),
                snapshot=self._root.id,
            )
        )
        self.writer = LiveWriter(
            self._folder, journal, self._digests, options.quiet_s, monitor.report
        )
        with self.writer as writer:
            only: frozenset[bytes] | None = None
            for number in range(_SAVE_ROUNDS):
                last = number + 1 == _SAVE_ROUNDS
                saved = self._save(journal, monitor)
                steps = Steps(self._digests, self._root.id, saved)
                unsaved: set[bytes] = set()
                report = self._report if number == 0 else quiet
                for wanted, edit in _wanted(self._repository, self._root, options, steps, report):
                    if only is not None and wanted.path not in only:
                        continue
                    try:
                        writer.apply(
                            wanted.path,
                            kind_of(wanted.entry.place, wanted.entry.name),
                            edit,
                            folder_mode=wanted.folder_mode,
                            later=None if last else unsaved,
                        )
                    except RepositoryError as error:
                        self._report(_unreadable(wanted.path, error))
                writer.drain()
                if not unsaved:
                    break
                only = frozenset(unsaved)
        journal.write(Ended())

    def _check_there_is_such(self) -> None:
        """Raise what a wrong name raises, before anything is done."""
        if self._options.user is not None:
            steps = Steps(self._digests, self._root.id, None)
            quiet = _Reporter(None)
            for _ in _wanted(self._repository, self._root, self._options, steps, quiet):
                break

    def _save(self, journal: Journal, monitor: Monitor) -> Saved:
        user, jobs = self._options.user, self._options.jobs
        saved = save_first(self._data, self._repository, journal, monitor, user, jobs, _TAG)
        self.safety = saved.snapshot
        return saved


def _unreadable(path: bytes, error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path=printable(path),
        message=f"it cannot be restored: {error.message}",
        hint="An earlier snapshot may hold it whole.",
    )
