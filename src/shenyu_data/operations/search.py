"""Finding a user's chats by their words, in all snapshots. Called by ``timeline --search``.

Each distinct version of a history is read once, one at a time, and each distinct chat in it looked
through once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.model.chats import Chat, History
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.model.messages import messages_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.words import find_words, parse_words
from shenyu_data.operations.conversations import UNPARSED, chat_info, read_chats
from shenyu_data.operations.past import (
    Moment,
    histories,
    list_moments,
    owner_not_found,
    past_user,
    storage_key,
    unreadable,
)
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord
from shenyu_data.repository.manifest import Row
from shenyu_data.repository.repository import Repository


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All ``words`` must occur in a chat of ``user``; only in one ``history`` if it is given. At
    most ``limit`` matches are kept (None: all).
    """

    user: bytes
    words: str
    history: bytes | None = None
    limit: int | None = None


class Match(msgspec.Struct, kw_only=True):
    """A version of a chat in which the words occur, and the first and last snapshot that have it
    (``pinned``: only as part of a last good version).
    """

    history: str
    id: str | None
    title: str | None
    messages: int
    time_ms: int | None
    first: str
    first_ms: int
    last: str
    last_ms: int
    pinned: bool
    excerpt: str


class SearchStats(msgspec.Struct, frozen=True, kw_only=True):
    """The ``matches``, the newest first, and how many there were. ``unsearched`` counts histories
    that are torn or too large to be looked into, ``damaged`` what could not be read.
    """

    matches: list[Match]
    found: int
    snapshots: int
    histories: int
    unsearched: int
    damaged: int


class _Place(NamedTuple):
    """Where a version of a history lies, and in which snapshots."""

    row: Row
    name: bytes
    file: FileEntry | LastGood
    first: int
    last: int
    pinned: bool


def search(repository: Repository, options: SearchOptions, monitor: Monitor) -> SearchStats:
    """Find the chats of a user in which all words occur.

    Upper and lower case, and forms of the same character, are not told apart; a word may be part of
    a longer one. Raise OwnerNotFound if no snapshot has the user, OwnerErased if it was erased,
    UsageError if there is no word.
    """
    return _Search(repository, options, monitor).run()


class _Search:
    def __init__(self, repository: Repository, options: SearchOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._options = options
        self._monitor = monitor
        self._words = parse_words(options.words)
        self._past = past_user(repository, options.user)
        self._moments: list[Moment] = []
        self._places: dict[tuple[bytes, bytes, int], _Place] = {}
        self._matches: dict[bytes, Match | None] = {}
        self._firsts: dict[bytes, int] = {}
        self._kept: list[Match] = []
        self._erased: OwnerErased | None = None
        self._found = self._unsearched = self._damaged = 0

    def run(self) -> SearchStats:
        failures: list[RepositoryError] = []
        self._moments = list_moments(self._repository, self._past.bucket, failures)
        for error in failures:
            self._report(error, "a snapshot cannot be read and is not searched")
        met = self._find_places()
        if self._erased is not None and not self._places:
            raise self._erased
        if not met and not self._damaged:
            raise owner_not_found(self._options.user)
        # From the newest, so that what is beyond the limit need not be kept.
        places = sorted(self._places.values(), key=lambda place: place.last, reverse=True)
        for place in places:
            self._search_place(place)
        return SearchStats(
            matches=self._kept,
            found=self._found,
            snapshots=len(self._moments),
            histories=len(places),
            unsearched=self._unsearched,
            damaged=self._damaged,
        )

    def _find_places(self) -> bool:
        """Note every version of every history; return whether any snapshot has the user."""
        met = False
        records: dict[Row, list[tuple[bytes, FileEntry | LastGood, bool]]] = {}
        for number, moment in enumerate(self._moments):
            try:
                row = self._past.row(moment.layers)
                met |= row is not None
                if row is not None and row not in records:
                    records[row] = []  # told once if it is damaged
                    record = self._past.record(row, moment.sequence)
                    records[row] = list(self._versions(record))
            except OwnerErased as error:
                self._erased = error
                continue
            except RepositoryError as error:
                self._report(error, f"snapshot {moment.snapshot.hex()[:8]}")
                continue
            if row is not None:
                for name, file, pinned in records[row]:
                    self._note(number, row, name, file, pinned)
        return met

    def _versions(self, record: OwnerRecord) -> Iterator[tuple[bytes, FileEntry | LastGood, bool]]:
        for entry in histories(record, self._options.history):
            if entry.state != FileState.UNREADABLE:
                yield entry.name, entry, False
            if entry.good is not None:
                yield entry.name, entry.good, True

    def _note(
        self, number: int, row: Row, name: bytes, file: FileEntry | LastGood, pinned: bool
    ) -> None:
        key = (name, file.digest, file.size)
        known = self._places.get(key)
        if known is None:
            self._places[key] = _Place(row, name, file, number, number, pinned)
        elif known.pinned and not pinned:
            self._places[key] = _Place(row, name, file, number, number, False)
        elif known.pinned == pinned:
            self._places[key] = known._replace(last=number)

    def _search_place(self, place: _Place) -> None:
        path = f"histories/{printable(self._options.user)}/{printable(place.name)}"
        try:
            record = self._past.record(place.row, self._moments[place.last].sequence)
            history = read_chats(place.name, self._past.read(record, place.file))
        except RepositoryError as error:
            self._report(error, path)
            return
        except Unparsable as why:
            whole = getattr(place.file, "state", FileState.WHOLE) == FileState.WHOLE
            if whole and why.code not in UNPARSED:
                return  # it is no history
            self._unsearched += 1
            finding = why.finding(path)
            taken = self._moments[place.first].snapshot.hex()[:8]
            message = f"not searched in snapshot {taken}: {finding.message}"
            self._monitor.report(msgspec.structs.replace(finding, message=message))
            return
        for index, chat in enumerate(history.chats):
            digest = blake3(place.name + b"\0" + history.text(index)).digest(16)
            if digest not in self._matches:
                self._matches[digest] = self._look(place, history, chat)
                self._firsts[digest] = place.first
            match = self._matches[digest]
            if match is not None:
                match.pinned &= place.pinned
                self._firsts[digest] = min(self._firsts[digest], place.first)
                first = self._moments[self._firsts[digest]]
                match.first, match.first_ms = first.snapshot.hex(), first.time_ms

    def _look(self, place: _Place, history: History, chat: Chat) -> Match | None:
        info = chat_info(place.name, history, chat)
        texts = [info.title or "", *(message.content for message in messages_of(chat.value))]
        excerpt = find_words(self._words, texts)
        if excerpt is None:
            return None
        self._found += 1
        first, last = self._moments[place.first], self._moments[place.last]
        match = Match(
            history=printable(storage_key(place.name)),
            id=info.id,
            title=info.title,
            messages=info.messages,
            time_ms=info.time_ms,
            first=first.snapshot.hex(),
            first_ms=first.time_ms,
            last=last.snapshot.hex(),
            last_ms=last.time_ms,
            pinned=place.pinned,
            excerpt=excerpt,
        )
        if self._options.limit is None or len(self._kept) < self._options.limit:
            self._kept.append(match)
        return match

    def _report(self, error: RepositoryError, what: str) -> None:
        self._damaged += 1
        self._monitor.report(unreadable(error, what))
