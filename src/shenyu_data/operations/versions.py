"""One user through the snapshots: the record in each, the documents in a record, their bytes.

Shared by ``show``, ``diff`` and ``timeline``. Only the user's bucket is looked at, and each of its
layers once, however many snapshots share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, kind_of
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, LastGood, OwnerRecord
from shenyu_data.repository.manifest import Layer, Row, SectionReader, layers_of
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import read_root, snapshot_ids


class Moment(NamedTuple):
    """A snapshot, as far as one bucket is concerned. They sort in the order they were taken."""

    sequence: int
    time_ms: int
    snapshot: bytes
    layers: list[Layer]


def list_moments(
    repository: Repository, bucket: int, failures: list[RepositoryError]
) -> list[Moment]:
    """Return all snapshots, oldest first; the error of one that cannot be read goes to
    ``failures``.
    """
    found = []
    for snapshot in snapshot_ids(repository.storage):
        try:
            root = read_root(repository.storage, repository.keys, snapshot)
        except RepositoryError as error:
            failures.append(error)
            continue
        layers = layers_of(root, bucket)
        found.append(Moment(root.sequence, root.time_ms, root.id, layers))
    return sorted(found)


class PastUser:
    """Finds and opens one user's records and documents. ``keys`` are the user's, nearly always
    one.
    """

    def __init__(self, repository: Repository, user: bytes) -> None:
        self._repository = repository
        self.user = user
        self.bucket = repository.keys.user_bucket(user)
        self._pseudonym = repository.keys.user_pseudonym(user)
        keyring = repository.keyring()
        self.keys = keyring.bucket(self.bucket).get(self._pseudonym, [])
        self._tombstones = keyring.tombstones
        self._segments = SegmentReader(repository.storage, repository.keys)
        self._rows: dict[Layer, Row | None] = {}

    def row(self, layers: Sequence[Layer]) -> Row | None:
        """Return where the user's record is in a snapshot with these layers; None: not there.

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

        Raise OwnerErased if the user was erased after it, RepositoryError if it is damaged.
        """
        try:
            return self._reader().record(self._pseudonym, row, self.keys)
        except RepositoryError:
            if self._tombstones.covers(self._pseudonym, sequence):
                raise OwnerErased(
                    f"the user {printable(self.user)} was erased",
                    hint="Nothing of it can be read in snapshots from before; later ones may hold "
                    "it again.",
                ) from None
            raise

    def read(self, record: OwnerRecord, file: FileEntry | LastGood) -> bytes:
        """Return the bytes of a document of this record. Raise RepositoryError."""
        return DocumentReader(record.segments, self.keys, self._segments).read(file)

    def _reader(self) -> SectionReader:
        return SectionReader(self._repository.storage, self._repository.keys, self.bucket, [])


def histories(record: OwnerRecord, key: bytes | None = None) -> Iterator[FileEntry]:
    """Yield a record's histories by name, or those of one storage key: a plain one before a
    compressed.
    """
    names = None if key is None else (key + JSON_SUFFIX, key + GZIP_SUFFIX)
    for entry in sorted(files(record), key=lambda entry: entry.name):
        if kind_of(entry.place, entry.name) == "history" and (names is None or entry.name in names):
            yield entry


def files(record: OwnerRecord) -> Iterator[FileEntry]:
    """Yield a record's documents."""
    for entry in record.entries:
        if isinstance(entry, FileEntry):
            yield entry


def storage_key(name: bytes) -> bytes:
    """Given a history's file name, return its storage key."""
    suffix = GZIP_SUFFIX if name.endswith(GZIP_SUFFIX) else JSON_SUFFIX
    return name[: -len(suffix)]


def unreadable(error: RepositoryError, what: str) -> Finding:
    """Return the finding for a piece that the repository cannot give back; the rest goes on."""
    return Finding(
        code=error.code,
        severity="error",
        path="",
        message=f"{what}: {error.message}",
        hint=error.hint,
    )
