"""``timeline``: every version of a user, a history or a chat across the snapshots, oldest first.

A version is what snapshots one after another hold alike; where one lacks it, that is told as well.
Documents are read only for a chat, and each distinct version of a document once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import kind_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.conversations import (
    UNPARSED,
    canonical,
    chat_info,
    chat_not_found,
    find_chats,
    read_chats,
)
from shenyu_data.operations.past import (
    Moment,
    files,
    histories,
    history_not_found,
    list_moments,
    owner_not_found,
    past_user,
    storage_key,
    unreadable,
)
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord
from shenyu_data.repository.manifest import Row
from shenyu_data.repository.repository import Repository


class TimelineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Whose versions: of a ``user``, of one ``history`` (its storage key), of one ``chat`` (its
    id).
    """

    user: bytes
    history: bytes | None = None
    chat: str | None = None


class Version(msgspec.Struct, kw_only=True):
    """What the snapshots ``first`` to ``last`` hold alike.

    ``number`` is the same for the same content, also if it went away and came back. ``state`` is
    that of the document (whole, unparsed, torn, unreadable), ``pinned`` for a last good version
    that no snapshot holds as the document itself, ``absent`` if it was not there, ``erased`` if the
    user was erased since, ``damaged`` if the repository cannot give it back. ``good`` is the number
    of a degraded one's last good version.
    """

    number: int | None
    state: str
    history: str | None
    first: str
    first_ms: int
    last: str
    last_ms: int
    snapshots: int
    size_bytes: int
    documents: int
    chats: int
    messages: int
    title: str | None
    good: int | None


class TimelineStats(msgspec.Struct, frozen=True, kw_only=True):
    """The versions by history and oldest first; ``damaged`` counts what could not be read."""

    versions: list[Version]
    snapshots: int
    damaged: int


class _Sight(NamedTuple):
    """What one snapshot holds of the thing; equal ``identity``: the same content."""

    identity: Hashable
    state: str
    size_bytes: int = 0
    documents: int = 0
    chats: int = 0
    messages: int = 0
    title: str | None = None
    good: _Sight | None = None

    @property
    def content(self) -> bool:
        """Whether there is something to be told, be it a last good version only."""
        return self.identity is not None or self.good is not None


_ABSENT = _Sight(None, "absent")
_DAMAGED = _Sight(None, "damaged")
_ERASED = _Sight(None, "erased")


def timeline(repository: Repository, options: TimelineOptions, monitor: Monitor) -> TimelineStats:
    """Follow a user, a history or a chat through all snapshots.

    Raise OwnerNotFound, HistoryNotFound or ChatNotFound if no snapshot has it, OwnerErased if the
    user was erased and is in no later one. What cannot be read is reported, and the rest is told.
    """
    return _Timeline(repository, options, monitor).run()


class _Timeline:
    def __init__(self, repository: Repository, options: TimelineOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._options = options
        self._monitor = monitor
        self._past = past_user(repository, options.user)
        self._damaged = 0
        self._tracks: dict[bytes, _Track] = {}
        self._met = False
        self._erased: OwnerErased | None = None
        self._seen: dict[Row, dict[bytes, _Sight]] = {}
        self._chats: dict[tuple[bytes, bytes, int], _Sight] = {}

    def run(self) -> TimelineStats:
        failures: list[RepositoryError] = []
        moments = list_moments(self._repository, self._past.bucket, failures)
        for error in failures:
            self._report(error, "a snapshot cannot be read and is left out")
        for moment in moments:
            sights = self._look(moment)
            for name, sight in sights.items() if isinstance(sights, dict) else ():
                if name not in self._tracks and sight.content:
                    self._tracks[name] = _Track(name)
            for name, track in self._tracks.items():
                track.add(
                    moment, sights if isinstance(sights, _Sight) else sights.get(name, _ABSENT)
                )
        if not self._tracks and not self._damaged:
            raise self._erased or self._not_found()
        tracks = [self._tracks[name] for name in sorted(self._tracks)]
        return TimelineStats(
            versions=[version for track in tracks for version in track.versions],
            snapshots=len(moments),
            damaged=self._damaged,
        )

    def _look(self, moment: Moment) -> dict[bytes, _Sight] | _Sight:
        """Return what a snapshot holds, by storage key (of a user: b""), or why nobody can tell."""
        try:
            row = self._past.row(moment.layers)
            if row is None:
                return {}
            if row not in self._seen:
                self._seen[row] = self._sights(self._past.record(row, moment.sequence))
            self._met = True
            return self._seen[row]
        except OwnerErased as error:
            self._erased = error
            return _ERASED
        except RepositoryError as error:
            self._report(error, f"snapshot {moment.snapshot.hex()[:8]}")
            return _DAMAGED

    def _sights(self, record: OwnerRecord) -> dict[bytes, _Sight]:
        if self._options.history is None and self._options.chat is None:
            return {b"": _user_sight(record)}
        sights: dict[bytes, _Sight] = {}
        for entry in histories(record, self._options.history):
            key = storage_key(entry.name)
            if self._options.chat is None:
                sights.setdefault(key, _history_sight(entry))
            elif sights.get(key, _ABSENT) is _ABSENT:
                sights[key] = self._chat_sight(record, entry)
        return sights

    def _chat_sight(self, record: OwnerRecord, entry: FileEntry) -> _Sight:
        if entry.state <= FileState.UNPARSED:
            return self._chat_in(record, entry.name, entry)
        good = None
        if entry.good is not None:
            good = self._chat_in(record, entry.name, entry.good)
            good = good if good.state == "whole" else None
        state = FileState(entry.state).name.lower()
        return _Sight(None, state, entry.size, 1, good=good)

    def _chat_in(self, record: OwnerRecord, name: bytes, file: FileEntry | LastGood) -> _Sight:
        known = (name, file.digest, file.size)
        if known not in self._chats:
            self._chats[known] = self._read_chat(record, name, file)
        return self._chats[known]

    def _read_chat(self, record: OwnerRecord, name: bytes, file: FileEntry | LastGood) -> _Sight:
        path = f"histories/{printable(record.owner)}/{printable(name)}"
        try:
            history = read_chats(name, self._past.read(record, file))
        except RepositoryError as error:
            self._report(error, path)
            return _DAMAGED
        except Unparsable as why:
            if why.code in UNPARSED:
                self._monitor.report(why.finding(path))
                return _Sight(None, "unparsed", file.size, 1)
            return _ABSENT  # it is no history
        found = find_chats(name, history, self._options.chat or "")
        if not found:
            return _ABSENT
        return _Sight(
            blake3(b"\0".join(map(canonical, found))).digest(16),
            "whole",
            size_bytes=sum(chat.end - chat.start for chat in found),
            documents=1,
            chats=len(found),
            messages=sum(chat.messages for chat in found),
            title=chat_info(name, history, found[0]).title,
        )

    def _report(self, error: RepositoryError, what: str) -> None:
        self._damaged += 1
        self._monitor.report(unreadable(error, what))

    def _not_found(self) -> UsageError:
        user, chat = self._options.user, self._options.chat
        if not self._met:
            return owner_not_found(user)
        if chat is None:
            return history_not_found(self._options.history or b"", user)
        return chat_not_found(chat, user)


class _Track:
    """Collects the versions of one thing, snapshot by snapshot."""

    def __init__(self, name: bytes) -> None:
        self._history = printable(name) if name else None
        self._numbers: dict[Hashable, int] = {}
        self._pins: dict[Hashable, Version] = {}
        self._current: tuple[_Sight, Version] | None = None
        self.versions: list[Version] = []

    def add(self, moment: Moment, sight: _Sight) -> None:
        """Say what the next snapshot holds."""
        good = self._pin(moment, sight.good) if sight.good is not None else None
        if self._current is not None and _same(self._current[0], sight):
            _extend(self._current[1], moment)
            return
        number = self._number(sight) if sight.identity is not None else None
        version = self._begin(moment, sight, sight.state, number, good)
        self._current = sight, version

    def _pin(self, moment: Moment, good: _Sight) -> int:
        if good.identity not in self._numbers or good.identity in self._pins:
            pinned = self._pins.get(good.identity)
            if pinned is not None:
                _extend(pinned, moment)
            else:
                number = self._number(good)
                self._pins[good.identity] = self._begin(moment, good, "pinned", number, None)
        return self._numbers[good.identity]

    def _number(self, sight: _Sight) -> int:
        return self._numbers.setdefault(sight.identity, len(self._numbers) + 1)

    def _begin(
        self, moment: Moment, sight: _Sight, state: str, number: int | None, good: int | None
    ) -> Version:
        version = Version(
            number=number,
            state=state,
            history=self._history,
            first=moment.snapshot.hex(),
            first_ms=moment.time_ms,
            last=moment.snapshot.hex(),
            last_ms=moment.time_ms,
            snapshots=1,
            size_bytes=sight.size_bytes,
            documents=sight.documents,
            chats=sight.chats,
            messages=sight.messages,
            title=sight.title,
            good=good,
        )
        self.versions.append(version)
        return version


def _same(one: _Sight, other: _Sight) -> bool:
    good = (one.good and one.good.identity) == (other.good and other.good.identity)
    return one.identity == other.identity and one.state == other.state and good


def _extend(version: Version, moment: Moment) -> None:
    version.last, version.last_ms = moment.snapshot.hex(), moment.time_ms
    version.snapshots += 1


def _user_sight(record: OwnerRecord) -> _Sight:
    digest = blake3()
    state = 0
    size = documents = chats = messages = 0
    for entry in sorted(files(record), key=lambda entry: (entry.place, entry.name)):
        digest.update(
            msgspec.msgpack.encode((entry.place, entry.name, entry.state, entry.size, entry.digest))
        )
        state = max(state, entry.state)
        documents += 1
        size += entry.size
        if kind_of(entry.place, entry.name) == "history":
            chats += entry.chats
            messages += entry.messages
    name = FileState(state).name.lower()
    return _Sight(digest.digest(16), name, size, documents, chats, messages)


def _history_sight(entry: FileEntry) -> _Sight:
    good = None
    if entry.good is not None:
        pin = entry.good
        good = _Sight((pin.digest, pin.size), "whole", pin.size, 1, pin.chats, pin.messages)
    return _Sight(
        (entry.digest, entry.size) if entry.digest else None,
        FileState(entry.state).name.lower(),
        entry.size,
        1,
        entry.chats,
        entry.messages,
        good=good,
    )
