"""The plan of an import: what would become of each document that an export holds. Writes nothing.

Called by the command line, and by ``import_data.py`` for what it shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import read_live
from shenyu_data.exchange.guide_stretch import CutWithinError
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.erased import Gone, gone_users
from shenyu_data.operations.import_checks import Entry, Looked, Part, PartEntries
from shenyu_data.operations.import_edits import Policy, becomes, beside, contents_digest, is_same
from shenyu_data.operations.import_items import Chosen, ImportItems, InputFormat
from shenyu_data.operations.import_parts import work_through
from shenyu_data.operations.live_document import QUIET_S, Refused
from shenyu_data.repository.repository import Repository

MOST_ITEMS = 1000
"""A plan lists this many documents; of the rest it gives the numbers."""

Source = Callable[[], BinaryIO]
"""Opens the export from its beginning."""

Action = Literal["create", "replace", "merge", "rename", "skip", "unchanged", "conflict"]


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``policy``: what becomes of documents that are there and differ. ``exact``: owners, set-id
    bits and links that lead out as in the export. ``erased_too``: bring erased users back.
    ``quiet_s``: how long what is made and replaced is watched; 0: the application is stopped.
    ``damaged_too``: import what can be read. ``unsaved_too``: replace documents though no snapshot
    holds them. ``max_bytes``: how much the export may unpack to. ``state``: folder of the journals.
    """

    form: InputFormat = "auto"
    policy: Policy = "skip"
    exact: bool = False
    erased_too: bool = False
    damaged_too: bool = False
    unsaved_too: bool = False
    max_bytes: int | None = None
    state: str
    quiet_s: float = QUIET_S
    jobs: int = 1


class ImportItem(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one document; of a conflict, why, as a finding's code and in words."""

    path: str
    action: Action
    conflict: str | None = None
    message: str = ""
    size_bytes: int = 0


class ImportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an import would do: the first documents that are to be changed or left, and how many.

    ``fresh``: the data directory is empty. ``stretches``: it can be read as ImportItems says it.
    """

    fresh: bool
    items: list[ImportItem]
    counts: dict[str, int]
    documents: int
    document_bytes: int
    folders: int
    links: int
    erased: int
    refused: int
    damaged: int
    names: list[Chosen]
    stretches: bool

    @property
    def replaces(self) -> int:
        """How many documents that are there would be changed."""
        return self.counts.get("replace", 0) + self.counts.get("merge", 0)


def plan_import(
    source: Source,
    data: str,
    repository: Repository | None,
    options: ImportOptions,
    monitor: Monitor,
) -> ImportPlan:
    """Read the whole export and say what ``import_data`` would do. Writes nothing.

    Raise ArchiveError or ArchiveDamaged if it cannot be imported, RepositoryError if it cannot be
    told who was erased.
    """
    gone = gone_users(None if options.erased_too else repository)
    saves = repository is not None or options.unsaved_too
    findings: list[Finding] = []
    try:
        plan = _look(source, data, gone, options, monitor, findings.append, saves=saves)
    except CutWithinError:
        findings.clear()  # all of it is read again
        report = monitor.report
        plan = _look(source, data, gone, options, monitor, report, saves=saves, stretches=False)
    finally:
        for finding in findings:
            monitor.report(finding)
    return plan


def items_of(
    file: BinaryIO,
    options: ImportOptions,
    report: Callable[[Finding], None],
    *,
    stretches: bool,
) -> ImportItems:
    """Return what is to be taken from an open export. Raise ArchiveError if it is none."""
    return ImportItems(
        file,
        form=options.form,
        exact=options.exact,
        damaged_too=options.damaged_too,
        max_bytes=options.max_bytes,
        report=report,
        stretches=stretches,
    )


def _look(
    source: Source,
    data: str,
    gone: Gone,
    options: ImportOptions,
    monitor: Monitor,
    report: Callable[[Finding], None],
    *,
    saves: bool,
    stretches: bool = True,
) -> ImportPlan:
    policy = options.policy
    total = _Tally()
    planner = _Planner(policy, total, gone, saves=saves)
    root = _open_if_there(data)
    try:
        with source() as file, monitor.task("Reading the export", None, "entries") as progress:
            items = items_of(file, options, report, stretches=stretches)

            def task_of(part: Part) -> PlanTask:
                return PlanTask(part, data, policy, gone, exact=options.exact, saves=saves)

            with closing(work_through(items, plan_part, task_of, options.jobs)) as parts:
                for seen in parts:
                    if isinstance(seen, Entry):
                        planner.take(root, seen)
                        progress.advance(1)
                    else:
                        tally, looked = seen
                        total.add(tally)
                        items.add(looked)
                        progress.advance(tally.entries)
            items.finish()
        fresh = root is None or not os.listdir(root)
        return _plan(total, items, fresh=fresh, stretches=stretches)
    finally:
        if root is not None:
            os.close(root)


def open_export(path: str) -> BinaryIO:
    """Open the file of an export. Raise ArchiveError if it cannot be read."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise ArchiveError(
            f"cannot read {path}: {error.strerror}",
            hint="Check the name, its owner and its mode.",
        ) from error


class PlanTask(NamedTuple):
    """A part of an export to be compared with what is there."""

    part: Part
    data: str
    policy: Policy
    gone: Gone
    exact: bool
    saves: bool


def plan_part(task: PlanTask) -> tuple[_Tally, Looked]:
    """Count what would become of each entry of a part. What a worker does."""
    tally = _Tally()
    planner = _Planner(task.policy, tally, task.gone, saves=task.saves)
    entries = PartEntries(task.part, exact=task.exact)
    root = _open_if_there(task.data)
    try:
        for entry in entries:
            planner.take(root, entry)
    finally:
        if root is not None:
            os.close(root)
    return tally, entries.looked


class _Tally(msgspec.Struct):
    entries: int = 0
    items: list[ImportItem] = []
    counts: dict[str, int] = {}
    documents: int = 0
    document_bytes: int = 0
    folders: int = 0
    links: int = 0
    erased: set[bytes] = set()

    def add(self, other: _Tally) -> None:
        self.entries += other.entries
        self.items += other.items[: MOST_ITEMS - len(self.items)]
        for action, count in other.counts.items():
            self.counts[action] = self.counts.get(action, 0) + count
        self.documents += other.documents
        self.document_bytes += other.document_bytes
        self.folders += other.folders
        self.links += other.links
        self.erased |= other.erased


def _plan(total: _Tally, items: ImportItems, *, fresh: bool, stretches: bool) -> ImportPlan:
    return ImportPlan(
        fresh=fresh,
        items=total.items,
        counts=total.counts,
        documents=total.documents,
        document_bytes=total.document_bytes,
        folders=total.folders,
        links=total.links,
        erased=len(total.erased),
        refused=items.refused,
        damaged=items.damaged,
        names=items.names,
        stretches=stretches,
    )


class _Planner:
    """Looks at what is there, entry by entry, and counts what would become of it."""

    def __init__(self, policy: Policy, tally: _Tally, gone: Gone, *, saves: bool) -> None:
        self._policy: Policy = policy
        self._saves = saves
        self._gone = gone
        self._tally = tally
        self._missing: bytes | None = None
        self._user: bytes | None = None  # whose entry came last, and whether he was erased
        self._is_gone = False

    def take(self, root: int | None, entry: Entry) -> None:
        """Take an entry into account."""
        tally = self._tally
        tally.entries += 1
        item, user, _, _, size = entry
        if user is not None:
            if user != self._user:
                self._user, self._is_gone = user, self._gone(user)
            if self._is_gone:
                tally.erased.add(user)
                return
        kind = item.kind
        if kind == "folder":
            tally.folders += 1
            return
        if kind == "link":
            tally.links += 1
            return
        tally.documents += 1
        tally.document_bytes += size
        conflict, message = None, ""
        action: Action
        try:
            action = self._action(root, entry)
        except Refused as refused:
            action, conflict, message = "conflict", refused.code, refused.message
        except OSError as error:
            action, conflict = "conflict", "in-the-way"
            message = f"something stands in its way: {error.strerror or 'it is no regular file'}"
        tally.counts[action] = tally.counts.get(action, 0) + 1
        if action not in ("unchanged", "create") and len(tally.items) < MOST_ITEMS:
            tally.items.append(
                ImportItem(
                    path=printable(entry.path),
                    action=action,
                    conflict=conflict,
                    message=message,
                    size_bytes=entry.size,
                )
            )

    def _action(self, root: int | None, entry: Entry) -> Action:
        above, _, name = entry.item.path.rpartition(b"/")
        if root is None or (self._missing is not None and above == self._missing):
            return "create"
        try:
            folder = open_folder(root, above)
        except FileNotFoundError:
            self._missing = above
            return "create"
        try:
            live = read_live(folder, name, entry.kind)
            if live is None:
                return "create"
            if is_same(entry, live):
                return "unchanged"
            if self._policy == "rename":
                there = _is_there(root, beside(entry, contents_digest(entry)))
                return "unchanged" if there else "rename"
            result = becomes(entry, live, self._policy)
        finally:
            os.close(folder)
        if result is None:
            merged = self._policy == "merge" and entry.kind == "history"
            return "unchanged" if merged else "skip"
        if not self._saves:
            raise Refused(
                code="not-saved",
                message="it is there and differs, and without a repository it cannot be saved "
                "before it is replaced",
            )
        return "merge" if isinstance(result, bytes) else "replace"


def _is_there(root: int, path: bytes) -> bool:
    """Whether a document stands at a path. Raises OSError if something else is in its way."""
    above, _, name = path.rpartition(b"/")
    try:
        folder = open_folder(root, above)
    except FileNotFoundError:
        return False
    try:
        return read_live(folder, name, "other") is not None
    finally:
        os.close(folder)


def _open_if_there(data: str) -> int | None:
    if not os.path.lexists(data):
        return None
    with open_root(data) as root:
        return os.dup(root)
