"""Tombstones: who was erased, when, and which keys may never be used again.

One is stored, twice, before an owner's keys are destroyed. From then on no reader uses those keys,
even if an old keyring object comes back; and restore, import and copy do not bring the owner back.
Neither a name nor a key stands in a tombstone, only the pseudonym and fingerprints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated

import msgspec

from shenyu_data.model.errors import RepositoryError, ShenyuDataError
from shenyu_data.repository.copies import put_twice, read_either
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    COPY_SUFFIX,
    TOMBSTONES,
    Count,
    ObjectId,
    ObjectKind,
    TimeMs,
    parse_object_name,
)
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage

Fingerprint = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class Tombstone(msgspec.Struct, array_like=True, frozen=True):
    """One erasure. Snapshots up to ``sequence`` may hold the owner, unreadable; ``keys`` are the
    fingerprints of the keys destroyed (:func:`shenyu_data.repository.crypto.fingerprint`).
    """

    pseudonym: ObjectId
    time_ms: TimeMs
    sequence: Count
    keys: list[Fingerprint]


class Tombstones:
    """All erasures that a repository knows of, but for those in ``unreadable`` objects."""

    def __init__(self, stones: Iterable[Tombstone] = (), unreadable: int = 0) -> None:
        self.unreadable = unreadable
        self._by_pseudonym: dict[bytes, list[Tombstone]] = {}
        self._dead: set[bytes] = set()
        for stone in stones:
            known = self._by_pseudonym.setdefault(stone.pseudonym, [])
            if stone not in known:
                known.append(stone)
            self._dead.update(stone.keys)

    def __len__(self) -> int:
        return sum(map(len, self._by_pseudonym.values()))

    def __iter__(self) -> Iterator[Tombstone]:
        for stones in self._by_pseudonym.values():
            yield from stones

    def of(self, pseudonym: bytes) -> list[Tombstone]:
        """Return an owner's tombstones: none, or at least one for each time it was erased."""
        return self._by_pseudonym.get(pseudonym, [])

    def is_dead(self, fingerprint: bytes) -> bool:
        """Whether the key with this fingerprint was destroyed."""
        return fingerprint in self._dead

    def covers(self, pseudonym: bytes, sequence: int) -> bool:
        """Whether what a snapshot of this sequence holds of the owner was erased.

        An owner who came back after an erasure has new keys, in later snapshots.
        """
        return any(stone.sequence >= sequence for stone in self.of(pseudonym))

    def hides_more_than(self, earlier: Tombstones) -> bool:
        """Whether somebody was erased since ``earlier`` and it cannot be told who: by somebody who
        has a newer repository key.
        """
        return self.unreadable > earlier.unreadable

    def since(self, earlier: Tombstones) -> list[Tombstone]:
        """Return the tombstones that are not among ``earlier`` ones."""
        return [stone for stone in self if stone not in earlier.of(stone.pseudonym)]


_OBJECTS = Sealed(ObjectKind.TOMBSTONE, TOMBSTONES, b"tombstones", list[Tombstone], "tombstones")


def write_tombstones(storage: Storage, keys: Secrets, stones: Iterable[Tombstone]) -> str:
    """Store an object with these tombstones, twice; return its name."""
    name = _OBJECTS.new_name()
    put_twice(storage, name, _OBJECTS.parts(keys, name, list(stones)))
    return name


def read_tombstones(
    storage: Storage,
    keys: Secrets,
    failures: list[RepositoryError] | None = None,
    names: Collection[str] | None = None,
) -> Tombstones:
    """Return all tombstones; ``names`` are their objects', if they were just listed.

    An object neither of whose copies can be read is passed over, and its error added to
    ``failures``; without such a list, it is raised.
    """
    stones: list[Tombstone] = []
    unreadable = 0
    for name in tombstone_names(storage) if names is None else _sound_names(names):
        try:
            stones += read_either(name, lambda copy: read_tombstone_copy(storage, keys, copy))
        except RepositoryError as error:
            if failures is None:
                raise
            failures.append(error)
            unreadable += 1
    return Tombstones(stones, unreadable)


def read_tombstone_copy(storage: Storage, keys: Secrets, copy: str) -> list[Tombstone]:
    """Read one named copy of an object. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, copy)


def extend_tombstones(storage: Storage, keys: Secrets, earlier: Tombstones, sequence: int) -> None:
    """Make the tombstones that are not among ``earlier`` ones cover a snapshot of this ``sequence``
    that is being stored: it holds those owners, sealed under keys that are destroyed by now.

    Raise ShenyuDataError if it cannot be told whom they mean.
    """
    stones = read_tombstones(storage, keys, [])
    if stones.hides_more_than(earlier):
        raise erased_under_a_newer_key()
    lately = {stone.pseudonym: stone for stone in stones.since(earlier)}
    short = [
        msgspec.structs.replace(stone, sequence=sequence)
        for stone in lately.values()
        if not stones.covers(stone.pseudonym, sequence)
    ]
    if short:
        write_tombstones(storage, keys, short)


def erased_under_a_newer_key() -> ShenyuDataError:
    """Return the error for whoever is storing a snapshot and cannot tell who was just erased."""
    return ShenyuDataError(
        "the repository key was rotated and a user erased meanwhile; no snapshot was stored",
        hint="Run it again.",
    )


def tombstone_names(storage: Storage) -> list[str]:
    """Return the names of the objects, without those of their copies."""
    return _sound_names({info.name.removesuffix(COPY_SUFFIX) for info in storage.list(TOMBSTONES)})


def _sound_names(names: Collection[str]) -> list[str]:
    return sorted(name for name in names if parse_object_name(name))
