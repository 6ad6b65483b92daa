"""``verify``: proves that what the snapshots need is there and, if asked, that every byte is what
was written.

Without ``read_data`` every object is listed, and everything but the packs' contents is read and
authenticated. With it, every segment is opened and every document compared with its digest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from shenyu_data.model.errors import StorageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.read_parts import PARTS
from shenyu_data.operations.verify_objects import Affected, ObjectCheck, is_id
from shenyu_data.operations.verify_tasks import (
    Damage,
    SnapshotNumbers,
    VerifyTask,
    part_of,
    verify_buckets,
)
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import (
    MANIFESTS,
    MOVED,
    PACKS,
    Snapshot,
    parse_object_name,
)
from shenyu_data.repository.manifest import Layer
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.proofs import Proof, write_proofs
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.cache import fetched_anew

_SMALL = 1000  # documents: below, starting processes costs more than it saves
_EXAMPLES = 5
ALL_PARTS = frozenset(range(PARTS))


class VerifyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``read_percent`` of the segments are read and compared, 0 to 100; or all of the packs in
    ``read_parts``, as model/read_parts.py deals them.
    """

    read_percent: float = 0.0
    read_parts: frozenset[int] | None = None
    jobs: int = 1


class VerifyStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked. ``erased_records`` are of users who were erased, as they should be;
    ``unused_bytes`` belong to no snapshot: an interrupted backup left them. ``damaged_parts``:
    those of ``read_parts`` in which something was found.
    """

    snapshots: int
    objects: int
    object_bytes: int
    owners: int
    erased_records: int
    documents: int
    segments: int
    read_bytes: int
    unused_objects: int
    unused_bytes: int
    damaged_objects: int
    damaged_parts: frozenset[int]
    elapsed_s: float


def verify(repository: Repository, options: VerifyOptions, monitor: Monitor) -> VerifyStats:
    """Check a repository. Whatever is wrong is reported as an error finding that names the object
    and what it affects. Nothing is taken from a local cache: what matters is what is there.
    """
    with fetched_anew(repository.storage) as storage:
        return _Verify(Repository(storage, repository.keys), options, monitor).run()


class _Verify:
    def __init__(self, repository: Repository, options: VerifyOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._options = options
        self._monitor = monitor
        self._affected: dict[str, Affected] = {}
        self._snapshots: list[Snapshot] = []
        self._layers: dict[int, dict[Layer, set[int]]] = {}
        self._used_manifests: set[str] = set()

    def run(self) -> VerifyStats:
        started = time.monotonic()
        sizes = {info.name: info.size for info in self._storage.list("")}
        self._check_objects(sizes)
        pack_bytes = {
            bytes.fromhex(name.partition("/")[2]): size
            for name, size in sizes.items()
            if name.startswith(f"{PACKS}/") and is_id(name)
        }
        documents = max((item.totals.documents for item in self._snapshots), default=0)
        jobs = self._options.jobs if documents > _SMALL else 1
        used_packs: set[bytes] = set()
        used_moves: set[bytes] = set()
        owners = erased = checked = segments = read_bytes = 0
        with (
            open_executor(jobs) as executor,
            self._monitor.task("Verifying", len(self._layers), "buckets") as progress,
        ):
            tasks = self._tasks(pack_bytes, 4 * jobs)
            for result in run_tasks(executor, verify_buckets, tasks, waiting=jobs + 1):
                progress.advance(result.buckets)
                owners += result.owners
                erased += result.erased
                checked += result.documents
                segments += result.segments
                read_bytes += result.read_bytes
                used_packs |= result.used_packs
                used_moves |= result.used_moves
                for damage in result.damages:
                    self._note(damage)
        unused = [
            (name, size)
            for name, size in sizes.items()
            if is_id(name)
            if (name.startswith(f"{PACKS}/") and bytes.fromhex(name[6:]) not in used_packs)
            or (name.startswith(f"{MANIFESTS}/") and name not in self._used_manifests)
            or (name.startswith(f"{MOVED}/") and bytes.fromhex(name[6:]) not in used_moves)
        ]
        self._report(unused)
        if self._options.read_percent >= 100 or self._options.read_parts == ALL_PARTS:
            self._keep_proof()
        return VerifyStats(
            snapshots=len(self._snapshots),
            objects=len(sizes),
            object_bytes=sum(sizes.values()),
            owners=owners,
            erased_records=erased,
            documents=checked,
            segments=segments,
            read_bytes=read_bytes,
            unused_objects=len(unused),
            unused_bytes=sum(size for _, size in unused),
            damaged_objects=len(self._affected),
            damaged_parts=frozenset(
                part_of(name)
                for name in self._affected
                if name.startswith(f"{PACKS}/") and parse_object_name(name) is not None
            ),
            elapsed_s=time.monotonic() - started,
        )

    def _check_objects(self, sizes: dict[str, int]) -> None:
        packs = self._options.read_percent > 0 or self._options.read_parts is not None
        check = ObjectCheck(self._repository, sizes, self._monitor, packs=packs)
        check.run()
        self._affected, self._snapshots = check.affected, check.snapshots
        self._layers, self._used_manifests = check.layers, check.used_manifests

    def _keep_proof(self) -> None:
        """Write down which snapshots were found sound: prune keeps the newest of them."""
        unsound = {number for item in self._affected.values() for number in item.snapshots}
        now_ms = time.time_ns() // 1_000_000
        proofs = [
            Proof(item.id, now_ms)
            for number, item in enumerate(self._snapshots)
            if number not in unsound
        ]
        if not proofs:
            return
        try:
            write_proofs(self._repository.storage, self._repository.keys, proofs)
        except StorageError as error:
            self._monitor.report(
                Finding(
                    code="proof-not-kept",
                    severity="info",
                    path="",
                    message=f"which snapshots are verified could not be written down: "
                    f"{error.message}",
                    hint="Prune takes them for unverified; verify where the repository can be "
                    "written.",
                )
            )

    def _tasks(self, pack_bytes: dict[bytes, int], count: int) -> Iterator[VerifyTask]:
        share = self._options.read_percent / 100
        parts = self._options.read_parts
        sequences = [item.sequence for item in self._snapshots]
        moved = moved_packs(self._storage)
        numbers: dict[frozenset[int], SnapshotNumbers] = {}
        batch: dict[int, dict[Layer, SnapshotNumbers]] = {}
        size = max(1, len(self._layers) // count)
        for bucket, layers in self._layers.items():
            batch[bucket] = {
                layer: numbers.setdefault(frozenset(users), frozenset(users))
                for layer, users in layers.items()
            }
            if len(batch) >= size:
                yield VerifyTask(
                    self._repository, batch, pack_bytes, share, parts, moved, sequences
                )
                batch = {}
        if batch:
            yield VerifyTask(self._repository, batch, pack_bytes, share, parts, moved, sequences)

    def _note(self, damage: Damage) -> None:
        affected = self._affected.setdefault(damage.name, Affected(damage.error))
        affected.snapshots |= damage.snapshots
        if damage.owner is not None:
            affected.owners.add(damage.owner)
        if damage.path is not None:
            affected.documents += 1
            if len(affected.examples) < _EXAMPLES:
                affected.examples.append(damage.path)

    def _report(self, unused: list[tuple[str, int]]) -> None:
        for name, affected in sorted(self._affected.items()):
            self._monitor.report(
                Finding(
                    code=affected.error.code,
                    severity="error",
                    path=printable(name),
                    message=f"{affected.error.message}; {self._effect(affected)}",
                    hint="What it does not affect still restores; a `backup --full` stores anew "
                    "what the data directory still holds.",
                )
            )
        if unused:
            size = sum(size for _, size in unused)
            self._monitor.report(
                Finding(
                    code="unused-objects",
                    severity="info",
                    path="",
                    message=f"{len(unused)} objects, {size} bytes, belong to no snapshot",
                    hint="An interrupted backup leaves such objects; they do no harm.",
                )
            )

    def _effect(self, affected: Affected) -> str:
        if affected.effect:
            return affected.effect
        if not affected.snapshots:
            return "no document is affected"
        ids = [self._snapshots[number].id.hex()[:8] for number in sorted(affected.snapshots)]
        where = (
            f"{len(ids)} snapshots ({', '.join(ids[:_EXAMPLES])}{', …' * (len(ids) > _EXAMPLES)})"
        )
        if not affected.documents:
            owners = sorted(affected.owners)
            return f"affects {'; '.join(owners[:_EXAMPLES])} in {where}"
        names = ", ".join(affected.examples) + ", …" * (affected.documents > _EXAMPLES)
        users = len(affected.owners)
        return f"affects {affected.documents} documents of {users} owners in {where}: {names}"
