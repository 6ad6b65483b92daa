"""What the workers of a backup do second: take the owners of some buckets that changed.

Each task and each result is a value that can be pickled; a worker keeps nothing between tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from shenyu_data.datadir.scan import (
    DataFolders,
    Scan,
    scan_shared,
    scan_user,
)
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.backup_compare import opens, special_files
from shenyu_data.operations.backup_owner import (
    UNSETTLED,
    Before,
    OwnerBackup,
    Taken,
)
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.backup_work import BucketWork, Listed
from shenyu_data.operations.running_totals import RunningTotals
from shenyu_data.operations.tripwire_signs import Signs, all_gone
from shenyu_data.repository.crypto import KEY_BYTES, OwnerKeys
from shenyu_data.repository.documents import DocumentWriter
from shenyu_data.repository.format import PACKS, FileEntry, OwnerRecord, Totals
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Row, Section, SectionBuilder, SectionReader
from shenyu_data.repository.packs import PackWriter, SegmentReader
from shenyu_data.repository.repository import Repository

_NEVER = bytes(16)  # a signature that no description has

_TRIES = 4
"""So often an owner is taken whose documents move from one file into another meanwhile."""


class CaptureTask(msgspec.Struct):
    """Buckets of which the given owners are to be taken into the snapshot ``origin``."""

    repository: Repository
    data: str
    origin: bytes
    work: list[BucketWork]
    reread: bool
    report_special: bool
    listed: Listed
    packs: frozenset[bytes]
    erased: frozenset[bytes]
    """Pseudonyms of owners who were erased while this backup ran: they are left out."""
    ours: frozenset[bytes]
    """Pseudonyms of owners whose documents this program changed since the parent."""


class CapturedBucket(msgspec.Struct):
    """A bucket's new section (None: nothing to say) and what it adds up to."""

    bucket: int
    section: Section | None
    rewritten: bool
    totals: Totals
    tally: Tally
    signs: Signs
    new_keys: list[tuple[bytes, bytes]]


class CaptureResult(msgspec.Struct):
    """What one capture task did; ``damaged`` are buckets whose parent could not be read."""

    buckets: list[CapturedBucket]
    damaged: list[tuple[int, RepositoryError]]
    findings: list[Finding]
    packed_bytes: int
    packs: list[str]
    owners: int
    complete: bool


def capture_buckets(task: CaptureTask) -> CaptureResult:
    """Take the changed owners of some buckets: read, compress, seal, store."""
    return _Capture(task).run()


class _Capture:
    def __init__(self, task: CaptureTask) -> None:
        self._task = task
        self._storage = task.repository.storage
        self._keys = task.repository.keys
        self._keyring: Keyring = task.repository.keyring()
        self._packs = PackWriter(self._storage)
        self._segments = SegmentReader(self._storage, self._keys)
        self._result = CaptureResult([], [], [], 0, [], 0, True)

    def run(self) -> CaptureResult:
        try:
            with DataFolders(self._task.data) as folders:
                for work in self._task.work:
                    try:
                        self._result.buckets.append(self._take_bucket(folders, work))
                    except RepositoryError as error:
                        self._result.damaged.append((work.bucket, error))
            self._packs.finish()
        except BaseException:
            self._packs.abandon()
            raise
        self._result.packed_bytes = self._packs.stored_bytes
        self._result.packs = [f"{PACKS}/{pack.hex()}" for pack in self._packs.packs]
        return self._result

    def _take_bucket(self, folders: DataFolders, work: BucketWork) -> CapturedBucket:
        tally, signs = Tally(), Signs()
        reader = SectionReader(self._storage, self._keys, work.bucket, work.layers)
        rows = reader.rows()
        owner_keys = self._keyring.bucket(work.bucket)
        erased = self._drop_erased(reader, rows, owner_keys)
        rewrite = work.rewrite or erased
        recount = self._task.reread or erased  # nobody can say what erased owners had added
        if rewrite:
            reader.load()
        builder = SectionBuilder(self._keys, self._task.origin, work.bucket)
        sums = RunningTotals(Totals() if recount else work.totals)
        new_keys: list[tuple[bytes, bytes]] = []
        owners = [(owner, False) for owner in work.owners.users]
        if work.owners.shared:
            owners.append((b"", True))
        done = set()
        for owner, shared in owners:
            if shared:
                pseudonym = self._keys.shared_pseudonym(work.bucket)
            else:
                pseudonym = self._keys.user_pseudonym(owner)
            scan = self._scan(folders, work, owner)
            if pseudonym in self._task.erased:
                continue
            done.add(pseudonym)
            self._result.complete &= scan.complete
            candidates = owner_keys.get(pseudonym)
            if candidates is None:
                candidates = self._keys.owner_keys(os.urandom(KEY_BYTES))
            before = self._before(reader, pseudonym, rows.get(pseudonym), candidates)
            if not scan.entries and before is None:
                self._result.findings += scan.findings
                continue
            if pseudonym not in owner_keys:
                owner_keys[pseudonym] = candidates
                new_keys.append((pseudonym, candidates[0].key))
            taken = self._take_owner(folders, work, owner, before, scan, candidates, tally)
            if taken.signs is not None:
                if before is not None:
                    taken.signs.weigh(before.record, taken.record)
                taken.signs.into(signs, ours=pseudonym in self._task.ours)
            if before is not None and not recount:
                sums.add(before.record, -1)
            if taken.record is None:
                builder.add_gone(pseudonym)
            else:
                sums.add(taken.record)
                signature = (
                    _NEVER
                    if taken.description is UNSETTLED
                    else self._keys.signature(taken.description)
                )
                builder.add(pseudonym, signature, candidates[0], taken.record)
            self._result.owners += 1
        for pseudonym, row in self._displaced(work, rows):
            record = reader.record(pseudonym, row, owner_keys.get(pseudonym, []))
            left = [entry for entry in record.entries if entry.name not in work.displaced]
            if len(left) == len(record.entries):
                continue
            done.add(pseudonym)
            if not recount:
                sums.add(record, -1)
            if left:
                record = msgspec.structs.replace(record, entries=left)
                sums.add(record)
                builder.add(pseudonym, _NEVER, owner_keys[pseudonym][0], record)
            else:
                builder.add_gone(pseudonym)
        for pseudonym in self._gone(work, rows, done):
            done.add(pseudonym)
            lost = reader.record(pseudonym, rows[pseudonym], owner_keys.get(pseudonym, []))
            tally.gone += sum(isinstance(entry, FileEntry) for entry in lost.entries)
            all_gone(lost).into(signs, ours=pseudonym in self._task.ours)
            if not recount:
                sums.add(lost, -1)
            if not rewrite:
                builder.add_gone(pseudonym)
        if rewrite:
            for record in self._carry_over(reader, rows, done, owner_keys, builder):
                if recount:
                    sums.add(record)
        section, totals = builder.finish(), sums.totals()
        return CapturedBucket(work.bucket, section, rewrite, totals, tally, signs, new_keys)

    def _drop_erased(
        self, reader: SectionReader, rows: dict[bytes, Row], keys: dict[bytes, list[OwnerKeys]]
    ) -> bool:
        """Take owners who were erased out of ``rows``; whether there were any."""
        tombstones = self._keyring.tombstones
        erased = [
            pseudonym
            for pseudonym, row in rows.items()
            if tombstones.of(pseudonym)
            and (
                pseudonym in self._task.erased
                or not opens(reader, pseudonym, row, keys.get(pseudonym, []))
            )
        ]
        for pseudonym in erased:
            del rows[pseudonym]
        return bool(erased)

    def _displaced(self, work: BucketWork, rows: dict[bytes, Row]) -> Iterator[tuple[bytes, Row]]:
        """Yield the row of shared entries if one of them may be where a user's file is now."""
        pseudonym = self._keys.shared_pseudonym(work.bucket)
        if work.displaced and not work.owners.shared and pseudonym in rows:
            yield pseudonym, rows[pseudonym]

    def _gone(self, work: BucketWork, rows: dict[bytes, Row], done: set[bytes]) -> list[bytes]:
        """Return who is in the parent, was not met, and would have been if still there."""
        gone = (rows.keys() if self._task.reread else rows.keys() & set(work.gone)) - done
        shared = {self._keys.shared_pseudonym(work.bucket)}
        if not self._task.listed.users:
            gone &= shared
        if not self._task.listed.shared:
            gone -= shared
        return sorted(gone)

    def _scan(self, folders: DataFolders, work: BucketWork, owner: bytes) -> Scan:
        """Look at everything of an owner; an empty name is that of shared documents."""
        if owner:
            return scan_user(folders, owner, compressed=owner in work.owners.compressed)
        complete = self._task.listed.shared
        return scan_shared(folders, work.owners.shared, complete=complete)

    def _take_owner(
        self,
        folders: DataFolders,
        work: BucketWork,
        owner: bytes,
        before: Before | None,
        scan: Scan,
        candidates: list[OwnerKeys],
        tally: Tally,
    ) -> Taken:
        segments = before.record.segments if before is not None else []
        for attempt in range(1, _TRIES + 1):
            writer = DocumentWriter(candidates, self._packs, segments, self._segments)
            counts = Tally()
            backup = OwnerBackup(
                folders,
                owner,
                not owner,
                before,
                writer,
                candidates,
                usable=self._task.packs,
                reread=self._task.reread,
                tally=counts,
                watching=bool(work.layers),  # else there is nothing to compare with
            )
            taken = backup.take(scan)
            if not backup.moved or attempt == _TRIES:
                break
            scan = self._scan(folders, work, owner)
            self._result.complete &= scan.complete
        tally.add(counts)
        self._result.findings += taken.findings
        if self._task.report_special:
            self._result.findings += special_files(scan, owner)
        return taken

    def _before(
        self, reader: SectionReader, pseudonym: bytes, row: Row | None, candidates: list[OwnerKeys]
    ) -> Before | None:
        if row is None:
            return None
        return Before(row.layer.origin, reader.record(pseudonym, row, candidates))

    def _carry_over(
        self,
        reader: SectionReader,
        rows: dict[bytes, Row],
        done: set[bytes],
        owner_keys: dict[bytes, list[OwnerKeys]],
        builder: SectionBuilder,
    ) -> Iterator[OwnerRecord]:
        """Seal again, for this snapshot, the records of owners that were not taken; yield them."""
        for pseudonym, row in rows.items():
            if pseudonym not in done:
                candidates = owner_keys.get(pseudonym, [])
                record = reader.record(pseudonym, row, candidates)
                builder.add(pseudonym, row.signature, candidates[0], record)
                yield record
