"""Proofs: which snapshots a verification read every byte of, and found sound.

Prune keeps the newest of those. A proof that is lost or damaged costs no more than another
verification.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.errors import RepositoryError
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    HEADER_BYTES,
    PROOFS,
    ObjectId,
    ObjectKind,
    TimeMs,
    check_header,
    damaged,
    header,
    new_id,
    object_name,
    parse_object_name,
)
from shenyu_data.storage.protocol import Storage


class Proof(msgspec.Struct, array_like=True, frozen=True):
    """When a snapshot was found sound."""

    snapshot: ObjectId
    time_ms: TimeMs


def write_proofs(storage: Storage, keys: Secrets, proofs: list[Proof]) -> int:
    """Store an object with these proofs; return the bytes stored."""
    object_id = new_id()
    sealed = keys.seal("proofs", msgspec.msgpack.encode(proofs), b"proofs" + object_id)
    name = object_name(ObjectKind.PROOF, object_id)
    return storage.put(name, [header(ObjectKind.PROOF), sealed])


def read_proofs(storage: Storage, keys: Secrets) -> dict[bytes, int]:
    """Return when each snapshot was last proved, by its id; what cannot be read is passed over."""
    newest: dict[bytes, int] = {}
    for name in proof_names(storage):
        try:
            proofs = read_proof_object(storage, keys, name)
        except RepositoryError:
            continue
        for proof in proofs:
            newest[proof.snapshot] = max(newest.get(proof.snapshot, proof.time_ms), proof.time_ms)
    return newest


def read_proof_object(storage: Storage, keys: Secrets, name: str) -> list[Proof]:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    data = storage.read(name)
    check_header(ObjectKind.PROOF, name, data)
    bound_to = b"proofs" + bytes.fromhex(name.removeprefix(f"{PROOFS}/"))
    plain = keys.unseal("proofs", data[HEADER_BYTES:], bound_to, name)
    try:
        return msgspec.msgpack.decode(plain, type=list[Proof])
    except (msgspec.DecodeError, RecursionError):
        raise damaged(name, "it does not hold proofs") from None


def proof_names(storage: Storage) -> list[str]:
    """Return the names of the objects."""
    return [info.name for info in storage.list(PROOFS) if parse_object_name(info.name)]
