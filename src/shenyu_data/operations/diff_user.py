"""``diff`` of one user: down to which chats were added, removed and changed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shenyu_data.datadir.scan import DataFolders, scan_user
from shenyu_data.model.chats import Chat, Identity
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import DataDirectoryError, OwnerNotFound, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.conversations import (
    UNPARSED,
    ChatInfo,
    canonical,
    chat_info,
    read_chats,
)
from shenyu_data.operations.diff import Target, check_sides
from shenyu_data.operations.diff_owner import (
    Bytes,
    DocumentDiff,
    OwnerDiff,
    document_diffs,
    owner_diff,
    version_of,
)
from shenyu_data.operations.diff_sides import LiveOwner, same_bytes
from shenyu_data.operations.past import files, histories, past_user, storage_key, unreadable
from shenyu_data.repository.format import FileEntry, FileState, OwnerRecord
from shenyu_data.repository.packs import SegmentReader
from shenyu_data.repository.repository import Repository


class ChatDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One chat that differs. ``change``: added, removed or changed; ``title`` is the later one."""

    history: str
    id: str | None
    title: str | None
    change: str
    messages_before: int
    messages_after: int


class UserDiffStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a user differs (None: not at all), by documents and by chats. ``uncompared`` counts
    histories whose chats could not be looked into.
    """

    owner: OwnerDiff | None
    documents: list[DocumentDiff]
    chats: list[ChatDiff]
    degraded: bool
    uncompared: int
    damaged: int


def diff_user(
    repository: Repository, before: Target, after: Target, user: bytes, monitor: Monitor
) -> UserDiffStats:
    """Compare one user. Raise OwnerNotFound if neither side has it, OwnerErased if one had it and
    it was erased since, RepositoryError if a record is damaged.
    """
    check_sides(before, after)
    return _UserDiff(repository, user, monitor).run(before, after)


class _UserDiff:
    def __init__(self, repository: Repository, user: bytes, monitor: Monitor) -> None:
        self._repository = repository
        self._user = user
        self._monitor = monitor
        self._past = past_user(repository, user)
        self._live: dict[bytes, bytes] = {}  # what was read of the live directory, by digest
        self._uncompared = self._damaged = 0

    def run(self, before: Target, after: Target) -> UserDiffStats:
        if isinstance(before, str):
            new = self._record(after, None)
            old = self._record(before, new)
        else:
            old = self._record(before, None)
            new = self._record(after, old)
        if old is None and new is None:
            raise OwnerNotFound(
                f"neither side holds a user {printable(self._user)}",
                hint="A user is named as in users/NAME.json.",
            )
        segments = SegmentReader(self._repository.storage, self._repository.keys)
        documents = list(document_diffs(old, new, same_bytes(old, self._past.keys, segments)))
        chats = list(self._chats(old, new, {item.path for item in documents}))
        states = [
            entry.state
            for record in (old, new)
            for entry in (record.entries if record is not None else [])
            if isinstance(entry, FileEntry)
        ]
        return UserDiffStats(
            owner=owner_diff(old, new, documents),
            documents=documents,
            chats=chats,
            degraded=any(state >= FileState.TORN for state in states),
            uncompared=self._uncompared,
            damaged=self._damaged,
        )

    def _record(self, side: Target, other: OwnerRecord | None) -> OwnerRecord | None:
        if not isinstance(side, str):
            return self._past.find(side)
        findings: list[Finding] = []
        try:
            with DataFolders(side) as folders:
                owner = LiveOwner(folders, self._user, False, scan_user(folders, self._user))
                record = owner.record(other, b"", self._past.keys, findings, self._live)
        except OSError as error:
            raise DataDirectoryError(
                f"cannot open the data directory {side}: {error.strerror}",
                hint="Give the folder that holds users/ and histories/, with --data.",
            ) from error
        for finding in findings:
            self._monitor.report(finding)
        return record

    def _chats(
        self, old: OwnerRecord | None, new: OwnerRecord | None, differing: set[str]
    ) -> Iterator[ChatDiff]:
        mine, theirs = self._histories(old), self._histories(new)
        for key in sorted(mine.keys() | theirs.keys()):
            before, after = mine.get(key), theirs.get(key)
            paths = {
                printable(path_of(self._user, entry.place, entry.name))
                for entry in (before, after)
                if entry is not None
            }
            if paths.isdisjoint(differing):
                continue
            one, other = self._read(old, new, before), self._read(new, old, after)
            if one is None or other is None:
                self._uncompared += 1
            else:
                yield from _compare(printable(key), one, other)

    def _histories(self, record: OwnerRecord | None) -> dict[bytes, FileEntry]:
        found: dict[bytes, FileEntry] = {}
        for entry in histories(record) if record is not None else ():
            found.setdefault(storage_key(entry.name), entry)
        return found

    def _read(
        self, record: OwnerRecord | None, other: OwnerRecord | None, entry: FileEntry | None
    ) -> dict[Identity, tuple[ChatInfo, bytes]] | None:
        """Return a history's chats; none if there is no such history, None if nobody can tell."""
        if record is None or entry is None:
            return {}
        path = printable(path_of(self._user, entry.place, entry.name))
        version = version_of(entry)
        if version is None:
            return None
        try:
            data = self._bytes(record, other, version)
            history = read_chats(entry.name, data)
        except RepositoryError as error:
            self._damaged += 1
            self._monitor.report(unreadable(error, path))
            return None
        except Unparsable as why:
            if entry.state == FileState.WHOLE and why.code not in UNPARSED:
                return {}  # it is no history
            self._monitor.report(why.finding(path))
            return None
        return {
            _identity(chat, alone=history.inside is None): (
                chat_info(entry.name, history, chat),
                canonical(chat),
            )
            for chat in history.chats
        }

    def _bytes(self, record: OwnerRecord, other: OwnerRecord | None, version: Bytes) -> bytes:
        if version.size > MAX_PARSED_BYTES:
            raise _TOO_LARGE
        if version.digest in self._live:
            return self._live[version.digest]
        if record.segments or not version.size:
            return self._past.read(record, version)
        # A live document that stat says did not change lies where the other side's does.
        for entry in files(other) if other is not None else ():
            for same in (entry, entry.good):
                if other is not None and same is not None and same.digest == version.digest:
                    return self._past.read(other, same)
        raise _TOO_LARGE


_TOO_LARGE = Unparsable(
    "too-large", "warning", "too large for its chats to be compared", "Restore it, and look there."
)


def _identity(chat: Chat, *, alone: bool) -> Identity:
    return ("", 0) if alone and chat.key is None else chat.identity


def _compare(
    history: str,
    before: dict[Identity, tuple[ChatInfo, bytes]],
    after: dict[Identity, tuple[ChatInfo, bytes]],
) -> Iterator[ChatDiff]:
    """Yield the chats that differ: those that are there now in their order, then those gone."""
    for identity in (*after, *(one for one in before if one not in after)):
        old, new = before.get(identity), after.get(identity)
        if old is not None and new is not None and old[1] == new[1]:
            continue
        some = new or old
        if some is not None:
            yield ChatDiff(
                history=history,
                id=some[0].id,
                title=some[0].title,
                change="added" if old is None else "removed" if new is None else "changed",
                messages_before=old[0].messages if old is not None else 0,
                messages_after=new[0].messages if new is not None else 0,
            )
