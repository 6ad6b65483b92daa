"""Prune records: which snapshots a prune dropped, and which objects wait to be deleted.

What prune finds unneeded is *doomed*: written down, and deleted by a later prune when the grace is
over, unless a snapshot has come to need it. Right before it deletes, prune stores the names in a
record's ``deleting`` list and only then reads the snapshots once more; a backup stores its
snapshot and then looks for such records. So one of the two sees the other, whatever the clocks say.
The next prune removes that record, and leaves another in its place: if it came before the backup
looked, the backup only knows that it does not know, and sees for itself whether all is there.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.errors import ObjectMissing, RepositoryError, ShenyuDataError
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import PRUNES, ObjectId, ObjectKind, TimeMs
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage


class PruneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of earlier prunes.

    ``dropped``: snapshots that were dropped and that others still name as their parent.
    ``doomed``: when each object was first found unneeded, by its name. ``deleting``: objects that
    are being deleted, or were.
    """

    time_ms: TimeMs
    dropped: list[ObjectId]
    doomed: dict[str, TimeMs]
    deleting: list[str]


_OBJECTS = Sealed(ObjectKind.PRUNE, PRUNES, b"prune", PruneRecord, "a prune's record")


def write_record(storage: Storage, keys: Secrets, record: PruneRecord) -> str:
    """Store a record; return its name."""
    return _OBJECTS.write(storage, keys, record)


def read_record(storage: Storage, keys: Secrets, name: str) -> PruneRecord:
    """Read one record. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, name)


def read_records(storage: Storage, keys: Secrets) -> dict[str, PruneRecord]:
    """Return all records by name.

    One that cannot be read is passed over: then the grace of what only it named begins again.
    """
    return _OBJECTS.read_all(storage, keys)


class PruneWatch:
    """Tells, for who is about to store a snapshot, what prunes deleted since this was made."""

    def __init__(self, storage: Storage, keys: Secrets) -> None:
        self._storage = storage
        self._keys = keys
        self._first = set(record_names(storage))
        self._seen = set(self._first)
        self._deleted: set[str] = set()

    def deleted(self) -> set[str]:
        """Return the names of all objects that were, or are about to be, deleted.

        Raise ShenyuDataError if a new record cannot be read: it is of a prune with a newer key.
        """
        while new := set(record_names(self._storage)) - self._seen:
            for name in new:
                try:
                    self._deleted.update(read_record(self._storage, self._keys, name).deleting)
                except ObjectMissing:
                    continue  # another record has taken its place
                except RepositoryError as error:
                    raise ShenyuDataError(
                        f"it cannot be told what a prune deletes ({error.message}); "
                        "no snapshot was stored",
                        hint="Run it again: perhaps the repository key was rotated meanwhile.",
                    ) from None
            self._seen |= new
        return self._deleted

    def pruned(self) -> bool:
        """Whether anybody pruned: then more may be gone than :meth:`deleted` says."""
        return set(record_names(self._storage)) != self._first


def record_names(storage: Storage) -> list[str]:
    """Return the names of all records."""
    return _OBJECTS.names(storage)
