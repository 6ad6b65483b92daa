"""What a ``verify`` looks at before any owner: that the objects are named, paired and sealed as
they should be, and which snapshots there are. Called by operations/verify.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import msgspec
from blake3 import blake3
from msgspec import field

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.repository.acceptances import read_acceptance
from shenyu_data.repository.acknowledgements import read_acknowledgement
from shenyu_data.repository.anchors import read_anchor
from shenyu_data.repository.compression import DICTIONARY_BLAKE3
from shenyu_data.repository.crypto import Secrets, fingerprint
from shenyu_data.repository.format import (
    ACCEPTANCES,
    ACKNOWLEDGEMENTS,
    ANCHORS,
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
from shenyu_data.repository.moves import read_moves
from shenyu_data.repository.proofs import read_proof_object
from shenyu_data.repository.prunes import read_record, read_records
from shenyu_data.repository.repository import Repository, read_descriptor
from shenyu_data.repository.snapshots import parse_root, parse_snapshot, read_copy
from shenyu_data.repository.tombstones import Tombstones, read_tombstone_copy, read_tombstones
from shenyu_data.storage.protocol import Storage

Reader = Callable[[Storage, Secrets, str], object]
"""Opens an object of some kind; raises RepositoryError if it is not sound."""


class Affected(msgspec.Struct):
    """What one damaged object takes along."""

    error: RepositoryError
    documents: int = 0
    owners: set[str] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)
    snapshots: set[int] = field(default_factory=set)
    effect: str = ""
    """What is said instead of counting, where the object is one of a pair."""


class ObjectCheck:
    """Checks the objects of a repository by ``sizes``, its listing; ``packs``: the beginnings of
    packs as well. What is damaged is in ``affected``, by name; what is sound says which
    ``snapshots`` there are, whose ``layers`` they use in each bucket, and ``used_manifests``.
    """

    def __init__(
        self, repository: Repository, sizes: dict[str, int], monitor: Monitor, *, packs: bool
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._sizes = sizes
        self._monitor = monitor
        self._packs = packs
        self.affected: dict[str, Affected] = {}
        self.snapshots: list[Snapshot] = []
        self.layers: dict[int, dict[Layer, set[int]]] = {}
        self.used_manifests: set[str] = set()

    def run(self) -> None:
        """Check them all."""
        self._check_small_objects()
        self._check_twins(
            KEYRINGS, self._check_keyring, "users whose key only it held cannot be restored"
        )
        self._check_twins(
            TOMBSTONES, read_tombstone_copy, "who was erased may come back from an old copy"
        )
        self._check_twins(
            GENERATIONS, read_generation_copy, "what was stored before a rotation cannot be read"
        )
        self._check_roots()
        self._check_headers()

    def _check_small_objects(self) -> None:
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
        for name in self._sizes:
            folder = name.partition("/")[0]
            if folder == SLOTS:
                try:
                    slot = read_slot(self._storage, name)
                    if slot.repository != self._repository.keys.repository_id.hex():
                        raise ObjectDamaged(f"{name} is a key slot of another repository")
                except RepositoryError as error:
                    self._damaged(name, error)
            elif name not in (DESCRIPTOR, DICTIONARY) and not is_id(name):
                self._damaged(name, ObjectDamaged(f"{name} is not named as any object is"))

    def _check_twins(self, folder: str, read: Reader, lost: str) -> None:
        """Open both copies of each object of a folder."""
        sound: set[str] = set()
        for base, copy in self._pairs(folder):
            try:
                read(self._storage, self._repository.keys, copy)
                sound.add(base)
            except RepositoryError as error:
                self._damaged(copy, error)
        self._tell_twins(folder, sound, lost)

    @cached_property
    def _tombstones(self) -> Tombstones:
        return read_tombstones(self._storage, self._repository.keys, [])

    def _check_keyring(self, storage: Storage, keys: Secrets, copy: str) -> None:
        item = KeyringObject(storage, keys, copy.removesuffix(COPY_SUFFIX))
        if item.size_of_copy(copy) != self._sizes[copy]:
            raise ObjectDamaged(f"{copy} has the wrong size")
        stones = self._tombstones
        for bucket in range(BUCKETS):
            for pseudonym, key in item.bucket_of_copy(copy, bucket):
                if stones.of(pseudonym) and stones.is_dead(fingerprint(key)):
                    self._monitor.report(_came_back(copy))

    def _check_roots(self) -> None:
        seen: set[str] = set()
        for base, copy in self._pairs(SNAPSHOTS):
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
            number = len(self.snapshots)
            self.snapshots.append(head)
            for bucket in root.buckets:
                layers = self.layers.setdefault(bucket, {})
                for layer in layers_of(root, bucket):
                    layers.setdefault(layer, set()).add(number)
                    self.used_manifests.add(f"{MANIFESTS}/{layer.manifest.hex()}")
        ids = {item.id for item in self.snapshots}
        for record in read_records(self._storage, self._repository.keys).values():
            ids.update(record.dropped)
        for item in self.snapshots:
            if item.parent is not None and item.parent not in ids:
                name = f"{SNAPSHOTS}/{item.parent.hex()}"
                if name not in self.affected:
                    why = f"{name}, the parent of {item.id.hex()[:8]}, is missing"
                    self._damaged(name, ObjectMissing(why))
        self._tell_twins(SNAPSHOTS, seen, "the snapshot {} cannot be restored")

    def _tell_twins(self, folder: str, sound: set[str], lost: str) -> None:
        """Say of each damaged copy that its twin is whole, or what is lost with both."""
        for name, affected in self.affected.items():
            base = name.removesuffix(COPY_SUFFIX)
            if base in sound:
                affected.effect = "its twin is whole, no document is affected"
            elif base.startswith(f"{folder}/") and is_id(base):
                what = lost.format(base.partition("/")[2][:8])
                affected.effect = f"its twin is no better: {what}"

    def _check_headers(self) -> None:
        """Every manifest and, when data is read, every pack begins as it should; the objects of
        prunes, proofs and acknowledgements open.
        """
        kinds = {MANIFESTS: ObjectKind.MANIFEST}
        if self._packs:
            kinds[PACKS] = ObjectKind.PACK
        for name in self._sizes:
            kind = kinds.get(name.partition("/")[0])
            if kind is not None and is_id(name):
                try:
                    check_header(kind, name, self._storage.read(name, 0, HEADER_BYTES))
                except RepositoryError as error:
                    self._damaged(name, error)
            reader = _READERS.get(name.partition("/")[0])
            if reader is not None and is_id(name):
                try:
                    reader(self._storage, self._repository.keys, name)
                except RepositoryError as error:
                    self._damaged(name, error)

    def _pairs(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, copy) for both copies of each object of a folder; report those missing."""
        names = sorted(
            name for name in self._sizes if name.startswith(f"{folder}/") and is_id(name)
        )
        for base in sorted({name.removesuffix(COPY_SUFFIX) for name in names}):
            for copy in (base, base + COPY_SUFFIX):
                if copy in self._sizes:
                    yield base, copy
                else:
                    why = f"{copy} is missing; the next backup stores it again from its twin"
                    self._damaged(copy, ObjectMissing(why))

    def _damaged(self, name: str, error: RepositoryError) -> None:
        self.affected.setdefault(name, Affected(error))


_READERS: dict[str, Reader] = {
    PRUNES: read_record,
    PROOFS: read_proof_object,
    ACKNOWLEDGEMENTS: read_acknowledgement,
    ANCHORS: read_anchor,
    ACCEPTANCES: read_acceptance,
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


def is_id(name: str) -> bool:
    """Whether an object is named as those are that have an id."""
    folder = name.partition("/")[0]
    if folder in TWICE:
        name = name.removesuffix(COPY_SUFFIX)
    known = folder in (*TWICE, PACKS, MANIFESTS, SLOTS, *_READERS)
    return known and parse_object_name(name) is not None
