"""One owner in the past: its record in a snapshot, the documents in the record, their bytes.

Whatever looks into one snapshot or through all of them comes here: restores, ``show``, ``diff``,
``timeline``. Only the owner's bucket is looked at, and each of its layers once, however many
snapshots share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from shenyu_data.model.errors import HistoryNotFound, OwnerErased, OwnerNotFound, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, kind_of
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord, Root
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader, layers_of
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import read_root, snapshot_ids
from shenyu_data.repository.tombstones import Tombstones

_NAMES_HINT = "A user is named as in users/NAME.json; `shenyu-data show SNAPSHOT` counts users."
_HISTORIES_HINT = (
    "A history is named by its storage key, its file's name without .json; "
    "`shenyu-data show SNAPSHOT --user U` lists the user's documents."
)


class Moment(NamedTuple):
    """A snapshot, as far as one bucket is concerned. They sort in the order they were taken."""

    sequence: int
    time_ms: int
    snapshot: bytes
    layers: list[Layer]
    safety: bool = False


def list_moments(
    repository: Repository, bucket: int, failures: list[RepositoryError]
) -> list[Moment]:
    """Return all snapshots, oldest first; the error of one that cannot be read goes to
    ``failures``.
    """
    return moments_of(read_roots(repository, failures), bucket)


def read_roots(repository: Repository, failures: list[RepositoryError]) -> list[Root]:
    """Return the roots of all snapshots, oldest first; errors go to ``failures``."""
    found = []
    for snapshot in snapshot_ids(repository.storage):
        try:
            found.append(read_root(repository.storage, repository.keys, snapshot))
        except RepositoryError as error:
            failures.append(error)
    return sorted(found, key=lambda root: (root.sequence, root.time_ms, root.id))


def moments_of(roots: Iterable[Root], bucket: int) -> list[Moment]:
    """Return what snapshots are as far as one bucket is concerned, in their order."""
    return [
        Moment(root.sequence, root.time_ms, root.id, layers_of(root, bucket), root.safety)
        for root in roots
    ]


class OwnerDocuments(NamedTuple):
    """One owner's record in a snapshot, and what reads the documents it lists."""

    record: OwnerRecord
    keys: list[OwnerKeys]
    reader: DocumentReader


class PastOwner:
    """Finds and opens one owner's records and documents. ``user`` is empty where nobody knows the
    name, or there is none.
    """

    def __init__(
        self, repository: Repository, bucket: int, pseudonym: bytes, user: bytes = b""
    ) -> None:
        self._repository = repository
        self.bucket = bucket
        self._pseudonym = pseudonym
        self._user = user
        self._segments = SegmentReader(repository.storage, repository.keys)
        self._rows: dict[Layer, Row | None] = {}

    @cached_property
    def _keyring(self) -> Keyring:
        return self._repository.keyring()

    @cached_property
    def keys(self) -> list[OwnerKeys]:
        """The owner's keys, nearly always one."""
        return self._keyring.owner(self._pseudonym)

    def row(self, layers: Sequence[Layer]) -> Row | None:
        """Return where the record is in a snapshot with these layers; None: not there.

        Raise RepositoryError if a layer that may say it cannot be read.
        """
        for layer in reversed(layers):
            if layer not in self._rows:
                rows = self._reader().rows_of(layer)
                mine = (row for pseudonym, row in rows if pseudonym == self._pseudonym)
                self._rows[layer] = next(mine, None)
            row = self._rows[layer]
            if row is not None:
                return row if row.length else None
        return None

    def record(self, row: Row, sequence: int) -> OwnerRecord:
        """Open the record that a snapshot of this sequence has there.

        Raise OwnerErased if the owner was erased after it, RepositoryError if it is damaged.
        """
        try:
            return open_record(
                self._reader(), self._pseudonym, row, self.keys, self._keyring.tombstones, sequence
            )
        except OwnerErased:
            raise owner_erased(self._user) from None

    def documents(self, record: OwnerRecord) -> OwnerDocuments:
        """Return what reads the documents of this record."""
        reader = DocumentReader(record.segments, self.keys, self._segments)
        return OwnerDocuments(record, self.keys, reader)

    def read(self, record: OwnerRecord, file: FileEntry | LastGood) -> bytes:
        """Return the bytes of a document of this record. Raise RepositoryError."""
        return self.documents(record).reader.read(file)

    def find(self, root: Root) -> OwnerRecord | None:
        """Open the record in a snapshot; None if there is none. Raises as :meth:`record` does."""
        row = self.row(layers_of(root, self.bucket))
        return None if row is None else self.record(row, root.sequence)

    def open(self, root: Root) -> OwnerRecord:
        """As :meth:`find`, but raise OwnerNotFound if there is none."""
        record = self.find(root)
        if record is None:
            raise owner_not_found(self._user, root)
        return record

    def _reader(self) -> SectionReader:
        return SectionReader(self._repository.storage, self._repository.keys, self.bucket, [])


def past_user(repository: Repository, user: bytes) -> PastOwner:
    """Return what finds a user's records."""
    keys = repository.keys
    return PastOwner(repository, keys.user_bucket(user), keys.user_pseudonym(user), user)


def open_user(repository: Repository, root: Root, user: bytes) -> OwnerDocuments:
    """Open what a snapshot holds of a user.

    Raise OwnerNotFound if it holds nothing, OwnerErased if the user was erased since,
    RepositoryError if it is damaged.
    """
    past = past_user(repository, user)
    return past.documents(past.open(root))


def open_record(
    reader: SectionReader,
    pseudonym: bytes,
    row: Row,
    keys: list[OwnerKeys],
    tombstones: Tombstones,
    sequence: int,
) -> OwnerRecord:
    """Open an owner's record of a snapshot of this sequence.

    Raise OwnerErased if no key opens it as its owner was erased since, RepositoryError if it is
    damaged.
    """
    try:
        return reader.record(pseudonym, row, keys)
    except RepositoryError:
        if tombstones.covers(pseudonym, sequence):
            raise owner_erased() from None
        raise


def owner_erased(user: bytes = b"") -> OwnerErased:
    """Return the error that says that what was saved of a user cannot be read any more."""
    who = f"the user {printable(user)}" if user else "a user"
    return OwnerErased(
        f"{who} was erased; what snapshots from before hold of it cannot be read any more",
        hint="Nothing brings it back. Later snapshots may hold what the user wrote since.",
    )


def owner_not_found(user: bytes, root: Root | None = None) -> OwnerNotFound:
    """Return the error that says that a snapshot, or none at all, holds anything of a user."""
    where = "no snapshot holds a" if root is None else f"the snapshot {root.id.hex()[:8]} holds no"
    return OwnerNotFound(f"{where} user {printable(user)}", hint=_NAMES_HINT)


def history_not_found(
    key: bytes, user: bytes, root: Root | None = None, *, known: Sequence[bytes] = ()
) -> HistoryNotFound:
    """Return the error that says that a user has no such history; ``known``: but has these."""
    where = "no snapshot" if root is None else f"the snapshot {root.id.hex()[:8]}"
    there = ", ".join(map(printable, known))
    return HistoryNotFound(
        f"{where} holds {'a' if root is None else 'no'} history {printable(key)} of the user "
        f"{printable(user)}",
        hint=_HISTORIES_HINT + f" There are: {there}." * bool(there),
    )


def files(record: OwnerRecord) -> Iterator[FileEntry]:
    """Yield a record's documents."""
    for entry in record.entries:
        if isinstance(entry, FileEntry):
            yield entry


def histories(record: OwnerRecord, key: bytes | None = None) -> Iterator[FileEntry]:
    """Yield a record's histories by name, or those of one storage key: a plain one before a
    compressed.
    """
    for entry in sorted(files(record), key=lambda entry: entry.name):
        if kind_of(entry.place, entry.name) == "history" and (
            key is None or storage_key(entry.name) == key
        ):
            yield entry


def storage_key(name: bytes) -> bytes:
    """Given a history's file name, return its storage key."""
    suffix = GZIP_SUFFIX if name.endswith(GZIP_SUFFIX) else JSON_SUFFIX
    return name[: -len(suffix)]


def is_of_history(place: int, name: bytes, key: bytes) -> bool:
    """Whether an entry is a history of this storage key, or the folder that it stands in."""
    return place == Place.HISTORY_FOLDER or (
        kind_of(place, name) == "history" and storage_key(name) == key
    )


def chosen(entry: FileEntry, last_good: bool) -> FileEntry | LastGood | None:
    """Return the version of a document to go by: itself, or of a torn or unreadable one, where
    wanted or needed, the last good one. None if there is none.
    """
    if entry.state == FileState.UNREADABLE or (entry.state == FileState.TORN and last_good):
        return entry.good if entry.good or entry.state == FileState.UNREADABLE else entry
    return entry


def unreadable(error: RepositoryError, what: str) -> Finding:
    """Return the finding for a piece that the repository cannot give back; the rest goes on."""
    return Finding(
        code=error.code,
        severity="error",
        path="",
        message=f"{what}: {error.message}",
        hint=error.hint,
    )
