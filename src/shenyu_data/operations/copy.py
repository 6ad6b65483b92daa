"""``copy``: brings snapshots from one repository into another.

Everything is sealed anew: the destination has its own repository key, owners' keys and pseudonyms,
and nothing of the source's gets there. A snapshot keeps its id: copying again copies what is
missing. Each snapshot builds upon one that both repositories hold, so that the destination grows
with what changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import msgspec

from shenyu_data.model.errors import ObjectExists, RepositoryError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.alarms import carry_acknowledgements
from shenyu_data.operations.copy_journal import remove_journal
from shenyu_data.operations.copy_snapshot import (
    Copied,
    Place,
    Reference,
    ReferenceUnusable,
    SnapshotCopy,
)
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.workers import open_executor
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.format import Root, Snapshot
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import find_snapshot, snapshot_ids

_SMALL = 1000  # documents: below, starting processes costs more than it saves


class CopyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``damaged_too`` copies snapshots of which something cannot be read: what cannot is unreadable
    in the copy.

    ``state`` is the folder in which this machine notes, for each destination, how far it has come.
    """

    state: str
    damaged_too: bool = False
    jobs: int = 1


class CopyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which snapshots to copy, oldest first, and which are in the destination already."""

    snapshots: list[Snapshot]
    present: list[Snapshot]
    failures: list[Finding]


class CopyStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. ``copied``, ``present`` and ``damaged`` are ids of snapshots.

    ``documents`` were read, of ``read_bytes``; ``stored_bytes`` went into the destination.
    """

    copied: list[bytes]
    present: list[bytes]
    damaged: list[bytes]
    documents: int
    read_bytes: int
    stored_bytes: int
    erased_users: int
    elapsed_s: float


def plan_copy(
    source: Repository, destination: Repository, wanted: Sequence[str] | None
) -> CopyPlan:
    """Given what a person typed (None: all snapshots), say what a copy would do.

    Raise SnapshotNotFound, or UsageError if both are the same repository.
    """
    if source.storage.location == destination.storage.location:
        raise UsageError(
            f"{source.storage.location} is to be copied into itself",
            hint="Give another repository with --to-repo.",
        )
    failures: list[RepositoryError] = []
    snapshots = source.snapshots(failures)
    findings = []
    if wanted is None:
        chosen = snapshots
        findings = [_unreadable(error) for error in failures]
    elif failures:
        ids = {source.find(name).id for name in wanted}
        chosen = [item for item in snapshots if item.id in ids]
    else:
        ids = {find_snapshot(snapshots, name).id for name in wanted}
        chosen = [item for item in snapshots if item.id in ids]
    present = set(snapshot_ids(destination.storage))
    return CopyPlan(
        snapshots=[item for item in chosen if item.id not in present],
        present=[item for item in chosen if item.id in present],
        failures=findings,
    )


def copy(
    source: Repository,
    destination: Repository,
    plan: CopyPlan,
    options: CopyOptions,
    monitor: Monitor,
) -> CopyStats:
    """Copy the plan's snapshots, oldest first.

    One of which something cannot be read is reported and not copied, and the others are. Raise
    StorageError if the destination cannot be written; the same call later goes on from there.
    """
    return _Copy(source, destination, plan, options, monitor).run()


class _Copy:
    def __init__(
        self,
        source: Repository,
        destination: Repository,
        plan: CopyPlan,
        options: CopyOptions,
        monitor: Monitor,
    ) -> None:
        self._source = source
        self._destination = destination
        self._plan = plan
        self._options = options
        self._monitor = monitor
        self._bad: frozenset[bytes] = frozenset()
        self._erased: set[bytes] = set()
        self._copied: list[bytes] = []
        self._present = [item.id for item in plan.present]
        self._damaged: list[bytes] = []
        self._documents = self._read_bytes = self._stored_bytes = 0

    def run(self) -> CopyStats:
        started = time.monotonic()
        for finding in self._plan.failures:
            self._monitor.report(finding)
        check_tombstones(self._source)
        check_tombstones(self._destination)
        mend_copies(self._destination.storage)
        documents = max((item.totals.documents for item in self._plan.snapshots), default=0)
        jobs = self._options.jobs if documents > _SMALL else 1
        common = self._common()
        state = os.path.join(self._options.state, self._destination.keys.repository_id.hex())
        for present in self._present:
            remove_journal(state, present)  # it was cut off when all was done
        with open_executor(jobs) as executor:
            place = Place(self._source, self._destination, executor, jobs, state, self._monitor)
            for snapshot in self._plan.snapshots:
                if self._copy(place, snapshot, common):
                    common.append(snapshot)
        carry_acknowledgements(self._source, self._destination, {item.id for item in common})
        return CopyStats(
            copied=self._copied,
            present=self._present,
            damaged=self._damaged,
            documents=self._documents,
            read_bytes=self._read_bytes,
            stored_bytes=self._stored_bytes,
            erased_users=len(self._erased),
            elapsed_s=time.monotonic() - started,
        )

    def _common(self) -> list[Snapshot]:
        """Return the snapshots that both repositories hold."""
        there = {item.id for item in self._destination.snapshots()}
        return [item for item in self._source.snapshots() if item.id in there]

    def _copy(self, place: Place, snapshot: Snapshot, common: list[Snapshot]) -> bool:
        """Copy one snapshot; say whether it is in the destination now."""
        try:
            root = self._source.root(snapshot.id)
        except RepositoryError as error:
            self._monitor.report(_unreadable(error))
            self._damaged.append(snapshot.id)
            return False
        reference = self._reference(snapshot, common)
        try:
            copied = self._copy_root(place, root, reference)
        except ObjectExists:  # another copy of it, at the same time, was faster
            self._present.append(snapshot.id)
            return True
        for finding in copied.findings:
            self._monitor.report(finding)
        self._bad |= copied.bad
        self._erased |= copied.erased
        if copied.erased_since and reference and reference.source.id not in self._copied:
            self._monitor.report(_erased_since())
        self._documents += copied.documents
        self._read_bytes += copied.read_bytes
        self._stored_bytes += copied.stored_bytes
        (self._damaged if copied.root is None else self._copied).append(snapshot.id)
        return copied.root is not None

    def _copy_root(self, place: Place, root: Root, reference: Reference | None) -> Copied:
        options = self._options

        def attempt(reference: Reference | None) -> Copied:
            return SnapshotCopy(
                place, root, reference, bad=self._bad, damaged_too=options.damaged_too
            ).run()

        try:
            return attempt(reference)
        except ReferenceUnusable as unusable:
            if unusable.error is not None:
                self._monitor.report(_unusable(unusable.error))
            return attempt(None)

    def _reference(self, snapshot: Snapshot, common: list[Snapshot]) -> Reference | None:
        """Return the snapshot to build upon: the parent or, failing that, the last one before."""
        parent = [item for item in common if item.id == snapshot.parent]
        earlier = [item for item in common if _order(item) < _order(snapshot)]
        for item in (*parent, *sorted(earlier, key=_order)[-1:]):
            try:
                return Reference(self._source.root(item.id), self._destination.root(item.id))
            except RepositoryError as error:
                self._monitor.report(_unusable(error))
        return None


def _order(snapshot: Snapshot) -> tuple[int, int, bytes]:
    return snapshot.sequence, snapshot.time_ms, snapshot.id


def _unreadable(error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path="",
        message=f"a snapshot of the source cannot be read: {error.message}",
        hint="The others are copied. `shenyu-data verify` says what is damaged.",
    )


def _erased_since() -> Finding:
    return Finding(
        code="erased-in-source",
        severity="warning",
        path="",
        message="users were erased from the source since it was copied from last; "
        "the destination may still hold them",
        hint="Erase them from the destination, too: `shenyu-data erase-user U --repo LOCATION`.",
    )


def _unusable(error: RepositoryError) -> Finding:
    return Finding(
        code="copy-not-shared",
        severity="warning",
        path="",
        message=f"a snapshot that is in both repositories cannot be read ({error.message}); "
        "what it shares with the next one is copied once more",
        hint="Run `shenyu-data verify --read-data` on both repositories.",
    )
