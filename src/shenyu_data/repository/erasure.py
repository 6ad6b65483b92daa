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
from shenyu_data.repository.keyring import Keyring, rewrite_keyrings
from shenyu_data.repository.snapshots import list_snapshots
from shenyu_data.repository.tombstones import Tombstone, read_tombstones, write_tombstones
from shenyu_data.storage.protocol import Storage


class DestroyedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did in the repository. ``objects`` were destroyed, copies included;
    ``failures`` are keyring objects that cannot be read, and so may still hold a key.
    """

    tombstone: Tombstone
    objects: list[str]
    failures: list[RepositoryError]


def destroy_keys(storage: Storage, keys: Secrets, pseudonym: bytes, time_ms: int) -> DestroyedKeys:
    """Bury an owner and destroy its keys in every keyring object; may be done again at any time.

    Raise StorageError if the storage fails; what was done by then stays done.
    """
    found = set()
    for item in Keyring(storage, keys).objects:
        try:
            rows = item.bucket(pseudonym[0])
        except RepositoryError:
            continue  # the rewriting tells
        found |= {fingerprint(key) for owner, key in rows if owner == pseudonym}
    sequence = max((item.sequence for item in list_snapshots(storage, keys, [])), default=0)
    tombstone = Tombstone(pseudonym, time_ms, sequence, sorted(found))
    known = read_tombstones(storage, keys, []).of(pseudonym)
    if found or not known:
        write_tombstones(storage, keys, [tombstone])
    else:
        tombstone = known[-1]
    objects, failures = rewrite_keyrings(storage, keys, lambda owner, _: owner != pseudonym)
    mend_copies(storage)  # of what an interrupted erasure stored once
    return DestroyedKeys(tombstone=tombstone, objects=objects, failures=failures)


def sweep_dead_keys(storage: Storage, keys: Secrets) -> list[str]:
    """Destroy keys that a tombstone says were destroyed and that came back since, with an old copy
    of a keyring object; return the names of what was destroyed.
    """
    stones = read_tombstones(storage, keys, [])
    if not len(stones):
        return []

    def is_alive(owner: bytes, key: bytes) -> bool:
        return not (stones.of(owner) and stones.is_dead(fingerprint(key)))

    return rewrite_keyrings(storage, keys, is_alive)[0]
