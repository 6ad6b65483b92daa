"""The second half of copying a snapshot: what the workers do with some buckets of the destination.

Each opens the owners' records in the source, brings the documents that are new, and makes the
destination's sections. Only plain documents pass from one repository's keys to the other's.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec
from msgspec import field

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import path_of
from shenyu_data.operations.copy_owner import OwnerCopy, Part, describe_entries
from shenyu_data.operations.copy_sort import Move, not_copied
from shenyu_data.operations.running_totals import RunningTotals
from shenyu_data.repository.crypto import KEY_BYTES, OwnerKeys
from shenyu_data.repository.documents import DocumentReader, DocumentWriter
from shenyu_data.repository.format import Entry, OwnerRecord, Totals
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, Section, SectionBuilder, SectionReader
from shenyu_data.repository.packs import PackWriter, SegmentReader
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstone

_NEVER = bytes(16)  # a signature that no scan has


class CopyWork(msgspec.Struct):
    """One bucket of the destination: encoded lists of moves, and its layers and totals so far."""

    bucket: int
    moves: list[bytes]
    layers: list[Layer]
    totals: Totals
    rewrite: bool


class CopyTask(msgspec.Struct):
    """Buckets to make for the snapshot ``origin``, which was taken at ``time_ms``; ``packs`` are
    those that are really there.
    """

    source: Repository
    destination: Repository
    origin: bytes
    time_ms: int
    work: list[CopyWork]
    packs: frozenset[bytes]
    damaged_too: bool


class CopiedBucket(msgspec.Struct, array_like=True):
    """A bucket's new section (None: nothing to say) and what it adds up to."""

    bucket: int
    section: Section | None
    rewritten: bool
    totals: Totals
    new_keys: list[tuple[bytes, bytes]]


class CopyResult(msgspec.Struct, array_like=True):
    """What a task did. ``packs`` are all those it wrote; they are durable.

    ``bad`` are the nonces of the source's segments that cannot be read. ``left_out``: so is the
    record of some owner.
    """

    buckets: list[CopiedBucket] = field(default_factory=list)
    packs: list[bytes] = field(default_factory=list)
    packed_bytes: int = 0
    documents: int = 0
    read_bytes: int = 0
    erased: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    damages: list[Finding] = field(default_factory=list)
    left_out: bool = False


class CopyOutcome(NamedTuple):
    """A task's result, or why the snapshot before cannot be built upon."""

    result: CopyResult
    reference_error: RepositoryError | None


def copy_buckets(task: CopyTask) -> CopyOutcome:
    """Make some buckets of a snapshot in the destination."""
    return _Copy(task).run()


class _ReferenceError(Exception):
    """Something of the snapshot before cannot be read, in either repository."""

    def __init__(self, error: RepositoryError) -> None:
        super().__init__(error.message)
        self.error = error


class _Copy:
    def __init__(self, task: CopyTask) -> None:
        self._task = task
        self._keys = task.destination.keys
        self._packs = PackWriter(task.destination.storage)
        self._segments = SegmentReader(task.destination.storage, task.destination.keys)
        self._source_segments = SegmentReader(task.source.storage, task.source.keys)
        self._result = CopyResult()

    def run(self) -> CopyOutcome:
        try:
            keyring = self._task.destination.keyring()
            for work in self._task.work:
                self._result.buckets.append(self._copy_bucket(work, keyring))
            self._packs.finish()
        except _ReferenceError as error:
            self._packs.abandon()
            return CopyOutcome(self._result, error.error)
        except BaseException:
            self._packs.abandon()
            raise
        self._result.packs = self._packs.packs
        self._result.packed_bytes = self._packs.stored_bytes
        return CopyOutcome(self._result, None)

    def _copy_bucket(self, work: CopyWork, keyring: Keyring) -> CopiedBucket:
        storage = self._task.destination.storage
        reader = SectionReader(storage, self._keys, work.bucket, work.layers)
        try:
            rows = reader.rows()
            if work.rewrite:
                reader.load()
        except RepositoryError as error:
            raise _ReferenceError(error) from error
        owner_keys = keyring.bucket(work.bucket)
        # Nobody can say what erased owners had added to the totals: then all is counted anew.
        rewrite = self._drop_erased(reader, rows, owner_keys, keyring) or work.rewrite
        builder = SectionBuilder(self._keys, self._task.origin, work.bucket)
        totals = RunningTotals(Totals() if rewrite else work.totals)
        new_keys: list[tuple[bytes, bytes]] = []
        done = set()
        for pseudonym, moves in self._owners(work):
            done.add(pseudonym)
            if self._stays_erased(keyring.tombstones.of(pseudonym), moves):
                self._result.erased.append(pseudonym)
                continue
            row = rows.get(pseudonym)
            candidates = owner_keys.get(pseudonym)
            if candidates is None:
                candidates = self._keys.owner_keys(os.urandom(KEY_BYTES))
                new_keys.append((pseudonym, candidates[0].key))
            before = None if row is None else self._before(reader, pseudonym, row, candidates)
            record, signature = self._copy_owner(moves, candidates, before, row)
            if before is not None and not rewrite:
                totals.add(before, -1)
            if record is not None:
                totals.add(record)
                builder.add(pseudonym, signature, candidates[0], record)
            elif row is not None and not rewrite:
                builder.add_gone(pseudonym)
        if rewrite:
            for pseudonym, row in rows.items():
                if pseudonym not in done:
                    candidates = owner_keys.get(pseudonym, [])
                    record = self._before(reader, pseudonym, row, candidates)
                    totals.add(record)
                    builder.add(pseudonym, row.signature, candidates[0], record)
        return CopiedBucket(work.bucket, builder.finish(), rewrite, totals.totals(), new_keys)

    def _stays_erased(self, stones: list[Tombstone], moves: list[Move]) -> bool:
        """Whether the owner was erased in the destination and this copy may not bring it back: it
        may bring who was erased in both and came back, but not what was taken before the
        destination erased it.
        """
        return bool(stones) and not (
            all(move.back for move in moves)
            and all(stone.time_ms < self._task.time_ms for stone in stones)
        )

    def _drop_erased(
        self,
        reader: SectionReader,
        rows: dict[bytes, Row],
        keys: dict[bytes, list[OwnerKeys]],
        keyring: Keyring,
    ) -> bool:
        """Take owners erased in the destination out of ``rows``; whether there were any."""
        erased = []
        for pseudonym, row in rows.items():
            if keyring.tombstones.of(pseudonym):
                try:
                    reader.record(pseudonym, row, keys.get(pseudonym, []))
                except RepositoryError:
                    erased.append(pseudonym)
        for pseudonym in erased:
            del rows[pseudonym]
        return bool(erased)

    def _owners(self, work: CopyWork) -> list[tuple[bytes, list[Move]]]:
        """Return the bucket's moves by the owner's pseudonym in the destination."""
        owners: dict[bytes, list[Move]] = {}
        for encoded in work.moves:
            for move in msgspec.msgpack.decode(encoded, type=list[Move]):
                pseudonym = (
                    self._keys.shared_pseudonym(work.bucket)
                    if move.shared
                    else self._keys.user_pseudonym(move.owner)
                )
                owners.setdefault(pseudonym, []).append(move)
        return sorted(owners.items())

    def _before(
        self, reader: SectionReader, pseudonym: bytes, row: Row, candidates: list[OwnerKeys]
    ) -> OwnerRecord:
        try:
            return reader.record(pseudonym, row, candidates)
        except RepositoryError as error:
            raise _ReferenceError(error) from error

    def _copy_owner(
        self,
        moves: list[Move],
        candidates: list[OwnerKeys],
        before: OwnerRecord | None,
        row: Row | None,
    ) -> tuple[OwnerRecord | None, bytes]:
        owner, shared = moves[0].owner, moves[0].shared
        segments = before.segments if before is not None else []
        writer = DocumentWriter(candidates, self._packs, segments, self._segments)
        copy = OwnerCopy(candidates[0], writer, before, self._task.packs)
        certain = True
        parts = []
        for move in moves:
            try:
                part, signed = self._open(move)
            except RepositoryError as error:
                self._damaged(owner, error)
                return None, _NEVER
            certain &= signed
            parts.append(part)
        if before is not None and row is not None and copy.kept(parts):
            certain &= self._is_signed(self._task.destination, before, row)
        entries = copy.take(parts)
        result = self._result
        result.documents += copy.documents
        result.read_bytes += copy.read_bytes
        for damage in copy.damaged:
            certain = False
            entry = damage.entry
            result.bad += damage.segments
            path = printable(path_of(owner, entry.place, entry.name))
            result.damages.append(not_copied(path, damage.error))
        if not entries:
            return None, _NEVER
        signature = self._keys.signature(describe_entries(entries)) if certain else _NEVER
        return writer.finish(owner, shared, entries), signature

    def _open(self, move: Move) -> tuple[Part, bool]:
        """Open an owner's records in the source; say whether the new one is all that a scan saw."""
        source = self._task.source
        keys = [each for key in move.keys for each in source.keys.owner_keys(key)]
        reader = SectionReader(source.storage, source.keys, move.pseudonym[0], [])
        new = OwnerRecord(b"", False, [], [])
        old = OwnerRecord(b"", False, [], [])
        signed = True
        if move.new is not None:
            new = reader.record(move.pseudonym, move.new, keys)
            signed = self._is_signed(source, new, move.new)
        if move.old is not None:
            try:
                old = reader.record(move.pseudonym, move.old, keys)
            except RepositoryError as error:
                raise _ReferenceError(error) from error
        part = Part(
            self._mine(new, move),
            self._mine(old, move),
            new.segments,
            DocumentReader(new.segments, keys, self._source_segments),
            DocumentReader(old.segments, keys, self._source_segments),
        )
        return part, signed

    def _mine(self, record: OwnerRecord, move: Move) -> list[Entry]:
        """Return a record's entries; of shared ones those that belong to the move's bucket."""
        if not move.shared:
            return record.entries
        keys = self._keys
        return [item for item in record.entries if keys.shared_bucket(item.name) == move.target]

    def _is_signed(self, repository: Repository, record: OwnerRecord, row: Row) -> bool:
        """Whether a scan that sees just these entries is one that the signature knows."""
        return repository.keys.signature(describe_entries(record.entries)) == row.signature

    def _damaged(self, owner: bytes, error: RepositoryError) -> None:
        self._result.left_out = True
        what = f"all documents of {printable(owner) or 'nobody'}"
        self._result.damages.append(not_copied(what, error))
