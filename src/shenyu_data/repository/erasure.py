"""Destroying an owner's keys: what makes every backup of a user unreadable, at once, for good.

First the tombstone, then the keys. A backup does it the other way round (its keys, then a look for
tombstones), so that one of the two always sees the other; killed between, the keys are unusable
already, and erasing again finishes.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.errors import RepositoryError
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.crypto import Secrets, fingerprint
from shenyu_data.repository.format import Root
from shenyu_data.repository.keyring import Keyring, rewrite_keyrings
from shenyu_data.repository.manifest import Layer, SectionReader, layers_of
from shenyu_data.repository.snapshots import list_snapshots, read_root_for, snapshot_ids
from shenyu_data.repository.tombstones import Tombstone, read_tombstones, write_tombstones
from shenyu_data.storage.protocol import Storage


class DestroyedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did in the repository. ``objects`` were destroyed, copies included;
    ``failures`` are keyring objects that cannot be read, and so may still hold a key.
    """

    tombstone: Tombstone
    objects: list[str]
    failures: list[RepositoryError]


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a repository holds an owner: how many snapshots, keys, and keyring objects with these.

    ``failures`` are snapshots, manifests and keyring objects that cannot be read.
    """

    snapshots: int
    keys: int
    keyring_objects: int
    failures: list[RepositoryError]


def find_holdings(storage: Storage, keys: Secrets, pseudonym: bytes) -> Holdings:
    """Look for an owner in all snapshots and keyring objects. No pack is read."""
    failures: list[RepositoryError] = []
    indexes = _Indexes(storage, keys, pseudonym)
    snapshots = 0
    for snapshot in snapshot_ids(storage):
        try:
            root = read_root_for(storage, keys, snapshot, pseudonym[0])
            snapshots += indexes.hold(root)
        except RepositoryError as error:
            failures.append(error)
    found: set[bytes] = set()
    objects = 0
    for item in Keyring(storage, keys).objects:
        try:
            own = {key for owner, key in item.bucket(pseudonym[0]) if owner == pseudonym}
        except RepositoryError as error:
            failures.append(error)
            continue
        found |= own
        objects += bool(own)
    return Holdings(
        snapshots=snapshots, keys=len(found), keyring_objects=objects, failures=failures
    )


class _Indexes:
    """What the indexes say of one owner, each of them read once: snapshots share them."""

    def __init__(self, storage: Storage, keys: Secrets, pseudonym: bytes) -> None:
        self._storage = storage
        self._keys = keys
        self._pseudonym = pseudonym
        self._known: dict[Layer, bool | None] = {}

    def hold(self, root: Root) -> bool:
        """Whether a snapshot holds the owner: the newest section that names it says so."""
        bucket = self._pseudonym[0]
        reader = SectionReader(self._storage, self._keys, bucket, [])
        for layer in reversed(layers_of(root, bucket)):
            if layer not in self._known:
                rows = (row for owner, row in reader.rows_of(layer) if owner == self._pseudonym)
                row = next(rows, None)
                self._known[layer] = None if row is None else row.length > 0
            if (said := self._known[layer]) is not None:
                return said
        return False


def destroy_keys(storage: Storage, keys: Secrets, pseudonym: bytes, time_ms: int) -> DestroyedKeys:
    """Bury an owner and destroy its keys in every keyring object; may be done again at any time.

    No key is destroyed before a tombstone names it. Looks again until nothing is new: a backup that
    runs meanwhile may store another key, and a snapshot that holds the owner, unreadable by now.
    Raise StorageError if the storage fails; what was done by then stays done.
    """
    stones = read_tombstones(storage, keys, []).of(pseudonym)
    last = max(stones, key=lambda stone: (stone.sequence, stone.time_ms), default=None)
    mine: set[bytes] = set()
    objects: list[str] = []

    def stays(owner: bytes, key: bytes) -> bool:
        return owner != pseudonym or fingerprint(key) not in mine

    while True:
        found = _fingerprints(storage, keys, pseudonym)
        sequence = max((item.sequence for item in list_snapshots(storage, keys, [])), default=0)
        again = last is None or not found <= mine or sequence > last.sequence
        mine.update(found)
        if last is None or mine:
            last = Tombstone(pseudonym, time_ms, sequence, sorted(mine))
        elif again:  # nothing is left to destroy, but later snapshots may hold the owner
            last = msgspec.structs.replace(last, sequence=sequence)
        if again:
            write_tombstones(storage, keys, [last])
        destroyed, failures = rewrite_keyrings(storage, keys, {pseudonym[0]}, stays)
        objects += destroyed
        if not again:
            break
    mend_copies(storage)  # of what an interrupted erasure stored once
    sweep_dead_keys(storage, keys)
    return DestroyedKeys(tombstone=last, objects=objects, failures=failures)


def _fingerprints(storage: Storage, keys: Secrets, pseudonym: bytes) -> set[bytes]:
    found = set()
    for item in Keyring(storage, keys).objects:
        try:
            rows = item.bucket(pseudonym[0])
        except RepositoryError:
            continue  # the rewriting tells
        found |= {fingerprint(key) for owner, key in rows if owner == pseudonym}
    return found


def sweep_dead_keys(storage: Storage, keys: Secrets) -> list[str]:
    """Destroy keys that a tombstone says were destroyed and that came back since; return the names
    of what was destroyed.

    They come back with an old copy of a keyring object, and when somebody who read keys before an
    erasure stores them after it. So whoever stores keys that others made calls this afterwards.
    """
    stones = read_tombstones(storage, keys, [])
    if not len(stones):
        return []

    def is_alive(owner: bytes, key: bytes) -> bool:
        return not (stones.of(owner) and stones.is_dead(fingerprint(key)))

    return rewrite_keyrings(storage, keys, {stone.pseudonym[0] for stone in stones}, is_alive)[0]
