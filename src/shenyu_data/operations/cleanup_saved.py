"""Whether a verified snapshot holds a chat, word for word: what a cleanup asks before it removes
one.

Snapshots are looked at from the newest to the oldest. If the newest holds the very document, that
is one comparison of digests; else the chat is looked for in the versions it does hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from shenyu_data.datadir.large import memory_pieces
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.layout import JSON_SUFFIX
from shenyu_data.operations.cleanup_documents import (
    Document,
    content_digest,
    is_large,
    stored_contents,
)
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.past import OwnerDocuments, chosen, histories, open_record, storage_key
from shenyu_data.operations.prune_tasks import Stack
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import LARGE_BYTES, DocumentReader
from shenyu_data.repository.format import FileEntry, LastGood
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, Row, SectionReader, layers_of
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.proofs import read_proofs
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import list_snapshots

_MOST_SNAPSHOTS = 100
_MOST_VERSIONS = 16


class Witnesses(NamedTuple):
    """The verified snapshots, the newest first, by bucket; ``snapshots`` is how many there are."""

    buckets: dict[int, list[Stack]]
    snapshots: int


def find_witnesses(repository: Repository) -> Witnesses:
    """Find the snapshots that a verify proved, whole ones and of some users. What was taken only so
    that something can be undone is none: it is not kept for long.
    """
    proofs = read_proofs(repository.storage, repository.keys)
    proved = [
        item
        for item in list_snapshots(repository.storage, repository.keys, [])
        if item.id in proofs and not item.safety
    ]
    buckets: dict[int, list[Stack]] = {}
    known: dict[Layer, Layer] = {}
    count = 0
    for item in sorted(proved, key=lambda item: -item.sequence)[:_MOST_SNAPSHOTS]:
        try:
            root = repository.root(item.id)
        except RepositoryError:
            continue
        count += 1
        for bucket in root.buckets:
            layers = tuple(known.setdefault(one, one) for one in layers_of(root, bucket))
            mine = buckets.setdefault(bucket, [])
            if not mine or mine[-1].layers != layers:
                mine.append(Stack(layers, root.sequence))
    return Witnesses(buckets, count)


class SavedChats:
    """Looks into one bucket of the verified snapshots."""

    def __init__(self, repository: Repository, bucket: int, stacks: Sequence[Stack]) -> None:
        self._repository = repository
        self._stacks = stacks
        self._reader = SectionReader(repository.storage, repository.keys, bucket, [])
        self._bucket = bucket
        self._rows: dict[Layer, dict[bytes, Row]] = {}
        self._segments = SegmentReader(repository.storage, repository.keys)
        self._keyring: Keyring | None = None
        self._keys: dict[bytes, list[OwnerKeys]] = {}
        self._user: bytes | None = None
        self._more: Iterator[OwnerDocuments] = iter(())
        self._owners: list[OwnerDocuments] = []

    def missing(self, user: bytes, document: Document, indexes: Sequence[int]) -> set[int]:
        """Return which of the chats at ``indexes`` no verified snapshot holds in a history of that
        storage key.
        """
        left = set(indexes)
        wanted: dict[bytes, list[int]] = {}
        seen: set[bytes] = set()
        key = storage_key(document.name)
        for owner in self._past(user):
            for entry in histories(owner.record, key):
                version = chosen(entry, True)
                if version is None or version.digest in seen:
                    continue
                if entry.name == document.name and document.is_version(owner, version):
                    return set()
                if len(seen) >= _MOST_VERSIONS:
                    return left
                seen.add(version.digest)
                try:
                    past = version_contents(owner, entry.name, version)
                except (RepositoryError, Unparsable):
                    continue  # what cannot be read holds nothing
                wanted = wanted or document.contents(indexes)
                for content in past & wanted.keys():
                    left.difference_update(wanted[content])
                if not left:
                    return left
        return left

    def _past(self, user: bytes) -> Iterator[OwnerDocuments]:
        """Yield the user's records, the newest first, each once; they are remembered."""
        if self._user != user:
            self._user = user
            self._owners = []
            self._more = self._find(user)
        yield from self._owners
        for owner in self._more:
            self._owners.append(owner)
            yield owner

    def _find(self, user: bytes) -> Iterator[OwnerDocuments]:
        pseudonym = self._repository.keys.user_pseudonym(user)
        before: Row | None = None
        for stack in self._stacks:
            try:
                row = self._row(pseudonym, stack)
                if row is None or row == before:
                    continue
                before = row
                yield self._open(pseudonym, row, stack.sequence)
            except (RepositoryError, OwnerErased):
                continue  # a damaged one holds nothing, an erased user's neither

    def _row(self, pseudonym: bytes, stack: Stack) -> Row | None:
        for layer in reversed(stack.layers):
            if layer not in self._rows:
                self._rows[layer] = dict(self._reader.rows_of(layer))
            row = self._rows[layer].get(pseudonym)
            if row is not None:
                return row if row.length else None
        return None

    def _open(self, pseudonym: bytes, row: Row, sequence: int) -> OwnerDocuments:
        if self._keyring is None:
            self._keyring = self._repository.keyring()
            self._keys = self._keyring.bucket(self._bucket)
        keys = self._keys.get(pseudonym, [])
        tombstones = self._keyring.tombstones
        record = open_record(self._reader, pseudonym, row, keys, tombstones, sequence)
        return OwnerDocuments(record, keys, DocumentReader(record.segments, keys, self._segments))


def version_contents(
    owner: OwnerDocuments, name: bytes, version: FileEntry | LastGood
) -> AbstractSet[bytes]:
    """Return what the chats of a version say, each as its ``content_digest``, however large it is.
    Raise RepositoryError if it cannot be read, Unparsable if it is no history.
    """
    if version.size > LARGE_BYTES:
        return stored_contents(owner.reader.pieces(version))
    data = owner.reader.read(version)
    if name.endswith(JSON_SUFFIX) and is_large(data):
        return stored_contents(memory_pieces(data))
    return {content_digest(chat.value) for chat in read_chats(name, data).chats}
