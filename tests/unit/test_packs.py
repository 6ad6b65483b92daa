"""Packs: a reader gives back what the writer was given, or an error that names the pack."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError, StorageError
from shenyu_data.repository import format as fmt
from shenyu_data.repository.crypto import OwnerKeys, Secrets
from shenyu_data.repository.packs import PACK_BYTES, SEGMENT_BYTES, PackWriter, SegmentReader
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage

ALICE, BOB = OwnerKeys(b"a" * 32), OwnerKeys(b"b" * 32)
SECRETS = Secrets(b"m" * 32, b"r" * 16)


def pack(*plains: bytes, keys: OwnerKeys = ALICE) -> tuple[MemoryStorage, list[fmt.Segment]]:
    storage = MemoryStorage()
    writer = PackWriter(storage)
    segments = [writer.add(keys, plain) for plain in plains]
    writer.finish()
    return storage, segments


def name_of(segment: fmt.Segment) -> str:
    return fmt.object_name(fmt.ObjectKind.PACK, segment.pack)


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_every_segment_comes_back(plains: list[bytes]) -> None:
    storage, segments = pack(*plains)
    reader = SegmentReader(storage, SECRETS)
    assert [reader.read([ALICE], segment) for segment in segments] == plains
    assert [segment.plain_bytes for segment in segments] == [len(plain) for plain in plains]


def test_nothing_to_store_stores_nothing() -> None:
    storage, _ = pack()
    assert storage.objects == {}


def test_a_pack_holds_its_header_then_the_segments_without_gaps() -> None:
    storage, segments = pack(b"one", b"two" * 100)
    ((name, data),) = storage.objects.items()
    assert data[:8] == fmt.header(fmt.ObjectKind.PACK)
    assert name == name_of(segments[0]) == name_of(segments[1])
    assert segments[0].offset == 8
    assert segments[1].offset == 8 + segments[0].stored_bytes
    assert segments[1].offset + segments[1].stored_bytes == len(data)


def test_packs_are_closed_at_their_size_and_every_segment_is_found(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    noise = random.Random(1).randbytes(SEGMENT_BYTES)
    writer = PackWriter(storage)
    segments = [writer.add(ALICE, noise[n:] + noise[:n]) for n in range(10)]
    writer.finish()
    packs = {segment.pack for segment in segments}
    assert len(packs) == len(list(tmp_path.glob("packs/*"))) == 2
    sizes = [path.stat().st_size for path in tmp_path.glob("packs/*")]
    assert writer.stored_bytes == sum(sizes)
    assert max(sizes) < PACK_BYTES + SEGMENT_BYTES + 1000
    reader = SegmentReader(storage, SECRETS)
    for n, segment in enumerate(segments):
        assert reader.read([ALICE], segment) == noise[n:] + noise[:n]


def test_an_abandoned_writer_leaves_no_pack_half_stored() -> None:
    storage = MemoryStorage()
    writer = PackWriter(storage)
    writer.add(ALICE, b"x")
    writer.abandon()
    assert storage.objects == {}


def test_a_writer_whose_storage_fails_says_so(tmp_path: Path) -> None:
    writer = PackWriter(LocalStorage(str(tmp_path / "not there")))
    writer.add(ALICE, b"x")
    with pytest.raises(StorageError):
        writer.finish()


def test_only_one_of_an_owners_keys_need_fit() -> None:
    storage, (segment,) = pack(b"x", keys=BOB)
    assert SegmentReader(storage, SECRETS).read([ALICE, BOB], segment) == b"x"


@pytest.mark.parametrize("candidates", [[], [ALICE]])
def test_without_the_owners_key_a_segment_is_shut(candidates: list[OwnerKeys]) -> None:
    storage, (segment,) = pack(b"x", keys=BOB)
    with pytest.raises(ObjectDamaged, match=segment.pack.hex()):
        SegmentReader(storage, SECRETS).read(candidates, segment)


def test_a_missing_pack_is_named() -> None:
    storage, (segment,) = pack(b"x")
    storage.delete(name_of(segment))
    with pytest.raises(ObjectMissing, match=segment.pack.hex()):
        SegmentReader(storage, SECRETS).read([ALICE], segment)


@given(st.data())
def test_a_changed_byte_or_a_cut_is_noticed_in_its_segment_alone(data: st.DataObject) -> None:
    storage, (first, second) = pack(b"first" * 20, b"second" * 20)
    ((name, stored),) = storage.objects.items()
    place = data.draw(st.integers(second.offset, len(stored) - 1))
    if data.draw(st.booleans()):
        changed = bytearray(stored)
        changed[place] ^= data.draw(st.integers(1, 255))
        storage.objects[name] = bytes(changed)
    else:
        storage.objects[name] = stored[:place]
    reader = SegmentReader(storage, SECRETS)
    assert reader.read([ALICE], first) == b"first" * 20
    with pytest.raises(ObjectDamaged, match=name):
        reader.read([ALICE], second)


def test_two_segments_of_one_owner_and_size_cannot_be_swapped() -> None:
    storage, (first, second) = pack(b"12345678", b"abcdefgh")
    ((name, stored),) = storage.objects.items()
    assert first.stored_bytes == second.stored_bytes
    middle = second.offset
    storage.objects[name] = stored[:8] + stored[middle:] + stored[8:middle]
    for segment in (first, second):
        with pytest.raises(ObjectDamaged):
            SegmentReader(storage, SECRETS).read([ALICE], segment)


@given(
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 30),
    st.integers(0, 1 << 30),
    st.binary(min_size=12, max_size=12),
)
def test_a_segment_that_points_anywhere_is_a_repository_error(
    offset: int, stored_bytes: int, plain_bytes: int, nonce: bytes
) -> None:
    storage, (segment,) = pack(b"x" * 100)
    forged = fmt.Segment(segment.pack, offset, stored_bytes, plain_bytes, nonce)
    with pytest.raises(RepositoryError):
        SegmentReader(storage, SECRETS).read([ALICE], forged)


@pytest.mark.parametrize("plain_bytes", [0, 99, 101, 1 << 30])
def test_a_segment_of_another_size_than_its_record_says_is_damage(plain_bytes: int) -> None:
    storage, (segment,) = pack(b"x" * 100)
    forged = msgspec.structs.replace(segment, plain_bytes=plain_bytes)
    with pytest.raises(ObjectDamaged):
        SegmentReader(storage, SECRETS).read([ALICE], forged)


@given(st.binary(max_size=100))
def test_noise_instead_of_a_pack_is_a_repository_error(noise: bytes) -> None:
    storage, (segment,) = pack(b"x" * 30)
    storage.objects[name_of(segment)] = noise
    with pytest.raises(RepositoryError):
        SegmentReader(storage, SECRETS).read([ALICE], segment)


def test_the_last_segments_read_are_kept_and_older_ones_read_again() -> None:
    storage, segments = pack(b"a" * 600, b"b" * 600, b"c" * 600)
    reader = SegmentReader(storage, SECRETS, kept_bytes=1000)
    for segment in segments:
        reader.read([ALICE], segment)
    storage.objects.clear()
    assert reader.read([ALICE], segments[2]) == b"c" * 600
    with pytest.raises(ObjectMissing):
        reader.read([ALICE], segments[0])
