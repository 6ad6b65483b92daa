"""Moves: where the segments of a repacked pack lie now.

Prune copies what is still needed of a mostly dead pack into a new one, sealed bytes and all, and
stores one object, named as the old pack, that says where each segment went. Records go on naming
the old pack: nothing else has to be written anew. A new pack may be repacked in its turn.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Mapping

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    HEADER_BYTES,
    MOVED,
    ObjectKind,
    Segment,
    check_header,
    damaged,
    header,
    object_name,
    parse_object_name,
)
from shenyu_data.storage.protocol import Storage

MOVE = struct.Struct("<Q16sQ")
"""Offset in the old pack; the new pack's id, and the offset in it."""

MAX_MOVES = 64
"""More than this many moves, one after another, are a forged circle."""

_KEPT_TABLES = 64

Place = tuple[bytes, int]
"""A pack's id and an offset in it."""


class Moves:
    """Finds segments that moved. Reads a table when it is first asked for; ``followed`` are those
    that led somewhere, by pack.
    """

    def __init__(self, storage: Storage, keys: Secrets) -> None:
        self._storage = storage
        self._keys = keys
        self._tables: dict[bytes, bytes] = {}
        self.followed: set[bytes] = set()

    def locate(self, segment: Segment) -> Segment | None:
        """Return the segment with the pack and offset of its last move, or None if it has not
        moved. Raise ObjectDamaged if a table is.
        """
        place = (segment.pack, segment.offset)
        for number in range(MAX_MOVES):
            moved = self.step(place)
            if moved is None:
                if not number:
                    return None
                return Segment(*place, segment.stored_bytes, segment.plain_bytes, segment.nonce)
            place = moved
        raise damaged(object_name(ObjectKind.MOVED, segment.pack), "it leads in a circle")

    def step(self, place: Place) -> Place | None:
        """Return where one move took what lay at ``place``; None if it is in no table."""
        pack, offset = place
        table = self._table(pack)
        at = bisect_left(
            range(len(table) // MOVE.size),
            offset,
            key=lambda index: MOVE.unpack_from(table, index * MOVE.size)[0],
        )
        if at * MOVE.size == len(table):
            return None
        old, new_pack, new_offset = MOVE.unpack_from(table, at * MOVE.size)
        if old != offset:
            return None
        self.followed.add(pack)
        return new_pack, new_offset

    def _table(self, pack: bytes) -> bytes:
        if pack not in self._tables:
            if len(self._tables) >= _KEPT_TABLES:
                del self._tables[next(iter(self._tables))]
            try:
                self._tables[pack] = read_moves(self._storage, self._keys, pack)
            except ObjectMissing:
                self._tables[pack] = b""
        return self._tables[pack]


def write_moves(storage: Storage, keys: Secrets, pack: bytes, moves: Mapping[int, Place]) -> int:
    """Store where the segments of ``pack`` went, by their old offsets; return the bytes stored.

    The new packs must be durable. Raise ObjectExists if the pack was repacked before.
    """
    rows = b"".join(MOVE.pack(offset, *moves[offset]) for offset in sorted(moves))
    sealed = keys.seal("moves", rows, b"moved" + pack)
    return storage.put(object_name(ObjectKind.MOVED, pack), [header(ObjectKind.MOVED), sealed])


def read_moves(storage: Storage, keys: Secrets, pack: bytes) -> bytes:
    """Return the rows of a pack's table. Raise ObjectMissing or ObjectDamaged."""
    name = object_name(ObjectKind.MOVED, pack)
    data = storage.read(name)
    check_header(ObjectKind.MOVED, name, data)
    rows = keys.unseal("moves", data[HEADER_BYTES:], b"moved" + pack, name)
    if len(rows) % MOVE.size:
        raise damaged(name, "it has the wrong size")
    return rows


def moved_packs(storage: Storage) -> frozenset[bytes]:
    """Return the ids of all packs of which something moved."""
    names = (parse_object_name(info.name) for info in storage.list(MOVED))
    return frozenset(parsed[1] for parsed in names if parsed)
