"""Tombstones: they come back as written, and damage is told from absence."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, UnsupportedFormat
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import COPY_SUFFIX
from shenyu_data.repository.tombstones import (
    Tombstone,
    Tombstones,
    read_tombstone_copy,
    read_tombstones,
    tombstone_names,
    write_tombstones,
)
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)
IDS = st.binary(min_size=16, max_size=16)
STONES = st.builds(
    Tombstone, IDS, st.integers(0, 10**13), st.integers(0, 10**6), st.lists(IDS, max_size=3)
)


@given(st.lists(STONES, max_size=5), st.lists(STONES, max_size=5))
def test_what_was_written_comes_back(some: list[Tombstone], others: list[Tombstone]) -> None:
    storage = MemoryStorage()
    write_tombstones(storage, KEYS, some)
    write_tombstones(storage, KEYS, others)
    stones = read_tombstones(storage, KEYS)
    for stone in some + others:
        assert stone in stones.of(stone.pseudonym)
        assert stones.covers(stone.pseudonym, stone.sequence)
        assert all(stones.is_dead(key) for key in stone.keys)
    assert {stone.pseudonym for stone in stones} == {stone.pseudonym for stone in some + others}
    assert stones.since(Tombstones(some + others)) == []
    assert list(stones) == stones.since(Tombstones())


def test_a_later_snapshot_is_not_covered() -> None:
    stones = Tombstones([Tombstone(b"p" * 16, 5, 7, [])])
    assert stones.covers(b"p" * 16, 7)
    assert not stones.covers(b"p" * 16, 8)
    assert not stones.covers(b"q" * 16, 1)


@given(st.integers(0, 200), st.integers(1, 255), st.booleans())
def test_any_changed_byte_is_noticed_and_the_copy_is_used(at: int, change: int, both: bool) -> None:
    storage = MemoryStorage()
    stone = Tombstone(b"p" * 16, 5, 7, [b"k" * 16])
    name = write_tombstones(storage, KEYS, [stone])
    data = bytearray(storage.objects[name])
    data[at % len(data)] ^= change
    storage.objects[name] = bytes(data)
    with pytest.raises((ObjectDamaged, UnsupportedFormat)):
        read_tombstone_copy(storage, KEYS, name)
    if both:
        storage.objects[name + COPY_SUFFIX] = bytes(data)
        failures: list[Exception] = []
        assert not len(read_tombstones(storage, KEYS, failures))  # type: ignore[arg-type]
        assert len(failures) == 1
        with pytest.raises((ObjectDamaged, UnsupportedFormat)):
            read_tombstones(storage, KEYS)
    else:
        assert list(read_tombstones(storage, KEYS)) == [stone]


def test_one_put_in_the_place_of_another_does_not_open() -> None:
    storage = MemoryStorage()
    first = write_tombstones(storage, KEYS, [])
    second = write_tombstones(storage, KEYS, [Tombstone(b"p" * 16, 5, 7, [])])
    storage.objects[first] = storage.objects[second]
    with pytest.raises(ObjectDamaged):
        read_tombstone_copy(storage, KEYS, first)


@given(st.binary(max_size=300))
def test_noise_under_the_right_key_is_damage(noise: bytes) -> None:
    storage = MemoryStorage()
    name = write_tombstones(storage, KEYS, [])
    bound_to = b"tombstones" + bytes.fromhex(name.partition("/")[2])
    storage.objects[name] = storage.objects[name][:8] + KEYS.seal("tombstones", noise, bound_to)
    with suppress(ObjectDamaged):
        stones = read_tombstone_copy(storage, KEYS, name)
        assert all(len(stone.pseudonym) == 16 for stone in stones)


def test_a_strangers_file_is_passed_over() -> None:
    storage = MemoryStorage()
    storage.put("tombstones/readme.txt", [b"not ours"])
    assert tombstone_names(storage) == []
    assert not len(read_tombstones(storage, KEYS))
