"""What the workers of a restore do: open the records of some buckets and write their documents.

Names come out of the repository, and whoever could write to it may have forged them: every one is
checked before it touches the file system, and no link is ever followed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import msgspec
from blake3 import blake3
from msgspec import field

from shenyu_data.datadir.folder import FOLDER_FLAGS
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import is_plain_name, is_plain_path, path_of
from shenyu_data.operations.past import is_of_history, open_record
from shenyu_data.operations.restore_files import (
    Attributes,
    restore_link,
    stream_document,
    write_document,
)
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import LARGE_BYTES, DocumentReader
from shenyu_data.repository.format import (
    Entry,
    FileEntry,
    FileState,
    FolderEntry,
    LastGood,
    LinkEntry,
    OwnerRecord,
)
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository


class RestoreTask(msgspec.Struct):
    """Buckets to restore, or of one bucket the one ``user``, or of that the one ``history``."""

    repository: Repository
    target: str
    work: dict[int, list[Layer]]
    user: bytes | None
    history: bytes | None
    last_good: bool
    sequence: int
    """That of the snapshot: it tells what was erased since."""
    only: frozenset[bytes] | None = None
    """Of the buckets only the owners with these pseudonyms; None: all."""


class RestoreCounts(msgspec.Struct):
    """What was written, and what was not."""

    owners: int = 0
    met: int = 0  # documents, restored or not
    erased: int = 0
    documents: int = 0
    document_bytes: int = 0
    folders: int = 0
    links: int = 0
    torn: int = 0
    failed: int = 0
    damaged: int = 0
    no_room: int = 0  # of those that failed: for lack of space

    def add(self, other: RestoreCounts) -> None:
        """Add other counts to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class FolderAttributes(msgspec.Struct):
    """What a folder gets once everything in it is written."""

    path: bytes
    mode: int
    owner: tuple[int, int] | None
    mtime_ns: int

    def apply(self, descriptor: int) -> None:
        """Give them to the open folder."""
        if self.owner is not None:
            os.fchown(descriptor, *self.owner)
        os.fchmod(descriptor, self.mode)
        os.utime(descriptor, ns=(self.mtime_ns, self.mtime_ns))


class HardLink(msgspec.Struct):
    """A restored file that had several names; those with equal ``identity`` were one file."""

    identity: tuple[object, ...]
    path: bytes


class RestoreResult(msgspec.Struct):
    """What a task did, and what is left for the end: folders' attributes, links, hard links."""

    counts: RestoreCounts = field(default_factory=RestoreCounts)
    folders: list[FolderAttributes] = field(default_factory=list)
    links: list[LinkEntry] = field(default_factory=list)
    """Links that belong to nobody: made when every user's documents stand."""
    hard_links: list[HardLink] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def restore_buckets(task: RestoreTask) -> RestoreResult:
    """Restore some buckets."""
    return _Restore(task).run()


class _Restore:
    def __init__(self, task: RestoreTask) -> None:
        self._task = task
        self._result = RestoreResult()
        self._segments = SegmentReader(task.repository.storage, task.repository.keys)
        self._as_root = os.geteuid() == 0
        self._root = os.open(task.target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[bytes, int] = {}

    def run(self) -> RestoreResult:
        try:
            keyring = self._task.repository.keyring()
            for bucket, layers in self._task.work.items():
                try:
                    self._restore_bucket(bucket, layers, keyring)
                except RepositoryError as error:
                    self._damaged(f"bucket {bucket} of the snapshot", error)
        finally:
            for descriptor in (*self._open.values(), self._root):
                os.close(descriptor)
        return self._result

    def _restore_bucket(self, bucket: int, layers: list[Layer], keyring: Keyring) -> None:
        repository, user = self._task.repository, self._task.user
        reader = SectionReader(repository.storage, repository.keys, bucket, layers)
        rows = reader.rows()
        if user is not None:
            pseudonym = repository.keys.user_pseudonym(user)
            rows = {pseudonym: rows[pseudonym]} if pseudonym in rows else {}
        else:
            rows = self._chosen(rows, reader)
        owner_keys = keyring.bucket(bucket) if rows else {}
        for pseudonym, row in rows.items():
            candidates = owner_keys.get(pseudonym, [])
            try:
                record = open_record(
                    reader, pseudonym, row, candidates, keyring.tombstones, self._task.sequence
                )
            except OwnerErased:
                self._result.counts.erased += 1
                continue
            except RepositoryError as error:
                self._damaged(f"one user (pseudonym {pseudonym.hex()})", error)
                continue
            self._result.counts.owners += 1
            self._restore_owner(record, candidates)

    def _chosen(self, rows: dict[bytes, Row], reader: SectionReader) -> dict[bytes, Row]:
        """Return the rows of the owners that are wanted; if they are many, read all records."""
        only, every = self._task.only, len(rows)
        if only is not None:
            rows = {pseudonym: row for pseudonym, row in rows.items() if pseudonym in only}
        if _MANY * len(rows) >= every:
            reader.load()
        return rows

    def _restore_owner(self, record: OwnerRecord, keys: list[OwnerKeys]) -> None:
        if not record.shared and not is_plain_name(record.owner):
            self._refuse(record.owner)
            return
        documents = DocumentReader(record.segments, keys, self._segments)
        folders: list[FolderAttributes] = []
        linked = False
        # Links last: nothing that is written here may pass through one of them.
        for entry in sorted(record.entries, key=_links_last):
            path = _path_of(record, entry)
            if path is None:
                self._refuse(entry.name)
                continue
            if not self._is_wanted(entry):
                continue
            try:
                if isinstance(entry, FileEntry):
                    self._restore_file(entry, path, documents)
                    linked |= entry.links > 1
                elif isinstance(entry, FolderEntry):
                    folders.append(self._restore_folder(entry, path))
                elif record.shared:
                    self._result.links.append(entry)
                else:
                    restore_link(entry, path, self._folder(path.rpartition(b"/")[0]))
                    self._result.counts.links += 1
            except RepositoryError as error:
                self._damaged(printable(path), error)
            except NOT_WRITABLE as error:
                self._fail(path, error)
        if record.shared or linked:
            self._result.folders += (
                folders  # other owners, or links yet to be joined, still touch these
            )
        else:
            for folder in reversed(folders):
                try:
                    folder.apply(self._folder(folder.path))
                except NOT_WRITABLE as error:
                    self._fail(folder.path, error)
        for folder in folders:
            self._close(folder.path)

    def _is_wanted(self, entry: Entry) -> bool:
        history = self._task.history
        return history is None or is_of_history(entry.place, entry.name, history)

    def _restore_file(self, entry: FileEntry, path: bytes, documents: DocumentReader) -> None:
        counts = self._result.counts
        counts.met += 1
        version: FileEntry | LastGood = entry
        if entry.state >= FileState.TORN:
            counts.torn += 1
            chosen = self._choose(entry, path)
            if chosen is None:
                return
            version = chosen
        folder, _, name = path.rpartition(b"/")
        owner = (entry.uid, entry.gid) if self._as_root else None
        attributes = Attributes(version.mode, owner, version.mtime_ns)
        if version.size <= LARGE_BYTES:
            data = documents.read(version)
            write_document(self._folder(folder), name, data, attributes)
            size, contents = len(data), blake3(data) if entry.links > 1 else None
        else:
            size, contents = stream_document(
                self._folder(folder), name, documents, version, attributes
            )
        counts.documents += 1
        counts.document_bytes += size
        if entry.links > 1 and contents is not None:
            # The record's digest is keyed by owner, and one file may have names with several; and
            # it may have been written to between the reading of two names: what differs stays
            # apart.
            identity = (entry.inode, version.mode, version.mtime_ns, contents.digest())
            self._result.hard_links.append(HardLink(identity, path))

    def _choose(self, entry: FileEntry, path: bytes) -> FileEntry | LastGood | None:
        """Which version of a torn or unreadable document to restore; None if there is none."""
        good = entry.good
        unreadable = entry.state == FileState.UNREADABLE
        if good is not None and (unreadable or self._task.last_good):
            self._note(
                path,
                f"it was {'unreadable' if unreadable else 'torn'} when the snapshot was taken; "
                f"its last good version, from snapshot {good.snapshot.hex()[:8]}, was restored",
            )
            return good
        if unreadable:
            self._note(
                path, "it was unreadable when the snapshot was taken, and never whole before"
            )
            return None
        advice = "; --last-good restores the last good version" if good is not None else ""
        self._note(
            path, f"it was torn when the snapshot was taken and is restored as it was{advice}"
        )
        return entry

    def _restore_folder(self, entry: FolderEntry, path: bytes) -> FolderAttributes:
        self._folder(path)
        self._result.counts.folders += 1
        owner = (entry.uid, entry.gid) if self._as_root else None
        return FolderAttributes(path, entry.mode, owner, entry.mtime_ns)

    def _folder(self, path: bytes) -> int:
        """Return the target's folder at ``path``, made if missing; the last few stay open."""
        if not path:
            return self._root
        descriptor = self._open.get(path)
        if descriptor is None:
            above, _, name = path.rpartition(b"/")
            parent = self._folder(above)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=parent)
            self._open[path] = descriptor
            if len(self._open) > _OPEN_FOLDERS:
                os.close(self._open.pop(next(iter(self._open))))
        return descriptor

    def _close(self, path: bytes) -> None:
        """Close an owner's folder: no other owner stands in it."""
        if b"/" in path and (descriptor := self._open.pop(path, None)) is not None:
            os.close(descriptor)

    def _damaged(self, what: str, error: RepositoryError) -> None:
        self._result.counts.damaged += 1
        self._result.findings.append(
            Finding(
                code=error.code,
                severity="error",
                path=what,
                message=f"it cannot be restored: {error.message}",
                hint="An earlier snapshot may hold it whole; `shenyu-data verify --read-data` "
                "names all that is affected.",
            )
        )

    def _fail(self, path: bytes, error: Exception) -> None:
        self._result.counts.failed += 1
        self._result.counts.no_room += is_no_room(error)
        self._result.findings.append(not_written(path, error))

    def _refuse(self, path: bytes) -> None:
        self._result.counts.failed += 1
        self._result.findings.append(
            Finding(
                code="forged-name",
                severity="error",
                path=printable(path),
                message="this name would lie outside the target; it is not written",
                hint="No backup writes such a name: somebody with the key made this snapshot.",
            )
        )

    def _note(self, path: bytes, message: str) -> None:
        self._result.findings.append(
            Finding(
                code="restored-degraded",
                severity="error",
                path=printable(path),
                message=message,
                hint="`shenyu-data snapshots` shows which snapshots are not degraded.",
            )
        )


def not_written(path: bytes, error: Exception) -> Finding:
    """Given a path that could not be written, return the finding that says so."""
    reason = error.strerror if isinstance(error, OSError) else f"it has no valid value ({error})"
    return Finding(
        code="not-written",
        severity="error",
        path=printable(path) or ".",
        message=f"it could not be restored: {reason}",
        hint="Check the target's free space, owner and mode, and restore into an empty folder.",
    )


def is_no_room(error: Exception) -> bool:
    """Whether something could not be written because the disk, or a quota, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


NOT_WRITABLE = (OSError, OverflowError, ValueError)
"""What writing an entry may raise: the system refuses, or a forged number or name is none at all.
"""


def _path_of(record: OwnerRecord, entry: Entry) -> bytes | None:
    """Return where an entry goes, or None if that would not be inside the target."""
    path = path_of(record.owner, entry.place, entry.name)
    return path if not path or is_plain_path(path) else None


def _links_last(entry: Entry) -> bool:
    return isinstance(entry, LinkEntry)


_OPEN_FOLDERS = 100
_MANY = 4  # where at least every fourth owner is wanted, one read of all records is cheaper
