"""Acknowledgements: somebody has seen what a snapshot's tripwires noticed.

What was noticed stands in the snapshot's root, so it is there as long as the snapshot. Without an
acknowledgement that can be read it counts as not seen: one that is lost blocks prunes again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import ACKNOWLEDGEMENTS, ObjectId, ObjectKind, TimeMs
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage

MOST_REASON = 1000
"""Characters of a reason."""


class Acknowledgement(msgspec.Struct, array_like=True, frozen=True):
    """Who acknowledged says why in ``reason``, in words of their own, or not."""

    snapshot: ObjectId
    time_ms: TimeMs
    reason: Annotated[str, msgspec.Meta(max_length=MOST_REASON)]


_OBJECTS = Sealed(
    ObjectKind.ACKNOWLEDGEMENT,
    ACKNOWLEDGEMENTS,
    b"acknowledgement",
    Acknowledgement,
    "an acknowledgement",
)


def write_acknowledgement(storage: Storage, keys: Secrets, item: Acknowledgement) -> str:
    """Store it; return the object's name."""
    return _OBJECTS.write(storage, keys, item)


def read_acknowledgement(storage: Storage, keys: Secrets, name: str) -> Acknowledgement:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, name)


def read_acknowledgements(storage: Storage, keys: Secrets) -> dict[str, Acknowledgement]:
    """Return all of them by the objects' names; what cannot be read is passed over."""
    return _OBJECTS.read_all(storage, keys)


def acknowledged(storage: Storage, keys: Secrets) -> dict[bytes, Acknowledgement]:
    """Return the first acknowledgement of each snapshot."""
    found: dict[bytes, Acknowledgement] = {}
    for item in read_acknowledgements(storage, keys).values():
        known = found.get(item.snapshot)
        if known is None or item.time_ms < known.time_ms:
            found[item.snapshot] = item
    return found


def forget_in_reasons(storage: Storage, keys: Secrets, text: str) -> int:
    """Take the reasons that hold ``text``, such as the name of a user who is erased, away; the
    acknowledgements stay. Return how many there were.
    """
    mine = {
        name: item
        for name, item in read_acknowledgements(storage, keys).items()
        if text in item.reason
    }
    for name, item in mine.items():
        write_acknowledgement(storage, keys, msgspec.structs.replace(item, reason=""))
        with suppress(ObjectMissing):
            storage.destroy(name)
    return len(mine)


def acknowledgement_names(storage: Storage) -> list[str]:
    """Return the names of the objects."""
    return _OBJECTS.names(storage)
