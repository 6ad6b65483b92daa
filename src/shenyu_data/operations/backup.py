"""``backup``: takes a snapshot of the data directory.

First every owner is scanned and compared with the parent snapshot by stat alone; then what changed
is read, by workers that each write packs of their own; then the new keys, the manifests, and last
the root are stored. Killed anywhere before that, a backup leaves unreferenced objects, never
damage.
"""

from __future__ import annotations

import os
import time
from typing import Literal

import msgspec

from shenyu_data import __version__
from shenyu_data.datadir.folder import check_outside
from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.tripwires import Trip
from shenyu_data.operations.backup_capture import Capture, MoreThanSome
from shenyu_data.operations.backup_past import find_past
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.store_root import store_root
from shenyu_data.operations.tripwires import Verdict, Watch, look, ours_since, untold
from shenyu_data.repository.format import Adopted, Changes, Root, Totals, new_id
from shenyu_data.repository.prunes import PruneWatch
from shenyu_data.repository.repository import Repository


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a snapshot of an unpacked ``archive`` one of its own time, in its place among the
    others; ``parent`` is the one before it. ``damaged``: some of the archive is missing.
    """

    archive: Adopted
    time_ms: int
    sequence: int
    parent: bytes | None
    damaged: bool = False


class BackupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``full`` reads every file and writes a manifest that lists everything.

    ``only_users`` looks at these alone and takes everything else over from the parent as it is;
    without a parent it does nothing. ``safety`` marks the snapshot as one that nobody asked for.
    ``watch`` is how tripwires look at it, None: they do not.
    """

    full: bool = False
    only_users: frozenset[bytes] | None = None
    safety: bool = False
    tag: str | None = None
    jobs: int = 1
    adoption: Adoption | None = None
    watch: Watch | None = Watch()


class BackupStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup did. ``read_bytes`` of documents were read, ``stored_bytes`` went into the
    repository. ``trips`` are the tripwires that tripped, and ``pinned`` the snapshots that hold
    what was there before. ``alarms`` are the snapshots that somebody has to acknowledge: this one,
    and safety snapshots right before it.
    """

    snapshot: bytes
    parent: bytes | None
    kind: Literal["full", "incremental"]
    time_ms: int
    tag: str | None
    degraded: bool
    totals: Totals
    before: Totals
    changes: Changes
    read_documents: int
    read_bytes: int
    stored_bytes: int
    elapsed_s: float
    trips: list[Trip] = []
    pinned: list[bytes] = []
    alarms: list[bytes] = []


def backup(
    data: str, repository: Repository, options: BackupOptions, monitor: Monitor
) -> BackupStats:
    """Take a snapshot of ``data`` into ``repository``.

    What could not be read whole is reported and makes the snapshot degraded. Raise
    DataDirectoryError if the directory cannot be listed, StorageError if the repository cannot be
    written: then there is no snapshot.
    """
    check_outside(data, repository.storage.location)
    try:
        return _Backup(data, repository, options, monitor).run()
    except MoreThanSome:
        options = msgspec.structs.replace(options, only_users=None)
        return _Backup(data, repository, options, monitor).run()


class _Backup:
    def __init__(
        self, data: str, repository: Repository, options: BackupOptions, monitor: Monitor
    ) -> None:
        self._data = data
        self._repository = repository
        self._options = options
        self._monitor = monitor
        self._started = time.monotonic()
        adoption = options.adoption
        self._time_ms = adoption.time_ms if adoption else time.time_ns() // 1_000_000
        self._prunes = PruneWatch(repository.storage, repository.keys)
        self._snapshots, self._buried = find_past(repository, monitor)
        newest = self._snapshots[-1].id if self._snapshots else None
        chosen = adoption.parent if adoption else newest
        self._parent = repository.root(chosen) if chosen is not None else None
        self._full = options.full or self._parent is None

    def run(self) -> BackupStats:
        repository, parent = self._repository, self._parent
        watch = self._options.watch if self._options.adoption is None else None
        ours: dict[int, set[bytes]] = {}
        if watch is not None and parent is not None:
            ours = ours_since(repository, watch, parent, self._snapshots)
        capture = Capture(
            self._data, repository, new_id(), parent, self._buried, ours, self._monitor
        )
        only_users = None if self._full else self._options.only_users
        capture.run(self._options.jobs, full=self._full, only_users=only_users)
        tally = capture.tally()
        if tally.stored_again:
            self._monitor.report(_stored_again(tally.stored_again))
        stored, tombstones = capture.parts.store_keys(), capture.tombstones
        if stored:
            tombstones = capture.parts.check_nobody_was_erased(
                tombstones, capture.erased, _just_erased()
            )
        stored += capture.parts.store_manifests() + capture.packed_bytes
        root = self._root(capture, tally, stored)
        verdict = Verdict()
        if watch is not None and parent is not None:
            verdict = look(
                self._data,
                repository,
                capture.signs(),
                watch,
                parent,
                self._snapshots,
                self._monitor,
                unseen=len(capture.without_parent),
                time_ms=self._time_ms,
            )
            root = msgspec.structs.replace(
                root,
                evidence=verdict.evidence,
                trips=list(verdict.trips),
                pinned=list(verdict.pinned),
                overwritten=list(verdict.overwritten),
            )
        stored += store_root(
            repository,
            root,
            self._prunes,
            capture.packs_written,
            parent,
            tombstones,
            just_read=not stored,
        )
        return self._stats(root, tally, stored, self._tell(root, verdict))

    def _root(self, capture: Capture, tally: Tally, stored_bytes: int) -> Root:
        adoption, parent = self._options.adoption, self._parent
        data = adoption.archive.name if adoption else os.path.abspath(self._data)
        sequence = parent.sequence + 1 if parent is not None else 1
        root = Root(
            id=capture.snapshot,
            parent=parent.id if parent is not None else None,
            sequence=adoption.sequence if adoption else sequence,
            time_ms=self._time_ms,
            kind="full" if self._full else "incremental",
            tag=self._options.tag,
            data=printable(data),
            program=__version__,
            totals=Totals(),
            changes=Changes(new=tally.new, changed=tally.changed, gone=tally.gone),
            incomplete=not capture.complete or bool(adoption and adoption.damaged),
            read_bytes=tally.read_bytes,
            stored_bytes=stored_bytes,
            elapsed_ms=int((time.monotonic() - self._started) * 1000),
            partial=self._options.only_users is not None and not self._full,
            safety=self._options.safety,
            slot=self._repository.slot,
            adopted=adoption.archive if adoption else None,
            origins=[],
            manifests=[],
            buckets={},
        )
        return capture.parts.in_root(root)

    def _tell(self, root: Root, verdict: Verdict) -> list[bytes]:
        """Report what tripped; return the snapshots that somebody has to acknowledge."""
        alarms = [root.id] if root.alarmed else []
        if root.safety:  # the operation that is about to change something tells of that
            return alarms
        before = untold(self._repository, self._snapshots)
        for finding in (*(finding for _, finding in before), *verdict.findings):
            self._monitor.report(finding)
        return list(dict.fromkeys([*(snapshot for snapshot, _ in before), *alarms]))

    def _stats(self, root: Root, tally: Tally, stored: int, alarms: list[bytes]) -> BackupStats:
        return BackupStats(
            snapshot=root.id,
            parent=root.parent,
            kind="full" if self._full else "incremental",
            time_ms=root.time_ms,
            tag=root.tag,
            degraded=root.degraded,
            totals=root.totals,
            before=self._parent.totals if self._parent is not None else Totals(),
            changes=root.changes,
            read_documents=tally.read_files,
            read_bytes=tally.read_bytes,
            stored_bytes=stored,
            elapsed_s=time.monotonic() - self._started,
            trips=root.trips,
            pinned=root.pinned,
            alarms=alarms,
        )


def _just_erased() -> ShenyuDataError:
    return ShenyuDataError(
        "a user was erased just when the snapshot was about to be stored; it was not",
        hint="Run the backup again.",
    )


def _stored_again(documents: int) -> Finding:
    return Finding(
        code="parent-damaged",
        severity="error",
        path="",
        message=f"{documents} documents were stored again: packs with their parts, which earlier "
        "snapshots need, are missing or damaged",
        hint="Run `shenyu-data verify --read-data` to see what is affected.",
    )
