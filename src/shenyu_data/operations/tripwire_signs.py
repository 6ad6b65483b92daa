"""What a backup's workers notice for tripwires while they take an owner: what is gone, rewritten,
torn, or noise, compared with the record before. Costs nothing where nothing changed.

Called by operations/backup_owner.py and operations/backup_tasks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from shenyu_data.model.chats import History
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, is_archive_name, kind_of
from shenyu_data.model.records import Outline
from shenyu_data.model.tripwires import COUNTED, Evidence
from shenyu_data.model.vanished import LEAST_LOST
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord, Segment

NOISE_BYTES = 4096
"""So much new text of a user is judged by how far it was compressed."""

NOISE = 0.62
"""Text that leaves more than this share of itself is noise: what people write leaves 0.37 to 0.57,
histories with base64 of what is encrypted in them 0.66 to 0.74."""

_HOUR_NS = 3_600_000_000_000


class Suspect(NamedTuple):
    """A history that holds less than before, and nothing as it was."""

    owner: bytes
    place: int
    name: bytes


class Signs:
    """What was noticed of some owners, added up."""

    __slots__ = ("_counts", "_hours", "suspects")

    def __init__(self) -> None:
        self._counts = [0] * len(COUNTED)
        self._hours: list[int] = []
        self.suspects: list[Suspect] = []

    @property
    def evidence(self) -> Evidence:
        """The sums."""
        return Evidence(**dict(zip(COUNTED, self._counts, strict=True)), hours=self._hours)

    def add(self, other: Signs) -> None:
        """Add others to these."""
        self._sum(other._counts, other._hours)
        self.suspects += other.suspects

    def add_owner(self, found: Evidence) -> None:
        """Add what one owner shows."""
        self._sum([getattr(found, name) for name in COUNTED], found.hours)

    def _sum(self, counts: Sequence[int], hours: Sequence[int]) -> None:
        for index, count in enumerate(counts):
            self._counts[index] += count
        if hours:
            self._hours = self._hours or [0] * 24
            for hour, count in enumerate(hours):
                self._hours[hour] += count


class OwnerSigns:
    """Notices one owner's changes, document by document."""

    def __init__(self) -> None:
        self._users = self._histories = self._chats = self._messages = 0
        self._rewritten = self._torn = self._noisy = self._archives = self._halved = 0
        self._hours: list[int] = []
        self._text = self._other = False
        self._suspects: list[Suspect] = []

    def changed(self, before: FileEntry | None, entry: FileEntry) -> None:
        """A document that is new, or has other bytes than before."""
        kind = kind_of(entry.place, entry.name)
        if kind == "history":
            self._count(before, entry)
            if not self._hours:
                self._hours = [0] * 24
            self._hours[entry.mtime_ns // _HOUR_NS % 24] += 1
        elif kind == "user":
            self._users += before is None
        plain = kind != "other" and not entry.name.endswith(GZIP_SUFFIX)
        self._text |= plain and kind == "history"
        self._other |= not plain
        if before is not None and before.state <= FileState.UNPARSED < entry.state:
            self._torn += 1

    def _count(self, before: FileEntry | None, entry: FileEntry) -> None:
        was, now = _held(before) if before is not None else (0, 0), _held(entry)
        self._histories += before is None
        if was is None or now is None:
            return  # too large to be looked into: nobody knows
        self._chats += now[0] - was[0]
        self._messages += now[1] - was[1]
        whole = before is not None and before.state == entry.state == FileState.WHOLE
        self._rewritten += whole and now[1] <= was[1]

    def gone(self, before: FileEntry) -> None:
        """A document that is not there any more."""
        kind = kind_of(before.place, before.name)
        if kind == "history":
            chats, messages = _held(before) or (0, 0)
            self._histories -= 1
            self._chats -= chats
            self._messages -= messages
            self._archives += is_archive_name(before.name) and bool(chats)
        elif kind == "user":
            self._users -= 1

    def left(self) -> None:
        """The owner is gone altogether: archives went along, as they should."""
        self._archives = 0

    def unreadable(self) -> None:
        """A document that was whole and cannot be read."""
        self._torn += 1

    def look(
        self,
        owner: bytes,
        before: FileEntry,
        data: bytes,
        outline: Outline,
        read: Callable[[FileEntry | LastGood], bytes],
    ) -> None:
        """Look closer at a history that holds less than before: whether anything in it is as it
        was. If so, whoever wrote it had read it, and somebody removed the rest. ``read`` gives
        bytes of versions before.
        """
        if before.state == FileState.UNPARSED and kind_of(before.place, before.name) == "history":
            self._halved += outline.state == "whole" and 2 * len(data) < before.size
            return
        version = before if before.state == FileState.WHOLE else before.good
        if version is None or outline.state != "whole":
            return
        least = LEAST_LOST if version is before else 1
        fewer = outline.chats < version.chats or outline.messages < version.messages
        if is_archive_name(before.name):
            self._archives += fewer
            return
        if not outline.chats or not before.name.endswith(JSON_SUFFIX):
            return
        if not fewer or version.chats < least or kind_of(before.place, before.name) != "history":
            return
        stands = _stands(before.name, data, lambda: read(version))
        if stands is None:
            self._halved += 1
        elif not stands:
            self._suspects.append(Suspect(owner, before.place, before.name))

    def weigh(self, before: OwnerRecord, after: OwnerRecord | None) -> None:
        """See how far the new text could be compressed, beside what was there before."""
        if after is None or not self._text or self._other:
            return
        known = {(item.pack, item.offset) for item in before.segments}
        new = [item for item in after.segments if (item.pack, item.offset) not in known]
        size, share = _share(new)
        if size >= NOISE_BYTES and share > NOISE >= _share(before.segments)[1]:
            self._noisy = 1

    def into(self, signs: Signs, *, ours: bool) -> None:
        """Add it up. ``ours``: this program changed this owner's documents since the snapshot
        before, so that what vanished may be its own doing.
        """
        signs.suspects += self._suspects
        if ours:
            return
        chats, messages = max(0, -self._chats), max(0, -self._messages)
        found = Evidence(
            users=max(0, -self._users),
            histories=max(0, -self._histories),
            chats=chats,
            chat_owners=bool(chats),
            messages=messages,
            message_owners=bool(messages),
            rewritten=self._rewritten,
            torn=self._torn,
            noisy=self._noisy,
            archives=self._archives,
            halved=self._halved,
            hours=self._hours,
        )
        signs.add_owner(found)


def all_gone(record: OwnerRecord) -> OwnerSigns:
    """Return the signs of an owner of whom nothing is left."""
    signs = OwnerSigns()
    for entry in record.entries:
        if isinstance(entry, FileEntry):
            signs.gone(entry)
    signs.left()
    return signs


def _held(entry: FileEntry) -> tuple[int, int] | None:
    """Return how many chats and messages an entry holds, or its last good version; None if nobody
    knows.
    """
    if entry.state == FileState.WHOLE:
        return entry.chats, entry.messages
    if entry.state == FileState.UNPARSED:
        return None
    return (entry.good.chats, entry.good.messages) if entry.good is not None else (0, 0)


def _share(segments: Collection[Segment]) -> tuple[int, float]:
    plain = sum(item.plain_bytes for item in segments)
    return plain, sum(item.stored_bytes for item in segments) / plain if plain else 0.0


def _stands(name: bytes, data: bytes, read: Callable[[], bytes]) -> bool | None:
    """Whether a chat stands in a history exactly as in the version before; None if that version
    cannot be looked into.
    """
    from shenyu_data.operations.conversations import read_chats  # late: few backups need it

    try:
        before = read_chats(name, read())
    except Unparsable:
        return None
    except RepositoryError:
        return False  # whoever looks closer says so
    try:
        after = read_chats(name, data)
    except Unparsable:
        return False  # the same
    return not _texts(before).isdisjoint(_texts(after))


def _texts(history: History) -> set[bytes]:
    return {history.text_of(chat) for chat in history.chats}


def add_signs(some: Iterable[Signs]) -> Signs:
    """Return the sum."""
    total = Signs()
    for signs in some:
        total.add(signs)
    return total
