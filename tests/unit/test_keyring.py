"""The keyring: each key is stored twice, read from whichever copy is sound, bound to its place."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectMissing, RepositoryError, StorageError
from shenyu_data.repository import format as fmt
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.crypto import Secrets, seal
from shenyu_data.repository.keyring import Keyring, KeyringObject, write_keyring
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)


def row(number: int, bucket: int = 7) -> tuple[bytes, bytes]:
    return bytes([bucket]) + bytes([number]) * 15, bytes([number]) * 32


def stored(rows: dict[int, list[tuple[bytes, bytes]]]) -> MemoryStorage:
    storage = MemoryStorage()
    write_keyring(storage, KEYS, rows)
    return storage


def keys_of(storage: MemoryStorage | LocalStorage, bucket: int = 7) -> dict[bytes, list[bytes]]:
    found = Keyring(storage, KEYS).bucket(bucket)
    return {pseudonym: [keys.key for keys in candidates] for pseudonym, candidates in found.items()}


ROWS = st.dictionaries(
    st.integers(0, 255),
    st.lists(
        st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)),
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    max_size=6,
)


@given(ROWS)
def test_every_key_comes_back_from_its_bucket(rows: dict[int, list[tuple[bytes, bytes]]]) -> None:
    storage = stored(rows)
    objects = Keyring(storage, KEYS).objects
    if not any(rows.values()):
        assert objects == []
        return
    (item,) = objects
    for copy in storage.objects:
        assert item.size_of_copy(copy) == len(storage.objects[copy])
        for bucket in {*rows, 0, 255}:
            assert item.bucket_of_copy(copy, bucket) == rows.get(bucket, [])


def test_the_layout_is_that_of_the_page() -> None:
    storage = stored({0: [row(1, 0), row(2, 0)], 255: [row(3, 255)]})
    sizes = {len(data) for data in storage.objects.values()}
    assert sizes == {8 + 1052 + (2 * 48 + 28) + (48 + 28)}


def test_both_copies_are_the_same_bytes() -> None:
    first, second = stored({7: [row(1)]}).objects.values()
    assert first == second


@pytest.mark.parametrize("lost", [0, 1])
def test_the_other_copy_is_used_when_one_is_gone(lost: int) -> None:
    storage = stored({7: [row(1)]})
    storage.delete(sorted(storage.objects)[lost])
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]]}


@given(st.integers(0, 1), st.integers(0, 8 + 1052 + 48 + 28 - 1), st.integers(1, 255))
def test_the_other_copy_is_used_when_any_byte_of_one_is_changed(
    copy: int, place: int, change: int
) -> None:
    storage = stored({7: [row(1)]})
    name = sorted(storage.objects)[copy]
    data = bytearray(storage.objects[name])
    data[place] ^= change
    storage.objects[name] = bytes(data)
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]]}
    with pytest.raises(RepositoryError):
        KeyringObject(storage, KEYS, sorted(storage.objects)[0]).bucket_of_copy(name, 7)


@given(st.integers(0, 8 + 1052 + 48 + 28 - 1))
def test_the_other_copy_is_used_when_one_is_cut_off(size: int) -> None:
    storage = stored({7: [row(1)]})
    name = min(storage.objects)
    storage.objects[name] = storage.objects[name][:size]
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]]}


def test_the_other_copy_is_used_when_one_cannot_be_read(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    write_keyring(storage, KEYS, {7: [row(1)]})
    first = min(path for path in (tmp_path / "keys").iterdir())
    first.unlink()
    first.mkdir()  # reading it is an error of the system, as of a bad sector
    with pytest.raises((StorageError, RepositoryError)):
        storage.read(f"keys/{first.name}")
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]]}


@given(st.binary(max_size=1300))
def test_noise_in_both_copies_is_a_repository_error_and_the_keyring_goes_on(noise: bytes) -> None:
    storage = stored({7: [row(1)]})
    (bad,) = {name.removesuffix(".copy") for name in storage.objects}
    for start in (b"", fmt.header(fmt.ObjectKind.KEYRING)):
        for name in (bad, bad + ".copy"):
            storage.objects[name] = start + noise
        with pytest.raises(RepositoryError):
            KeyringObject(storage, KEYS, bad).bucket(7)
        assert keys_of(storage) == {}
    write_keyring(storage, KEYS, {7: [row(2)]})
    assert keys_of(storage) == {row(2)[0]: [row(2)[1]]}


def test_two_backups_that_met_an_owner_at_once_leave_two_keys() -> None:
    storage = stored({7: [row(1)]})
    write_keyring(storage, KEYS, {7: [(row(1)[0], row(9)[1]), row(2)]})
    found = keys_of(storage)
    assert {key for key in found[row(1)[0]]} == {row(1)[1], row(9)[1]}
    assert found[row(2)[0]] == [row(2)[1]]


def test_a_key_that_stands_in_two_objects_is_one_key() -> None:
    storage = stored({7: [row(1)]})
    write_keyring(storage, KEYS, {7: [row(1), row(2)]})
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]], row(2)[0]: [row(2)[1]]}


def test_an_object_under_another_name_does_not_open() -> None:
    storage = stored({7: [row(1)]})
    data = next(iter(storage.objects.values()))
    moved = MemoryStorage()
    moved.put("keys/" + "0" * 32, [data])
    with pytest.raises(RepositoryError):
        KeyringObject(moved, KEYS, "keys/" + "0" * 32).bucket(7)


def test_a_bucket_put_in_the_place_of_another_does_not_open() -> None:
    storage = stored({7: [row(1)], 8: [row(2, 8)]})
    (name, data), _ = sorted(storage.objects.items())
    size = 48 + 28
    storage.objects[name] = data[:1060] + data[1060 + size :] + data[1060 : 1060 + size]
    with pytest.raises(RepositoryError):
        KeyringObject(storage, KEYS, name).bucket_of_copy(name, 7)


def test_another_repositorys_key_opens_nothing() -> None:
    storage = stored({7: [row(1)]})
    assert Keyring(storage, Secrets(b"m" * 32, b"s" * 16)).bucket(7) == {}


def test_a_directory_that_counts_too_many_is_a_repository_error() -> None:
    object_id = bytes(16)
    counts = [0] * 256
    counts[7] = 0xFFFFFFFF
    bound_to = b"keyring directory" + object_id
    directory = seal(KEYS.derive("keyrings"), struct.pack("<256I", *counts), bound_to)
    storage = MemoryStorage()
    name = fmt.object_name(fmt.ObjectKind.KEYRING, object_id)
    storage.put(name, [fmt.header(fmt.ObjectKind.KEYRING), directory])
    with pytest.raises(RepositoryError):
        KeyringObject(storage, KEYS, name).bucket(7)


def test_a_stray_file_among_the_keyrings_is_passed_over_and_not_copied(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    write_keyring(storage, KEYS, {7: [row(1)]})
    for name in ("README.md", "notes.txt", "0" * 31):
        (tmp_path / "keys" / name).write_text("mine")
    assert keys_of(storage) == {row(1)[0]: [row(1)[1]]}
    assert mend_copies(storage) == []


@pytest.mark.parametrize("lost", [0, 1])
def test_mending_stores_the_missing_copy_again(lost: int) -> None:
    storage = stored({7: [row(1)]})
    before = dict(storage.objects)
    name = sorted(storage.objects)[lost]
    storage.delete(name)
    assert mend_copies(storage) == [name]
    assert storage.objects == before
    assert mend_copies(storage) == []


def test_an_empty_storage_has_an_empty_keyring() -> None:
    assert keys_of(MemoryStorage()) == {}
    with pytest.raises(ObjectMissing):
        KeyringObject(MemoryStorage(), KEYS, "keys/" + "0" * 32).bucket(7)


def test_one_owners_keys_are_those_that_its_bucket_has_of_it() -> None:
    storage = stored({7: [row(1), row(2)], 8: [row(1, 8)]})
    write_keyring(storage, KEYS, {7: [(row(1)[0], b"other" * 6 + b"k!")]})
    keyring = Keyring(storage, KEYS)
    for pseudonym in (row(1)[0], row(2)[0], row(1, 8)[0]):
        found = keyring.bucket(pseudonym[0])[pseudonym]
        assert [keys.key for keys in keyring.owner(pseudonym)] == [keys.key for keys in found]
    assert len(keyring.owner(row(1)[0])) == 2
    assert keyring.owner(row(3)[0]) == []
