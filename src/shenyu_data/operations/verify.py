"""``verify``: proves that what the snapshots need is there and, if asked, that every byte is what
was written.

Without ``read_data`` every object is listed, and everything but the packs' contents is read and
authenticated. With it, every segment is opened and every document compared with its digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
from blake3 import blake3
from msgspec import field

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError, StorageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.verify_tasks import (
    Damage,
    SnapshotNumbers,
    VerifyTask,
    verify_buckets,
)
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.compression import DICTIONARY_BLAKE3
from shenyu_data.repository.crypto import Secrets, fingerprint
from shenyu_data.repository.format import (
    BUCKETS,
    COPY_SUFFIX,
    DESCRIPTOR,
    DICTIONARY,
    GENERATIONS,
    HEADER_BYTES,
    KEYRINGS,
    MANIFESTS,
    MOVED,
    PACKS,
    PROOFS,
    PRUNES,
    SLOTS,
    SNAPSHOTS,
    TOMBSTONES,
    TWICE,
    ObjectKind,
    Snapshot,
    check_header,
    parse_object_name,
)
from shenyu_data.repository.generations import read_generation_copy
from shenyu_data.repository.keyring import KeyringObject
from shenyu_data.repository.keyslots import read_slot
from shenyu_data.repository.manifest import Layer, layers_of
from shenyu_data.repository.moves import moved_packs, read_moves
from shenyu_data.repository.proofs import Proof, read_proof_object, write_proofs
from shenyu_data.repository.prunes import read_record, read_records
from shenyu_data.repository.repository import Repository, read_descriptor
from shenyu_data.repository.snapshots import parse_root, parse_snapshot, read_copy
from shenyu_data.repository.tombstones import read_tombstone_copy, read_tombstones
from shenyu_data.storage.cache import fetched_anew
from shenyu_data.storage.protocol import Storage

_SMALL = 1000  # documents: below, starting processes costs more than it saves
_EXAMPLES = 5


class VerifyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``read_percent`` of the segments are read and compared, 0 to 100."""

    read_percent: float = 0.0
    jobs: int = 1


class VerifyStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked. ``erased_records`` are of users who were erased, as they should be;
    ``unused_bytes`` belong to no snapshot: an interrupted backup left them.
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
    elapsed_s: float


def verify(repository: Repository, options: VerifyOptions, monitor: Monitor) -> VerifyStats:
    """Check a repository. Whatever is wrong is reported as an error finding that names the object
    and what it affects. Nothing is taken from a local cache: what matters is what is there.
    """
    with fetched_anew(repository.storage) as storage:
        return _Verify(Repository(storage, repository.keys), options, monitor).run()


class _Affected(msgspec.Struct):
    """What one damaged object takes along."""

    error: RepositoryError
    documents: int = 0
    owners: set[str] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)
    snapshots: set[int] = field(default_factory=set)
    effect: str = ""
    """What is said instead of counting, where the object is one of a pair."""


class _Verify:
    def __init__(self, repository: Repository, options: VerifyOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._options = options
        self._monitor = monitor
        self._affected: dict[str, _Affected] = {}
        self._snapshots: list[Snapshot] = []
        self._layers: dict[int, dict[Layer, set[int]]] = {}
        self._used_manifests: set[str] = set()

    def run(self) -> VerifyStats:
        started = time.monotonic()
        sizes = {info.name: info.size for info in self._storage.list("")}
        self._check_small_objects(sizes)
        self._check_keyrings(sizes)
        self._check_tombstones(sizes)
        self._check_generations(sizes)
        self._check_roots(sizes)
        self._check_headers(sizes)
        pack_bytes = {
            bytes.fromhex(name.partition("/")[2]): size
            for name, size in sizes.items()
            if name.startswith(f"{PACKS}/") and _is_id(name)
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
            if _is_id(name)
            if (name.startswith(f"{PACKS}/") and bytes.fromhex(name[6:]) not in used_packs)
            or (name.startswith(f"{MANIFESTS}/") and name not in self._used_manifests)
            or (name.startswith(f"{MOVED}/") and bytes.fromhex(name[6:]) not in used_moves)
        ]
        self._report(unused)
        if self._options.read_percent >= 100:
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
            elapsed_s=time.monotonic() - started,
        )

    def _check_small_objects(self, sizes: dict[str, int]) -> None:
        try:
            if read_descriptor(self._storage).id != self._repository.keys.repository_id.hex():
                raise ObjectDamaged(f"{DESCRIPTOR} is that of another repository")
        except RepositoryError as error:
            self._damaged(DESCRIPTOR, error)
        try:
            if blake3(self._storage.read(DICTIONARY)).hexdigest() != DICTIONARY_BLAKE3:
                raise ObjectDamaged(f"{DICTIONARY} is not the dictionary of this format")
        except RepositoryError as error:
            self._damaged(DICTIONARY, error)
        for name in sizes:
            folder = name.partition("/")[0]
            if folder == SLOTS:
                try:
                    slot = read_slot(self._storage, name)
                    if slot.repository != self._repository.keys.repository_id.hex():
                        raise ObjectDamaged(f"{name} is a key slot of another repository")
                except RepositoryError as error:
                    self._damaged(name, error)
            elif name not in (DESCRIPTOR, DICTIONARY) and not _is_id(name):
                self._damaged(name, ObjectDamaged(f"{name} is not named as any object is"))

    def _check_keyrings(self, sizes: dict[str, int]) -> None:
        sound: set[str] = set()
        stones = read_tombstones(self._storage, self._repository.keys, [])
        for base, copy in self._pairs(sizes, KEYRINGS):
            item = KeyringObject(self._storage, self._repository.keys, base)
            try:
                if item.size_of_copy(copy) != sizes[copy]:
                    raise ObjectDamaged(f"{copy} has the wrong size")
                for bucket in range(BUCKETS):
                    for pseudonym, key in item.bucket_of_copy(copy, bucket):
                        if stones.of(pseudonym) and stones.is_dead(fingerprint(key)):
                            self._monitor.report(_came_back(copy))
                sound.add(base)
            except RepositoryError as error:
                self._damaged(copy, error)
        self._tell_twins(KEYRINGS, sound, "users whose key only it held cannot be restored")

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

    def _check_tombstones(self, sizes: dict[str, int]) -> None:
        sound: set[str] = set()
        for base, copy in self._pairs(sizes, TOMBSTONES):
            try:
                read_tombstone_copy(self._storage, self._repository.keys, copy)
                sound.add(base)
            except RepositoryError as error:
                self._damaged(copy, error)
        self._tell_twins(TOMBSTONES, sound, "who was erased may come back from an old copy")

    def _check_generations(self, sizes: dict[str, int]) -> None:
        sound: set[str] = set()
        for base, copy in self._pairs(sizes, GENERATIONS):
            try:
                read_generation_copy(self._storage, self._repository.keys, copy)
                sound.add(base)
            except RepositoryError as error:
                self._damaged(copy, error)
        self._tell_twins(GENERATIONS, sound, "what was stored before a rotation cannot be read")

    def _check_roots(self, sizes: dict[str, int]) -> None:
        seen: set[str] = set()
        for base, copy in self._pairs(sizes, SNAPSHOTS):
            snapshot = bytes.fromhex(base.partition("/")[2])
            try:
                plain = read_copy(self._storage, self._repository.keys, snapshot, copy)
                head, root = parse_snapshot(plain), parse_root(plain)
            except RepositoryError as error:
                self._damaged(copy, error)
                continue
            if base in seen:
                continue
            seen.add(base)
            number = len(self._snapshots)
            self._snapshots.append(head)
            for bucket in root.buckets:
                layers = self._layers.setdefault(bucket, {})
                for layer in layers_of(root, bucket):
                    layers.setdefault(layer, set()).add(number)
                    self._used_manifests.add(f"{MANIFESTS}/{layer.manifest.hex()}")
        ids = {item.id for item in self._snapshots}
        for record in read_records(self._storage, self._repository.keys).values():
            ids.update(record.dropped)
        for item in self._snapshots:
            if item.parent is not None and item.parent not in ids:
                name = f"{SNAPSHOTS}/{item.parent.hex()}"
                if name not in self._affected:
                    why = f"{name}, the parent of {item.id.hex()[:8]}, is missing"
                    self._damaged(name, ObjectMissing(why))
        self._tell_twins(SNAPSHOTS, seen, "the snapshot {} cannot be restored")

    def _tell_twins(self, folder: str, sound: set[str], lost: str) -> None:
        """Say of each damaged copy that its twin is whole, or what is lost with both."""
        for name, affected in self._affected.items():
            base = name.removesuffix(COPY_SUFFIX)
            if base in sound:
                affected.effect = "its twin is whole, no document is affected"
            elif base.startswith(f"{folder}/") and _is_id(base):
                what = lost.format(base.partition("/")[2][:8])
                affected.effect = f"its twin is no better: {what}"

    def _check_headers(self, sizes: dict[str, int]) -> None:
        """Every manifest and, when data is read, every pack begins as it should; the objects of
        prunes and proofs open.
        """
        kinds = {MANIFESTS: ObjectKind.MANIFEST}
        if self._options.read_percent:
            kinds[PACKS] = ObjectKind.PACK
        for name in sizes:
            kind = kinds.get(name.partition("/")[0])
            if kind is not None and _is_id(name):
                try:
                    check_header(kind, name, self._storage.read(name, 0, HEADER_BYTES))
                except RepositoryError as error:
                    self._damaged(name, error)
            reader = _READERS.get(name.partition("/")[0])
            if reader is not None and _is_id(name):
                try:
                    reader(self._storage, self._repository.keys, name)
                except RepositoryError as error:
                    self._damaged(name, error)

    def _pairs(self, sizes: dict[str, int], folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, copy) for both copies of each object of a folder; report those missing."""
        names = sorted(name for name in sizes if name.startswith(f"{folder}/") and _is_id(name))
        for base in sorted({name.removesuffix(COPY_SUFFIX) for name in names}):
            for copy in (base, base + COPY_SUFFIX):
                if copy in sizes:
                    yield base, copy
                else:
                    why = f"{copy} is missing; the next backup stores it again from its twin"
                    self._damaged(copy, ObjectMissing(why))

    def _tasks(self, pack_bytes: dict[bytes, int], count: int) -> Iterator[VerifyTask]:
        share = self._options.read_percent / 100
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
                yield VerifyTask(self._repository, batch, pack_bytes, share, moved, sequences)
                batch = {}
        if batch:
            yield VerifyTask(self._repository, batch, pack_bytes, share, moved, sequences)

    def _damaged(self, name: str, error: RepositoryError) -> None:
        self._affected.setdefault(name, _Affected(error))

    def _note(self, damage: Damage) -> None:
        affected = self._affected.setdefault(damage.name, _Affected(damage.error))
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

    def _effect(self, affected: _Affected) -> str:
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


_READERS: dict[str, Callable[[Storage, Secrets, str], object]] = {
    PRUNES: read_record,
    PROOFS: read_proof_object,
    MOVED: lambda storage, keys, name: read_moves(storage, keys, bytes.fromhex(name[6:])),
}


def _came_back(copy: str) -> Finding:
    return Finding(
        code="destroyed-key-back",
        severity="warning",
        path=copy,
        message="it holds the key of a user who was erased; no reader uses it",
        hint="An old copy of this object came back, or an erasure was interrupted: "
        "`shenyu-data prune` destroys the key, and so does erasing the user again.",
    )


def _is_id(name: str) -> bool:
    folder = name.partition("/")[0]
    if folder in TWICE:
        name = name.removesuffix(COPY_SUFFIX)
    known = folder in (*TWICE, PACKS, MANIFESTS, SLOTS, PROOFS, PRUNES, MOVED)
    return known and parse_object_name(name) is not None
