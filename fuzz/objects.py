"""Oracles of what reads a repository's objects, on the frozen repository: a changed object is
refused or says what it said; a sealed one that holds anything is refused or read.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fuzz.parts import first
from shenyu_data.model.errors import ObjectDamaged, RepositoryError
from shenyu_data.repository import format as form
from shenyu_data.repository.acceptances import (
    Acceptance,
    Line,
    read_acceptance,
    read_acceptances,
)
from shenyu_data.repository.acknowledgements import (
    Acknowledgement,
    acknowledged,
    read_acknowledgement,
    read_acknowledgements,
)
from shenyu_data.repository.anchors import Anchor, anchor_name, read_anchor, read_anchors
from shenyu_data.repository.compression import Compressor, Decompressor
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, ObjectKind, OwnerRecord, object_name
from shenyu_data.repository.generations import read_generation_copy
from shenyu_data.repository.keyring import Keyring, KeyringObject
from shenyu_data.repository.keyslots import read_label, read_slot
from shenyu_data.repository.manifest import Layer, Row, SectionReader, layers_of
from shenyu_data.repository.moves import Moves, read_moves
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.proofs import read_proof_object
from shenyu_data.repository.prunes import read_record
from shenyu_data.repository.repository import Repository, open_repository, read_descriptor
from shenyu_data.repository.snapshots import (
    parse_root,
    parse_snapshot,
    read_copy,
    read_root_for,
    snapshot_ids,
)
from shenyu_data.repository.tombstones import read_tombstone_copy
from shenyu_data.storage.memory import MemoryStorage

FROZEN = Path(__file__).parent.parent / "tests/compat/frozen/v1-with-a-past"
_FIRST = bytes(16)
_SECOND = bytes(15) + b"\1"
_LINE = Line(bytes(32), 7, bytes(range(32)))
_SMALL: dict[ObjectKind, tuple[str, bytes, Any]] = {
    ObjectKind.ACKNOWLEDGEMENT: (
        "acknowledgements",
        b"acknowledgement",
        Acknowledgement(_FIRST, 1_700_000_000_000, "seen"),
    ),
    ObjectKind.ANCHOR: (
        "anchors",
        b"anchor",
        Anchor(_FIRST, _LINE.log, _LINE.sequence, _LINE.digest, 1_700_000_000_000),
    ),
    ObjectKind.ACCEPTANCE: (
        "acceptances",
        b"acceptance",
        Acceptance(_FIRST, [_LINE], 3, _LINE, 1_700_000_000_000, "the disk died"),
    ),
}
"""Objects that the frozen repository has none of: how each is sealed, and what stands in it."""


class Place(NamedTuple):
    """Where one owner's record lies, and what opens it."""

    bucket: int
    layers: list[Layer]
    pseudonym: bytes
    row: Row
    keys: list[OwnerKeys]


class Bench(NamedTuple):
    """The frozen repository in memory, and what each of its objects says."""

    repository: Repository
    storage: MemoryStorage
    names: list[str]
    places: list[Place]
    said: dict[str, Any]


@functools.cache
def bench() -> Bench:
    """Open it, once."""
    storage = MemoryStorage()
    expected = msgspec.json.decode((FROZEN / "expected.json").read_bytes())
    for path in sorted((FROZEN / "repository").rglob("*")):
        if path.is_file():
            storage.objects[path.relative_to(FROZEN / "repository").as_posix()] = path.read_bytes()
    repository = open_repository(storage, expected["passphrase"])
    for kind, (purpose, word, value) in _SMALL.items():
        name = object_name(kind, _SECOND)
        sealed = repository.keys.seal(purpose, msgspec.msgpack.encode(value), word + _SECOND)
        storage.objects[name] = form.header(kind) + sealed
    names = [name for name in sorted(storage.objects) if name != form.DICTIONARY]
    found = Bench(repository, storage, names, list(_places(repository)), {})
    for name in names:
        found.said[name] = _say(found, name)
    return found


def _places(repository: Repository) -> Iterator[Place]:
    keyring = repository.keyring()
    for snapshot in snapshot_ids(repository.storage):
        root = repository.root(snapshot)
        for bucket in root.buckets:
            layers = layers_of(root, bucket)
            reader = SectionReader(repository.storage, repository.keys, bucket, layers)
            for pseudonym, row in reader.rows().items():
                yield Place(bucket, layers, pseudonym, row, keyring.owner(pseudonym))


def changed_objects(data: bytes) -> None:
    """Bytes of one object are changed, inserted, removed: it says what it said, or is damaged."""
    found = bench()
    choice, rest = first(data)
    name = found.names[choice % len(found.names)]
    before = found.storage.objects[name]
    made = bytearray(before)
    for at in range(0, len(rest) - 3, 4):
        how, place, value = rest[at], int.from_bytes(rest[at + 1 : at + 3], "big"), rest[at + 3]
        place %= len(made) + 1
        if how % 4 == 0:
            made[place : place + 1] = bytes((value,))
        elif how % 4 == 1:
            made[place:place] = bytes((value,)) * (how // 4)
        elif how % 4 == 2:
            del made[place : place + 1 + value]
        else:
            made[place : place + how // 4] = rest[at + 4 :]
            break
    found.storage.objects[name] = bytes(made)
    try:
        said = _say(found, name)
        assert said == found.said[name] or bytes(made) == before, name
    except RepositoryError:
        assert bytes(made) != before
    finally:
        found.storage.objects[name] = before


def _say(found: Bench, name: str) -> Any:
    """Return all that an object says, read by whatever reads it."""
    storage, keys = found.storage, found.repository.keys
    folder, _, base = name.partition("/")
    object_id = bytes.fromhex(base.removesuffix(form.COPY_SUFFIX)) if base else b""
    if folder == form.DESCRIPTOR:
        return read_descriptor(storage)
    if folder == form.SLOTS:
        return read_slot(storage, name), read_label(storage, keys, name)
    if folder == form.SNAPSHOTS:
        plain = read_copy(storage, keys, object_id, name)
        return parse_root(plain), parse_snapshot(plain)
    if folder == form.KEYRINGS:
        item = KeyringObject(storage, keys, name.removesuffix(form.COPY_SUFFIX))
        counts = item.counts_of_copy(name)
        some = [number for number, count in enumerate(counts) if count]
        return counts, [item.bucket_of_copy(name, number) for number in some]
    if folder == form.MANIFESTS:
        return list(_records(found, object_id))
    if folder == form.PACKS:
        return list(_documents(found, object_id))
    readers: dict[str, Callable[[], Any]] = {
        form.GENERATIONS: lambda: read_generation_copy(storage, keys, name),
        form.TOMBSTONES: lambda: read_tombstone_copy(storage, keys, name),
        form.MOVED: lambda: read_moves(storage, keys, object_id),
        form.PRUNES: lambda: read_record(storage, keys, name),
        form.PROOFS: lambda: read_proof_object(storage, keys, name),
        form.ACKNOWLEDGEMENTS: lambda: read_acknowledgement(storage, keys, name),
        form.ANCHORS: lambda: read_anchor(storage, keys, name),
        form.ACCEPTANCES: lambda: read_acceptance(storage, keys, name),
    }
    return readers[folder]()


def _records(found: Bench, manifest: bytes) -> Iterator[OwnerRecord]:
    for place in found.places:
        if place.row.layer.manifest == manifest and place.keys:
            reader = SectionReader(found.storage, found.repository.keys, place.bucket, place.layers)
            rows = dict(reader.rows_of(place.row.layer))
            yield reader.record(place.pseudonym, rows[place.pseudonym], place.keys)


def _documents(found: Bench, pack: bytes) -> Iterator[bytes]:
    """Read what lies in a pack, or lay there before it was moved."""
    storage, keys = found.storage, found.repository.keys
    moves = Moves(storage, keys)
    for place in found.places:
        if not place.keys:
            continue
        reader = SectionReader(storage, keys, place.bucket, place.layers)
        record = reader.record(place.pseudonym, place.row, place.keys)
        for segment in record.segments:
            moved = moves.locate(segment)
            if (moved or segment).pack == pack:
                yield SegmentReader(storage, keys).read(place.keys, segment)


class Sealed(NamedTuple):
    """How one kind of object is made of what is sealed in it, and read."""

    read: Callable[[bytes], Any]
    seeds: Callable[[], list[bytes]]


def sealed_objects(data: bytes) -> None:
    """An object sealed with the right key holds anything: it is read, or refused."""
    choice, plain = first(data)
    kinds = list(SEALED.values())
    with suppress(RepositoryError):
        kinds[choice % len(kinds)].read(plain)


def _put(kind: ObjectKind, purpose: str, bound_to: bytes, plain: bytes, name: str = "") -> str:
    found = bench()
    name = name or object_name(kind, _FIRST)
    sealed = found.repository.keys.seal(purpose, plain, bound_to)
    found.storage.objects[name] = form.header(kind) + sealed
    return name


def _read_root(plain: bytes) -> None:
    found = bench()
    packed = struct.pack("<I", len(plain)) + Compressor().compress(plain)
    name = _put(ObjectKind.SNAPSHOT, "snapshots", b"snapshot" + _FIRST, packed)
    try:
        data = read_copy(found.storage, found.repository.keys, _FIRST, name)
        assert data == plain
        parsed = parse_snapshot(data)
        root = parse_root(data)
        for item in msgspec.structs.fields(form.Snapshot):
            assert getattr(parsed, item.name) == getattr(root, item.name)
        for bucket in root.buckets:
            layers_of(read_root_for(found.storage, found.repository.keys, _FIRST, bucket), bucket)
        assert parsed.time.year
    finally:
        del found.storage.objects[name]


def _read_frame(plain: bytes) -> None:
    size = int.from_bytes(plain[:3], "little")
    try:
        assert len(Decompressor().decompress(plain[3:], size)) == size
    except ObjectDamaged:
        return


def _read_owner(plain: bytes) -> None:
    """Read an owner's record and all documents that it says it has."""
    found = bench()
    place = next(place for place in found.places if place.keys)
    keys = place.keys[0]
    nonce = bytes(12)
    bound_to = b"record" + place.row.layer.origin + place.pseudonym
    sealed = nonce + keys.record_cipher.encrypt(nonce, plain, bound_to)
    name = object_name(ObjectKind.MANIFEST, _FIRST)
    found.storage.objects[name] = sealed
    try:
        layer = place.row.layer._replace(manifest=_FIRST, offset=0)
        reader = SectionReader(found.storage, found.repository.keys, place.bucket, [layer])
        row = Row(layer, bytes(16), 0, len(sealed))
        record = reader.record(place.pseudonym, row, place.keys)
        segments = SegmentReader(found.storage, found.repository.keys)
        documents = DocumentReader(record.segments, place.keys, segments)
        for entry in record.entries:
            if isinstance(entry, FileEntry):
                for version in (entry, entry.good):
                    if version is not None:
                        _read_document(documents, version)
    finally:
        del found.storage.objects[name]


def _read_document(documents: DocumentReader, version: Any) -> None:
    try:
        documents.read(version)
    except RepositoryError:
        return


def _read_moved(plain: bytes) -> None:
    found = bench()
    bound_to = b"moved" + _FIRST
    name = _put(ObjectKind.MOVED, "moves", bound_to, plain)
    try:
        rows = read_moves(found.storage, found.repository.keys, _FIRST)
        assert rows == plain
        for offset in range(0, 64, 8):
            segment = form.Segment(_FIRST, offset, 1, 1, bytes(12))
            Moves(found.storage, found.repository.keys).locate(segment)
    finally:
        del found.storage.objects[name]


def _read_keyring(plain: bytes) -> None:
    """The directory is what is given, the rows are none."""
    found = bench()
    bound_to = b"keyring directory" + _FIRST
    name = _put(ObjectKind.KEYRING, "keyrings", bound_to, plain.ljust(1024, b"\0")[:1024])
    try:
        item = KeyringObject(found.storage, found.repository.keys, name)
        for bucket in (0, 1, 255):
            item.bucket_of_copy(name, bucket)
        Keyring(found.storage, found.repository.keys).bucket(0)
    finally:
        del found.storage.objects[name]


def _simple(
    kind: ObjectKind, purpose: str, word: bytes, read: Callable[[Any, Any, str], Any]
) -> Callable[[bytes], Any]:
    def run(plain: bytes) -> Any:
        found = bench()
        name = _put(kind, purpose, word + _FIRST, plain)
        try:
            return read(found.storage, found.repository.keys, name)
        finally:
            del found.storage.objects[name]

    return run


def _read_any_acceptance(storage: Any, keys: Any, name: str) -> None:
    found = read_acceptance(storage, keys, name)
    assert read_acceptances(storage, keys)
    assert all(one.sequence >= 1 for one in found.lost)
    assert found.what or not found.lost


def _read_any_acknowledgement(storage: Any, keys: Any, name: str) -> None:
    found = read_acknowledgement(storage, keys, name)
    assert found in read_acknowledgements(storage, keys).values()
    assert found.snapshot in acknowledged(storage, keys)


def _read_any_anchor(storage: Any, keys: Any, name: str) -> None:
    found = read_anchor(storage, keys, name)
    assert found in read_anchors(storage, keys)
    assert anchor_name(keys, found).startswith(form.ANCHORS)


def _read_index(plain: bytes) -> None:
    found = bench()
    place = found.places[0]
    layer = place.row.layer
    index = found.repository.keys.seal(
        "indexes", plain, b"index" + layer.origin + bytes((place.bucket,))
    )
    name = object_name(ObjectKind.MANIFEST, _FIRST)
    found.storage.objects[name] = index
    try:
        layer = layer._replace(manifest=_FIRST, offset=0, records_bytes=0, index_bytes=len(index))
        reader = SectionReader(found.storage, found.repository.keys, place.bucket, [layer])
        for pseudonym, row in list(reader.rows().items())[:5]:
            _read_row(reader, pseudonym, row, place.keys)
    finally:
        del found.storage.objects[name]


def _read_row(reader: SectionReader, pseudonym: bytes, row: Row, keys: list[OwnerKeys]) -> None:
    try:
        reader.record(pseudonym, row, keys)
    except RepositoryError:
        return


def _encoded(folder: str) -> list[bytes]:
    """Return what the objects of a folder hold, as it is sealed in them."""
    found = bench()
    names = [name for name in found.names if name.startswith(folder) and name in found.said]
    return [msgspec.msgpack.encode(found.said[name]) for name in names]


def _roots() -> list[bytes]:
    found = bench()
    storage, keys = found.storage, found.repository.keys
    return [
        read_copy(storage, keys, one, object_name(ObjectKind.SNAPSHOT, one))
        for one in snapshot_ids(storage)
    ]


def _owners() -> list[bytes]:
    found = bench()
    names = [name for name in found.names if name.startswith(form.MANIFESTS)]
    return [msgspec.msgpack.encode(one) for name in names for one in found.said[name]][:40]


SEALED: dict[str, Sealed] = {
    "root": Sealed(_read_root, _roots),
    "owner record": Sealed(_read_owner, _owners),
    "tombstones": Sealed(
        _simple(ObjectKind.TOMBSTONE, "tombstones", b"tombstones", read_tombstone_copy),
        lambda: _encoded(form.TOMBSTONES),
    ),
    "prune": Sealed(
        _simple(ObjectKind.PRUNE, "prunes", b"prune", read_record), lambda: _encoded(form.PRUNES)
    ),
    "proofs": Sealed(
        _simple(ObjectKind.PROOF, "proofs", b"proofs", read_proof_object),
        lambda: _encoded(form.PROOFS),
    ),
    "acknowledgement": Sealed(
        _simple(
            ObjectKind.ACKNOWLEDGEMENT,
            "acknowledgements",
            b"acknowledgement",
            _read_any_acknowledgement,
        ),
        lambda: _encoded(form.ACKNOWLEDGEMENTS),
    ),
    "anchor": Sealed(
        _simple(ObjectKind.ANCHOR, "anchors", b"anchor", _read_any_anchor),
        lambda: _encoded(form.ANCHORS),
    ),
    "acceptance": Sealed(
        _simple(ObjectKind.ACCEPTANCE, "acceptances", b"acceptance", _read_any_acceptance),
        lambda: _encoded(form.ACCEPTANCES),
    ),
    "moves": Sealed(_read_moved, lambda: [bytes(32), bytes(8) + b"\1" * 24 + bytes(32)]),
    "index": Sealed(_read_index, lambda: [bytes(40), bytes(range(80))]),
    "keyring": Sealed(_read_keyring, lambda: [b"\1" + bytes(1023)]),
    "frame": Sealed(
        _read_frame,
        lambda: [
            len(text).to_bytes(3, "little") + Compressor().compress(text)
            for text in (b"", b"word " * 50, bytes(200_000))
        ],
    ),
}
