"""What snapshots say of a document that is to be mended: its last good version and, of a history,
the chats that vanished from it by accident. Called by repairs, and by whoever looks for shrunken
histories.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.large import structure_trouble
from shenyu_data.datadir.replace import read_live
from shenyu_data.model.archive_document import archive_of
from shenyu_data.model.chats import Chat, History, Identity, read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.mend import trouble
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.vanished import HistoryPast, Kept
from shenyu_data.operations.acknowledged import Acknowledged
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.gone import Gone
from shenyu_data.operations.journal import Journals
from shenyu_data.operations.past import PastOwner, moments_of, past_user, read_roots
from shenyu_data.operations.repair_document import Good, Target
from shenyu_data.operations.repair_journal import Journaled
from shenyu_data.operations.repair_versions import Record, Version, entries_of, versions_of
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord, Root
from shenyu_data.repository.repository import Repository

WHOLE = ""
"""What an acknowledgement calls a document as a whole."""


class Lost(NamedTuple):
    """The chats that vanished by accident from a history; and those of which somebody said that it
    was meant.
    """

    vanished: list[Kept]
    acknowledged: list[Kept]


class LastGoods:
    """Finds what documents of the open data directory ``root`` should be, in a repository; without
    one nothing is known. ``every``: chats count that were removed on purpose, too.
    """

    def __init__(
        self,
        repository: Repository | None,
        root: int,
        journals: Journals,
        monitor: Monitor,
        *,
        every: bool = False,
    ) -> None:
        self._repository = repository
        self.root = root
        self._monitor = monitor
        self._every = every
        self._journaled = Journaled(repository, journals) if repository is not None else None
        self._acknowledged = (
            Acknowledged(repository, journals.folder, monitor) if repository is not None else None
        )
        self._roots: list[Root] | None = None
        self._sequences: dict[bytes, int] = {}
        self._user: bytes | None = None
        self._records: list[Record] = []  # newest first
        self._past: PastOwner | None = None
        self._found: dict[Target, Good | None] = {}
        self._histories: dict[Target, HistoryPast] = {}
        self.damaged = 0

    @property
    def has_snapshots(self) -> bool:
        """Whether there is a repository."""
        return self._repository is not None

    def look_again(self) -> None:
        """Forget what snapshots there are: one was taken."""
        self._roots = self._user = None

    def find(self, target: Target) -> Good | None:
        """Return what a document in trouble should be: its newest version without trouble that any
        snapshot holds, pinned ones included; of a history, together with what vanished from it.

        What the repository cannot give back is reported, and an older version is looked for.
        """
        if not self._open(target.user):
            return None
        if target not in self._found:
            self._found[target] = self._newest(target)
        newest = self._found[target]
        if not target.is_of_the_application or (newest is not None and newest.blocks is not None):
            return newest
        data = self._history(target).expected(self._archive(target), self._is_removed(target))
        if data is None or (newest is not None and data == newest.data):
            return newest
        if newest is not None and not _is_array(target.name, newest.data):
            return newest
        if newest is not None:
            return newest._replace(data=data, mtime_ns=0, composed=True)
        return Good(data, self._history(target).snapshot, 0, composed=True)

    def lost(self, target: Target, live: History) -> Lost:
        """Return the chats that vanished by accident from a history that is whole."""
        lost = Lost([], [])
        if not target.is_of_the_application or live.inside is None or not self._open(target.user):
            return lost
        is_removed, is_meant = self._is_removed(target), self._is_meant(target)
        for kept in self._history(target).vanished(live, self._archive(target)):
            if is_meant(kept.chat):
                lost.acknowledged.append(kept)
            elif not is_removed(kept.chat):
                lost.vanished.append(kept)
        return lost

    def why_gone(self, gone: Gone) -> Literal["removed", "acknowledged"] | None:
        """Say why a document is there no more: an operation of ours removed it, or somebody said
        that it was to go. None: nobody knows.
        """
        path = gone.target.path
        if self._every:
            return None
        if self._journaled is not None and self._journaled.is_gone(path, gone.moment.time_ms):
            return "removed"
        acknowledged = self._acknowledged
        if acknowledged is not None and acknowledged.covers(path, WHOLE, gone.moment.sequence):
            return "acknowledged"
        return None

    def _is_removed(self, target: Target) -> Callable[[Chat], bool]:
        """Return what tells whether a cleanup removed a chat, or somebody else did and said so."""
        journaled = self._journaled
        if journaled is None or self._every:
            return lambda _: False
        is_meant = self._is_meant(target)
        return lambda chat: journaled.is_removed(target.path, chat) or is_meant(chat)

    def _is_meant(self, target: Target) -> Callable[[Chat], bool]:
        acknowledged = self._acknowledged
        if acknowledged is None or self._every:
            return lambda _: False
        past = self._history(target)

        def is_meant(chat: Chat) -> bool:
            sequence = self._sequences.get(past.seen(chat.identity), 0)
            things = chat_thing(chat.identity), WHOLE
            return any(acknowledged.covers(target.path, thing, sequence) for thing in things)

        return is_meant

    def _archive(self, target: Target) -> History | None:
        """Return what the archive beside a live history holds, if there is one that can be read."""
        name = archive_of(target.name)
        try:
            folder = open_folder(self.root, target.path.rpartition(b"/")[0])
            try:
                live = read_live(folder, name, "history")
            finally:
                os.close(folder)
            return read_chats(name, live.data) if live and live.data is not None else None
        except (OSError, Unparsable):
            return None

    def _open(self, user: bytes) -> bool:
        """Read what snapshots say of a user; false if there is no repository."""
        if self._repository is None:
            return False
        if user == self._user:
            return True
        past = past_user(self._repository, user)
        failures: list[RepositoryError] = []
        self._records, self._past, self._user = [], past, user
        self._found, self._histories = {}, {}
        if self._roots is None:
            self._roots = read_roots(self._repository, failures)
            self._sequences = {root.id: root.sequence for root in self._roots}
        for moment in reversed(moments_of(self._roots, past.bucket)):
            try:
                row = past.row(moment.layers)
                record = past.record(row, moment.sequence) if row is not None else None
                self._records.append(Record(moment.snapshot, moment.safety, record))
            except OwnerErased:
                break  # what was before is not to come back
            except RepositoryError as error:
                failures.append(error)
        for failure in failures:
            self._damage(user, failure)
        return True

    def _newest(self, target: Target) -> Good | None:
        tried: set[bytes] = set()
        for snapshot, _, record in self._records:
            entry = entries_of(record).get((target.place, target.name))
            for version in (entry, entry.good) if entry is not None else ():
                if version is None or version.digest in tried or _is_torn(version):
                    continue
                tried.add(version.digest)
                good = self._good(target, record, version)
                if good is not None:
                    held_by = version.snapshot if isinstance(version, LastGood) else snapshot
                    return good._replace(snapshot=held_by)
        return None

    def _good(
        self, target: Target, record: OwnerRecord | None, version: FileEntry | LastGood
    ) -> Good | None:
        """Return a version if it is without trouble."""
        if version.size <= MAX_PARSED_BYTES or not target.is_of_the_application:
            data = self._read(target, record, version)
            whole = data is not None and target.trouble(data) is None
            return Good(data or b"", b"", version.mtime_ns, version.mode) if whole else None
        assert self._past is not None  # noqa: S101 - records come from there
        assert record is not None  # noqa: S101 - so do versions
        reader = self._past.documents(record).reader

        def blocks(take: Callable[[bytes], object]) -> None:
            reader.stream(version, take)

        try:
            whole = structure_trouble(blocks) is None
        except RepositoryError as error:
            self._damage(target.path, error)
            return None
        return Good(b"", b"", version.mtime_ns, version.mode, blocks=blocks) if whole else None

    def _history(self, target: Target) -> HistoryPast:
        if target not in self._histories:
            self._histories[target] = self._told(target)
        return self._histories[target]

    def _told(self, target: Target) -> HistoryPast:
        """Return a history's past that was told its versions."""
        written = self._journaled.written(target.path) if self._journaled is not None else []
        versions = versions_of(target, self._records, written)
        past = HistoryPast(every=self._every)
        wanted = {version.written for version in versions if version.written is not None}
        seen: dict[bytes, tuple[History, bytes]] = {}
        for version in versions:
            if version.written is None:
                self._tell(past, target, version)
                if past.last is not None and wanted and self._journaled is not None:
                    digest = self._journaled.digest(past.last.data)
                    if digest in wanted:
                        seen[digest] = past.last, past.snapshot
            elif version.written in seen:  # an older version came back
                history, snapshot = seen[version.written]
                past.whole(history, None, snapshot, telling=False, seen=version.snapshot)
        return past

    def _tell(self, past: HistoryPast, target: Target, version: Version) -> None:
        """Tell a history's past what one version says."""
        entry, record = version.entry, version.record
        archive = self._chats(target, record, version.archive)
        if entry is None:
            if archive is not None:
                past.whole(read_history(b"[]"), archive, version.snapshot, telling=False)
            elif not version.safety:
                past.absent()
            return
        if entry.good is not None:
            pinned = self._chats(target, record, entry.good, entry.name)
            if pinned is not None:
                past.whole(pinned, archive, entry.good.snapshot, telling=False, seen=b"")
        if entry.state == FileState.UNREADABLE or entry.size > MAX_PARSED_BYTES:
            return
        history = self._chats(target, record, entry) if entry.state == FileState.WHOLE else None
        if history is not None:
            past.whole(history, archive, version.snapshot, telling=not version.safety)
            return
        data = self._read(target, record, entry)
        if data is not None and target.trouble(data) is not None:
            past.torn(data, version.snapshot)

    def _chats(
        self,
        target: Target,
        record: OwnerRecord | None,
        file: FileEntry | LastGood | None,
        name: bytes | None = None,
    ) -> History | None:
        """Return the chats of a version; None if it cannot be read, or is none."""
        if file is None or (isinstance(file, FileEntry) and file.state != FileState.WHOLE):
            return None
        data = self._read(target, record, file)
        name = name or (file.name if isinstance(file, FileEntry) else target.name)
        if data is None or trouble(target.kind, target.user, name, data) is not None:
            return None
        try:
            return read_chats(name, data)
        except Unparsable:
            return None

    def _read(
        self, target: Target, record: OwnerRecord | None, version: FileEntry | LastGood
    ) -> bytes | None:
        assert self._past is not None  # noqa: S101 - records come from there
        assert record is not None  # noqa: S101 - so do versions
        try:
            return self._past.read(record, version)
        except RepositoryError as error:
            self._damage(target.path, error)
            return None

    def _damage(self, what: bytes, error: RepositoryError) -> None:
        self.damaged += 1
        self._monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path=printable(what),
                message=f"a version of it cannot be read: {error.message}",
                hint="An older version is looked for; `shenyu-data verify --read-data` names all "
                "that is affected.",
            )
        )


def chat_thing(identity: Identity) -> str:
    """Return what an acknowledgement calls a chat of a history."""
    return f"{identity[0]}\0{identity[1]}"


def _is_torn(version: FileEntry | LastGood) -> bool:
    return isinstance(version, FileEntry) and version.state >= FileState.TORN


def _is_array(name: bytes, data: bytes) -> bool:
    """Whether a version is an array of chats that was looked into."""
    try:
        return read_chats(name, data).inside is not None
    except Unparsable:
        return False
