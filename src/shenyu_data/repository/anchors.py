"""Anchors: where an audit log ended at a time, kept where who edits the log cannot rewrite it.

An anchor commits to every line up to its number. It is no part of any snapshot: one that is lost
costs no more than what it would have proved. Its name says of which log it is, to who has the key,
and the number: so who adds one need not read all there are, where none can be removed. It says a
little of the hash as well: where an older log was put back, another line has the same number.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from blake3 import blake3

from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import ANCHORS, ObjectId, ObjectKind, TimeMs, object_name
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Anchor(msgspec.Struct, array_like=True, frozen=True):
    """``log`` is the hash of the log's first line, ``digest`` that of the line with the number
    ``sequence``; ``place`` tells the logs of different machines and data directories apart.
    """

    place: ObjectId
    log: Digest
    sequence: Annotated[int, msgspec.Meta(ge=1, lt=1 << 40)]
    digest: Digest
    time_ms: TimeMs


_OBJECTS = Sealed(ObjectKind.ANCHOR, ANCHORS, b"anchor", Anchor, "an anchor")


def write_anchor(storage: Storage, keys: Secrets, anchor: Anchor) -> str:
    """Store it; return the object's name. Raise ObjectExists if there is one of this line."""
    name = anchor_name(keys, anchor)
    storage.put(name, _OBJECTS.parts(keys, name, anchor))
    return name


def anchor_name(keys: Secrets, anchor: Anchor) -> str:
    """Return the name under which an anchor is stored."""
    key = keys.derive("anchors")
    log = blake3(anchor.place + anchor.log, key=key).digest(8)
    line = blake3(anchor.digest, key=key).digest(3)
    return object_name(ObjectKind.ANCHOR, log + anchor.sequence.to_bytes(5) + line)


def anchor_names(storage: Storage) -> list[str]:
    """Return the names of all of them."""
    return _OBJECTS.names(storage)


def older_names(name: str, names: list[str], most: int) -> list[str]:
    """Return which of ``names`` are of the same log and a line before, the latest ``most``."""
    log = name[: -2 * 8]
    return sorted(one for one in names if one.startswith(log) and one < name)[-most:]


def read_anchor(storage: Storage, keys: Secrets, name: str) -> Anchor:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, name)


def read_anchors(storage: Storage, keys: Secrets) -> list[Anchor]:
    """Return all of them; what cannot be read is passed over."""
    return list(_OBJECTS.read_all(storage, keys).values())
