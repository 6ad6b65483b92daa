"""``show``: what a snapshot holds of one user, or which of its documents are degraded. Reads no
packs.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shenyu_data.model.errors import OwnerErased, OwnerNotFound, RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import kind_of, path_of
from shenyu_data.repository.format import FileEntry, FileState, OwnerRecord, Root
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.repository import Repository


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One document in a snapshot. ``state``: whole, unparsed, torn or unreadable; ``good_from`` is
    the snapshot of the last good version of a degraded one.
    """

    path: str
    kind: str
    state: str
    size_bytes: int
    mtime_ms: int
    chats: int
    messages: int
    good_from: str | None


def show_user(repository: Repository, root: Root, user: bytes) -> list[DocumentInfo]:
    """List a user's documents. Raise OwnerNotFound if there is nothing, OwnerErased if the user was
    erased, RepositoryError if it is damaged.
    """
    bucket = repository.keys.user_bucket(user)
    pseudonym = repository.keys.user_pseudonym(user)
    reader = SectionReader(repository.storage, repository.keys, bucket, layers_of(root, bucket))
    row = reader.rows().get(pseudonym)
    if row is None:
        raise OwnerNotFound(
            f"the snapshot {root.id.hex()[:8]} holds no user {printable(user)}",
            hint="A user is named as in users/NAME.json; try another snapshot.",
        )
    keyring = repository.keyring()
    keys = keyring.bucket(bucket).get(pseudonym, [])
    try:
        return list(_documents(reader.record(pseudonym, row, keys)))
    except RepositoryError:
        if keyring.tombstones.covers(pseudonym, root.sequence):
            raise OwnerErased(
                f"the user {printable(user)} was erased",
                hint="Nothing of it can be read in this snapshot; a later one may hold it again.",
            ) from None
        raise


def show_degraded(repository: Repository, root: Root) -> Iterator[DocumentInfo]:
    """Yield the documents that are torn or unreadable in a snapshot."""
    keyring = repository.keyring()
    for bucket, ref in root.buckets.items():
        if not ref.totals.torn and not ref.totals.unreadable:
            continue
        reader = SectionReader(repository.storage, repository.keys, bucket, layers_of(root, bucket))
        owner_keys = keyring.bucket(bucket)
        for pseudonym, row in reader.rows().items():
            try:
                record = reader.record(pseudonym, row, owner_keys.get(pseudonym, []))
            except RepositoryError:
                if keyring.tombstones.covers(pseudonym, root.sequence):
                    continue
                raise
            for info in _documents(record):
                if info.state in ("torn", "unreadable"):
                    yield info


def _documents(record: OwnerRecord) -> Iterator[DocumentInfo]:
    for entry in record.entries:
        if isinstance(entry, FileEntry):
            yield DocumentInfo(
                path=printable(path_of(record.owner, entry.place, entry.name)),
                kind=kind_of(entry.place, entry.name),
                state=FileState(entry.state).name.lower(),
                size_bytes=entry.size,
                mtime_ms=entry.mtime_ns // 1_000_000,
                chats=entry.chats,
                messages=entry.messages,
                good_from=entry.good.snapshot.hex() if entry.good is not None else None,
            )
