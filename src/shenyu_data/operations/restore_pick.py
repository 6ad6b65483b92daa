"""One user's documents in a snapshot, and one chat among them. Called by the restores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shenyu_data.model.chats import Chat, History, read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import (
    ChatNotFound,
    HistoryNotFound,
    OwnerErased,
    OwnerNotFound,
    RepositoryError,
    UsageError,
)
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import JSON_SUFFIX, Place, kind_of
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord, Root
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository


class OwnerDocuments(NamedTuple):
    """One owner's record, and what reads the documents it lists."""

    record: OwnerRecord
    keys: list[OwnerKeys]
    reader: DocumentReader

    def file(self, place: int, name: bytes) -> FileEntry | None:
        """Return the entry of the file at a place, if there is one."""
        for entry in self.record.entries:
            if isinstance(entry, FileEntry) and (entry.place, entry.name) == (place, name):
                return entry
        return None


class FoundChat(NamedTuple):
    """A chat of a snapshot, the history it stands in, and that history's entry and version."""

    entry: FileEntry
    version: FileEntry | LastGood
    history: History
    chat: Chat


def open_owner(repository: Repository, root: Root, user: bytes) -> OwnerDocuments:
    """Open what a snapshot holds of a user. Raise OwnerNotFound if it holds nothing, OwnerErased if
    the user was erased since.
    """
    owner = find_owner(repository, root, user)
    if owner is None:
        raise owner_not_found(root, user)
    return owner


def owner_not_found(root: Root, user: bytes) -> OwnerNotFound:
    """Return the error that says that a snapshot holds nothing of a user."""
    return OwnerNotFound(
        f"the snapshot {root.id.hex()[:8]} holds no user {printable(user)}",
        hint="`shenyu-data show SNAPSHOT` counts its users; names are those of users/*.json.",
    )


def owner_erased(root: Root, user: bytes = b"") -> OwnerErased:
    """Return the error that says that what a snapshot held of a user was erased."""
    return OwnerErased(
        f"the user {printable(user)}{' ' * bool(user)}was erased; what the snapshot "
        f"{root.id.hex()[:8]} held of it cannot be read any more",
        hint="Nothing brings it back. A later snapshot may hold what the user wrote since.",
    )


def find_owner(repository: Repository, root: Root, user: bytes) -> OwnerDocuments | None:
    """As :func:`open_owner`, but None if the snapshot holds nothing of the user."""
    bucket = repository.keys.user_bucket(user)
    return find_record(repository, root, bucket, repository.keys.user_pseudonym(user))


def find_record(
    repository: Repository, root: Root, bucket: int, pseudonym: bytes
) -> OwnerDocuments | None:
    """Open the record of the owner of this pseudonym; None if the snapshot has none."""
    reader = SectionReader(repository.storage, repository.keys, bucket, layers_of(root, bucket))
    row = reader.rows().get(pseudonym)
    if row is None:
        return None
    keyring = repository.keyring()
    keys = keyring.bucket(bucket).get(pseudonym, [])
    try:
        record = reader.record(pseudonym, row, keys)
    except RepositoryError:
        if keyring.tombstones.covers(pseudonym, root.sequence):
            raise owner_erased(root) from None
        raise
    segments = SegmentReader(repository.storage, repository.keys)
    return OwnerDocuments(record, keys, DocumentReader(record.segments, keys, segments))


def chosen(entry: FileEntry, last_good: bool) -> FileEntry | LastGood | None:
    """Return the version of a document to restore: itself, or of a torn or unreadable one, where
    wanted or needed, the last good one. None if there is none.
    """
    if entry.state == FileState.UNREADABLE or (entry.state == FileState.TORN and last_good):
        return entry.good if entry.good or entry.state == FileState.UNREADABLE else entry
    return entry


def find_chat(
    owner: OwnerDocuments, history: bytes | None, chat: str, *, last_good: bool
) -> FoundChat:
    """Find a chat by its id in one history of the user or, without ``history``, in all of them.

    Raise HistoryNotFound, ChatNotFound, or UsageError if several histories have such a chat.
    """
    found = list(_find_chats(owner, history, chat, last_good))
    places = {item.entry.name for item in found}
    if len(places) > 1:
        names = ", ".join(sorted(printable(name.removesuffix(JSON_SUFFIX)) for name in places))
        raise UsageError(
            f"several histories have a chat {printable(chat)}: {names}",
            hint="Say which one with --history.",
        )
    if not found:
        raise ChatNotFound(
            f"there is no chat {printable(chat)} in that snapshot"
            + (f" in the history {printable(history)}" if history is not None else ""),
            hint="A chat is named by its `id`; an earlier snapshot may hold it. What was torn when "
            "it was backed up is looked into with --last-good.",
        )
    return found[0]


def _find_chats(
    owner: OwnerDocuments, history: bytes | None, chat: str, last_good: bool
) -> Iterator[FoundChat]:
    for entry in histories(owner, history):
        version = chosen(entry, last_good)
        if version is None:
            continue
        try:
            source = read_history(owner.reader.read(version))
        except Unparsable:
            continue
        for item in source.chats:
            name = item.key
            if name is None and source.inside is None:  # the guide's layout: one file, one chat
                name = printable(entry.name.removesuffix(JSON_SUFFIX))
            if name == chat:
                yield FoundChat(entry, version, source, item)
                break


def histories(owner: OwnerDocuments, history: bytes | None) -> list[FileEntry]:
    """Return the user's histories, or the one of this storage key. Raise HistoryNotFound."""
    found = [
        entry
        for entry in owner.record.entries
        if isinstance(entry, FileEntry)
        and kind_of(entry.place, entry.name) == "history"
        and entry.name.endswith(JSON_SUFFIX)
        and (history is None or entry.name == history + JSON_SUFFIX)
    ]
    if not found and history is not None:
        raise history_not_found(history)
    return found


def history_not_found(history: bytes) -> HistoryNotFound:
    """Return the error that says that a snapshot has no such history of the user."""
    return HistoryNotFound(
        f"the user has no history {printable(history)} in that snapshot",
        hint="`shenyu-data show SNAPSHOT --user U` lists the user's documents; a history is named "
        "as its file, without .json.",
    )


def is_of_history(place: int, name: bytes, history: bytes) -> bool:
    """Whether an entry is the history of this storage key, or a folder that it stands in."""
    return place == Place.HISTORY_FOLDER or (
        place == Place.IN_HISTORY_FOLDER and name == history + JSON_SUFFIX
    )
