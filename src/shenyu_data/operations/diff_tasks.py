"""What the workers of a ``diff`` do: compare some buckets of the two sides, owner by owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from heapq import nsmallest

import msgspec
from msgspec import field

from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.diff_owner import OwnerDiff, document_diffs, owner_diff
from shenyu_data.operations.diff_sides import (
    LiveOwner,
    LiveSide,
    Side,
    SnapshotSide,
    same_bytes,
    scan_live,
    scan_live_shared,
)
from shenyu_data.operations.past import open_record, unreadable
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.format import OwnerRecord
from shenyu_data.repository.manifest import Row, SectionReader
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstones

_LOADED = 8  # records of one layer: from here on it is read whole


class DiffWork(msgspec.Struct):
    """One bucket, as it is on either side."""

    bucket: int
    before: Side
    after: Side


class DiffTask(msgspec.Struct):
    """Buckets to compare; at most ``limit`` owners come back by name (None: all)."""

    repository: Repository
    work: list[DiffWork]
    limit: int | None


class DiffTotals(msgspec.Struct):
    """Sums over all owners that differ. ``erased`` counts users whose records nobody can read any
    more; they are not compared.
    """

    users_added: int = 0
    users_removed: int = 0
    users_changed: int = 0
    documents_added: int = 0
    documents_removed: int = 0
    documents_changed: int = 0
    other: int = 0
    chats_added: int = 0
    chats_removed: int = 0
    chats_before: int = 0
    chats_after: int = 0
    messages_before: int = 0
    messages_after: int = 0
    erased: int = 0

    def count(self, item: OwnerDiff) -> None:
        """Add one owner."""
        if item.user is not None:
            name = f"users_{item.change}"
            setattr(self, name, getattr(self, name) + 1)
        for name in OwnerDiff.__struct_fields__:
            if name not in ("user", "change"):
                setattr(self, name, getattr(self, name) + getattr(item, name))

    def add(self, other: DiffTotals) -> None:
        """Add other sums to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class DiffResult(msgspec.Struct):
    """What some buckets gave: the first ``limit`` owners by rank, and the sums of all."""

    totals: DiffTotals = field(default_factory=DiffTotals)
    owners: list[OwnerDiff] = field(default_factory=list)
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    damaged: int = 0
    complete: bool = True

    def keep(self, limit: int | None) -> None:
        """Forget the owners beyond the limit."""
        if limit is not None and len(self.owners) > limit:
            self.owners = nsmallest(limit, self.owners, key=lambda item: item.rank)


def diff_buckets(task: DiffTask) -> DiffResult:
    """Compare some buckets."""
    result = DiffResult()
    keyring = task.repository.keyring()
    for work in task.work:
        try:
            with _Bucket(task.repository, work, result) as bucket:
                bucket.compare(keyring.bucket(work.bucket), keyring.tombstones)
        except RepositoryError as error:
            result.damaged += 1
            result.findings.append(unreadable(error, f"bucket {work.bucket}"))
        result.keep(task.limit)
    return result


class _Bucket:
    """Compares one bucket; a context manager, for the folders it holds open."""

    def __init__(self, repository: Repository, work: DiffWork, result: DiffResult) -> None:
        self._repository = repository
        self._work = work
        self._result = result
        self._stack = ExitStack()
        self._segments = SegmentReader(repository.storage, repository.keys)

    def __enter__(self) -> _Bucket:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compare(self, keys: dict[bytes, list[OwnerKeys]], stones: Tombstones) -> None:
        before = self._open(self._work.before, keys, stones)
        after = self._open(self._work.after, keys, stones)
        names = [
            pseudonym
            for pseudonym in sorted(before.owners.keys() | after.owners.keys())
            if not _alike(before, after, pseudonym)
        ]
        for side in (before, after):
            side.load(names)
        for pseudonym in names:
            try:
                self._compare_owner(before, after, pseudonym, keys.get(pseudonym, []))
            except OwnerErased:
                self._result.totals.erased += 1
            except RepositoryError as error:
                self._result.damaged += 1
                what = f"one user (pseudonym {pseudonym.hex()})"
                self._result.findings.append(unreadable(error, what))

    def _open(self, side: Side, keys: dict[bytes, list[OwnerKeys]], stones: Tombstones) -> _Opened:
        reader = None
        owners: dict[bytes, Row | LiveOwner] = {}
        if isinstance(side, SnapshotSide):
            storage, secrets = self._repository.storage, self._repository.keys
            reader = SectionReader(storage, secrets, self._work.bucket, side.layers)
            owners.update(reader.rows())
        else:
            owners.update(self._scan(side))
        return _Opened(side, reader, owners, keys, stones, self._repository)

    def _scan(self, side: LiveSide) -> dict[bytes, LiveOwner]:
        keys = self._repository.keys
        folders = self._stack.enter_context(DataFolders(side.data))
        found = {keys.user_pseudonym(name): owner for name, owner in scan_live(folders, side)}
        shared = scan_live_shared(folders, side)
        if shared.scan.entries or not shared.scan.complete:
            found[keys.shared_pseudonym(self._work.bucket)] = shared
        for owner in found.values():
            self._result.complete &= owner.scan.complete
        return found

    def _compare_owner(
        self, before: _Opened, after: _Opened, pseudonym: bytes, keys: list[OwnerKeys]
    ) -> None:
        # A live side reads only what differs from the other side's record: that comes first.
        findings = self._result.findings
        if isinstance(before.side, LiveSide):
            new = after.record(pseudonym, None, findings)
            old = before.record(pseudonym, new, findings)
        else:
            old = before.record(pseudonym, None, findings)
            new = after.record(pseudonym, old, findings)
        same = same_bytes(old, keys, self._segments)
        found = owner_diff(old, new, list(document_diffs(old, new, same)))
        if found is not None:
            self._result.totals.count(found)
            self._result.found += 1
            self._result.owners.append(found)


class _Opened:
    """One side of a bucket: its owners by pseudonym, rows of a snapshot or scans."""

    def __init__(
        self,
        side: Side,
        reader: SectionReader | None,
        owners: Mapping[bytes, Row | LiveOwner],
        keys: Mapping[bytes, list[OwnerKeys]],
        stones: Tombstones,
        repository: Repository,
    ) -> None:
        self.side = side
        self.owners = owners
        self._reader = reader
        self._keys = keys
        self._stones = stones
        self._repository = repository

    def load(self, names: Sequence[bytes]) -> None:
        """Read the layers whole of which many records are about to be opened."""
        rows = (self.owners.get(name) for name in names)
        counts = Counter(row.layer for row in rows if isinstance(row, Row))
        for layer, count in counts.items():
            if count >= _LOADED and self._reader is not None:
                self._reader.load_layer(layer)

    def signature(self, pseudonym: bytes) -> bytes | None:
        """Return what a backup would sign, or signed, for an owner; None if nothing is sure."""
        owner = self.owners.get(pseudonym)
        if isinstance(owner, Row):
            return owner.signature
        if owner is None or not owner.scan.complete:
            return None
        return self._repository.keys.signature(owner.description)

    def record(
        self, pseudonym: bytes, other: OwnerRecord | None, findings: list[Finding]
    ) -> OwnerRecord | None:
        """Return an owner's record on this side, None if there is none. Raise OwnerErased or
        RepositoryError.
        """
        owner = self.owners.get(pseudonym)
        keys = self._keys.get(pseudonym, [])
        if isinstance(owner, LiveOwner):
            return owner.record(other, b"", keys, findings)
        if isinstance(self.side, LiveSide) and owner is None and other is not None:
            listed = self.side.listed
            return other if not (listed.shared if other.shared else listed.users) else None
        if owner is None or self._reader is None or not isinstance(self.side, SnapshotSide):
            return None
        return open_record(self._reader, pseudonym, owner, keys, self._stones, self.side.sequence)


def _alike(before: _Opened, after: _Opened, pseudonym: bytes) -> bool:
    """Whether an owner is known to be the same without a look at its record.

    Two snapshots share a record that did not change. Against the live directory what stat says
    must do, as it does for a backup.
    """
    old, new = before.owners.get(pseudonym), after.owners.get(pseudonym)
    if isinstance(old, Row) and isinstance(new, Row):
        return (old.layer, old.offset, old.length) == (new.layer, new.offset, new.length)
    if old is None or new is None:
        return False
    signature = before.signature(pseudonym)
    return signature is not None and signature == after.signature(pseudonym)
