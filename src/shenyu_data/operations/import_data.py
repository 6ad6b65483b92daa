"""``import``: brings an export into the live data directory, beside the running application.

First a plan, for which the whole export is read and checked; then, if documents are to be replaced,
a safety snapshot; then new documents in batches, and those that are there one after another as a
restore replaces them. All of it is journaled. Killed at any moment, the next import of the same
export goes on: what is there already is recognised by its bytes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import BinaryIO, Literal

import msgspec

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import read_live
from shenyu_data.model.errors import ArchiveError, DataDirectoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.import_apply import ImportWriter
from shenyu_data.operations.import_edits import Policy, becomes, beside, contents_digest, is_same
from shenyu_data.operations.import_items import Chosen, Entry, ImportItems, InputFormat
from shenyu_data.operations.journal import (
    IMPORT,
    IMPORT_FRESH,
    Began,
    Digests,
    Ended,
    Journals,
    local_key,
    open_journals,
)
from shenyu_data.operations.live_document import QUIET_S, Refused
from shenyu_data.operations.live_writer import recover
from shenyu_data.operations.restore_live import save_first
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import read_tombstones

MOST_ITEMS = 1000
"""A plan lists this many documents; of the rest it gives the numbers."""

_ROUNDS = 3

Source = Callable[[], BinaryIO]
"""Opens the export from its beginning."""

Action = Literal["create", "replace", "merge", "rename", "skip", "unchanged", "conflict"]


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``policy``: what becomes of documents that are there and differ. ``exact``: owners, set-id
    bits and links that lead out as in the export. ``erased_too``: bring erased users back.
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

    ``fresh``: the data directory is empty.
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

    @property
    def replaces(self) -> int:
        """How many documents that are there would be changed."""
        return self.counts.get("replace", 0) + self.counts.get("merge", 0)


class ImportStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. ``safety`` is the snapshot of what was there before, if one was taken;
    ``refused`` entries are unsafe or stand against what is there.
    """

    safety: bytes | None
    created: int
    replaced: int
    renamed: int
    skipped: int
    unchanged: int
    folders: int
    links: int
    erased: int
    refused: int
    busy: int
    failed: int
    damaged: int
    names: list[Chosen]
    elapsed_s: float


def plan_import(
    source: Source,
    data: str,
    repository: Repository | None,
    options: ImportOptions,
    monitor: Monitor,
) -> ImportPlan:
    """Read the whole export and say what :func:`import_data` would do. Writes nothing.

    Raise ArchiveError or ArchiveDamaged if it cannot be imported, RepositoryError if it cannot be
    told who was erased.
    """
    gone = erased_users(repository, options)
    plan = _Planner(options.policy, saves=repository is not None or options.unsaved_too)
    root = _open_if_there(data)
    try:
        with source() as file, monitor.task("Reading the export", None, "entries") as progress:
            items = _items(file, options, monitor.report)
            for entry in items:
                progress.advance(1)
                if entry.user is not None and gone(entry.user):
                    plan.erased.add(entry.user)
                else:
                    plan.take(root, entry)
        return plan.done(items, fresh=root is None or not os.listdir(root))
    finally:
        if root is not None:
            os.close(root)


def import_data(
    source: Source,
    data: str,
    repository: Repository | None,
    options: ImportOptions,
    monitor: Monitor,
    *,
    plan: ImportPlan | None,
    again: bool = True,
) -> ImportStats:
    """Bring an export into ``data``, which is made if it is missing.

    ``plan`` None: nobody looked yet, so that a damaged export is noticed only when a part of it is
    there. ``again``: it can be read more than once. Raise as :func:`plan_import` does, UsageError
    if another operation is changing the directory, and what a backup raises.
    """
    started = time.monotonic()
    gone = erased_users(repository, options)
    _make_if_missing(data)
    with open_journals(options.state) as journals, open_root(data) as root:
        key: Repository | bytes = repository or local_key(options.state)
        fresh = not os.listdir(root) or _is_unfinished_fresh(journals)
        recover(key, root, journals, options.quiet_s, monitor)
        journal = journals.begin(
            Began(
                operation=IMPORT_FRESH if fresh else IMPORT,
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id if repository is not None else b"",
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        with tempfile.TemporaryFile() as notes:
            writer = ImportWriter(
                root,
                journal,
                Digests(key),
                options,
                monitor.report,
                fresh=fresh,
                notes=notes,
            )
            only: frozenset[bytes] | None = None
            try:
                for number in range(_ROUNDS):
                    last = number + 1 == _ROUNDS or not again
                    if repository is not None and not fresh and (plan is None or plan.replaces):
                        writer.saved = save_first(
                            data,
                            repository,
                            journal,
                            monitor,
                            None,
                            options.jobs,
                            tag="before-import",
                        )
                    later: set[bytes] = set()
                    with source() as file:
                        report = monitor.report if number == 0 else _forget
                        items = _items(file, options, report)
                        if number == 0:
                            first = items
                        try:
                            _round(items, gone, writer, monitor, plan, only, last, later)
                        finally:
                            writer.flush(None if last else later)
                    if not later:
                        break
                    only = frozenset(later)
                writer.finish()
                journal.write(Ended())
            finally:
                writer.close()
            if writer.erased:
                monitor.report(_erased(len(writer.erased)))
            return writer.stats(first, elapsed_s=time.monotonic() - started)


def _round(
    items: ImportItems,
    gone: Callable[[bytes], bool],
    writer: ImportWriter,
    monitor: Monitor,
    plan: ImportPlan | None,
    only: frozenset[bytes] | None,
    last: bool,
    later: set[bytes],
) -> None:
    total = plan.documents + plan.folders + plan.links if plan is not None else None
    with monitor.task("Importing", total, "entries") as progress:
        for entry in items:
            progress.advance(1)
            if only is not None and entry.path not in only:
                continue
            if entry.user is not None and gone(entry.user):
                writer.erased.add(entry.user)
            else:
                writer.take(entry, None if last else later)


def erased_users(repository: Repository | None, options: ImportOptions) -> Callable[[bytes], bool]:
    """Return whether a user was erased and may not be brought back. Raise RepositoryError if that
    cannot be told.
    """
    if repository is None or options.erased_too:
        return lambda user: False
    check_tombstones(repository)
    keys = repository.keys
    stones = read_tombstones(repository.storage, keys)
    if not len(stones):
        return lambda user: False
    return lambda user: bool(stones.of(keys.user_pseudonym(user)))


def _items(
    file: BinaryIO, options: ImportOptions, report: Callable[[Finding], None]
) -> ImportItems:
    return ImportItems(
        file,
        form=options.form,
        exact=options.exact,
        damaged_too=options.damaged_too,
        max_bytes=options.max_bytes,
        report=report,
    )


def _erased(count: int) -> Finding:
    return Finding(
        code="user-erased",
        severity="info",
        path="",
        message=f"{count:,} users were erased; they are left out",
        hint="--erased-too brings them back.",
    )


def _forget(finding: Finding) -> None:
    """It was told in the first round."""


def _is_unfinished_fresh(journals: Journals) -> bool:
    """Whether the last operation is an import into what was an empty directory, and was killed."""
    for journal in journals.newest_first():
        began = journal.began()
        return began is not None and began.operation == IMPORT_FRESH and not journal.is_ended()
    return False


def _make_if_missing(data: str) -> None:
    if not os.path.lexists(data):
        try:
            os.mkdir(data, 0o700)
        except OSError as error:
            raise DataDirectoryError(
                f"cannot make the data directory {data}: {error.strerror}",
                hint="Make the folder it is to lie in, or give another one with --data.",
            ) from error


def _open_if_there(data: str) -> int | None:
    if not os.path.lexists(data):
        return None
    with open_root(data) as root:
        return os.dup(root)


class _Planner:
    """Looks at what is there, entry by entry, and counts what would become of it."""

    def __init__(self, policy: Policy, *, saves: bool) -> None:
        self._policy: Policy = policy
        self._saves = saves
        self._missing: bytes | None = None
        self._items: list[ImportItem] = []
        self._counts: dict[str, int] = {}
        self._documents = self._bytes = self._folders = self._links = 0
        self.erased: set[bytes] = set()

    def take(self, root: int | None, entry: Entry) -> None:
        """Take an entry into account."""
        if entry.item.kind == "folder":
            self._folders += 1
            return
        if entry.item.kind == "link":
            self._links += 1
            return
        self._documents += 1
        self._bytes += entry.size
        conflict, message = None, ""
        action: Action
        try:
            action = self._action(root, entry)
        except Refused as refused:
            action, conflict, message = "conflict", refused.code, refused.message
        except OSError as error:
            action, conflict = "conflict", "in-the-way"
            message = f"something stands in its way: {error.strerror or 'it is no regular file'}"
        self._counts[action] = self._counts.get(action, 0) + 1
        if action not in ("unchanged", "create") and len(self._items) < MOST_ITEMS:
            self._items.append(
                ImportItem(
                    path=printable(entry.path),
                    action=action,
                    conflict=conflict,
                    message=message,
                    size_bytes=entry.size,
                )
            )

    def _action(self, root: int | None, entry: Entry) -> Action:
        above, _, name = entry.path.rpartition(b"/")
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

    def done(self, items: ImportItems, *, fresh: bool) -> ImportPlan:
        """Return the plan."""
        return ImportPlan(
            fresh=fresh,
            items=self._items,
            counts=self._counts,
            documents=self._documents,
            document_bytes=self._bytes,
            folders=self._folders,
            links=self._links,
            erased=len(self.erased),
            refused=items.refused,
            damaged=items.damaged,
            names=items.names,
        )


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


def open_export(path: str) -> BinaryIO:
    """Open the file of an export. Raise ArchiveError if it cannot be read."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise ArchiveError(
            f"cannot read {path}: {error.strerror}",
            hint="Check the name, its owner and its mode.",
        ) from error
