"""``show``: what a snapshot holds of one user, down to a chat's messages, or which of its documents
are degraded. Documents are read only for chats.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shenyu_data.model.chats import History
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, Severity, printable
from shenyu_data.model.layout import kind_of, path_of
from shenyu_data.model.messages import Message, messages_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.conversations import (
    ChatInfo,
    chat_info,
    chat_not_found,
    find_chats,
    read_chats,
)
from shenyu_data.operations.past import (
    PastOwner,
    files,
    histories,
    history_not_found,
    open_record,
    past_user,
    storage_key,
    unreadable,
)
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


class ChatShown(msgspec.Struct, frozen=True, kw_only=True):
    """One chat with its messages, and the history it stands in."""

    document: DocumentInfo
    chat: ChatInfo
    messages: list[Message]


def show_user(repository: Repository, root: Root, user: bytes) -> list[DocumentInfo]:
    """List a user's documents. Raise OwnerNotFound if there is nothing, OwnerErased if the user was
    erased, RepositoryError if it is damaged.
    """
    _, record = _open(repository, root, user)
    return [_document(record, entry) for entry in files(record)]


def show_history(
    repository: Repository,
    root: Root,
    user: bytes,
    key: bytes,
    monitor: Monitor,
    *,
    last_good: bool = False,
) -> tuple[DocumentInfo, list[ChatInfo]]:
    """List the chats of a history, in its order; ``last_good``: of its last good version, if it is
    torn.

    One that cannot be parsed is reported and has none. Raise OwnerNotFound, OwnerErased or
    HistoryNotFound, RepositoryError if it is damaged.
    """
    past, record = _open(repository, root, user)
    entry = _history(record, root, key)
    found = _Chats(past, record, monitor, last_good=last_good).of(entry)
    return _document(record, entry), [chat_info(entry.name, found, chat) for chat in found.chats]


def show_chat(
    repository: Repository,
    root: Root,
    user: bytes,
    chat: str,
    monitor: Monitor,
    *,
    key: bytes | None = None,
    last_good: bool = False,
) -> list[ChatShown]:
    """Return a chat by its id, from one history or, with no ``key``, from every one that has it.

    Raise OwnerNotFound, OwnerErased, HistoryNotFound or ChatNotFound. What cannot be read is
    reported.
    """
    past, record = _open(repository, root, user)
    if key is not None:
        _history(record, root, key)
    chats = _Chats(past, record, monitor, last_good=last_good)
    shown = []
    damaged: RepositoryError | None = None
    for entry in histories(record, key):
        try:
            history = chats.of(entry)
        except RepositoryError as error:
            damaged = error
            monitor.report(unreadable(error, _path(record, entry)))
            continue
        shown += [
            ChatShown(
                document=_document(record, entry),
                chat=chat_info(entry.name, history, found),
                messages=list(messages_of(found.value)),
            )
            for found in find_chats(entry.name, history, chat)
        ]
    if not shown:
        if damaged is not None:
            raise damaged
        raise chat_not_found(chat, user, root)
    return shown


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
                keys = owner_keys.get(pseudonym, [])
                record = open_record(
                    reader, pseudonym, row, keys, keyring.tombstones, root.sequence
                )
            except OwnerErased:
                continue
            for entry in files(record):
                if entry.state >= FileState.TORN:
                    yield _document(record, entry)


def _open(repository: Repository, root: Root, user: bytes) -> tuple[PastOwner, OwnerRecord]:
    past = past_user(repository, user)
    return past, past.open(root)


def _history(record: OwnerRecord, root: Root, key: bytes) -> FileEntry:
    entry = next(histories(record, key), None)
    if entry is None:
        known = [storage_key(item.name) for item in histories(record)]
        raise history_not_found(key, record.owner, root, known=known)
    return entry


class _Chats:
    """Reads histories, reporting those that cannot be parsed."""

    def __init__(
        self, past: PastOwner, record: OwnerRecord, monitor: Monitor, *, last_good: bool
    ) -> None:
        self._past = past
        self._record = record
        self._monitor = monitor
        self._last_good = last_good

    def of(self, entry: FileEntry) -> History:
        """Return the chats of a history, or one without chats if it cannot be parsed."""
        degraded = entry.state >= FileState.TORN
        if degraded and (self._last_good or entry.state == FileState.UNREADABLE):
            if entry.good is None:
                self._report(entry, "torn-document", "it has no last good version")
                return _NO_CHATS
            self._report(
                entry,
                "torn-document",
                f"what is shown is its last good version, of {entry.good.snapshot.hex()[:8]}",
            )
            return read_chats(entry.name, self._past.read(self._record, entry.good))
        try:
            return read_chats(entry.name, self._past.read(self._record, entry))
        except Unparsable as why:
            hint = why.hint
            if entry.good is not None:
                good = entry.good.snapshot.hex()[:8]
                hint = f"--last-good shows its last good version, of the snapshot {good}."
            self._report(entry, why.code, why.message, why.severity, hint)
            return _NO_CHATS

    def _report(
        self,
        entry: FileEntry,
        code: str,
        message: str,
        severity: Severity = "error",
        hint: str = "`shenyu-data timeline --user U --history KEY` lists all versions.",
    ) -> None:
        self._monitor.report(
            Finding(
                code=code,
                severity=severity,
                path=_path(self._record, entry),
                message=message,
                hint=hint,
            )
        )


_NO_CHATS = History(b"", [], None)


def _path(record: OwnerRecord, entry: FileEntry) -> str:
    return printable(path_of(record.owner, entry.place, entry.name))


def _document(record: OwnerRecord, entry: FileEntry) -> DocumentInfo:
    return DocumentInfo(
        path=_path(record, entry),
        kind=kind_of(entry.place, entry.name),
        state=FileState(entry.state).name.lower(),
        size_bytes=entry.size,
        mtime_ms=entry.mtime_ns // 1_000_000,
        chats=entry.chats,
        messages=entry.messages,
        good_from=entry.good.snapshot.hex() if entry.good is not None else None,
    )
