"""Manifests: the newest layer that names an owner tells, and nothing fits in another's place."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError
from shenyu_data.repository import format as fmt
from shenyu_data.repository.crypto import OwnerKeys, Secrets, seal
from shenyu_data.repository.manifest import (
    Layer,
    ManifestWriter,
    RootBuckets,
    Row,
    SectionBuilder,
    SectionReader,
    layers_of,
)
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)
BUCKET = 7
OWNERS = {number: OwnerKeys(bytes([number]) * 32) for number in range(5)}


def pseudonym(number: int) -> bytes:
    return bytes([BUCKET]) + bytes([number]) * 15


def record(number: int, version: int = 0) -> fmt.OwnerRecord:
    folder = fmt.FolderEntry(2, b"", 0o700, 0, 0, version)
    return fmt.OwnerRecord(b"owner %d" % number, False, [], [folder])


def add_layer(
    storage: MemoryStorage, version: int, changes: dict[int, bool], bucket: int = BUCKET
) -> Layer:
    """Store a section that says of some owners that they are there (true) or gone."""
    origin = bytes([version]) * 16
    builder = SectionBuilder(KEYS, origin, bucket)
    for number, there in changes.items():
        if there:
            signature = bytes([version]) * 16
            builder.add(pseudonym(number), signature, OWNERS[number], record(number, version))
        else:
            builder.add_gone(pseudonym(number))
    section = builder.finish()
    assert section is not None
    writer = ManifestWriter(storage)
    layer = Layer(origin, *writer.add(section))
    writer.finish()
    return layer


def name_of(layer: Layer) -> str:
    return fmt.object_name(fmt.ObjectKind.MANIFEST, layer.manifest)


def read(storage: MemoryStorage, layers: list[Layer]) -> dict[int, int]:
    """Return which owners are there, and of which version, read both ways."""
    found: dict[int, int] = {}
    for load in (False, True):
        reader = SectionReader(storage, KEYS, BUCKET, layers)
        if load:
            reader.load()
        found = {}
        for name, row in reader.rows().items():
            number = name[1]
            opened = reader.record(name, row, [OWNERS[number]])
            assert opened == record(number, opened.entries[0].mtime_ns)
            assert row.signature == bytes([opened.entries[0].mtime_ns]) * 16
            found[number] = opened.entries[0].mtime_ns
    return found


@given(st.lists(st.dictionaries(st.integers(0, 4), st.booleans(), min_size=1), max_size=6))
def test_the_newest_layer_that_names_an_owner_tells(layers: list[dict[int, bool]]) -> None:
    storage = MemoryStorage()
    expected: dict[int, int] = {}
    stored = []
    for version, changes in enumerate(layers):
        stored.append(add_layer(storage, version, changes))
        for number, there in changes.items():
            expected.pop(number, None)
            if there:
                expected[number] = version
    assert read(storage, stored) == expected


def test_a_bucket_without_layers_is_empty() -> None:
    assert read(MemoryStorage(), []) == {}


def test_a_section_about_nobody_is_none() -> None:
    assert SectionBuilder(KEYS, bytes(16), BUCKET).finish() is None
    storage = MemoryStorage()
    ManifestWriter(storage).finish()
    assert storage.objects == {}


def test_several_sections_in_one_manifest_are_each_found() -> None:
    storage = MemoryStorage()
    writer = ManifestWriter(storage)
    layers = []
    for bucket in (1, 2, 3):
        builder = SectionBuilder(KEYS, bytes(16), bucket)
        builder.add(pseudonym(bucket), bytes(16), OWNERS[bucket], record(bucket))
        section = builder.finish()
        assert section is not None
        layers.append(Layer(bytes(16), *writer.add(section)))
    writer.finish()
    ((name, data),) = storage.objects.items()
    assert data[:8] == fmt.header(fmt.ObjectKind.MANIFEST)
    assert writer.stored_bytes == len(data)
    assert {name_of(layer) for layer in layers} == {name}
    for bucket, layer in zip((1, 2, 3), layers, strict=True):
        reader = SectionReader(storage, KEYS, bucket, [layer])
        assert list(reader.rows()) == [pseudonym(bucket)]


def test_a_section_is_shut_in_another_bucket_or_snapshot() -> None:
    storage = MemoryStorage()
    layer = add_layer(storage, 1, {1: True})
    with pytest.raises(ObjectDamaged, match=name_of(layer)):
        SectionReader(storage, KEYS, BUCKET + 1, [layer]).rows()
    with pytest.raises(ObjectDamaged):
        SectionReader(storage, KEYS, BUCKET, [layer._replace(origin=bytes(16))]).rows()


def test_a_record_is_shut_in_another_owners_or_snapshots_place() -> None:
    storage = MemoryStorage()
    old, new = add_layer(storage, 1, {1: True, 2: True}), add_layer(storage, 2, {1: True})
    reader = SectionReader(storage, KEYS, BUCKET, [old, new])
    rows = dict(reader.rows_of(old))
    everybody = list(OWNERS.values())
    with pytest.raises(ObjectDamaged):
        reader.record(pseudonym(2), rows[pseudonym(1)], everybody)
    replayed = rows[pseudonym(1)]._replace(layer=old._replace(origin=new.origin))
    with pytest.raises(ObjectDamaged, match=name_of(old)):
        reader.record(pseudonym(1), replayed, everybody)


def test_without_the_owners_key_a_record_is_shut_and_one_of_several_is_enough() -> None:
    storage = MemoryStorage()
    layer = add_layer(storage, 1, {1: True})
    reader = SectionReader(storage, KEYS, BUCKET, [layer])
    ((name, row),) = reader.rows().items()
    for candidates in ([], [OWNERS[2]]):
        with pytest.raises(ObjectDamaged):
            reader.record(name, row, candidates)
    assert reader.record(name, row, [OWNERS[2], OWNERS[1]]) == record(1, 1)


def test_a_missing_manifest_is_named() -> None:
    storage = MemoryStorage()
    layer = add_layer(storage, 1, {1: True})
    storage.objects.clear()
    reader = SectionReader(storage, KEYS, BUCKET, [layer])
    for action in (reader.rows, reader.load):
        with pytest.raises(ObjectMissing, match=name_of(layer)):
            action()


@given(st.data())
def test_any_changed_byte_or_cut_is_damage_to_what_it_touches_alone(data: st.DataObject) -> None:
    storage = MemoryStorage()
    layer = add_layer(storage, 1, {1: True, 2: True})
    name = name_of(layer)
    stored = storage.objects[name]
    place = data.draw(st.integers(layer.offset, len(stored) - 1))
    if data.draw(st.booleans()):
        changed = bytearray(stored)
        changed[place] ^= data.draw(st.integers(1, 255))
        storage.objects[name] = bytes(changed)
    else:
        storage.objects[name] = stored[:place]
    reader = SectionReader(storage, KEYS, BUCKET, [layer])
    damaged = 0
    try:
        rows = reader.rows()
    except ObjectDamaged:
        return
    for owner, row in rows.items():
        try:
            assert reader.record(owner, row, [OWNERS[owner[1]]]) == record(owner[1], 1)
        except ObjectDamaged as error:
            assert name in error.message
            damaged += 1
    assert damaged == 1


@given(st.binary(max_size=400))
def test_noise_instead_of_a_manifest_is_a_repository_error(noise: bytes) -> None:
    storage = MemoryStorage()
    layer = add_layer(storage, 1, {1: True})
    storage.objects[name_of(layer)] = noise
    with pytest.raises(RepositoryError):
        SectionReader(storage, KEYS, BUCKET, [layer]).rows()


def sealed_section(records: bytes, rows: bytes) -> tuple[MemoryStorage, Layer]:
    """Store what somebody with all keys could: anything."""
    storage = MemoryStorage()
    index = seal(KEYS.derive("indexes"), rows, b"index" + bytes(16) + bytes([BUCKET]))
    storage.put("manifests/" + "0" * 32, [bytes(8), records, index])
    return storage, Layer(bytes(16), bytes(16), 8, len(records), len(index))


@given(st.binary(max_size=100))
def test_a_sealed_record_of_noise_is_damage(noise: bytes) -> None:
    bound_to = b"record" + bytes(16) + pseudonym(1)
    nonce = bytes(12)
    sealed = nonce + OWNERS[1].record_cipher.encrypt(nonce, noise, bound_to)
    storage, layer = sealed_section(sealed, b"")
    reader = SectionReader(storage, KEYS, BUCKET, [layer])
    with pytest.raises(ObjectDamaged):
        reader.record(pseudonym(1), Row(layer, bytes(16), 0, len(sealed)), [OWNERS[1]])


@given(st.binary(max_size=100))
def test_a_sealed_index_of_noise_is_damage_or_leads_nowhere(noise: bytes) -> None:
    storage, layer = sealed_section(b"", noise)
    reader = SectionReader(storage, KEYS, BUCKET, [layer])
    try:
        rows = reader.rows()
    except ObjectDamaged:
        assert len(noise) % 40
        return
    for owner, row in rows.items():
        with pytest.raises(ObjectDamaged):
            reader.record(owner, row, list(OWNERS.values()))


def test_a_sealed_record_that_is_too_deep_or_too_long_is_damage() -> None:
    bound_to = b"record" + bytes(16) + pseudonym(1)
    added = b"\x95\xc4\x00\xc2\x90\x90" + b"\x91" * 100_000 + b"\x90"  # a fifth element
    for deep in (b"\x91" * 100_000, msgspec.msgpack.encode(record(1)) + b"\x91", added):
        sealed = bytes(12) + OWNERS[1].record_cipher.encrypt(bytes(12), deep, bound_to)
        storage, layer = sealed_section(sealed, b"")
        reader = SectionReader(storage, KEYS, BUCKET, [layer])
        with pytest.raises(ObjectDamaged):
            reader.record(pseudonym(1), Row(layer, bytes(16), 0, len(sealed)), [OWNERS[1]])


def test_layers_survive_the_way_through_a_root() -> None:
    storage = MemoryStorage()
    layers = {
        bucket: [add_layer(storage, version, {1: True}) for version in range(bucket % 3)]
        for bucket in range(6)
    }
    shared = layers[5][0]
    layers[4].append(shared)
    totals = fmt.Totals(users=1)
    collected = RootBuckets()
    for bucket, some in layers.items():
        collected.add(bucket, some, totals)
    assert len(set(collected.origins)) == len(collected.origins)
    assert len(set(collected.manifests)) == len(collected.manifests)
    root = fmt.Root(
        id=bytes(16),
        parent=None,
        sequence=1,
        time_ms=0,
        kind="full",
        tag=None,
        data="",
        program="",
        totals=totals,
        changes=fmt.Changes(),
        incomplete=False,
        read_bytes=0,
        stored_bytes=0,
        elapsed_ms=0,
        origins=collected.origins,
        manifests=collected.manifests,
        buckets=collected.buckets,
    )
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(root), type=fmt.Root)
    assert {bucket: layers_of(again, bucket) for bucket in range(6)} == layers
    assert 0 not in again.buckets
