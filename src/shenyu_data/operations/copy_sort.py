"""The first half of copying a snapshot: which owners differ from one that is already there, and
which bucket of the destination each belongs to.

Pseudonyms are keyed, so the other repository deals the same owners into other buckets. What is to
be copied is sorted by those, and past a bound waits in a temporary file.
"""

from __future__ import annotations

import os
import tempfile

import msgspec
from msgspec import field

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import path_of
from shenyu_data.repository.crypto import KEY_BYTES, OwnerKeys, Secrets, seal, unseal
from shenyu_data.repository.format import BUCKETS, Entry, FileEntry, LastGood, OwnerRecord, damaged
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstones

_WAITING_BYTES = 8 << 20  # of moves in memory before they are written out


class Move(msgspec.Struct, array_like=True):
    """One owner's record in the source to be copied into the bucket ``target``: its keys and where
    it lies.

    ``new`` is None if the owner is gone; ``old`` is the record in the snapshot before, which is in
    the destination already. Several moves may bring shared entries into one bucket. ``back``: the
    owner was erased in the source once, and came back since.
    """

    target: int
    owner: bytes
    shared: bool
    pseudonym: bytes
    keys: list[bytes]
    new: Row | None
    old: Row | None
    back: bool


class SortTask(msgspec.Struct):
    """Buckets of the source, each with its layers in the snapshot to copy, which has this
    ``sequence``, and in the one before.

    Segments with a nonce in ``bad`` are known to be damaged.
    """

    source: Repository
    destination: Secrets
    sequence: int
    work: dict[int, tuple[list[Layer], list[Layer]]]
    bad: frozenset[bytes]
    damaged_too: bool


class Weight(msgspec.Struct):
    """How much there is to do: moves, and the bytes of documents to be read."""

    moves: int = 0
    size: int = 0


class SortResult(msgspec.Struct):
    """What is to be copied, by the destination's buckets, as encoded lists of :class:`Move`.

    ``erased`` are pseudonyms of the source; ``erased_since`` says that the snapshot before had held
    one of them. ``reference_error``: the snapshot before cannot be read.
    """

    moves: dict[int, bytes] = field(default_factory=dict)
    weights: dict[int, Weight] = field(default_factory=dict)
    erased: list[bytes] = field(default_factory=list)
    erased_since: bool = False
    damages: list[Finding] = field(default_factory=list)
    left_out: bool = False
    reference_error: RepositoryError | None = None
    buckets: int = 0


class Spool:
    """Encoded moves by the destination's buckets. The file holds them sealed, under a key that
    nobody ever writes down: owners' keys are among them.
    """

    def __init__(self) -> None:
        self._key = os.urandom(KEY_BYTES)
        self._waiting: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]
        self._waiting_bytes = 0
        self._file = tempfile.TemporaryFile(prefix="shenyu-data-")  # noqa: SIM115 - lives as long as the spool

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, bucket: int, moves: bytes) -> None:
        """Take an encoded list of moves."""
        self._waiting[bucket].append(moves)
        self._waiting_bytes += len(moves)
        if self._waiting_bytes > _WAITING_BYTES:
            self._write_out()

    def bucket(self, number: int) -> list[bytes]:
        """Return one bucket's encoded lists of moves."""
        blocks = [
            unseal(self._key, os.pread(self._file.fileno(), size, offset), b"", "a temporary file")
            for offset, size in self._written[number]
        ]
        return [
            part for block in blocks for part in msgspec.msgpack.decode(block, type=list[bytes])
        ] + (self._waiting[number])

    def _write_out(self) -> None:
        for waiting, written in zip(self._waiting, self._written, strict=True):
            if waiting:
                block = seal(self._key, msgspec.msgpack.encode(waiting), b"")
                written.append((self._file.tell(), len(block)))
                self._file.write(block)
                waiting.clear()
        self._file.flush()
        self._waiting_bytes = 0


def sort_buckets(task: SortTask) -> SortResult:
    """Find what differs in some buckets of the source; no document is read."""
    return _Sort(task).run()


class _Sort:
    def __init__(self, task: SortTask) -> None:
        self._task = task
        self._result = SortResult(buckets=len(task.work))
        self._moves: dict[int, list[Move]] = {}

    def run(self) -> SortResult:
        keyring = self._task.source.keyring()
        for bucket, (layers, before) in self._task.work.items():
            if layers != before:
                self._sort_bucket(bucket, layers, before, keyring)
        encode = msgspec.msgpack.encode
        self._result.moves = {bucket: encode(moves) for bucket, moves in self._moves.items()}
        return self._result

    def _sort_bucket(
        self, bucket: int, layers: list[Layer], before: list[Layer], keyring: Keyring
    ) -> None:
        source = self._task.source
        reader = SectionReader(source.storage, source.keys, bucket, layers)
        try:
            rows = reader.rows()
            if not before:
                reader.load()  # every one of its records will be opened
        except RepositoryError as error:
            self._damaged(f"all users of bucket {bucket}", error)
            return
        try:
            old_rows = SectionReader(source.storage, source.keys, bucket, before).rows()
        except RepositoryError as error:
            self._result.reference_error = error
            return
        changed = [p for p in rows.keys() | old_rows.keys() if rows.get(p) != old_rows.get(p)]
        if not changed:
            return
        owner_keys = keyring.bucket(bucket)
        for pseudonym in sorted(changed):
            new, old = rows.get(pseudonym), old_rows.get(pseudonym)
            keys = owner_keys.get(pseudonym, [])
            self._sort_owner(reader, keyring.tombstones, bucket, pseudonym, keys, new, old)

    def _sort_owner(
        self,
        reader: SectionReader,
        tombstones: Tombstones,
        bucket: int,
        pseudonym: bytes,
        keys: list[OwnerKeys],
        new: Row | None,
        old: Row | None,
    ) -> None:
        stones = tombstones.of(pseudonym)
        old_record = record = None
        try:
            old_record = None if old is None else reader.record(pseudonym, old, keys)
        except RepositoryError as error:
            if not stones:
                self._result.reference_error = error
                return
            self._result.erased_since = True
            old = None
        try:
            record = None if new is None else reader.record(pseudonym, new, keys)
            self._check_name(bucket, pseudonym, record)
        except RepositoryError as error:
            if tombstones.covers(pseudonym, self._task.sequence):
                self._result.erased.append(pseudonym)
                return
            self._damaged(f"a user (pseudonym {pseudonym.hex()})", error)
            return
        known = record or old_record
        if known is None:
            return
        candidates = list(dict.fromkeys(item.key for item in keys))
        back = bool(stones) and not tombstones.covers(pseudonym, self._task.sequence)
        for target, entries, old_entries in self._split(known, record, old_record):
            if comparable(entries) == comparable(old_entries):
                continue  # only its place in the source is another
            seen = {version.digest for version in versions(old_entries)}
            if record is not None:
                self._check_not_bad(record, entries, seen)
            move = Move(target, known.owner, known.shared, pseudonym, candidates, new, old, back)
            self._moves.setdefault(target, []).append(move)
            weight = self._result.weights.setdefault(target, Weight())
            weight.moves += 1
            weight.size += sum(v.size for v in versions(entries) if v.digest not in seen)

    def _split(
        self, known: OwnerRecord, record: OwnerRecord | None, old: OwnerRecord | None
    ) -> list[tuple[int, list[Entry], list[Entry]]]:
        """Return the destination's buckets that a record concerns, with its entries there, new and
        old.
        """
        entries = record.entries if record is not None else []
        old_entries = old.entries if old is not None else []
        keys = self._task.destination
        if not known.shared:
            return [(keys.user_bucket(known.owner), entries, old_entries)]
        split: dict[int, tuple[list[Entry], list[Entry]]] = {}
        for number, some in enumerate((entries, old_entries)):
            for entry in some:
                target = keys.shared_bucket(entry.name)
                split.setdefault(target, ([], []))[number].append(entry)
        return [(target, *both) for target, both in split.items()]

    def _check_name(self, bucket: int, pseudonym: bytes, record: OwnerRecord | None) -> None:
        """A record must be that of the owner it stands for: its name decides where it goes."""
        if record is None:
            return
        keys = self._task.source.keys
        expected = (
            keys.shared_pseudonym(bucket) if record.shared else keys.user_pseudonym(record.owner)
        )
        if expected != pseudonym:
            raise damaged("a manifest", "a record is not of the user that it stands for")

    def _check_not_bad(self, record: OwnerRecord, entries: list[Entry], seen: set[bytes]) -> None:
        """Refuse what is known to be damaged before anything of it is stored in vain; what was
        ``seen`` before need not be read.
        """
        if not self._task.bad or self._task.damaged_too:
            return
        bad = {i for i, segment in enumerate(record.segments) if segment.nonce in self._task.bad}
        for entry in entries:
            unseen = [version for version in versions([entry]) if version.digest not in seen]
            if any(index in bad for version in unseen for index, _, _ in version.extents):
                path = printable(path_of(record.owner, entry.place, entry.name))
                self._damaged(path, damaged("a pack", "a document in it cannot be read"))

    def _damaged(self, what: str, error: RepositoryError) -> None:
        self._result.left_out = True
        self._result.damages.append(not_copied(what, error))


def versions(entries: list[Entry]) -> list[FileEntry | LastGood]:
    """Return the versions of documents that entries hold: their own and last good ones."""
    files = [entry for entry in entries if isinstance(entry, FileEntry)]
    goods = [entry.good for entry in files if entry.good is not None]
    return [*(entry for entry in files if entry.digest), *goods]


def comparable(entries: list[Entry]) -> list[Entry]:
    """Return entries without where their bytes lie."""
    replace = msgspec.structs.replace
    return [
        replace(
            entry,
            extents=[],
            good=None if entry.good is None else replace(entry.good, extents=[]),
        )
        if isinstance(entry, FileEntry)
        else entry
        for entry in entries
    ]


def not_copied(what: str, error: RepositoryError) -> Finding:
    """Given what cannot be read in the source, return the finding that says so."""
    return Finding(
        code=error.code,
        severity="error",
        path=what,
        message=f"it cannot be read in the source: {error.message}",
        hint="`shenyu-data verify --read-data` names all that is damaged; `copy --damaged-too` "
        "copies the rest of the snapshot.",
    )
