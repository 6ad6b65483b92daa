"""What the workers of a verification do: open every record of some buckets and, if asked, read every segment."""

from __future__ import annotations

import random

import msgspec
from msgspec import field

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import Place, path_of
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import (
    FileEntry,
    LastGood,
    ObjectKind,
    OwnerRecord,
    Segment,
    object_name,
)
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository

SnapshotNumbers = frozenset[int]


class VerifyTask(msgspec.Struct):
    """Buckets to check: their distinct layers, each with the snapshots (by number) that use it.

    ``pack_bytes`` are the sizes of the packs that are there. ``share`` of the segments are read, 0 to 1.
    """

    repository: Repository
    work: dict[int, dict[Layer, SnapshotNumbers]]
    pack_bytes: dict[bytes, int]
    share: float


class Damage(msgspec.Struct):
    """Something that cannot be read: in which object, why, and what it takes along."""

    name: str
    error: RepositoryError
    owner: str | None
    path: str | None
    snapshots: SnapshotNumbers


class VerifyResult(msgspec.Struct):
    """What a task saw."""

    damages: list[Damage] = field(default_factory=list)
    used_packs: set[bytes] = field(default_factory=set)
    owners: int = 0
    documents: int = 0
    segments: int = 0
    read_bytes: int = 0
    buckets: int = 0


def verify_buckets(task: VerifyTask) -> VerifyResult:
    """Check some buckets of all snapshots."""
    return _Verify(task).run()


class _Verify:
    def __init__(self, task: VerifyTask) -> None:
        self._task = task
        self._segments = SegmentReader(task.repository.storage)
        self._result = VerifyResult(buckets=len(task.work))

    def run(self) -> VerifyResult:
        keyring = self._task.repository.keyring()
        for bucket, layers in self._task.work.items():
            self._check_bucket(bucket, layers, keyring)
        return self._result

    def _check_bucket(
        self, bucket: int, layers: dict[Layer, SnapshotNumbers], keyring: Keyring
    ) -> None:
        repository = self._task.repository
        reader = SectionReader(repository.storage, repository.keys, bucket, list(layers))
        versions: dict[bytes, list[Row]] = {}
        for layer, snapshots in layers.items():
            name = object_name(ObjectKind.MANIFEST, layer.manifest)
            try:
                for pseudonym, row in reader.rows_of(layer):
                    if row.length:
                        versions.setdefault(pseudonym, []).append(row)
                reader.load_layer(layer)
            except RepositoryError as error:
                what = f"all users of bucket {bucket}"
                self._result.damages.append(Damage(name, error, what, None, snapshots))
        owner_keys = keyring.bucket(bucket)
        for pseudonym, rows in versions.items():
            self._result.owners += 1
            self._check_owner(reader, layers, pseudonym, rows, owner_keys.get(pseudonym, []))

    def _check_owner(
        self,
        reader: SectionReader,
        layers: dict[Layer, SnapshotNumbers],
        pseudonym: bytes,
        rows: list[Row],
        keys: list[OwnerKeys],
    ) -> None:
        checked: set[tuple[object, ...]] = set()
        for row in rows:
            snapshots = layers[row.layer]
            try:
                record = reader.record(pseudonym, row, keys)
            except RepositoryError as error:
                name = object_name(ObjectKind.MANIFEST, row.layer.manifest)
                if not keys:
                    error = ObjectMissing("no keyring holds this user's key", hint=error.hint)
                    name = "keys"
                who = f"pseudonym {pseudonym.hex()}"
                self._result.damages.append(Damage(name, error, who, None, snapshots))
                continue
            self._check_record(record, keys, snapshots, checked)

    def _check_record(
        self,
        record: OwnerRecord,
        keys: list[OwnerKeys],
        snapshots: SnapshotNumbers,
        checked: set[tuple[object, ...]],
    ) -> None:
        bad = self._bad_segments(record.segments)
        documents = DocumentReader(record.segments, keys, self._segments)
        chosen = self._choose(len(record.segments))
        for entry in record.entries:
            if not isinstance(entry, FileEntry):
                continue
            for version in (entry, entry.good):
                if version is None or not version.extents:
                    continue
                identity = (
                    version.digest,
                    *(record.segments[i].nonce for i, _, _ in version.extents),
                )
                if identity in checked:
                    continue
                checked.add(identity)
                self._result.documents += 1
                path = printable(path_of(record.owner, Place(entry.place), entry.name))
                owner = printable(record.owner) or "shared"
                self._check_document(
                    record, version, documents, bad, chosen, (owner, path, snapshots)
                )

    def _check_document(
        self,
        record: OwnerRecord,
        version: FileEntry | LastGood,
        documents: DocumentReader,
        bad: dict[int, RepositoryError],
        chosen: set[int],
        place: tuple[str, str, SnapshotNumbers],
    ) -> None:
        owner, path, snapshots = place
        used = [index for index, _, _ in version.extents]
        for index in used:
            if index in bad:
                name = object_name(ObjectKind.PACK, record.segments[index].pack)
                self._result.damages.append(Damage(name, bad[index], owner, path, snapshots))
                return
        if chosen.issuperset(used):
            try:
                self._result.read_bytes += len(documents.read(version))
            except RepositoryError as error:
                name = error.message.partition(" ")[0]
                self._result.damages.append(Damage(name, error, owner, path, snapshots))

    def _bad_segments(self, segments: list[Segment]) -> dict[int, RepositoryError]:
        """Return what is wrong with segments that cannot be where the record says."""
        bad: dict[int, RepositoryError] = {}
        self._result.segments += len(segments)
        for index, segment in enumerate(segments):
            size = self._task.pack_bytes.get(segment.pack)
            self._result.used_packs.add(segment.pack)
            name = object_name(ObjectKind.PACK, segment.pack)
            if size is None:
                bad[index] = ObjectMissing(f"{name} is missing")
            elif segment.offset + segment.stored_bytes > size:
                bad[index] = ObjectDamaged(f"{name} is cut off at {size} bytes")
        return bad

    def _choose(self, count: int) -> set[int]:
        share = self._task.share
        if share >= 1:
            return set(range(count))
        return {index for index in range(count) if random.random() < share}  # noqa: S311 - a sample
