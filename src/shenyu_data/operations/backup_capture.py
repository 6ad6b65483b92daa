"""Taking what changed since the parent: dealing out the buckets to workers, and gathering what
they bring. For operations/backup.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import Place, path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.backup_compare import CompareTask, compare
from shenyu_data.operations.backup_past import check_not_rotated, damaged_parent, erased_until_now
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.backup_tasks import CaptureTask, capture_buckets
from shenyu_data.operations.backup_work import BucketWork, Listed, Workers, batches
from shenyu_data.operations.snapshot_parts import SnapshotParts
from shenyu_data.operations.tripwire_signs import Signs, add_signs
from shenyu_data.operations.workers import open_executor
from shenyu_data.repository.format import BUCKETS, PACKS, Root, Totals, parse_object_name
from shenyu_data.repository.manifest import layers_of
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstones, erased_under_a_newer_key

_SMALL = 400  # owners: below, starting processes costs more than it saves
_COMPARED_A_TASK = 4000
_CAPTURED_A_TASK = 1000


class MoreThanSome(Exception):
    """Buckets must be taken whole, and only some of their users were to be looked at."""


class Capture:
    """Takes what changed since ``parent`` for a snapshot that is called ``snapshot``; :meth:`run`
    is called once.

    ``ours`` are the users, by bucket, whose documents this program changed since the parent.
    Everything else is what was brought: ``parts`` of the snapshot, and ``packs_written`` for it,
    ``packed_bytes`` long; ``erased`` are those who were left out as they were erased meanwhile,
    and ``tombstones`` all of whom it is known that nothing of theirs is in the snapshot;
    ``complete``: whether everything could be listed; ``without_parent``: the buckets whose parent
    could not be read.
    """

    def __init__(
        self,
        data: str,
        repository: Repository,
        snapshot: bytes,
        parent: Root | None,
        tombstones: Tombstones,
        ours: Mapping[int, Set[bytes]],
        monitor: Monitor,
    ) -> None:
        self.snapshot = snapshot
        self.parts = SnapshotParts(repository, snapshot, parent)
        self.packs_written: set[str] = set()
        self.packed_bytes = 0
        self.tombstones = tombstones
        self.erased: frozenset[bytes] = frozenset()
        self.complete = True
        self.without_parent: set[int] = set()
        self._data = data
        self._repository = repository
        self._parent = parent
        self._ours = ours
        self._monitor = monitor
        self._tallies: dict[int, Tally] = {}
        self._signs: dict[int, Signs] = {}
        self._partial = False
        self._listed = Listed(True, True)
        # Without a parent there is nothing to share with.
        self._packs: frozenset[bytes] | None = None if parent is not None else frozenset()
        self._damaged: dict[int, RepositoryError] = {}
        self._displaced: dict[int, list[bytes]] = {}

    def run(self, jobs: int, *, full: bool, only_users: Collection[bytes] | None) -> None:
        """Take every owner if it is to be ``full``, else those who changed, or of ``only_users``
        those; that needs a parent.

        Raise MoreThanSome if it turns out that more has to be looked at than some users;
        DataDirectoryError if the directory cannot be listed; StorageError.
        """
        self._partial = only_users is not None
        with Survey(BUCKETS) as found:
            self._find(found, only_users)
            jobs = jobs if found.names > _SMALL else 1
            with open_executor(jobs) as executor:
                workers = Workers(executor, jobs)
                if full:
                    redo = self._capture(workers, self._full_work(found), found.names, full)
                elif self._partial:
                    work = self._changed_work(found, self._buried_since())
                    redo = self._capture(workers, work, found.names, full)
                else:
                    with Survey(BUCKETS) as changed:
                        gone = self._compare(workers, found, changed)
                        work = self._changed_work(changed, gone)
                        redo = self._capture(workers, work, changed.names, full)
                self._redo(workers, found, redo)
                self._leave_out_the_newly_buried(workers, found)

    def tally(self) -> Tally:
        """Return what was counted, all together."""
        tally = Tally()
        for bucket_tally in self._tallies.values():
            tally.add(bucket_tally)
        return tally

    def signs(self) -> Signs:
        """Return what the workers noticed beside the parent's records, all together."""
        return add_signs(self._signs.values())

    def _find(self, found: Survey, only_users: Collection[bytes] | None) -> None:
        keys = self._repository.keys
        if only_users is not None:
            self._name_users(found, only_users)
            self.complete = self._parent is not None and not self._parent.incomplete
            self._listed = Listed(False, False)
            return
        survey(
            self._data,
            found,
            user_bucket=keys.user_bucket,
            shared_bucket=keys.shared_bucket,
            monitor=self._monitor,
        )
        self.complete = found.complete
        self._listed = Listed(found.users_complete, found.complete)

    def _name_users(self, found: Survey, users: Collection[bytes]) -> None:
        for user in users:
            found.add_user(self._repository.keys.user_bucket(user), user, compressed=True)
            for place in (Place.USER_FILE, Place.USER_FILE_GZIP):
                path = path_of(user, place, b"")
                full = os.path.join(os.fsencode(self._data), path)
                if os.path.lexists(full) and (os.path.islink(full) or not os.path.isdir(full)):
                    bucket = self._repository.keys.shared_bucket(path)
                    self._displaced.setdefault(bucket, []).append(path)

    def _buried_since(self) -> dict[int, list[bytes]]:
        """Return the buckets of which users were erased since the parent, none of them named as
        gone: the capture leaves out those that it cannot open, for who came back is there.
        """
        parent = self._parent
        return {
            stone.pseudonym[0]: []
            for stone in self.tombstones
            if parent is not None and stone.sequence >= parent.sequence
        }

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
            layers = self.parts.layers(bucket)
            if layers or owners.users or owners.shared:
                yield BucketWork(bucket, owners, layers, Totals(), rewrite=True)

    def _again(
        self, found: Survey, buckets: Collection[int], parent: Root | None
    ) -> Iterator[BucketWork]:
        """Every owner of the ``buckets`` that are done again, compared with ``parent`` if given.

        Such a bucket is yielded even if nobody is left in it.
        """
        if self._partial:
            raise MoreThanSome
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
                layers = self.parts.layers(bucket)
                yield BucketWork(
                    bucket,
                    owners,
                    layers,
                    self.parts.totals(bucket),
                    gone.get(bucket, []),
                    displaced,
                    rewrite=self.parts.overgrown(bucket),
                )

    def _compare(self, workers: Workers, found: Survey, changed: Survey) -> dict[int, list[bytes]]:
        """Put what differs from the parent into ``changed``; return who is gone, by bucket."""
        gone: dict[int, list[bytes]] = {}
        buried = frozenset(stone.pseudonym for stone in self.tombstones)
        work = (
            BucketWork(bucket, found.bucket(bucket), self.parts.layers(bucket))
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
                    self.complete &= result.complete
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
                self.snapshot,
                batch,
                reread=reread,
                report_special=reread and not again,
                listed=self._listed,
                packs=self._find_packs(),
                erased=self.erased,
                ours=frozenset().union(*(self._ours.get(item.bucket, ()) for item in batch)),
            )
            for batch in batches(work, workers.share(names, _CAPTURED_A_TASK))
        )
        damaged = dict(self._damaged)
        with self._monitor.task("Backing up", names, "users") as progress:
            for result in workers.run(capture_buckets, tasks):
                progress.advance(result.owners)
                self._report(result.findings)
                self.packed_bytes += result.packed_bytes
                self.packs_written.update(result.packs)
                self.complete &= result.complete
                damaged.update(result.damaged)
                for item in result.buckets:
                    self._tallies[item.bucket] = item.tally
                    self._signs[item.bucket] = item.signs
                    self.parts.add(
                        item.bucket,
                        item.section,
                        item.totals,
                        item.new_keys,
                        rewritten=item.rewritten,
                    )
        for error in damaged.values():
            self._monitor.report(damaged_parent(error))
        self._damaged = {}
        return damaged

    def _redo(self, workers: Workers, found: Survey, buckets: Collection[int]) -> None:
        """Take buckets whose parent cannot be read once more, without it."""
        if buckets:
            check_not_rotated(self._repository)
            self.without_parent.update(buckets)
            self._capture(workers, self._again(found, buckets, None), 0, True, again=True)

    def _leave_out_the_newly_buried(self, workers: Workers, found: Survey) -> None:
        """Take the buckets of owners who were erased while this backup ran once more, without
        them; the others in them keep what the parent holds of theirs.
        """
        now = erased_until_now(self._repository)
        if now.hides_more_than(self.tombstones):
            raise erased_under_a_newer_key()
        self.erased = frozenset(stone.pseudonym for stone in now.since(self.tombstones))
        if self.erased:
            buckets = {pseudonym[0] for pseudonym in self.erased}
            alone = buckets & self.without_parent
            work = self._again(found, buckets - alone, self._parent)
            damaged = self._capture(workers, work, 0, True, again=True)
            self._redo(workers, found, alone | damaged.keys())
        self.tombstones = now

    def _report(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._monitor.report(finding)
