"""``prune``: drops snapshots by the retention policy, and gives back the space of what none needs.

What to do is found out first (``prune_plan.py``). What is not needed is doomed: written down
(``repository/prunes.py``), and deleted by a later prune, when the grace is over and the snapshots
that there are by then do not need it either. Packs that are mostly dead are repacked. Safe beside
backups and other prunes; killed anywhere, a next prune goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from shenyu_data.model.errors import ObjectMissing, RepositoryError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.alarms import pinned_snapshots
from shenyu_data.operations.prune_needs import needed_objects
from shenyu_data.operations.prune_plan import PruneOptions, PrunePlan
from shenyu_data.operations.prune_repack import repack
from shenyu_data.repository.acknowledgements import read_acknowledgements
from shenyu_data.repository.erasure import sweep_dead_keys
from shenyu_data.repository.format import (
    BUCKETS,
    COPY_SUFFIX,
    SNAPSHOTS,
)
from shenyu_data.repository.generations import reseal_keyrings
from shenyu_data.repository.keyring import Keyring, write_keyring
from shenyu_data.repository.proofs import Proof, proof_names, read_proofs, write_proofs
from shenyu_data.repository.prunes import PruneRecord, write_record
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids

_SLOWEST_WRITE_S = 3600
_MOST_PROOFS = 4  # objects; then they are joined
_MOST_KEYRINGS = 16  # small objects; then they are joined
_FEW_KEYS = 4096


class PruneStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune did. ``waiting`` objects are deleted by a later prune."""

    kept: int
    dropped: int
    deleted_objects: int
    deleted_bytes: int
    waiting_objects: int
    waiting_bytes: int
    repacked_packs: int
    rewritten_bytes: int
    elapsed_s: float


def prune(
    repository: Repository, plan: PrunePlan, options: PruneOptions, monitor: Monitor
) -> PruneStats:
    """Carry out a plan. Raise RepositoryError if something is unreadable, PruneBlocked if a backup
    since the plan noticed something: with nothing dropped.
    """
    if plan.unreadable:
        raise RepositoryError(
            "what some snapshots need cannot be read; nothing was deleted",
            hint="`shenyu-data verify` names it; --drop ID drops a snapshot that is lost.",
        )
    return _Pruner(repository, plan, options, monitor).run()


class _Pruner:
    def __init__(
        self, repository: Repository, plan: PrunePlan, options: PruneOptions, monitor: Monitor
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._keys = repository.keys
        self._plan = plan
        self._options = options
        self._monitor = monitor
        self._started = time.monotonic()

    def run(self) -> PruneStats:
        plan = self._plan
        reseal_keyrings(self._storage, self._keys, [])
        sweep_dead_keys(self._storage, self._keys)
        dropped = plan.dropped_before | set(plan.drop)
        mine = []
        if plan.drop and not set(snapshot_ids(self._storage)).difference(plan.drop):
            raise UsageError(
                "no snapshot would be left: somebody else dropped the others meanwhile",
                hint="Look at `shenyu-data snapshots`, and prune again.",
            )
        if plan.drop:
            # First the record: a snapshot that is missing and in no record was not dropped by us.
            mine.append(self._record(dropped, plan.doomed, []))
            # Of a backup since the plan; what cannot be read was named, to be dropped.
            pinned_snapshots(self._repository, self._repository.snapshots([]), set(plan.drop))
            self._drop_snapshots()
        moved, rewritten = self._repack()
        doomed = dict(plan.doomed)
        doomed.update(dict.fromkeys(self._join_keyrings(), plan.now_ms))
        deletable = list(plan.deletable)
        for name in moved:
            doomed[name] = plan.now_ms
            if not self._options.grace_s:
                deletable.append(name)
        if deletable:
            mine.append(self._record(dropped, doomed, deletable))
            deletable = self._delete(deletable)
        waiting = {name: since for name, since in doomed.items() if name not in set(deletable)}
        children = {item.parent for item in self._repository.snapshots([])}
        # Once there is a record there is always one, another after each prune: whoever is storing a
        # snapshot can see that somebody pruned meanwhile, even twice.
        if waiting or deletable or dropped & children or plan.records:
            self._record(dropped & children, waiting, deletable)
        self._delete_records([*plan.records, *mine])
        self._join_proofs()
        self._forget_acknowledgements()
        self._storage.sweep("", max(self._options.grace_s, _SLOWEST_WRITE_S))
        return PruneStats(
            kept=len(plan.known) - len(plan.drop),
            dropped=len(plan.drop),
            deleted_objects=len(deletable),
            deleted_bytes=sum(plan.sizes[name] for name in deletable),
            waiting_objects=len(waiting),
            waiting_bytes=sum(plan.sizes.get(name, 0) for name in waiting),
            repacked_packs=len(moved),
            rewritten_bytes=rewritten,
            elapsed_s=time.monotonic() - self._started,
        )

    def _record(
        self, dropped: Iterable[bytes | None], doomed: dict[str, int], deleting: list[str]
    ) -> str:
        record = PruneRecord(
            time_ms=self._plan.now_ms,
            dropped=sorted(item for item in dropped if item is not None),
            doomed=doomed,
            deleting=deleting,
        )
        return write_record(self._storage, self._keys, record)

    def _drop_snapshots(self) -> None:
        names = [f"{SNAPSHOTS}/{item.hex()}" for item in self._plan.drop]
        wanted = {*names, *(name + COPY_SUFFIX for name in names)}
        # A backup that starts meanwhile takes one copy for lost and stores it again.
        while there := [info.name for info in self._storage.list(SNAPSHOTS) if info.name in wanted]:
            for name in there:
                self._remove(name)

    def _repack(self) -> tuple[list[str], int]:
        if not self._plan.repack:
            return [], 0
        pieces = {item.pack: self._plan.usage.pieces[item.pack] for item in self._plan.repack}
        return repack(self._repository, pieces, self._monitor)

    def _delete(self, names: list[str]) -> list[str]:
        """Delete what snapshots that are new since the plan do not need; return that."""
        needed = self._needed_since()
        if needed is None:
            return []
        gone = [name for name in names if name not in needed]
        with self._monitor.task("Deleting", len(gone), "objects") as progress:
            for name in gone:
                self._remove(name)
                progress.advance(1)
        return gone

    def _needed_since(self) -> set[str] | None:
        """Return what snapshots need that the plan did not know; None if that cannot be told."""
        # A dropped one that is there again, brought back by a copy, needs its objects again.
        new = set(snapshot_ids(self._storage)) - self._plan.known.difference(self._plan.drop)
        if not new:
            return set()
        try:
            return needed_objects(self._repository, new)
        except RepositoryError as error:
            self._cannot_delete(error)
            return None

    def _cannot_delete(self, error: RepositoryError) -> None:
        self._monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path="",
                message=f"nothing was deleted, as a new snapshot cannot be read: {error.message}",
                hint="Run `shenyu-data verify`, then prune again.",
            )
        )

    def _delete_records(self, names: list[str]) -> None:
        for name in names:
            self._remove(name)

    def _join_keyrings(self) -> list[str]:
        """If there are many small keyring objects, store one with all their rows; return the names
        of those it stands for.
        """
        try:
            objects = [
                item
                for item in Keyring(self._storage, self._keys).objects
                if item.name not in self._plan.doomed and item.count() < _FEW_KEYS
            ]
            if len(objects) <= _MOST_KEYRINGS:
                return []
            rows = {
                bucket: list(dict.fromkeys(row for item in objects for row in item.bucket(bucket)))
                for bucket in range(BUCKETS)
            }
        except RepositoryError:
            return []  # verify names it; what is damaged stays as it is
        write_keyring(self._storage, self._keys, rows)
        sweep_dead_keys(self._storage, self._keys)  # of who was erased since they were read
        return [name for item in objects for name in (item.name, item.name + COPY_SUFFIX)]

    def _join_proofs(self) -> None:
        names = proof_names(self._storage)
        if len(names) <= _MOST_PROOFS:
            return
        there = set(snapshot_ids(self._storage))
        proofs = read_proofs(self._storage, self._keys)
        write_proofs(
            self._storage,
            self._keys,
            [Proof(snapshot, time_ms) for snapshot, time_ms in proofs.items() if snapshot in there],
        )
        for name in names:
            self._remove(name)

    def _forget_acknowledgements(self) -> None:
        """Remove those of snapshots that are gone."""
        seen = read_acknowledgements(self._storage, self._keys)
        if seen:
            there = set(snapshot_ids(self._storage))
            for name, item in seen.items():
                if item.snapshot not in there:
                    self._remove(name)

    def _remove(self, name: str) -> None:
        with suppress(ObjectMissing):  # another prune was faster
            self._storage.delete(name)
