"""What the workers of a verification do: open every record of some buckets and, if asked, read
every segment.
"""

from __future__ import annotations

import random

import msgspec
from msgspec import field

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import path_of
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import (
    PACKS,
    FileEntry,
    LastGood,
    ObjectKind,
    OwnerRecord,
    Segment,
    object_name,
)
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.moves import Moves
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository

SnapshotNumbers = frozenset[int]


class VerifyTask(msgspec.Struct):
    """Buckets to check: their distinct layers, each with the snapshots (by number) that use it.

    ``pack_bytes`` are the sizes of the packs that are there. ``share`` of the segments are read, 0
    to 1; or those of the packs in ``parts``.
    """

    repository: Repository
    work: dict[int, dict[Layer, SnapshotNumbers]]
    pack_bytes: dict[bytes, int]
    share: float
    parts: frozenset[int] | None
    moved: frozenset[bytes]
    """Packs of which something moved away."""
    sequences: list[int]
    """Of the snapshots, by number: they tell what was erased since."""


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
    used_moves: set[bytes] = field(default_factory=set)
    owners: int = 0
    erased: int = 0
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
        self._segments = SegmentReader(task.repository.storage, task.repository.keys)
        self._keyring: Keyring = task.repository.keyring()
        self._moves = Moves(task.repository.storage, task.repository.keys)
        self._result = VerifyResult(buckets=len(task.work))

    def run(self) -> VerifyResult:
        for bucket, layers in self._task.work.items():
            self._check_bucket(bucket, layers)
        self._result.used_moves = self._moves.followed
        return self._result

    def _check_bucket(self, bucket: int, layers: dict[Layer, SnapshotNumbers]) -> None:
        repository = self._task.repository
        reader = SectionReader(repository.storage, repository.keys, bucket, list(layers))
        versions: dict[bytes, list[Row]] = {}
        for layer, snapshots in layers.items():
            name = object_name(ObjectKind.MANIFEST, layer.manifest)
            try:
                for pseudonym, row in reader.rows_of(layer):
                    versions.setdefault(pseudonym, []).append(row)
                reader.load_layer(layer)
            except RepositoryError as error:
                what = f"all users of bucket {bucket}"
                self._result.damages.append(Damage(name, error, what, None, snapshots))
        owner_keys = self._keyring.bucket(bucket)
        for pseudonym, rows in versions.items():
            self._result.owners += any(row.length for row in rows)
            self._check_owner(reader, layers, pseudonym, rows, owner_keys.get(pseudonym, []))

    def _check_owner(
        self,
        reader: SectionReader,
        layers: dict[Layer, SnapshotNumbers],
        pseudonym: bytes,
        rows: list[Row],
        keys: list[OwnerKeys],
    ) -> None:
        checked: dict[tuple[object, ...], list[Damage]] = {}
        newer: set[int] = set()
        for row in reversed(rows):
            # Layers come in the order in which they were added: a newer one that names the owner
            # speaks for the snapshots that use it.
            snapshots = layers[row.layer] - newer
            newer |= layers[row.layer]
            if not row.length or not snapshots:
                continue  # nothing, or nothing that any snapshot still shows: prune knows it not
            try:
                record = reader.record(pseudonym, row, keys)
            except RepositoryError as error:
                newest = max((self._task.sequences[number] for number in snapshots), default=0)
                if self._keyring.tombstones.covers(pseudonym, newest):
                    self._result.erased += 1
                    continue
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
        checked: dict[tuple[object, ...], list[Damage]],
    ) -> None:
        lie_in, bad = self._places(record.segments)
        chosen = self._choose(lie_in)
        read: set[int] = set()
        documents = DocumentReader(record.segments, keys, self._segments)
        for entry in record.entries:
            if not isinstance(entry, FileEntry):
                continue
            for version in (entry, entry.good):
                if version is None or not version.extents:
                    continue
                nonces = [record.segments[index].nonce for index, _, _ in version.extents]
                identity = (version.digest, *nonces)
                if identity in checked:
                    for known in checked[identity]:  # the same document, of other snapshots
                        again = Damage(known.name, known.error, known.owner, None, snapshots)
                        self._result.damages.append(again)
                    continue
                self._result.documents += 1
                used = {index for index, _, _ in version.extents}
                errors: dict[str, RepositoryError] = {}
                if chosen.issuperset(used):
                    sound = self._is_sound(version, documents)
                else:
                    sound = self._are_sound((used & chosen) - read, documents, record.segments)
                    read |= used & chosen if sound else set()
                if bad or not sound:
                    errors = self._errors(version, documents, lie_in, bad, chosen)
                checked[identity] = []
                if errors:
                    path = printable(path_of(record.owner, entry.place, entry.name))
                    owner = printable(record.owner) or "shared"
                    checked[identity] = [
                        Damage(name, error, owner, path, snapshots)
                        for name, error in errors.items()
                    ]
                    self._result.damages += checked[identity]

    def _is_sound(self, version: FileEntry | LastGood, documents: DocumentReader) -> bool:
        """Whether a document can be read whole."""
        try:
            self._result.read_bytes += documents.check(version)
        except RepositoryError:
            return False
        return True

    def _are_sound(
        self, indexes: set[int], documents: DocumentReader, segments: list[Segment]
    ) -> bool:
        """Whether segments can be read of documents that are not to be read whole."""
        if self._task.parts is None:
            return True  # a share of documents is enough to see a share of damage
        try:
            for index in sorted(indexes):
                documents.check_segment(index)
                self._result.read_bytes += segments[index].plain_bytes
        except RepositoryError:
            return False
        return True

    def _errors(
        self,
        version: FileEntry | LastGood,
        documents: DocumentReader,
        lie_in: list[str],
        bad: dict[int, RepositoryError],
        chosen: set[int],
    ) -> dict[str, RepositoryError]:
        """Return all that is wrong with a document, by object: each one that it lacks is named."""
        errors: dict[str, RepositoryError] = {}
        used = sorted({index for index, _, _ in version.extents})
        names = [lie_in[index] for index in used]
        for index, name in zip(used, names, strict=True):
            try:
                if index in bad:
                    raise bad[index]
                if index in chosen:
                    documents.check_segment(index)
            except RepositoryError as error:
                errors.setdefault(name, error)
        if not errors and chosen.issuperset(used):
            try:
                documents.check(version)
            except RepositoryError as error:
                errors[names[0]] = error
        return errors

    def _places(self, segments: list[Segment]) -> tuple[list[str], dict[int, RepositoryError]]:
        """Return which object each segment hangs on, the pack it lies in now or the moves that
        should lead to it, and what is wrong with those that cannot be there.
        """
        names: list[str] = []
        bad: dict[int, RepositoryError] = {}
        self._result.segments += len(segments)
        for index, recorded in enumerate(segments):
            try:
                segment = self._locate(recorded)
            except RepositoryError as error:
                names.append(object_name(ObjectKind.MOVED, recorded.pack))
                bad[index] = error
                continue
            name = object_name(ObjectKind.PACK, segment.pack)
            names.append(name)
            size = self._task.pack_bytes.get(segment.pack, -1)
            self._result.used_packs.add(segment.pack)
            if segment.offset + segment.stored_bytes > size:
                bad[index] = (
                    ObjectMissing(f"{name} is missing")
                    if size < 0
                    else ObjectDamaged(f"{name} is cut off at {size} bytes")
                )
        return names, bad

    def _locate(self, segment: Segment) -> Segment:
        """Return where a segment is read from: its own pack while that is there, else where it
        moved.
        """
        if segment.pack not in self._task.moved:
            return segment
        located = self._moves.locate(segment)
        if located is None:
            return segment
        self._result.used_packs.add(located.pack)
        return segment if segment.pack in self._task.pack_bytes else located

    def _choose(self, lie_in: list[str]) -> set[int]:
        """Return which of the segments that lie in these objects are to be read."""
        share, parts = self._task.share, self._task.parts
        if parts is not None:
            packs = f"{PACKS}/"
            return {
                index
                for index, name in enumerate(lie_in)
                if name.startswith(packs) and part_of(name) in parts
            }
        if share >= 1:
            return set(range(len(lie_in)))
        return {index for index in range(len(lie_in)) if random.random() < share}  # noqa: S311 - a sample


def part_of(pack: str) -> int:
    """Return which part a pack is in, by its name."""
    return int(pack.partition("/")[2][:2], 16)
