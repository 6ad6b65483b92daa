"""Proofs: which snapshots a verification read every byte of, and found sound.

Prune keeps the newest of those. A proof that is lost or damaged costs no more than another
verification.
"""

from __future__ import annotations

import msgspec

from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import PROOFS, ObjectId, ObjectKind, TimeMs
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage


class Proof(msgspec.Struct, array_like=True, frozen=True):
    """When a snapshot was found sound."""

    snapshot: ObjectId
    time_ms: TimeMs


_OBJECTS = Sealed(ObjectKind.PROOF, PROOFS, b"proofs", list[Proof], "proofs")


def write_proofs(storage: Storage, keys: Secrets, proofs: list[Proof]) -> str:
    """Store an object with these proofs; return its name."""
    return _OBJECTS.write(storage, keys, proofs)


def read_proofs(storage: Storage, keys: Secrets) -> dict[bytes, int]:
    """Return when each snapshot was last proved, by its id; what cannot be read is passed over."""
    newest: dict[bytes, int] = {}
    for proofs in _OBJECTS.read_all(storage, keys).values():
        for proof in proofs:
            newest[proof.snapshot] = max(newest.get(proof.snapshot, proof.time_ms), proof.time_ms)
    return newest


def read_proof_object(storage: Storage, keys: Secrets, name: str) -> list[Proof]:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, name)


def proof_names(storage: Storage) -> list[str]:
    """Return the names of the objects."""
    return _OBJECTS.names(storage)
