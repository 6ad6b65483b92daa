"""What an in-place restore wants: the documents of a snapshot, owner by owner, and whether the
safety snapshot holds what stands in their place. Called by operations/restore_live.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import is_plain_name, is_plain_path, path_of
from shenyu_data.operations.backup_entries import same_stat
from shenyu_data.operations.past import (
    OwnerDocuments,
    PastOwner,
    chosen,
    histories,
    history_not_found,
    open_record,
    open_user,
    storage_key,
)
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, FileState, FolderEntry, LastGood, Root
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository


class Wanted(NamedTuple):
    """A document of a snapshot, and what reads it. ``user`` None: it is nobody's."""

    path: bytes
    user: bytes | None
    entry: FileEntry
    version: FileEntry | LastGood
    owner: OwnerDocuments
    folder_mode: int
    """That of the user's history folder, for when it must be made."""


def wanted_documents(
    repository: Repository,
    root: Root,
    user: bytes | None,
    history: bytes | None,
    last_good: bool,
    report: Callable[[Finding], None],
) -> Iterator[Wanted]:
    """Yield the documents of a snapshot, of one user or of one history of the user.

    What is damaged, or forged, or has no version that could be restored, is reported. Raise
    OwnerNotFound, OwnerErased or HistoryNotFound if one user is wanted.
    """
    if user is not None:
        owner = open_user(repository, root, user)
        if history is not None and not any(histories(owner.record, history)):
            known = [storage_key(entry.name) for entry in histories(owner.record)]
            raise history_not_found(history, user, root, known=known)
        yield from _of_owner(owner, history, last_good, report)
        return
    keyring = repository.keyring()
    segments = SegmentReader(repository.storage, repository.keys)
    for bucket in root.buckets:
        reader = SectionReader(repository.storage, repository.keys, bucket, layers_of(root, bucket))
        try:
            rows = reader.rows()
            keys = keyring.bucket(bucket)
        except RepositoryError as error:
            report(_damaged(f"bucket {bucket} of the snapshot", error))
            continue
        for pseudonym, row in rows.items():
            candidates = keys.get(pseudonym, [])
            try:
                record = open_record(
                    reader, pseudonym, row, candidates, keyring.tombstones, root.sequence
                )
            except OwnerErased:
                continue
            except RepositoryError as error:
                report(_damaged(f"one user (pseudonym {pseudonym.hex()})", error))
                continue
            documents = DocumentReader(record.segments, candidates, segments)
            owner = OwnerDocuments(record, candidates, documents)
            yield from _of_owner(owner, None, last_good, report)


def _of_owner(
    owner: OwnerDocuments,
    history: bytes | None,
    last_good: bool,
    report: Callable[[Finding], None],
) -> Iterator[Wanted]:
    record = owner.record
    if not record.shared and not is_plain_name(record.owner):
        report(_forged(record.owner))
        return
    only = None if history is None else {entry.name for entry in histories(record, history)}
    user = None if record.shared else record.owner
    modes = [
        entry.mode for entry in record.entries if isinstance(entry, FolderEntry) and not entry.name
    ]
    for entry in record.entries:
        if not isinstance(entry, FileEntry):
            continue
        if only is not None and (entry.place != 3 or entry.name not in only):
            continue
        path = path_of(record.owner, entry.place, entry.name)
        if not is_plain_path(path):
            report(_forged(path))
            continue
        version = chosen(entry, last_good)
        if entry.state >= FileState.TORN:
            report(_degraded(path, version is entry, version is None))
        if version is not None:
            mode = modes[0] if modes and not record.shared else 0o700
            yield Wanted(path, user, entry, version, owner, mode)


def document_at(owner: OwnerDocuments | None, path: bytes) -> FileEntry | None:
    """Return the entry of the document at a path, if the owner has one there."""
    if owner is not None:
        for entry in owner.record.entries:
            here = path_of(owner.record.owner, entry.place, entry.name)
            if here == path and isinstance(entry, FileEntry):
                return entry
    return None


class Saved:
    """What a safety snapshot holds; opens one owner's record after another."""

    def __init__(self, repository: Repository, snapshot: bytes) -> None:
        self.snapshot = snapshot
        self._repository = repository
        self._root = repository.root(snapshot)
        self._pseudonym: bytes | None = None
        self._owner: OwnerDocuments | None = None

    def owner(self, user: bytes | None, path: bytes) -> OwnerDocuments | None:
        """Return the record that holds a user's documents, or the shared ones beside ``path``."""
        keys = self._repository.keys
        if user is not None:
            bucket, pseudonym = keys.user_bucket(user), keys.user_pseudonym(user)
        else:
            bucket = keys.shared_bucket(path)
            pseudonym = keys.shared_pseudonym(bucket)
        if pseudonym != self._pseudonym:
            try:
                past = PastOwner(self._repository, bucket, pseudonym)
                record = past.find(self._root)
                self._owner = None if record is None else past.documents(record)
            except OwnerErased:
                self._owner = None
            self._pseudonym = pseudonym
        return self._owner

    def read(self, user: bytes | None, path: bytes) -> tuple[FileEntry, bytes] | None:
        """Return a document as it was saved; None if it was not there or could not be read."""
        owner = self.owner(user, path)
        entry = document_at(owner, path)
        if owner is None or entry is None or entry.state == FileState.UNREADABLE:
            return None
        return entry, owner.reader.read(entry)

    def holds(self, user: bytes | None, path: bytes, data: bytes) -> bool:
        """Whether it holds exactly this version of a document."""
        owner = self.owner(user, path)
        entry = document_at(owner, path)
        return entry is not None and owner is not None and is_version(owner, entry, data)

    def has_same_stat(self, user: bytes | None, path: bytes, found: os.stat_result) -> bool:
        """Whether it holds the file with this stat: for documents too large to compare."""
        entry = document_at(self.owner(user, path), path)
        return entry is not None and entry.state <= FileState.UNPARSED and same_stat(entry, found)


def is_version(owner: OwnerDocuments, version: FileEntry | LastGood, data: bytes) -> bool:
    """Whether ``data`` is that version of a document."""
    return version.size == len(data) and any(
        keys.digest(data) == version.digest for keys in owner.keys
    )


def _damaged(what: str, error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path=what,
        message=f"it cannot be restored: {error.message}",
        hint="An earlier snapshot may hold it whole.",
    )


def _forged(path: bytes) -> Finding:
    return Finding(
        code="forged-name",
        severity="error",
        path=printable(path),
        message="this name would lie outside the data directory; it is not written",
        hint="No backup writes such a name: somebody with the key made this snapshot.",
    )


def _degraded(path: bytes, as_it_was: bool, nothing: bool) -> Finding:
    if nothing:
        message = "it was unreadable when the snapshot was taken, and never whole before"
    elif as_it_was:
        message = "it was torn when the snapshot was taken; this is how it was"
    else:
        message = "it was torn or unreadable then; this is its last good version"
    return Finding(
        code="restored-degraded",
        severity="error",
        path=printable(path),
        message=message,
        hint="`shenyu-data snapshots` shows which snapshots are not degraded.",
    )
