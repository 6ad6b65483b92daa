"""Acceptances: somebody said of lines of an audit log, which anchors prove, that they are lost.

Only who has the repository key can say so: whoever can write the log alone could else explain away
what was cut off. An acceptance names the anchors one by one, and explains nothing else. It is never
removed; its reason goes if it names a user who is erased.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.repository.anchors import Digest
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import ACCEPTANCES, Count, ObjectId, ObjectKind, TimeMs
from shenyu_data.repository.sealed import Sealed
from shenyu_data.storage.protocol import Storage

MOST_REASON = 1000
"""Characters of a reason."""


class Line(msgspec.Struct, array_like=True, frozen=True):
    """A line of an audit log: the hash of the log's first line, its number, and its own hash."""

    log: Digest
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    digest: Digest


class Acceptance(msgspec.Struct, array_like=True, frozen=True):
    """``place`` is that of the anchors, and ``lost`` are the lines that they name. ``line`` of the
    log that goes on notes it; if that is the same log, its lines up to ``kept`` are not lost.
    """

    place: ObjectId
    lost: list[Line]
    kept: Count
    line: Line
    time_ms: TimeMs
    reason: Annotated[str, msgspec.Meta(max_length=MOST_REASON)]

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """The numbers of the first and last line that are lost, of each log."""
        last: dict[bytes, int] = {}
        for one in self.lost:
            last[one.log] = max(last.get(one.log, 0), one.sequence)
        kept = {self.line.log: self.kept}
        return [(kept.get(log, 0) + 1, sequence) for log, sequence in last.items()]

    @property
    def what(self) -> str:
        """The lines that are lost, for people."""
        return " and ".join(
            f"lines {first} to {last}" if first < last else f"line {last}"
            for first, last in self.stretches
        )


_OBJECTS = Sealed(ObjectKind.ACCEPTANCE, ACCEPTANCES, b"acceptance", Acceptance, "an acceptance")


def write_acceptance(storage: Storage, keys: Secrets, item: Acceptance) -> str:
    """Store it; return the object's name."""
    return _OBJECTS.write(storage, keys, item)


def read_acceptance(storage: Storage, keys: Secrets, name: str) -> Acceptance:
    """Read one object. Raise ObjectMissing or ObjectDamaged."""
    return _OBJECTS.read(storage, keys, name)


def read_acceptances(storage: Storage, keys: Secrets) -> list[Acceptance]:
    """Return all of them, oldest first, each once; what cannot be read is passed over."""
    found: dict[Line, Acceptance] = {}
    for item in _OBJECTS.read_all(storage, keys).values():
        known = found.get(item.line)
        if known is None or not item.reason:  # without one it is the later of two
            found[item.line] = item
    return sorted(found.values(), key=lambda item: (item.time_ms, item.line.digest))


def forget_in_acceptances(storage: Storage, keys: Secrets, text: str) -> int:
    """Take the reasons that hold ``text``, such as the name of a user who is erased, away; the
    acceptances stay. Return how many there were.
    """
    mine = {
        name: item for name, item in _OBJECTS.read_all(storage, keys).items() if text in item.reason
    }
    for name, item in mine.items():
        write_acceptance(storage, keys, msgspec.structs.replace(item, reason=""))
        with suppress(ObjectMissing):
            storage.destroy(name)
    return len(mine)
