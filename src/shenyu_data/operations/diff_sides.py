"""The two sides of a ``diff``, bucket by bucket: a snapshot's records, or the live directory's,
taken as a backup takes them and not stored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from shenyu_data.datadir.scan import DataFolders, Scan, describe, scan_shared, scan_user
from shenyu_data.datadir.survey import Owners
from shenyu_data.model.findings import Finding
from shenyu_data.operations.backup_owner import Before, OwnerBackup
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.backup_work import Listed
from shenyu_data.operations.diff_owner import Bytes, Same
from shenyu_data.repository.crypto import DIGEST_BYTES, KEY_BYTES, OwnerKeys
from shenyu_data.repository.documents import DocumentReader, DocumentWriter
from shenyu_data.repository.format import Entry, Extent, FileEntry, OwnerRecord, Segment
from shenyu_data.repository.manifest import Layer
from shenyu_data.repository.packs import SegmentReader

MAX_KEPT_BYTES = 64 << 20
"""Of one user's live documents; what goes beyond it is compared by digest alone."""


class SnapshotSide(msgspec.Struct):
    """One bucket of a snapshot."""

    sequence: int
    layers: list[Layer]


class LiveSide(msgspec.Struct):
    """One bucket of the data directory as the survey met it."""

    data: str
    owners: Owners
    listed: Listed


Side = SnapshotSide | LiveSide


class LiveOwner:
    """One owner of the data directory, scanned; read only when asked for."""

    def __init__(self, folders: DataFolders, owner: bytes, shared: bool, scan: Scan) -> None:
        self._folders = folders
        self._owner = owner
        self._shared = shared
        self.scan = scan

    @property
    def description(self) -> bytes:
        """What a backup signs: see :func:`describe`."""
        self.scan.entries.sort()
        return describe(self.scan.entries)

    def record(
        self,
        other: OwnerRecord | None,
        origin: bytes,
        keys: list[OwnerKeys],
        findings: list[Finding],
        kept: dict[bytes, bytes] | None = None,
    ) -> OwnerRecord | None:
        """Read what differs by stat from the ``other`` side's record; None if nothing is there.

        Digests of documents with the same bytes are those of the other side. ``kept`` gets the
        bytes of what was read, by digest, up to MAX_KEPT_BYTES.
        """
        keys = keys or [OwnerKeys(os.urandom(KEY_BYTES))]
        before = Before(origin, other) if other is not None else None
        backup = OwnerBackup(
            self._folders,
            self._owner,
            self._shared,
            before,
            _Unstored(keys, kept),
            keys,
            usable=None,
            reread=False,
            tally=Tally(),
        )
        taken = backup.take(self.scan)
        findings += taken.findings
        return taken.record


def scan_live(folders: DataFolders, side: LiveSide) -> list[tuple[bytes, LiveOwner]]:
    """Scan a bucket's users; return them with their names."""
    owners = side.owners
    found = []
    for owner in owners.users:
        scan = scan_user(folders, owner, compressed=owner in owners.compressed)
        if scan.entries or scan.findings:
            found.append((owner, LiveOwner(folders, owner, False, scan)))
    return found


def scan_live_shared(folders: DataFolders, side: LiveSide) -> LiveOwner:
    """Scan what belongs to nobody and fell into this bucket."""
    scan = scan_shared(folders, side.owners.shared, complete=side.listed.shared)
    return LiveOwner(folders, b"", True, scan)


class _Unstored(DocumentWriter):
    """Takes documents and stores nothing: an entry's digest and counts are all that is wanted."""

    def __init__(self, keys: list[OwnerKeys], kept: dict[bytes, bytes] | None) -> None:
        self._owner_keys = keys
        self._kept = kept
        self._kept_bytes = 0

    def is_sound(self, segment: Segment) -> bool:
        return True

    def add(
        self, data: bytes, previous: FileEntry | None, old: bytes | None = None
    ) -> list[Extent]:
        return self.append(data)

    def append(self, data: bytes) -> list[Extent]:
        if self._kept is not None and self._kept_bytes + len(data) <= MAX_KEPT_BYTES:
            self._kept_bytes += len(data)
            for keys in self._owner_keys:
                self._kept[keys.digest(data)] = data
        return [(0, 0, len(data))] if data else []

    def finish(self, owner: bytes, shared: bool, entries: list[Entry]) -> OwnerRecord:
        return OwnerRecord(owner, shared, [], entries)


def same_bytes(
    before: OwnerRecord | None, keys: Sequence[OwnerKeys], segments: SegmentReader
) -> Same:
    """Return what tells whether a document of the record ``before`` has another's bytes.

    Equal digests are of equal bytes. Different ones are of different bytes if they were made with
    one key; an owner with several keys has the document read and digested with each.
    """

    def same(old: Bytes, new: Bytes) -> bool:
        if old.digest == new.digest or old.size != new.size:
            return old.digest == new.digest and old.size == new.size
        if len(keys) < 2 or before is None:
            return False
        digests = [key.new_digest() for key in keys]

        def take(piece: bytes) -> None:
            for digest in digests:
                digest.update(piece)

        DocumentReader(before.segments, list(keys), segments).stream(old, take)
        return any(digest.digest(DIGEST_BYTES) == new.digest for digest in digests)

    return same
