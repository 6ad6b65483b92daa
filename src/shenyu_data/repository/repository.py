"""A repository as a whole: a storage and the secrets that open it. What operations work with."""

from __future__ import annotations

import os
from collections.abc import Collection

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import (
    ObjectMissing,
    RepositoryError,
    UnsupportedFormat,
    UsageError,
    WrongKey,
)
from shenyu_data.repository.compression import load_dictionary
from shenyu_data.repository.crypto import KEY_BYTES, Secrets
from shenyu_data.repository.format import (
    DESCRIPTOR,
    DICTIONARY,
    FORMAT_VERSION,
    KEYRINGS,
    SLOTS,
    Root,
    Snapshot,
    damaged,
)
from shenyu_data.repository.generations import outdated_keyrings, rotated, with_older
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.keyslots import add_slot, opens, read_slots, unlock
from shenyu_data.repository.keytext import RepositoryKey, new_recovery_key, parse_repository_key
from shenyu_data.repository.snapshots import (
    find_snapshot,
    id_matches,
    list_snapshots,
    read_root,
    snapshot_ids,
)
from shenyu_data.storage.protocol import Storage

_FORMAT_NAME = "shenyu-data repository"


class Descriptor(msgspec.Struct, kw_only=True):
    """The object ``repository``: what this is, for whoever finds it. Plain JSON.

    No defaults: a damaged member name must not be taken for a missing one.
    """

    format: str
    version: int
    id: str
    check: str = ""

    def checksum(self) -> str:
        """Return what ``check`` must be."""
        return blake3(f"{self.format}|{self.version}|{self.id}".encode()).hexdigest(length=16)


class Repository:
    """An unlocked repository. Can be pickled for workers.

    ``slot`` is the id of the key slot that opened it, if one did.
    """

    def __init__(self, storage: Storage, keys: Secrets, slot: bytes | None = None) -> None:
        self.storage = storage
        self.keys = keys
        self.slot = slot

    def __reduce__(self) -> tuple[object, ...]:
        return Repository, (self.storage, self.keys, self.slot)

    def keyring(self) -> Keyring:
        """Return the owners' keys as they are now."""
        return Keyring(self.storage, self.keys)

    def snapshots(
        self,
        failures: list[RepositoryError] | None = None,
        names: Collection[str] | None = None,
    ) -> list[Snapshot]:
        """Return all snapshots, oldest first; see :func:`list_snapshots`."""
        return list_snapshots(self.storage, self.keys, failures, names)

    def find(self, wanted: str) -> Root:
        """Given what a person typed, return that snapshot's root.

        Raise SnapshotNotFound, or RepositoryError if a snapshot that cannot be read may be meant.
        """
        failures: list[RepositoryError] = []
        snapshots = self.snapshots(failures)
        if failures:
            self._check_certain(wanted, snapshots)
        return self.root(find_snapshot(snapshots, wanted).id)

    def _check_certain(self, wanted: str, snapshots: list[Snapshot]) -> None:
        lost = set(snapshot_ids(self.storage)) - {item.id for item in snapshots}
        if wanted == "latest":
            lost -= {item.parent for item in snapshots}  # what has a child is not the latest
        elif id_matches(snapshots, wanted):
            return
        if lost:
            names = ", ".join(sorted(item.hex()[:8] for item in lost))
            raise RepositoryError(
                f"{wanted} may mean a snapshot that is damaged: {names}",
                hint="Name one that is whole by its id: `shenyu-data snapshots` lists them.",
            )

    def root(self, snapshot: bytes) -> Root:
        """Return a snapshot's root. Raise RepositoryError if neither copy is sound."""
        return read_root(self.storage, self.keys, snapshot)


def create_repository(storage: Storage, passphrase: str) -> tuple[Repository, str]:
    """Make a repository in an empty storage; return it and its recovery key, which is shown once
    and kept nowhere.

    The descriptor is written last: without it there is no repository. Raise UsageError if the
    passphrase is empty or the storage is not.
    """
    if not passphrase.strip():
        raise UsageError(
            "the passphrase is empty",
            hint="Set SHENYU_DATA_PASSPHRASE, or passphrase_file in the configuration.",
        )
    if next(storage.list(""), None) is not None:
        raise UsageError(
            f"{storage.location} already holds something",
            hint="Choose another location, or use the repository that is there.",
        )
    keys = Secrets(os.urandom(KEY_BYTES), os.urandom(16))
    recovery = new_recovery_key()
    storage.put(DICTIONARY, [load_dictionary()])
    add_slot(storage, keys, passphrase, "passphrase given at init")
    add_slot(storage, keys, recovery, "recovery key shown at init")
    descriptor = Descriptor(
        format=_FORMAT_NAME, version=FORMAT_VERSION, id=keys.repository_id.hex()
    )
    descriptor.check = descriptor.checksum()
    storage.put(
        DESCRIPTOR, [msgspec.json.format(msgspec.json.encode(descriptor), indent=2) + b"\n"]
    )
    return Repository(storage, keys), recovery


def open_repository(storage: Storage, secret: str) -> Repository:
    """Unlock a repository with a passphrase, a recovery key, or the exported repository key.

    Raise ObjectMissing if there is no repository, WrongKey, or UnsupportedFormat. A damaged
    descriptor alone does not stop it: the key slots name the repository too.
    """
    exported = parse_repository_key(secret)
    folders = [SLOTS] if exported is None else [SLOTS, KEYRINGS]
    try:
        read_descriptor(storage)
    except UnsupportedFormat:
        raise
    except RepositoryError:
        if all(next(storage.list(folder), None) is None for folder in folders):
            raise ObjectMissing(
                f"there is no repository in {storage.location}",
                hint="Check --repo; `shenyu-data init` makes a new repository.",
            ) from None
    if exported is not None:
        return Repository(storage, _check_exported(storage, exported))
    unlocked = unlock(storage, secret)
    return Repository(storage, unlocked.keys, unlocked.slot)


def _check_exported(storage: Storage, key: RepositoryKey) -> Secrets:
    """Return the secrets that an exported key gives. It needs no key slot, but must fit what is
    there: a slot's label, else a keyring object, opens with nothing but the newest repository key.
    """
    slots = read_slots(storage, [])
    if any(slot.generation > key.generation for slot in slots.values()):
        raise rotated(storage)
    keys = with_older(storage, key.master, key.repository_id, key.generation)
    keyrings = Keyring(storage, keys).objects
    fits = any(opens(storage, keys, name) for name in slots) or (
        len(outdated_keyrings(storage, keys)) < len(keyrings) if keyrings else not slots
    )
    if not fits:
        raise WrongKey(
            f"this repository key is not that of {storage.location}",
            hint="Check which repository it was exported from, and whether that was rotated since.",
        )
    return keys


def read_descriptor(storage: Storage) -> Descriptor:
    """Read the descriptor. Raise ObjectMissing, ObjectDamaged or UnsupportedFormat."""
    try:
        descriptor = msgspec.json.decode(storage.read(DESCRIPTOR, 0, 1 << 12), type=Descriptor)
    except (ValueError, RecursionError):
        raise damaged(DESCRIPTOR, "it is not a repository's descriptor") from None
    if descriptor.format != _FORMAT_NAME or descriptor.check != descriptor.checksum():
        raise damaged(DESCRIPTOR, "its checksum is wrong")
    if descriptor.version < 1:
        raise damaged(DESCRIPTOR, "there is no such version")
    if descriptor.version > FORMAT_VERSION:
        raise UnsupportedFormat(
            f"{storage.location} is of format version {descriptor.version}; "
            f"this program knows {FORMAT_VERSION}",
            hint="Use a newer shenyu-data.",
        )
    return descriptor
