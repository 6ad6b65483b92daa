"""The keyring: every owner's random key, in objects sealed under the repository key, by bucket.

A backup that meets new owners adds keyring objects; all objects together are the keyring, less the
keys that a tombstone says were destroyed. Destroying an owner's key in all of them makes every
backup of that owner unreadable. Each object is stored twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from shenyu_data.model.errors import ObjectMissing, RepositoryError
from shenyu_data.repository.copies import put_twice, read_either
from shenyu_data.repository.crypto import OVERHEAD_BYTES, OwnerKeys, Secrets, fingerprint
from shenyu_data.repository.format import (
    BUCKETS,
    COPY_SUFFIX,
    HEADER_BYTES,
    KEYRING_ROW,
    KEYRINGS,
    ObjectKind,
    check_header,
    damaged,
    header,
    new_id,
    object_name,
    parse_object_name,
)
from shenyu_data.repository.tombstones import Tombstones, read_tombstones
from shenyu_data.storage.protocol import Storage

ROWS_AN_OBJECT = 1 << 16
"""About as many keys go into one object: destroying one writes its object anew."""

_LISTINGS = 5
"""So often the objects are listed while somebody else keeps replacing them."""

_DIRECTORY = struct.Struct(f"<{BUCKETS}I")
_DIRECTORY_BYTES = _DIRECTORY.size + OVERHEAD_BYTES


class Keyring:
    """Reads keys bucket by bucket from all keyring objects."""

    def __init__(self, storage: Storage, keys: Secrets) -> None:
        self._storage = storage
        self._keys = keys
        self._objects = self._list()

    def _list(self) -> list[KeyringObject]:
        names = {info.name.removesuffix(COPY_SUFFIX) for info in self._storage.list(KEYRINGS)}
        return [
            KeyringObject(self._storage, self._keys, name)
            for name in sorted(names)
            if parse_object_name(name)
        ]

    @cached_property
    def tombstones(self) -> Tombstones:
        """Who was erased. What cannot be read is passed over: verify names it."""
        return read_tombstones(self._storage, self._keys, [])

    @property
    def objects(self) -> list[KeyringObject]:
        """The keyring objects, sorted by name."""
        return self._objects

    def bucket(self, bucket: int) -> dict[bytes, list[OwnerKeys]]:
        """Return the keys of a bucket's owners by pseudonym.

        Nearly always one each; the first seals what is new. Several when two backups met the same
        new owner at once, or after a rotation. Destroyed keys are left out, wherever they come
        from. An object neither of whose copies can be read is passed over (verify names it): its
        owners then have no key. One that is gone since it was listed was replaced, by an erasure or
        a prune: then everything is listed anew.
        """
        return self._read(bucket, None)

    def owner(self, pseudonym: bytes) -> list[OwnerKeys]:
        """Return the keys of one owner, as :meth:`bucket` does: none if there are none."""
        return self._read(pseudonym[0], pseudonym).get(pseudonym, [])

    def _read(self, bucket: int, only: bytes | None) -> dict[bytes, list[OwnerKeys]]:
        for _ in range(_LISTINGS):
            found, vanished = self._read_listed(bucket, only)
            if not vanished:
                break
            self._objects = self._list()
            self.__dict__.pop("tombstones", None)  # whoever erases stores a tombstone first
        return found

    def _read_listed(
        self, bucket: int, only: bytes | None
    ) -> tuple[dict[bytes, list[OwnerKeys]], bool]:
        """Return the keys, and whether an object was missing that had been listed."""
        found: dict[bytes, list[OwnerKeys]] = {}
        vanished = False
        for item in self._objects:
            try:
                rows = item.bucket(bucket)
            except RepositoryError as error:
                vanished |= isinstance(error, ObjectMissing)
                continue
            for pseudonym, key in rows:
                if only not in (None, pseudonym) or self._is_dead(pseudonym, key):
                    continue
                known = found.setdefault(pseudonym, [])
                if all(keys.key != key for keys in known):
                    known += self._keys.owner_keys(key)
        return found, vanished

    def _is_dead(self, pseudonym: bytes, key: bytes) -> bool:
        stones = self.tombstones
        return bool(stones.of(pseudonym)) and stones.is_dead(fingerprint(key))


class KeyringObject:
    """One keyring object, read from whichever of its two copies is sound."""

    def __init__(self, storage: Storage, keys: Secrets, name: str) -> None:
        self._storage = storage
        self._keys = keys
        self.name = name
        self._counts: dict[str, tuple[int, ...]] = {}

    def bucket(self, bucket: int) -> list[tuple[bytes, bytes]]:
        """Return (pseudonym, key) rows. Raise RepositoryError or StorageError if neither copy is
        sound.
        """
        return read_either(self.name, lambda copy: self.bucket_of_copy(copy, bucket))

    def count(self) -> int:
        """Return how many keys it holds. Raises as :meth:`bucket`."""
        return read_either(self.name, lambda copy: sum(self.counts_of_copy(copy)))

    def bucket_of_copy(self, copy: str, bucket: int) -> list[tuple[bytes, bytes]]:
        """As :meth:`bucket`, from one named copy."""
        counts = self.counts_of_copy(copy)
        if not counts[bucket]:
            return []
        offset = HEADER_BYTES + _DIRECTORY_BYTES
        offset += _sections_bytes(counts[:bucket])
        sealed = self._storage.read(copy, offset, _sections_bytes(counts[bucket : bucket + 1]))
        rows = self._keys.unseal("keyrings", sealed, self._bound_to(bucket), copy)
        return [(pseudonym, key) for pseudonym, key in KEYRING_ROW.iter_unpack(rows)]

    def counts_of_copy(self, copy: str) -> tuple[int, ...]:
        """Return how many keys each bucket holds in one named copy."""
        if copy not in self._counts:
            start = self._storage.read(copy, 0, HEADER_BYTES + _DIRECTORY_BYTES)
            check_header(ObjectKind.KEYRING, copy, start)
            directory = self._keys.unseal(
                "keyrings", start[HEADER_BYTES:], self._bound_to(None), copy
            )
            self._counts[copy] = _DIRECTORY.unpack(directory)
        return self._counts[copy]

    def size_of_copy(self, copy: str) -> int:
        """Return how many bytes the copy must have."""
        return HEADER_BYTES + _DIRECTORY_BYTES + _sections_bytes(self.counts_of_copy(copy))

    def _bound_to(self, bucket: int | None) -> bytes:
        return _bound_to(_id_of(self.name), bucket)


def write_keyring(
    storage: Storage, keys: Secrets, buckets: Mapping[int, Iterable[tuple[bytes, bytes]]]
) -> int:
    """Store (pseudonym, key) rows by bucket in keyring objects, each twice; return the bytes
    stored.
    """
    stored = 0
    some: dict[int, list[tuple[bytes, bytes]]] = {}
    for bucket in sorted(buckets):
        some[bucket] = list(buckets[bucket])
        if sum(map(len, some.values())) >= ROWS_AN_OBJECT:
            stored += _write_object(storage, keys, some)
            some = {}
    if any(some.values()):
        stored += _write_object(storage, keys, some)
    return stored


def rewrite_keyrings(
    storage: Storage,
    keys: Secrets,
    buckets: Collection[int],
    keep: Callable[[bytes, bytes], bool],
) -> tuple[list[str], list[RepositoryError]]:
    """Store anew, without the (pseudonym, key) rows for which ``keep`` is false, every keyring
    object that holds one; destroy the old ones. Such rows are looked for in ``buckets`` alone.

    Looks again until none is left: a backup that runs meanwhile may bring a copy back. Return the
    names of what was destroyed, and what is wrong with objects that cannot be read and so may
    still hold such rows.
    """
    destroyed: list[str] = []
    while True:
        failures: list[RepositoryError] = []
        found = False
        for item in Keyring(storage, keys).objects:
            try:
                if not all(keep(*row) for bucket in buckets for row in item.bucket(bucket)):
                    _rewrite_object(storage, keys, item, keep, destroyed)
                    found = True
            except RepositoryError as error:
                failures.append(error)
        if not found:
            return destroyed, failures


def _rewrite_object(
    storage: Storage,
    keys: Secrets,
    item: KeyringObject,
    keep: Callable[[bytes, bytes], bool],
    destroyed: list[str],
) -> None:
    buckets = {bucket: item.bucket(bucket) for bucket in range(BUCKETS)}
    kept = {bucket: [row for row in rows if keep(*row)] for bucket, rows in buckets.items() if rows}
    if any(kept.values()):
        _write_object(storage, keys, kept)
    for name in (item.name, item.name + COPY_SUFFIX):
        with suppress(ObjectMissing):
            storage.destroy(name)
            destroyed.append(name)


def _write_object(
    storage: Storage, keys: Secrets, buckets: Mapping[int, Sequence[tuple[bytes, bytes]]]
) -> int:
    object_id = new_id()
    counts = [0] * BUCKETS
    sections = []
    for bucket in sorted(buckets):
        rows = b"".join(KEYRING_ROW.pack(pseudonym, key) for pseudonym, key in buckets[bucket])
        if rows:
            counts[bucket] = len(rows) // KEYRING_ROW.size
            sections.append(keys.seal("keyrings", rows, _bound_to(object_id, bucket)))
    directory = keys.seal("keyrings", _DIRECTORY.pack(*counts), _bound_to(object_id, None))
    name = object_name(ObjectKind.KEYRING, object_id)
    chunks = [header(ObjectKind.KEYRING), directory, *sections]
    return put_twice(storage, name, chunks)


def _sections_bytes(counts: Sequence[int]) -> int:
    """Return the size of the sections with these numbers of rows; an empty bucket has none."""
    return sum(counts) * KEYRING_ROW.size + (len(counts) - counts.count(0)) * OVERHEAD_BYTES


def _bound_to(object_id: bytes, bucket: int | None) -> bytes:
    if bucket is None:
        return b"keyring directory" + object_id
    return b"keyring bucket" + object_id + bytes((bucket,))


def _id_of(name: str) -> bytes:
    parsed = parse_object_name(name)
    if parsed is None:
        raise damaged(name, "it is not named as a keyring is")
    return parsed[1]
