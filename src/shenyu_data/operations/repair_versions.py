"""The versions of a history that the snapshots of a repository hold. For repair_past.py."""

from __future__ import annotations

from typing import NamedTuple

from shenyu_data.model.archive_document import archive_of
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX
from shenyu_data.operations.past import files
from shenyu_data.operations.repair_document import Target
from shenyu_data.repository.format import FileEntry, OwnerRecord

MOST_VERSIONS = 200
"""Of a history with more versions, the newest ones are looked at."""


class Record(NamedTuple):
    """What a snapshot says of a user; None: nothing."""

    snapshot: bytes
    safety: bool
    record: OwnerRecord | None


class Version(NamedTuple):
    """A history in a snapshot, plain or compressed, and its archive."""

    snapshot: bytes
    safety: bool
    record: OwnerRecord | None
    entry: FileEntry | None
    archive: FileEntry | None
    written: bytes | None = None
    """Not what a snapshot holds, but the digest of what an operation wrote after this one."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for versions that hold the same."""
        entry, archive = self.entry, self.archive
        return (
            self.written,
            (entry.state, entry.size, entry.digest) if entry is not None else None,
            (archive.state, archive.digest) if archive is not None else None,
        )


def entries_of(record: OwnerRecord | None) -> dict[tuple[int, bytes], FileEntry]:
    """Return the documents that a record names, by place and name."""
    return {(entry.place, entry.name): entry for entry in files(record)} if record else {}


def versions_of(
    target: Target, records: list[Record], written: list[tuple[bytes, bytes]]
) -> list[Version]:
    """Return the versions of a history, oldest first; of those that follow each other and are
    alike, one. ``records`` come newest first; ``written`` are digests of what operations of ours
    wrote, each with the snapshot after which.
    """
    names = (target.name, target.name + GZIP_SUFFIX.removeprefix(JSON_SUFFIX))
    archive_name = archive_of(target.name)
    found: list[Version] = []
    for snapshot, safety, record in reversed(records):
        entries = entries_of(record)
        plain, twin = (entries.get((target.place, name)) for name in names)
        archive = entries.get((target.place, archive_name))
        version = Version(snapshot, safety, record, plain or twin, archive)
        if not found or found[-1].identity != version.identity:
            found.append(version)
        elif found[-1].safety and not safety:
            found[-1] = found[-1]._replace(safety=False)
        found += [
            Version(snapshot, True, None, None, None, digest)
            for saved, digest in written
            if saved == snapshot
        ]
    return found[-MOST_VERSIONS:]
