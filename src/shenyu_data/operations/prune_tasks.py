"""What the workers of a prune do: find out, bucket by bucket, which objects snapshots need.

A bucket is looked at owner by owner. Segments belong to one owner, so that what is counted once
there is counted once; what comes back grows with packs, not with documents.
"""

from __future__ import annotations

import heapq
import struct

import msgspec
from msgspec import field

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.format import FileEntry, Segment
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.moves import MAX_MOVES, Moves, Place
from shenyu_data.repository.repository import Repository

PIECE = struct.Struct("<QQ")
"""Offset and size of a segment in a pack."""

_NEVER = bytes(16)


class Stack(msgspec.Struct, frozen=True):
    """One bucket of one or several snapshots: its layers, and the highest of their sequences."""

    layers: tuple[Layer, ...]
    sequence: int


class UsageTask(msgspec.Struct):
    """Buckets to look at: what is ``kept`` of each, and what is ``dropped``.

    ``packs`` are those that are there, ``moved`` those that something moved away from. The live
    segments of the packs in ``wanted`` are listed one by one. Of at most ``users`` users in each
    bucket it is told what they lose.
    """

    repository: Repository
    kept: dict[int, list[Stack]]
    dropped: dict[int, list[Stack]] = field(default_factory=dict)
    packs: frozenset[bytes] = frozenset()
    moved: frozenset[bytes] = frozenset()
    wanted: frozenset[bytes] = frozenset()
    users: int = 0


class UserLoss(msgspec.Struct, frozen=True, order=True):
    """How many versions of a user one can no longer go back to, and how many remain."""

    lost: int
    left: int
    user: str


class Usage(msgspec.Struct):
    """What a task found. ``live`` are bytes by pack, ``ends`` how far into each they reach;
    ``tables`` the moves that were followed.
    """

    live: dict[bytes, int] = field(default_factory=dict)
    ends: dict[bytes, int] = field(default_factory=dict)
    tables: set[bytes] = field(default_factory=set)
    pieces: dict[bytes, bytes] = field(default_factory=dict)
    damages: list[tuple[str, RepositoryError]] = field(default_factory=list)
    records: int = 0
    buckets: int = 0
    users_losing: int = 0
    users_gone: int = 0
    versions_lost: int = 0
    versions_left: int = 0
    losses: list[UserLoss] = field(default_factory=list)

    def add(self, other: Usage, users: int) -> None:
        """Add what another task found, keeping the ``users`` that lose most."""
        for pack, size in other.live.items():
            self.live[pack] = self.live.get(pack, 0) + size
        for pack, end in other.ends.items():
            self.ends[pack] = max(self.ends.get(pack, 0), end)
        for pack, pieces in other.pieces.items():
            self.pieces[pack] = self.pieces.get(pack, b"") + pieces
        self.tables |= other.tables
        self.damages += other.damages
        self.losses = heapq.nlargest(users, self.losses + other.losses)
        for name in (
            "records",
            "buckets",
            "users_losing",
            "users_gone",
            "versions_lost",
            "versions_left",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def find_usage(task: UsageTask) -> Usage:
    """Look at some buckets."""
    return _Finder(task).run()


class _Finder:
    def __init__(self, task: UsageTask) -> None:
        self._task = task
        self._keyring: Keyring = task.repository.keyring()
        self._moves = Moves(task.repository.storage, task.repository.keys)
        self._usage = Usage()

    def run(self) -> Usage:
        for bucket in sorted(self._task.kept.keys() | self._task.dropped.keys()):
            self._usage.buckets += 1
            self._look_at(bucket)
        return self._usage

    def _look_at(self, bucket: int) -> None:
        repository = self._task.repository
        kept, dropped = self._task.kept.get(bucket, []), self._task.dropped.get(bucket, [])
        reader = SectionReader(repository.storage, repository.keys, bucket, [])
        rows: dict[Layer, dict[bytes, Row]] = {}
        for stack in (*kept, *dropped):
            for layer in stack.layers:
                if layer not in rows:
                    try:
                        rows[layer] = dict(reader.rows_of(layer))
                    except RepositoryError as error:
                        rows[layer] = {}
                        if any(layer in other.layers for other in kept):
                            self._usage.damages.append((f"all users of bucket {bucket}", error))
        needed = _versions(kept, rows)
        owner_keys = self._keyring.bucket(bucket)
        for pseudonym, versions in needed.items():
            keys = owner_keys.get(pseudonym, [])
            self._count_owner(reader, pseudonym, versions, keys)
        if dropped:
            self._compare(reader, needed, _versions(dropped, rows), owner_keys)

    def _count_owner(
        self,
        reader: SectionReader,
        pseudonym: bytes,
        versions: dict[Row, int],
        keys: list[OwnerKeys],
    ) -> None:
        seen: set[Place] = set()
        for row, sequence in versions.items():
            try:
                record = reader.record(pseudonym, row, keys)
            except RepositoryError as error:
                if not self._keyring.tombstones.covers(pseudonym, sequence):
                    self._usage.damages.append((f"a user (pseudonym {pseudonym.hex()})", error))
                continue
            self._usage.records += 1
            for segment in record.segments:
                place = (segment.pack, segment.offset)
                if place not in seen:
                    seen.add(place)
                    self._count_segment(segment)

    def _count_segment(self, segment: Segment) -> None:
        usage = self._usage
        pack, offset = self._locate(segment)
        usage.live[pack] = usage.live.get(pack, 0) + segment.stored_bytes
        usage.ends[pack] = max(usage.ends.get(pack, 0), offset + segment.stored_bytes)
        if pack in self._task.wanted:
            piece = PIECE.pack(offset, segment.stored_bytes)
            usage.pieces[pack] = usage.pieces.get(pack, b"") + piece

    def _locate(self, segment: Segment) -> Place:
        """Return where a segment lies: after its last move to a pack that is there."""
        place = found = (segment.pack, segment.offset)
        tables: list[bytes] = []
        for _ in range(MAX_MOVES):
            if place[0] not in self._task.moved:
                break
            moved = self._moves.step(place)
            if moved is None:
                break
            tables.append(place[0])
            place = moved
            if place[0] in self._task.packs:
                found = place
                self._usage.tables.update(tables)
        return found

    def _compare(
        self,
        reader: SectionReader,
        kept: dict[bytes, dict[Row, int]],
        dropped: dict[bytes, dict[Row, int]],
        keys: dict[bytes, list[OwnerKeys]],
    ) -> None:
        """Count what each user could be taken back to, and can be no more."""
        usage = self._usage
        losing: list[tuple[int, int, bytes]] = []
        usage.versions_left += sum(len({row.signature for row in rows}) for rows in kept.values())
        for pseudonym, rows in dropped.items():
            left_rows = kept.get(pseudonym, {})
            by_record = any(row.signature == _NEVER for row in (*rows, *left_rows))

            def versions(
                some: dict[Row, int], pseudonym: bytes = pseudonym, by_record: bool = by_record
            ) -> set[object]:
                return {
                    self._version(reader, pseudonym, row, keys) if by_record else row.signature
                    for row in some
                }

            left = versions(left_rows)
            lost = len(versions(rows) - left)
            if lost:
                losing.append((lost, len(left), pseudonym))
                usage.versions_lost += lost
                usage.users_losing += 1
                usage.users_gone += not left
        # Who is left with nothing comes first.
        losing.sort(key=lambda item: (item[1] > 0, -item[0], item[2]))
        for lost, remaining, pseudonym in losing[: self._task.users]:
            row = next(iter(dropped[pseudonym]))
            try:
                record = reader.record(pseudonym, row, keys.get(pseudonym, []))
                user = "files of no user" if record.shared else printable(record.owner)
            except RepositoryError:
                user = f"unknown (pseudonym {pseudonym.hex()})"
            usage.losses.append(UserLoss(lost, remaining, user))

    def _version(
        self, reader: SectionReader, pseudonym: bytes, row: Row, keys: dict[bytes, list[OwnerKeys]]
    ) -> object:
        """Return what tells a version apart whose scan had not settled: what is in it."""
        try:
            record = reader.record(pseudonym, row, keys.get(pseudonym, []))
        except RepositoryError:
            return row
        files = [entry for entry in record.entries if isinstance(entry, FileEntry)]
        return tuple(sorted((file.place, file.name, file.digest) for file in files))


def _versions(
    stacks: list[Stack], rows: dict[Layer, dict[bytes, Row]]
) -> dict[bytes, dict[Row, int]]:
    """Return, for each owner, the records that the stacks show, with the highest sequence of any
    that shows it.
    """
    found: dict[bytes, dict[Row, int]] = {}
    for stack in stacks:
        merged: dict[bytes, Row] = {}
        for layer in stack.layers:
            merged.update(rows[layer])
        for pseudonym, row in merged.items():
            if row.length:
                versions = found.setdefault(pseudonym, {})
                versions[row] = max(versions.get(row, 0), stack.sequence)
    return found
