"""What the workers of a drill do: restore some owners into a folder of their own, check what is
there, and remove it.

The restore is the one of operations/restore.py; the check (drill_check.py) reads the records anew.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import msgspec
from msgspec import field

from shenyu_data.datadir.scratch import remove_tree
from shenyu_data.health.drill_check import Checked, Trouble, check_owners
from shenyu_data.health.drill_live import Live
from shenyu_data.health.drill_sandbox import check_room, no_room, unusable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Place, kind_of, path_of
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.past import OwnerDocuments, open_record, storage_key
from shenyu_data.operations.restore import restore_owners
from shenyu_data.operations.restore_tasks import RestoreCounts, RestoreTask
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, FileState, Totals
from shenyu_data.repository.manifest import Layer, SectionReader
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository


class DrillTask(msgspec.Struct):
    """Owners to restore and check, by their pseudonyms, and the layers of their buckets.

    ``folder`` is made for it and, unless ``keep``, removed. ``live`` is the live directory, if
    there is one to compare with.
    """

    repository: Repository
    snapshot: bytes
    sequence: int
    work: dict[int, list[Layer]]
    only: frozenset[bytes]
    folder: str
    live: str | None
    keep: bool


class DrillCounts(msgspec.Struct):
    """What a drill met. ``degraded`` documents were torn or unreadable when they were saved;
    ``damaged`` is what cannot be restored, or came back otherwise than it was saved; ``failed`` is
    what could not be written into the sandbox. Of the live directory: ``same``, ``changed`` since,
    ``unread`` documents, ``differing`` ones though nobody changed them.
    """

    documents: int = 0
    document_bytes: int = 0
    degraded: int = 0
    failed: int = 0
    damaged: int = 0
    erased: int = 0
    attributes: int = 0
    same: int = 0
    changed: int = 0
    unread: int = 0
    differing: int = 0

    def add(self, other: DrillCounts) -> None:
        """Add other counts to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class DrillResult(msgspec.Struct):
    """What a task saw: of each owner, by its pseudonym, whether it is proven; None: it was erased.
    ``totals`` count, bucket by bucket, what was on disk.
    """

    counts: DrillCounts = field(default_factory=DrillCounts)
    owners: dict[bytes, bool | None] = field(default_factory=dict)
    totals: dict[int, Totals] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    attributes: str = ""
    """An example of what came back with another mode, owner or time."""


def drill_owners(task: DrillTask) -> DrillResult:
    """Restore, check and remove some owners. Raise SandboxUnusable if there is no room."""
    return _Drill(task).run()


class _Drill:
    def __init__(self, task: DrillTask) -> None:
        self._task = task
        self._result = DrillResult()
        self._live = Live(task.live) if task.live is not None else None

    def run(self) -> DrillResult:
        task, counts = self._task, self._result.counts
        owners = self._open()
        try:
            restored = self._restore("now", owners, last_good=False)
            torn = {
                pseudonym: owner
                for pseudonym, owner in owners.items()
                if any(_is_torn_with_good(entry) for entry in owner.record.entries)
            }
            if torn:
                self._restore("good", torn, last_good=True)
        except OSError as error:
            raise unusable(task.folder, error) from error
        finally:
            if self._live is not None:
                self._live.close()
            if not task.keep:
                remove_tree(task.folder)
        counts.documents = restored.documents
        counts.document_bytes = restored.document_bytes
        counts.degraded = restored.torn
        return self._result

    def _open(self) -> dict[bytes, OwnerDocuments]:
        """Open the owners' records, apart from the restore; what is damaged the restore tells."""
        owners: dict[bytes, OwnerDocuments] = {}
        for pseudonym, owner in open_owners(
            self._task.repository, self._task.work, self._task.only, self._task.sequence
        ):
            if isinstance(owner, OwnerDocuments):
                owners[pseudonym] = owner
            elif isinstance(owner, OwnerErased):
                self._result.owners[pseudonym] = None
                self._result.counts.erased += 1
            else:
                self._result.owners[pseudonym] = False
        return owners

    def _restore(
        self, name: str, owners: dict[bytes, OwnerDocuments], *, last_good: bool
    ) -> RestoreCounts:
        task, result = self._task, self._result
        folder = os.path.join(task.folder, name)
        check_room(task.folder, owners)
        os.mkdir(folder, 0o700)
        monitor = CollectingMonitor()
        only = frozenset(owners) if last_good else task.only
        restored = restore_owners(
            RestoreTask(
                task.repository,
                folder,
                task.work,
                None,
                None,
                last_good,
                task.sequence,
                only,
            ),
            monitor,
        )
        if restored.no_room:
            raise no_room(task.folder)
        degraded = [item for item in monitor.findings if item.code == "restored-degraded"]
        told = [item for item in monitor.findings if item.code != "restored-degraded"]
        checked = check_owners(
            folder, owners, None if last_good else self._live, last_good=last_good
        )
        result.findings += told if last_good else [*told, *degraded]
        result.counts.failed += restored.failed
        result.counts.damaged += restored.damaged
        for pseudonym, whole in checked.whole.items():
            # A torn document is proven by its last good version, restored afterwards.
            result.owners[pseudonym] = whole and result.owners.get(pseudonym) is not False
        self._note(checked, {item.path for item in told})
        if not last_good:
            result.totals = checked.totals
            result.counts.same = checked.same
            result.counts.changed = checked.changed
            result.counts.unread = checked.unread
        return restored

    def _note(self, checked: Checked, told: set[str]) -> None:
        """Report what is wrong, but for what the restore told itself."""
        counts, findings = self._result.counts, self._result.findings
        for trouble in checked.troubles:
            if trouble.wrong == "attributes":
                counts.attributes += 1
                self._result.attributes = printable(trouble.path) or "."
            elif trouble.wrong == "live":
                counts.differing += 1
                findings.append(_live_differs(trouble, self._task.snapshot))
            elif printable(trouble.path) not in told:
                counts.damaged += 1
                findings.append(mismatch(trouble))


def open_owners(
    repository: Repository,
    work: dict[int, list[Layer]],
    only: frozenset[bytes],
    sequence: int,
) -> Iterator[tuple[bytes, OwnerDocuments | RepositoryError | OwnerErased]]:
    """Open records of a snapshot of this sequence; yield each with its pseudonym, or with what is
    wrong with it.
    """
    keyring = repository.keyring()
    segments = SegmentReader(repository.storage, repository.keys)
    for bucket, layers in work.items():
        reader = SectionReader(repository.storage, repository.keys, bucket, layers)
        wanted = sorted(pseudonym for pseudonym in only if pseudonym[0] == bucket)
        try:
            rows = reader.rows()
            keys = keyring.bucket(bucket)
        except RepositoryError as error:
            yield from ((pseudonym, error) for pseudonym in wanted)
            continue
        for pseudonym in wanted:
            candidates = keys.get(pseudonym, [])
            try:
                record = open_record(
                    reader, pseudonym, rows[pseudonym], candidates, keyring.tombstones, sequence
                )
            except (RepositoryError, OwnerErased) as error:
                yield pseudonym, error
                continue
            documents = DocumentReader(record.segments, candidates, segments)
            yield pseudonym, OwnerDocuments(record, candidates, documents)


def mismatch(trouble: Trouble) -> Finding:
    """Return the finding for something that came back otherwise than it was saved."""
    return Finding(
        code="drill-mismatch",
        severity="error",
        path=printable(trouble.path) or ".",
        message=trouble.message,
        hint="Drill again with another --sandbox. If it comes again, the program restores it "
        "wrong: keep the repository as it is, and report it.",
    )


def _live_differs(trouble: Trouble, snapshot: bytes) -> Finding:
    command = f"shenyu-data restore {snapshot.hex()[:8]}"
    if trouble.user is not None:
        command += f" --user {shlex.quote(printable(trouble.user))}"
    key = _history_of(trouble)
    if key is not None:
        hint = f"`{command} --history {shlex.quote(printable(key))} --in-place` brings it back"
    else:  # in place, the user's other documents would go back, too
        hint = f"`{command} --to DIR` restores it into a folder: copy it from there"
    return Finding(
        code="live-differs",
        severity="error",
        path=printable(trouble.path),
        message=trouble.message,
        hint=f"What the backup holds is proven: {hint}. Then check the disk and the memory of this "
        "machine.",
    )


def _history_of(trouble: Trouble) -> bytes | None:
    """Return the storage key if it is about a user's history, else None."""
    if trouble.user is None:
        return None
    name = trouble.path.removeprefix(path_of(trouble.user, Place.IN_HISTORY_FOLDER, b""))
    is_history = kind_of(Place.IN_HISTORY_FOLDER, name) == "history"
    return storage_key(name) if is_history and name != trouble.path else None


def _is_torn_with_good(entry: object) -> bool:
    return isinstance(entry, FileEntry) and entry.state == FileState.TORN and entry.good is not None
