"""Copying one snapshot. Called by operations/copy.py.

First what differs from a snapshot that both repositories hold is found and sorted by the
destination's buckets; then workers bring it, each writing packs of its own; then the new owners'
keys, the manifests, and last the root are stored. After each task its sections go into the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from shenyu_data.model.errors import RepositoryError, ShenyuDataError, StorageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.copy_journal import Journal, remove_journal
from shenyu_data.operations.copy_sort import SortTask, Spool, Weight, sort_buckets
from shenyu_data.operations.copy_tasks import (
    CopyResult,
    CopyTask,
    CopyWork,
    copy_buckets,
)
from shenyu_data.operations.snapshot_parts import SnapshotParts
from shenyu_data.operations.store_root import store_root
from shenyu_data.operations.workers import run_tasks
from shenyu_data.repository.format import (
    PACKS,
    ObjectKind,
    Root,
    object_name,
    parse_object_name,
)
from shenyu_data.repository.manifest import layers_of
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.prunes import PruneWatch, read_records
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids
from shenyu_data.repository.tombstones import (
    Tombstones,
    erased_under_a_newer_key,
    read_tombstones,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

BATCH_BYTES = 64 << 20
"""A task brings about this much, and that is what a copy that is cut off may have to do again."""

_BATCH_MOVES = 1000

T = TypeVar("T")
R = TypeVar("R")


class Reference(NamedTuple):
    """A snapshot that both repositories hold, as each of them has it."""

    source: Root
    destination: Root


class Place(NamedTuple):
    """From where to where, and what does the work. ``journals`` is a folder."""

    source: Repository
    destination: Repository
    executor: Executor | None
    jobs: int
    journals: str
    monitor: Monitor


class Copied(NamedTuple):
    """What copying one snapshot did. ``root`` is None if it was not copied: it is damaged.

    ``erased_since``: users whom the reference had held were erased from the source. ``bad`` are the
    nonces of segments known to be damaged in the source.
    """

    root: Root | None
    findings: list[Finding]
    documents: int
    read_bytes: int
    stored_bytes: int
    erased: frozenset[bytes]
    erased_since: bool
    bad: frozenset[bytes]


class ReferenceUnusable(Exception):
    """The reference cannot be built upon; the snapshot can be copied without.

    ``error`` is what is wrong with it, if that has not been told otherwise.
    """

    def __init__(self, error: RepositoryError | None) -> None:
        super().__init__(error)
        self.error = error


class SnapshotCopy:
    """Given a snapshot's ``root`` in the source, and one that is in the destination already to
    build upon, :meth:`run` copies it.
    """

    def __init__(
        self,
        place: Place,
        root: Root,
        reference: Reference | None,
        *,
        bad: frozenset[bytes],
        damaged_too: bool,
    ) -> None:
        self._place = place
        self._root = root
        self._reference = reference
        self._bad = set(bad)
        self._damaged_too = damaged_too
        storage = place.destination.storage
        self._watch = PruneWatch(storage, place.destination.keys)
        self._packs = _pack_ids(place.destination)
        self._packs_written: set[bytes] = set()
        base = reference.destination if reference is not None else None
        self._parts = SnapshotParts(place.destination, root.id, base)
        self._done: set[int] = set()
        self._resumed_packs: set[bytes] = set()
        self._erased: set[bytes] = set()
        self._erased_since = False
        self._tombstones = self._read_tombstones()
        if self._tombstones.unreadable:  # all of them could be read when the copy began
            raise erased_under_a_newer_key()
        self._doomed = _doomed_packs(place.destination)
        self._left_out = False
        self._damaged = False
        self._findings: list[Finding] = []
        self._documents = self._read_bytes = self._stored_bytes = 0

    def run(self) -> Copied:
        """Copy the snapshot. If something is damaged in the source there is no snapshot, unless
        damaged documents may be left out.

        Raise ReferenceUnusable, or StorageError if the destination cannot be written.
        """
        root = None
        with Spool() as spool:
            weights = self._sort(spool)
            if self._left_out and self._reference is not None and self._damaged_too:
                raise ReferenceUnusable(None)  # what it has would stand for what is left out
            if not self._damaged:
                with self._open_journal() as journal:
                    self._resume(journal)
                    self._copy(spool, weights, journal)
                    if not self._damaged:
                        root = self._finish()
                        remove_journal(self._place.journals, root.id)
        return Copied(
            root,
            self._findings,
            self._documents,
            self._read_bytes,
            self._stored_bytes,
            frozenset(self._erased),
            self._erased_since,
            frozenset(self._bad),
        )

    def _sort(self, spool: Spool) -> dict[int, Weight]:
        """Put what is to be copied into the spool; return how much it is, by bucket."""
        weights: dict[int, Weight] = {}
        buckets = len(self._root.buckets)
        with self._place.monitor.task("Comparing", buckets, "buckets") as progress:
            for result in self._run(sort_buckets, self._sort_tasks()):
                progress.advance(result.buckets)
                if result.reference_error is not None:
                    raise ReferenceUnusable(result.reference_error)
                self._note(result.damages, left_out=result.left_out)
                self._erased.update(result.erased)
                self._erased_since |= result.erased_since
                for bucket, moves in result.moves.items():
                    spool.add(bucket, moves)
                    weight = weights.setdefault(bucket, Weight())
                    weight.moves += result.weights[bucket].moves
                    weight.size += result.weights[bucket].size
        return weights

    def _sort_tasks(self) -> Iterator[SortTask]:
        reference = self._reference.source if self._reference is not None else None
        buckets = set(self._root.buckets)
        if reference is not None:
            buckets.update(reference.buckets)
        a_task = max(1, len(buckets) // (4 * self._place.jobs))
        for numbers in _batches(sorted(buckets), a_task):
            work = {
                number: (
                    layers_of(self._root, number),
                    layers_of(reference, number) if reference is not None else [],
                )
                for number in numbers
            }
            yield SortTask(
                self._place.source,
                self._place.destination.keys,
                self._root.sequence,
                work,
                frozenset(self._bad),
                self._damaged_too,
            )

    def _open_journal(self) -> Journal:
        place = self._place
        reference = self._reference.source.id if self._reference is not None else bytes(16)
        bound_to = place.source.keys.repository_id + reference + bytes((self._damaged_too,))
        # What was brought before somebody was erased, here or there, may hold them.
        in_source = read_tombstones(place.source.storage, place.source.keys, [])
        for stones in (self._tombstones, in_source):
            bound_to += len(stones).to_bytes(8, "big")
            for stone in sorted(stones, key=lambda item: (item.pseudonym, item.sequence)):
                bound_to += stone.pseudonym + stone.sequence.to_bytes(8, "big")
        return Journal(place.journals, self._root.id, place.destination.keys, bound_to)

    def _resume(self, journal: Journal) -> None:
        """Take over what an earlier run brought, if it is still there."""
        for frame in journal.frames():
            result = msgspec.msgpack.decode(frame, type=CopyResult)
            buckets = {item.bucket for item in result.buckets}
            there = self._packs.issuperset(result.packs) and self._doomed.isdisjoint(result.packs)
            if there and self._done.isdisjoint(buckets):
                self._resumed_packs.update(result.packs)
                self._take(result)

    def _copy(self, spool: Spool, weights: Mapping[int, Weight], journal: Journal) -> None:
        total = sum(item.size for bucket, item in weights.items() if bucket not in self._done)
        title = f"Copying {self._root.id.hex()[:8]}"
        with self._place.monitor.task(title, total, "bytes") as progress:
            for outcome in self._run(copy_buckets, self._copy_tasks(spool, weights)):
                if outcome.reference_error is not None:
                    raise ReferenceUnusable(outcome.reference_error)
                result = outcome.result
                progress.advance(result.read_bytes)
                self._documents += result.documents
                self._read_bytes += result.read_bytes
                self._stored_bytes += result.packed_bytes
                self._note(result.damages, left_out=result.left_out)
                self._bad.update(result.bad)
                if self._damaged:
                    return  # what else is damaged, verify tells
                self._take(result)
                if not result.damages:
                    journal.add(msgspec.msgpack.encode(result))
        if journal.error is not None:
            self._findings.append(_no_journal(journal.error))

    def _copy_tasks(self, spool: Spool, weights: Mapping[int, Weight]) -> Iterator[CopyTask]:
        place = self._place
        moves = sum(item.moves for item in weights.values())
        share = max(1, min(_BATCH_MOVES, moves // (2 * place.jobs)))
        batch: list[CopyWork] = []
        count = size = 0
        left = sorted((weights.keys() | self._buried_buckets()) - self._done)
        for bucket in left:
            layers = self._parts.layers(bucket)
            totals = self._parts.totals(bucket)
            moved = spool.bucket(bucket)
            batch.append(CopyWork(bucket, moved, layers, totals, self._parts.overgrown(bucket)))
            weight = weights.get(bucket, Weight())
            count += weight.moves
            size += weight.size
            if count >= share or size >= BATCH_BYTES or bucket == left[-1]:
                yield CopyTask(
                    place.source,
                    place.destination,
                    self._root.id,
                    self._root.time_ms,
                    batch,
                    self._packs,
                    self._damaged_too,
                )
                batch, count, size = [], 0, 0

    def _buried_buckets(self) -> set[int]:
        """Return the buckets of which the reference may hold, unreadable, somebody erased since:
        they are gone through even if nothing else changed there, to leave those out.
        """
        if self._reference is None:
            return set()
        since = self._reference.destination.sequence
        stones = (stone for stone in self._tombstones if stone.sequence >= since)
        return {stone.pseudonym[0] for stone in stones} & set(self._parts.buckets)

    def _take(self, result: CopyResult) -> None:
        self._erased.update(result.erased)
        self._packs_written.update(result.packs)
        for item in result.buckets:
            self._done.add(item.bucket)
            self._parts.add(
                item.bucket, item.section, item.totals, item.new_keys, rewritten=item.rewritten
            )

    def _finish(self) -> Root:
        destination, source = self._place.destination, self._root
        self._check_nobody_was_erased()
        if keys_bytes := self._parts.store_keys():
            self._check_nobody_was_erased()
        self._stored_bytes += keys_bytes + self._parts.store_manifests()
        if self._resumed_packs and not _pack_ids(destination).issuperset(self._resumed_packs):
            raise StorageError(
                "what an earlier run had copied was deleted meanwhile, as nothing used it",
                hint="Run the copy again: it copies what is missing.",
            )
        there = source.parent in set(snapshot_ids(destination.storage))
        root = msgspec.structs.replace(
            self._parts.in_root(source),
            parent=source.parent if there else None,
            incomplete=source.incomplete or self._left_out,
            stored_bytes=self._stored_bytes,
            overwritten=[],  # pseudonyms that mean nobody there
        )
        relies_on = self._reference.destination if self._reference is not None else None
        names = {object_name(ObjectKind.PACK, pack) for pack in self._packs_written}
        self._stored_bytes += store_root(
            destination, root, self._watch, names, relies_on, self._tombstones
        )
        return root

    def _read_tombstones(self) -> Tombstones:
        destination = self._place.destination
        return read_tombstones(destination.storage, destination.keys, [])

    def _check_nobody_was_erased(self) -> None:
        otherwise = ShenyuDataError(
            "a user was erased from the destination while a snapshot was being copied",
            hint="Run the copy again.",
        )
        self._parts.check_nobody_was_erased(self._tombstones, (), otherwise)

    def _note(self, damages: list[Finding], *, left_out: bool) -> None:
        self._findings += damages
        self._left_out |= left_out
        self._damaged |= bool(damages) and not self._damaged_too

    def _run(self, function: Callable[[T], R], tasks: Iterator[T]) -> Iterator[R]:
        place = self._place
        return run_tasks(place.executor, function, tasks, waiting=place.jobs + 1)


def _pack_ids(repository: Repository) -> frozenset[bytes]:
    """Return the packs whose segments are there, where they were or moved elsewhere."""
    names = (info.name for info in repository.storage.list(PACKS))
    there = frozenset(parsed[1] for name in names if (parsed := parse_object_name(name)))
    return there | moved_packs(repository.storage)


def _doomed_packs(repository: Repository) -> frozenset[bytes]:
    """Return the packs that prune is about to delete, as nothing used them when it looked."""
    names: set[str] = set()
    for record in read_records(repository.storage, repository.keys).values():
        names.update(record.doomed, record.deleting)
    parsed = (parse_object_name(name) for name in names)
    return frozenset(item[1] for item in parsed if item is not None and item[0] == PACKS)


def _batches(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _no_journal(error: OSError) -> Finding:
    return Finding(
        code="copy-not-resumable",
        severity="warning",
        path="",
        message=f"how far the copy has come cannot be written down: {error.strerror}",
        hint="If it is cut off, it begins anew. Check ~/.local/state, or set XDG_STATE_HOME.",
    )
