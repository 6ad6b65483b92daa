"""The plan of a ``prune``: which snapshots to drop, which objects nothing needs. Writes nothing.

It reads everything the snapshots to be kept need, and says so if any of it cannot be read: then
nothing may be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import tzinfo

import msgspec

from shenyu_data.model.errors import RepositoryError, UsageError
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.retention import (
    DEFAULT_GRACE_S,
    DEFAULT_RETENTION,
    Candidate,
    Decision,
    Retention,
    decide,
)
from shenyu_data.operations.alarms import pinned_snapshots
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.prune_needs import Stacks, id_of, is_in
from shenyu_data.operations.prune_tasks import Usage, UsageTask, UserLoss, find_usage
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import (
    BUCKETS,
    COPY_SUFFIX,
    KEYRINGS,
    MANIFESTS,
    MOVED,
    PACKS,
    PRUNES,
    Snapshot,
    damaged,
)
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.proofs import read_proofs
from shenyu_data.repository.prunes import PruneRecord, read_records
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids

REPACK_BELOW = 0.5
"""A pack of which less than this share is needed is repacked."""

_SMALL = 1000  # documents: below, starting processes costs more than it saves


class PruneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep, and how long what is not needed lies aside (seconds).

    ``drop`` are ids of snapshots to drop whatever the policy says. ``zone`` is that of days and
    weeks, None the machine's. ``users`` is of how many users the plan says what they lose.
    """

    retention: Retention = DEFAULT_RETENTION
    grace_s: float = DEFAULT_GRACE_S
    drop: frozenset[bytes] = frozenset()
    zone: tzinfo | None = None
    users: int = 20
    jobs: int = 1


class RepackedPack(msgspec.Struct, frozen=True):
    """A pack that is mostly dead: its size and how much of it is needed, in bytes."""

    pack: bytes
    size: int
    live: int


class PrunePlan(msgspec.Struct, kw_only=True):
    """What a prune would do.

    ``unreadable`` says what is damaged: then nothing can be deleted. ``deletable`` objects are
    past their grace; ``doomed`` are all that are not needed, with when that was first seen. Sizes
    are in ``sizes``, by name.
    """

    now_ms: int
    decisions: list[Decision]
    drop: list[bytes]
    doomed: dict[str, int]
    deletable: list[str]
    repack: list[RepackedPack]
    unreadable: list[tuple[str, RepositoryError]]
    usage: Usage
    sizes: dict[str, int]
    known: frozenset[bytes]
    dropped_before: frozenset[bytes]
    records: list[str]

    @property
    def losses(self) -> list[UserLoss]:
        """The users who lose most, those who are left with nothing first."""
        return sorted(self.usage.losses, key=lambda item: (item.left > 0, -item.lost, item.user))

    @property
    def deletable_bytes(self) -> int:
        """What deleting gives back now."""
        return sum(self.sizes[name] for name in self.deletable)

    @property
    def doomed_bytes(self) -> int:
        """What is not needed, deletable or waiting."""
        return sum(self.sizes[name] for name in self.doomed)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.drop or self.doomed or self.repack)


def plan_prune(
    repository: Repository, options: PruneOptions, monitor: Monitor, *, now_ms: int
) -> PrunePlan:
    """Find out what to drop and what nothing needs; writes nothing.

    Raise PruneBlocked if a tripwire noticed something that nobody has acknowledged, UsageError if
    nothing would be left, RepositoryError if a snapshot that is not to be dropped cannot be read.
    """
    return _Planner(repository, options, monitor, now_ms).plan()


class _Planner:
    def __init__(
        self, repository: Repository, options: PruneOptions, monitor: Monitor, now_ms: int
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._options = options
        self._monitor = monitor
        self._now_ms = now_ms

    def plan(self) -> PrunePlan:
        # Objects before snapshots: what a snapshot that appears between the two has written is
        # not listed yet, and so cannot be doomed.
        sizes = {info.name: info.size for info in self._storage.list("")}
        records = read_records(self._storage, self._repository.keys)
        decisions, lost = self._decide()
        drop = [item.candidate.id for item in decisions if not item.keep] + sorted(lost)
        keep = [item.candidate.id for item in decisions if item.keep]
        packs = {name: size for name, size in sizes.items() if is_in(PACKS, name)}
        pack_ids = frozenset(map(id_of, packs))
        moved = moved_packs(self._storage)
        stacks = Stacks()
        for snapshot in keep:
            stacks.add(self._repository, snapshot, kept=True)
        for snapshot in drop:
            with suppress(RepositoryError):  # it may be dropped because it cannot be read
                stacks.add(self._repository, snapshot, kept=False)
        usage = self._find(stacks, pack_ids, moved, frozenset())
        usage.damages += self._lost_packs(usage, sizes)
        needed = usage.live.keys()
        mostly_dead = [
            RepackedPack(id_of(name), size, usage.live[id_of(name)])
            for name, size in packs.items()
            if id_of(name) in needed
            and usage.live[id_of(name)] < REPACK_BELOW * size
            and id_of(name) not in moved
        ]
        if mostly_dead and not usage.damages:
            wanted = frozenset(item.pack for item in mostly_dead)
            usage.pieces = self._find(stacks, pack_ids, moved, wanted).pieces
        unneeded = [
            name
            for name in sizes
            if (is_in(PACKS, name) and id_of(name) not in needed)
            or (is_in(MANIFESTS, name) and name not in stacks.manifests)
            or (is_in(MOVED, name) and id_of(name) not in usage.tables)
            or (is_in(PRUNES, name) and name not in records)  # it cannot be read
        ]
        unneeded += self._joined_keyrings(sizes, records.values())
        doomed = self._doom(unneeded, records.values())
        latest = self._now_ms - int(self._options.grace_s * 1000)
        return PrunePlan(
            now_ms=self._now_ms,
            decisions=decisions,
            drop=drop,
            doomed=doomed,
            deletable=[name for name, since_ms in doomed.items() if since_ms <= latest],
            repack=mostly_dead,
            unreadable=usage.damages,
            usage=usage,
            sizes=sizes,
            known=frozenset(keep + drop),
            dropped_before=frozenset(
                snapshot for record in records.values() for snapshot in record.dropped
            ),
            records=list(records),
        )

    def _decide(self) -> tuple[list[Decision], set[bytes]]:
        """Return the decisions, and which of the snapshots to drop cannot be read."""
        check_tombstones(self._repository)
        failures: list[RepositoryError] = []
        listed = set(snapshot_ids(self._storage))
        snapshots = self._repository.snapshots(failures)
        # One that a backup stores meanwhile is in the second listing alone, one that another prune
        # drops in the first.
        listed &= set(snapshot_ids(self._storage))
        lost = listed - {item.id for item in snapshots}
        if unnamed := lost - self._options.drop:
            names = ", ".join(sorted(item.hex()[:8] for item in unnamed))
            raise RepositoryError(
                f"snapshots that cannot be read: {names}; what they need cannot be told",
                hint="`shenyu-data verify` says what is wrong. --drop ID drops what is lost.",
            )
        pins = pinned_snapshots(self._repository, snapshots, self._options.drop)
        proofs = read_proofs(self._storage, self._repository.keys)
        decisions = [
            self._overrule(item, pins)
            for item in decide(
                [_candidate(item, proofs) for item in snapshots],
                self._options.retention,
                now_ms=self._now_ms,
                zone=self._options.zone,
            )
        ]
        if snapshots and not any(item.keep for item in decisions):
            raise UsageError(
                "no snapshot would be left", hint="Take a backup first, or name fewer with --drop."
            )
        return decisions, lost

    def _overrule(self, decision: Decision, pins: Mapping[bytes, bytes]) -> Decision:
        candidate = decision.candidate.id
        if candidate in pins:
            reasons = [*decision.reasons, f"alert {pins[candidate].hex()[:8]}"]
            return msgspec.structs.replace(decision, keep=True, reasons=reasons)
        if candidate not in self._options.drop:
            return decision
        return msgspec.structs.replace(decision, keep=False, reasons=[])

    def _find(
        self,
        stacks: Stacks,
        packs: frozenset[bytes],
        moved: frozenset[bytes],
        wanted: frozenset[bytes],
    ) -> Usage:
        options = self._options
        dropped = {} if wanted else stacks.dropped
        usage = Usage()
        jobs = options.jobs if stacks.documents > _SMALL else 1
        title = "Looking for what is needed" if not wanted else "Looking into packs"
        size = max(1, BUCKETS // (8 * jobs))
        buckets = sorted(stacks.kept.keys() | stacks.dropped.keys())
        tasks = (
            UsageTask(
                self._repository,
                {bucket: stacks.kept.get(bucket, []) for bucket in some},
                {bucket: dropped[bucket] for bucket in some if bucket in dropped},
                packs=packs,
                moved=moved,
                wanted=wanted,
                users=options.users,
            )
            for some in (buckets[at : at + size] for at in range(0, len(buckets), size))
        )
        with (
            open_executor(jobs) as executor,
            self._monitor.task(title, len(buckets), "buckets") as progress,
        ):
            for result in run_tasks(executor, find_usage, tasks, waiting=jobs + 1):
                progress.advance(result.buckets)
                usage.add(result, options.users)
        return usage

    def _joined_keyrings(self, sizes: dict[str, int], records: Iterable[PruneRecord]) -> list[str]:
        """Return the keyring objects, doomed before, all of whose rows stand in others."""
        doomed = {name for record in records for name in record.doomed if is_in(KEYRINGS, name)}
        if not doomed & sizes.keys():
            return []
        with suppress(RepositoryError):  # verify names what is damaged; all keyrings stay
            return self._covered(doomed, sizes)
        return []

    def _covered(self, doomed: set[str], sizes: dict[str, int]) -> list[str]:
        objects = Keyring(self._storage, self._repository.keys).objects
        kept = [item for item in objects if item.name not in doomed]
        covered = {item.name: item for item in objects if item.name in doomed}
        for bucket in range(BUCKETS):
            rows = {row for item in kept for row in item.bucket(bucket)}
            for name, item in list(covered.items()):
                if not rows.issuperset(item.bucket(bucket)):
                    del covered[name]
        pairs = ((name, name + COPY_SUFFIX) for name in covered)
        return [copy for pair in pairs for copy in pair if copy in sizes]

    def _lost_packs(
        self, usage: Usage, sizes: dict[str, int]
    ) -> Iterator[tuple[str, RepositoryError]]:
        """Yield the needed packs that are not there, or not whole: where their segments lie is then
        not known for certain, and what seems unneeded may be what is left of them.
        """
        for pack, end in usage.ends.items():
            name = f"{PACKS}/{pack.hex()}"
            if sizes.get(name, 0) >= end:
                continue
            try:  # a backup may have stored it since the listing
                whole = bool(self._storage.read(name, end - 1, 1))
            except RepositoryError as error:
                yield name, error
                continue
            if not whole:
                yield name, damaged(name, f"{end} bytes of it are needed, and it is cut off")

    def _doom(self, unneeded: list[str], records: Iterable[PruneRecord]) -> dict[str, int]:
        """Return since when each object is known not to be needed; a time to come is none."""
        since: dict[str, int] = {}
        for record in records:
            for name, time_ms in record.doomed.items():
                since[name] = min(since.get(name, time_ms), time_ms)
        now_ms = self._now_ms
        return {name: min(since.get(name, now_ms), now_ms) for name in unneeded}


def _candidate(snapshot: Snapshot, proofs: dict[bytes, int]) -> Candidate:
    return Candidate(
        id=snapshot.id,
        sequence=snapshot.sequence,
        time_ms=snapshot.time_ms,
        tag=snapshot.tag,
        degraded=snapshot.degraded,
        verified=snapshot.id in proofs,
        partial=snapshot.partial or snapshot.safety,
    )
