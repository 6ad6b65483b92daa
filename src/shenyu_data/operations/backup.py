"""``backup``: takes a snapshot of the data directory.

First every owner is scanned and compared with the parent snapshot by stat alone; then what changed
is read, by workers that each write packs of their own; then the new keys, the manifests, and last
the root are stored. Killed anywhere before that, a backup leaves unreferenced objects, never
damage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from shenyu_data import __version__
from shenyu_data.datadir.folder import check_outside
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import RepositoryError, ShenyuDataError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Place, path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.tripwires import Trip
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.backup_tasks import (
    BucketWork,
    CaptureTask,
    CompareTask,
    Listed,
    capture_buckets,
    compare,
)
from shenyu_data.operations.backup_work import Workers, batches
from shenyu_data.operations.snapshot_parts import SnapshotParts
from shenyu_data.operations.store_root import store_root
from shenyu_data.operations.tripwire_signs import Signs, add_signs
from shenyu_data.operations.tripwires import Verdict, Watch, look, ours_since, untold
from shenyu_data.operations.workers import open_executor
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.erasure import sweep_dead_keys
from shenyu_data.repository.format import (
    BUCKETS,
    KEYRINGS,
    PACKS,
    SNAPSHOTS,
    TOMBSTONES,
    TWICE,
    Adopted,
    Changes,
    Root,
    Snapshot,
    Totals,
    new_id,
    parse_object_name,
)
from shenyu_data.repository.keyslots import read_slots
from shenyu_data.repository.manifest import layers_of
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.prunes import PruneWatch
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import (
    Tombstones,
    erased_under_a_newer_key,
    read_tombstones,
)

_SMALL = 400  # owners: below, starting processes costs more than it saves
_COMPARED_A_TASK = 4000
_CAPTURED_A_TASK = 1000


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
    except _MoreThanSome:
        options = msgspec.structs.replace(options, only_users=None)
        return _Backup(data, repository, options, monitor).run()


class _MoreThanSome(Exception):
    """Buckets must be taken whole, and only some of their users were to be looked at."""


class _Backup:
    def __init__(
        self, data: str, repository: Repository, options: BackupOptions, monitor: Monitor
    ) -> None:
        self._data = data
        self._repository = repository
        self._options = options
        self._monitor = monitor
        self._id = new_id()
        self._tallies: dict[int, Tally] = {}
        self._signs: dict[int, Signs] = {}
        self._packed_bytes = 0
        self._complete = True
        self._partial = False
        self._listed = Listed(True, True)
        self._packs: frozenset[bytes] | None = None
        self._packs_written: set[str] = set()
        self._watch = PruneWatch(repository.storage, repository.keys)
        self._tombstones = Tombstones()
        self._erased: frozenset[bytes] = frozenset()
        self._damaged: dict[int, RepositoryError] = {}
        self._without_parent: set[int] = set()
        self._displaced: dict[int, list[bytes]] = {}
        self._snapshots: list[Snapshot] = []
        self._ours: dict[int, set[bytes]] = {}
        self._parts = SnapshotParts(repository, self._id, None)

    def run(self) -> BackupStats:
        started = time.monotonic()
        adoption = self._options.adoption
        time_ms = adoption.time_ms if adoption else time.time_ns() // 1_000_000
        parent = self._find_parent()
        watch = self._options.watch if adoption is None else None
        if watch is not None and parent is not None:
            self._ours = ours_since(self._repository, watch, parent, self._snapshots)
        keys = self._repository.keys
        full = self._options.full or parent is None
        self._partial = self._options.only_users is not None and not full
        with Survey(BUCKETS) as found:
            if parent is not None and self._partial:
                self._name_users(found)
                self._complete = not parent.incomplete
                self._listed = Listed(False, False)
            else:
                survey(
                    self._data,
                    found,
                    user_bucket=keys.user_bucket,
                    shared_bucket=keys.shared_bucket,
                    monitor=self._monitor,
                )
                self._complete = found.complete
                self._listed = Listed(found.users_complete, found.complete)
            jobs = self._options.jobs if found.names > _SMALL else 1
            self._packs = None if parent is not None else frozenset()  # nothing to share with
            self._parts = SnapshotParts(self._repository, self._id, parent)
            with open_executor(jobs) as executor:
                workers = Workers(executor, jobs)
                if full:
                    redo = self._capture(workers, self._full_work(found), found.names, full)
                elif parent is not None and self._partial:
                    work = self._changed_work(found, self._buried_since(parent))
                    redo = self._capture(workers, work, found.names, full)
                else:
                    with Survey(BUCKETS) as changed:
                        gone = self._compare(workers, found, changed)
                        work = self._changed_work(changed, gone)
                        redo = self._capture(workers, work, changed.names, full)
                self._redo(workers, found, redo)
                self._leave_out_the_newly_buried(workers, found, parent)
        tally = Tally()
        for bucket_tally in self._tallies.values():
            tally.add(bucket_tally)
        if tally.stored_again:
            self._monitor.report(_stored_again(tally.stored_again))
        stored = self._parts.store_keys()
        if stored:
            self._tombstones = self._parts.check_nobody_was_erased(
                self._tombstones, self._erased, _just_erased()
            )
        stored += self._parts.store_manifests() + self._packed_bytes
        root = self._root(parent, tally, full, time_ms, stored, time.monotonic() - started)
        verdict = Verdict()
        if watch is not None and parent is not None:
            verdict = look(
                self._data,
                self._repository,
                add_signs(self._signs.values()),
                watch,
                parent,
                self._snapshots,
                self._monitor,
                unseen=len(self._without_parent),
                time_ms=time_ms,
            )
            trips, pinned = list(verdict.trips), list(verdict.pinned)
            root = msgspec.structs.replace(
                root, evidence=verdict.evidence, trips=trips, pinned=pinned
            )
        stored += store_root(
            self._repository,
            root,
            self._watch,
            self._packs_written,
            parent,
            self._tombstones,
            just_read=not stored,
        )
        alarms = [root.id] if root.alarmed else []
        if not root.safety:  # else the operation that is about to change something tells of that
            before = untold(self._repository, self._snapshots)
            alarms = list(dict.fromkeys([*(snapshot for snapshot, _ in before), *alarms]))
            self._report([*(finding for _, finding in before), *verdict.findings])
        return BackupStats(
            snapshot=root.id,
            parent=root.parent,
            kind="full" if full else "incremental",
            time_ms=time_ms,
            tag=root.tag,
            degraded=root.degraded,
            totals=root.totals,
            before=parent.totals if parent is not None else Totals(),
            changes=root.changes,
            read_documents=tally.read_files,
            read_bytes=tally.read_bytes,
            stored_bytes=stored,
            elapsed_s=time.monotonic() - started,
            trips=root.trips,
            pinned=root.pinned,
            alarms=alarms,
        )

    def _find_parent(self) -> Root | None:
        """Return the snapshot to compare with; learn on the way who was erased."""
        # Without a rotation there are no older keys to be kept twice.
        folders = TWICE if self._repository.keys.older else (KEYRINGS, SNAPSHOTS, TOMBSTONES)
        listed: dict[str, set[str]] = {}
        mended = mend_copies(self._repository.storage, folders, listed)
        if any(name.startswith(KEYRINGS) for name in mended):
            # Perhaps of an erasure that was just destroying it.
            sweep_dead_keys(self._repository.storage, self._repository.keys)
        for name in mended:
            self._monitor.report(
                Finding(
                    code="copy-mended",
                    severity="info",
                    path=name,
                    message="this second copy was missing and was stored again",
                    hint="An interrupted backup leaves this; if there was none, check the disk.",
                )
            )
        failures: list[RepositoryError] = []
        snapshots = self._repository.snapshots(failures, listed[SNAPSHOTS])
        for error in failures:
            self._monitor.report(_damaged_parent(error))
        self._tombstones = self._read_tombstones(listed[TOMBSTONES])
        if self._tombstones.unreadable:
            self._check_not_rotated()
        self._snapshots = snapshots
        newest = snapshots[-1].id if snapshots else None
        chosen = self._options.adoption.parent if self._options.adoption else newest
        return self._repository.root(chosen) if chosen is not None else None

    def _buried_since(self, parent: Root) -> dict[int, list[bytes]]:
        """Return the buckets of which users were erased since the parent, none of them named as
        gone: the capture leaves out those that it cannot open, for who came back is there.
        """
        return {
            stone.pseudonym[0]: []
            for stone in self._tombstones
            if stone.sequence >= parent.sequence
        }

    def _name_users(self, found: Survey) -> None:
        for user in self._options.only_users or ():
            found.add_user(self._repository.keys.user_bucket(user), user, compressed=True)
            for place in (Place.USER_FILE, Place.USER_FILE_GZIP):
                path = path_of(user, place, b"")
                full = os.path.join(os.fsencode(self._data), path)
                if os.path.lexists(full) and (os.path.islink(full) or not os.path.isdir(full)):
                    bucket = self._repository.keys.shared_bucket(path)
                    self._displaced.setdefault(bucket, []).append(path)

    def _find_packs(self) -> frozenset[bytes]:
        """Return the packs there are, listed once something has to be taken."""
        if self._packs is None:
            names = (info.name for info in self._repository.storage.list(PACKS))
            there = frozenset(parsed[1] for name in names if (parsed := parse_object_name(name)))
            self._packs = there | moved_packs(self._repository.storage)
        return self._packs

    def _full_work(self, found: Survey) -> Iterator[BucketWork]:
        """Every owner of every bucket."""
        for bucket in range(BUCKETS):
            owners = found.bucket(bucket)
            layers = self._parts.layers(bucket)
            if layers or owners.users or owners.shared:
                yield BucketWork(bucket, owners, layers, Totals(), rewrite=True)

    def _again(
        self, found: Survey, buckets: Collection[int], parent: Root | None
    ) -> Iterator[BucketWork]:
        """Every owner of the ``buckets`` that are done again, compared with ``parent`` if given.

        Such a bucket is yielded even if nobody is left in it.
        """
        if self._partial:
            raise _MoreThanSome
        for bucket in sorted(buckets):
            known = parent is not None and bucket in parent.buckets
            layers = layers_of(parent, bucket) if parent is not None and known else []
            yield BucketWork(bucket, found.bucket(bucket), layers, Totals(), rewrite=True)

    def _changed_work(
        self, changed: Survey, gone: Mapping[int, list[bytes]]
    ) -> Iterator[BucketWork]:
        for bucket in range(BUCKETS):
            owners = changed.bucket(bucket)
            displaced = self._displaced.get(bucket, [])
            if owners.users or owners.shared or bucket in gone or displaced:
                layers = self._parts.layers(bucket)
                yield BucketWork(
                    bucket,
                    owners,
                    layers,
                    self._parts.totals(bucket),
                    gone.get(bucket, []),
                    displaced,
                    rewrite=self._parts.overgrown(bucket),
                )

    def _compare(self, workers: Workers, found: Survey, changed: Survey) -> dict[int, list[bytes]]:
        """Put what differs from the parent into ``changed``; return who is gone, by bucket."""
        gone: dict[int, list[bytes]] = {}
        buried = frozenset(stone.pseudonym for stone in self._tombstones)
        work = (
            BucketWork(bucket, found.bucket(bucket), self._parts.layers(bucket))
            for bucket in range(BUCKETS)
        )
        tasks = (
            CompareTask(self._repository, self._data, batch, self._listed, buried)
            for batch in batches(work, workers.share(found.names, _COMPARED_A_TASK))
        )
        with self._monitor.task("Comparing", BUCKETS, "buckets") as progress:
            for results in workers.run(compare, tasks):
                for result in results:
                    progress.advance(1)
                    self._report(result.findings)
                    self._complete &= result.complete
                    compressed = result.changed.compressed
                    for owner in result.changed.users:
                        changed.add_user(result.bucket, owner, compressed=owner in compressed)
                    for path in result.changed.shared:
                        changed.add_shared(result.bucket, path)
                    if result.gone:
                        gone[result.bucket] = result.gone
                    if result.damaged is not None:
                        self._damaged[result.bucket] = result.damaged
        return gone

    def _capture(
        self,
        workers: Workers,
        work: Iterator[BucketWork],
        names: int,
        reread: bool,
        *,
        again: bool = False,
    ) -> dict[int, RepositoryError]:
        """Take what ``work`` says; return the buckets whose parent could not be read."""
        tasks = (
            CaptureTask(
                self._repository,
                self._data,
                self._id,
                batch,
                reread=reread,
                report_special=reread and not again,
                listed=self._listed,
                packs=self._find_packs(),
                erased=self._erased,
                ours=frozenset().union(*(self._ours.get(item.bucket, ()) for item in batch)),
            )
            for batch in batches(work, workers.share(names, _CAPTURED_A_TASK))
        )
        damaged = dict(self._damaged)
        with self._monitor.task("Backing up", names, "users") as progress:
            for result in workers.run(capture_buckets, tasks):
                progress.advance(result.owners)
                self._report(result.findings)
                self._packed_bytes += result.packed_bytes
                self._packs_written.update(result.packs)
                self._complete &= result.complete
                damaged.update(result.damaged)
                for item in result.buckets:
                    self._tallies[item.bucket] = item.tally
                    self._signs[item.bucket] = item.signs
                    self._parts.add(
                        item.bucket,
                        item.section,
                        item.totals,
                        item.new_keys,
                        rewritten=item.rewritten,
                    )
        for error in damaged.values():
            self._monitor.report(_damaged_parent(error))
        self._damaged = {}
        return damaged

    def _read_tombstones(self, names: Collection[str] | None = None) -> Tombstones:
        failures: list[RepositoryError] = []
        return read_tombstones(self._repository.storage, self._repository.keys, failures, names)

    def _redo(self, workers: Workers, found: Survey, buckets: Collection[int]) -> None:
        """Take buckets whose parent cannot be read once more, without it."""
        if buckets:
            self._check_not_rotated()
            self._without_parent.update(buckets)
            self._capture(workers, self._again(found, buckets, None), 0, True, again=True)

    def _leave_out_the_newly_buried(
        self, workers: Workers, found: Survey, parent: Root | None
    ) -> None:
        """Take the buckets of owners who were erased while this backup ran once more, without
        them; the others in them keep what the parent holds of theirs.
        """
        now = self._read_tombstones()
        if now.hides_more_than(self._tombstones):
            raise erased_under_a_newer_key()
        self._erased = frozenset(stone.pseudonym for stone in now.since(self._tombstones))
        if self._erased:
            buckets = {pseudonym[0] for pseudonym in self._erased}
            alone = buckets & self._without_parent
            work = self._again(found, buckets - alone, parent)
            damaged = self._capture(workers, work, 0, True, again=True)
            self._redo(workers, found, alone | damaged.keys())
        self._tombstones = now

    def _check_not_rotated(self) -> None:
        """Give up if the parent cannot be read because its owners' keys are sealed anew: a snapshot
        that goes without it lacks the last good versions of what is torn now.
        """
        keys = self._repository.keys
        slots = read_slots(self._repository.storage, []).values()
        if any(slot.generation > keys.generation for slot in slots):
            raise ShenyuDataError(
                "the repository key was rotated while the backup ran; no snapshot was stored",
                hint="Run the backup again.",
            )

    def _root(
        self,
        parent: Root | None,
        tally: Tally,
        full: bool,
        time_ms: int,
        stored: int,
        elapsed_s: float,
    ) -> Root:
        adoption = self._options.adoption
        data = adoption.archive.name if adoption else os.path.abspath(self._data)
        sequence = parent.sequence + 1 if parent is not None else 1
        root = Root(
            id=self._id,
            parent=parent.id if parent is not None else None,
            sequence=adoption.sequence if adoption else sequence,
            time_ms=time_ms,
            kind="full" if full else "incremental",
            tag=self._options.tag,
            data=printable(data),
            program=__version__,
            totals=Totals(),
            changes=Changes(new=tally.new, changed=tally.changed, gone=tally.gone),
            incomplete=not self._complete or bool(adoption and adoption.damaged),
            read_bytes=tally.read_bytes,
            stored_bytes=stored,
            elapsed_ms=int(elapsed_s * 1000),
            partial=self._partial,
            safety=self._options.safety,
            slot=self._repository.slot,
            adopted=adoption.archive if adoption else None,
            origins=[],
            manifests=[],
            buckets={},
        )
        return self._parts.in_root(root)

    def _report(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._monitor.report(finding)


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


def _damaged_parent(error: RepositoryError) -> Finding:
    return Finding(
        code="parent-damaged",
        severity="error",
        path="",
        message=f"an earlier snapshot cannot be read ({error.message}); "
        "what depends on it is read anew from the data directory",
        hint="Run `shenyu-data verify --read-data` to see what is affected.",
    )
