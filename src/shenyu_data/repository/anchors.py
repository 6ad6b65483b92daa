"""Anchors: where an audit log ended at a time, kept where who edits the log cannot rewrite it.

An anchor commits to every line up to its number. It is no part of any snapshot: one that is lost
costs no more than what it would have proved.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec

from shenyu_data.model.errors import ObjectMissing, RepositoryError
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    ANCHORS,
    HEADER_BYTES,
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

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Anchor(msgspec.Struct, array_like=True, frozen=True):
    """``log`` is the hash of the log's first line, ``digest`` that of the line with the number
    ``sequence``; ``place`` tells the logs of different machines and data directories apart.
    """

    place: ObjectId
    log: Digest
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    digest: Digest
    time_ms: TimeMs


def write_anchor(storage: Storage, keys: Secrets, anchor: Anchor) -> str:
    """Store it; return the object's name."""
    object_id = new_id()
    sealed = keys.seal("anchors", msgspec.msgpack.encode(anchor), b"anchor" + object_id)
    name = object_name(ObjectKind.ANCHOR, object_id)
    storage.put(name, [header(ObjectKind.ANCHOR), sealed])
    return name


def read_anchor(storage: Storage, keys: Secrets, name: str) -> Anchor:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    data = storage.read(name)
    check_header(ObjectKind.ANCHOR, name, data)
    bound_to = b"anchor" + bytes.fromhex(name.removeprefix(f"{ANCHORS}/"))
    plain = keys.unseal("anchors", data[HEADER_BYTES:], bound_to, name)
    try:
        return msgspec.msgpack.decode(plain, type=Anchor)
    except (ValueError, RecursionError):
        raise damaged(name, "it is not an anchor") from None


def read_anchors(
    storage: Storage, keys: Secrets, *, failures: list[RepositoryError] | None = None
) -> dict[str, Anchor]:
    """Return all of them by the objects' names. What cannot be read is passed over, and told in
    ``failures``.
    """
    found = {}
    for info in storage.list(ANCHORS):
        if parse_object_name(info.name) is None:
            continue
        try:
            found[info.name] = read_anchor(storage, keys, info.name)
        except ObjectMissing:
            continue  # a newer one has taken its place meanwhile
        except RepositoryError as error:
            if failures is not None:
                failures.append(error)
    return found


def remove_anchor(storage: Storage, name: str) -> None:
    """Remove one that a newer one has taken the place of."""
    with suppress(ObjectMissing):
        storage.destroy(name)
