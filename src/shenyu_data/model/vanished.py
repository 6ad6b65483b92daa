"""Which chats a history lost by accident, told from all its versions in snapshots. Pure.

The application takes a torn history for empty, and its next save overwrites it with the chats it
works on since: a whole history, and a shrunken one. docs/design/repair.md says by what that is told
from chats that somebody deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.model.archive_document import holds
from shenyu_data.model.chats import Chat, History, Identity, read_history, same_value
from shenyu_data.model.chats_edit import insert_all, remove_all
from shenyu_data.model.chats_merge import by_identity
from shenyu_data.model.mend import mend
from shenyu_data.model.salvage import compose, salvage

LEAST_LOST = 2
"""So many chats at once are no deletion; of fewer nobody can tell, unless the history was torn."""


class Kept(NamedTuple):
    """A chat as a version of its history holds it, and a snapshot that holds that version.

    ``number`` counts the versions: a greater one is newer.
    """

    chat: Chat
    source: History
    snapshot: bytes
    number: int


class HistoryPast:
    """What the versions of one history say, which it is told oldest first.

    ``every``: all chats that vanished count, be it that somebody deleted them.
    """

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._number = 0
        self.last: History | None = None
        """The last version that is whole, and ``snapshot`` that holds it."""
        self.snapshot = b""
        self._state: dict[Identity, Kept] = {}  # what the history and its archive hold
        self._missing: dict[Identity, Kept] = {}  # what vanished, and did not come back
        self._fragments: dict[Identity, Kept] = {}  # what only torn versions since the last held
        self._torn = self._absent = False  # since the last whole version
        self._known: set[bytes] = set()
        self._seen: dict[Identity, bytes] = {}

    def whole(
        self,
        history: History,
        archive: History | None,
        snapshot: bytes,
        *,
        telling: bool,
        seen: bytes | None = None,
    ) -> None:
        """A version that is whole, and the archive beside it.

        ``telling``: what it does not hold was removed. A safety snapshot shows what was about to be
        replaced, and tells nothing of the kind. ``seen`` is the snapshot that shows that the
        history was like this then, if that is not ``snapshot``; empty: none does.
        """
        self._number += 1
        now = self._kept(archive, snapshot) | self._kept(history, snapshot)
        self._see(now, snapshot if seen is None else seen)
        vanished = self._vanished(history, now)
        for identity in now:
            self._missing.pop(identity, None)
        self._missing |= vanished
        self._state = now if telling else {**self._state, **now}
        self._fragments = {}
        self._torn = self._absent = False
        self.last, self.snapshot = history, snapshot
        self._known |= {_digest(history.text_of(chat)) for chat in history.chats}

    def torn(self, data: bytes, snapshot: bytes) -> None:
        """A version that cannot be parsed: what is whole in it came to what was there before."""
        self._number += 1
        self._torn = True
        pieces = salvage(data)
        mended = mend(pieces, data, self.expected())
        if mended is None:
            return
        together = self._kept(read_history(mended.data), snapshot)
        for identity, kept in together.items():
            was = self._state.get(identity)
            if was is None or _text(was) != _text(kept):
                self._state[identity] = kept
        of_last = self._of_last
        found = read_history(compose([piece.data for piece in pieces if piece.whole], data))
        self._see((chat.identity for chat in found.chats), snapshot)
        for chat in found.chats:
            if chat.identity in together and chat.identity not in of_last:
                self._fragments[chat.identity] = together[chat.identity]

    def absent(self) -> None:
        """A snapshot that does not hold the history: somebody removed it."""
        self._absent = True

    def seen(self, identity: Identity) -> bytes:
        """Return the newest snapshot that shows that the history held a chat; empty: none does."""
        return self._seen.get(identity, b"")

    def vanished(self, live: History, archive: History | None) -> list[Kept]:
        """Return the chats that should be in the live history, and neither are nor in its archive,
        in their order.
        """
        now = self._kept(archive, b"") | self._kept(live, b"")
        missing = {**self._missing, **self._vanished(live, now)}
        return [kept for identity, kept in missing.items() if identity not in now]

    def expected(
        self, archive: History | None = None, is_removed: Callable[[Chat], bool] | None = None
    ) -> bytes | None:
        """Return the history as the versions say it should be: the last one with what vanished;
        that one byte for byte if nothing did. None if there is nothing.

        Without the chats that the live ``archive`` holds, and those that ``is_removed``.
        """
        if self.last is not None and self.last.inside is None:
            return self.last.data

        def is_out(chat: Chat) -> bool:
            archived = archive is not None and holds(archive, chat)
            return archived or (is_removed is not None and is_removed(chat))

        base = self.last or read_history(b"[]")
        out = [index for index, chat in enumerate(base.chats) if is_out(chat)]
        there = by_identity(base)
        more = [
            kept
            for identity, kept in {**self._missing, **self._state}.items()
            if identity not in there and not is_out(kept.chat)
        ]
        if self.last is None and not more:
            return None
        data = remove_all(base, out) if out else base.data
        return with_chats(read_history(data), more) if more else data

    def _see(self, identities: Iterable[Identity], snapshot: bytes) -> None:
        if snapshot:
            self._seen.update(dict.fromkeys(identities, snapshot))

    @property
    def _of_last(self) -> dict[Identity, Chat]:
        return by_identity(self.last) if self.last is not None else {}

    def _kept(self, history: History | None, snapshot: bytes) -> dict[Identity, Kept]:
        chats = history.chats if history is not None else ()
        return {
            chat.identity: Kept(chat, history, snapshot, self._number)
            for chat in chats
            if history is not None
        }

    def _vanished(self, history: History, now: dict[Identity, Kept]) -> dict[Identity, Kept]:
        """Return what vanished when the next version was ``history``, which with its archive holds
        ``now``.
        """
        lost = {key: kept for key, kept in self._state.items() if key not in now}
        if self._every or self._is_accident(history, len(lost)):
            return lost
        return {key: kept for key, kept in self._fragments.items() if key in lost}

    def _is_accident(self, history: History, lost: int) -> bool:
        """Whether the application took the version before for empty: nothing is as it was in any
        version, so that who wrote this had read none.
        """
        if history.inside is None or not lost:
            return False
        last = self._of_last
        if any(self._is_known(chat, text, last) for chat, text in _texts(history)):
            return False
        return self._torn or (bool(history.chats) and lost >= LEAST_LOST and not self._absent)

    def _is_known(self, chat: Chat, text: bytes, last: dict[Identity, Chat]) -> bool:
        """Whether a chat is as an earlier whole version held it, be it in other blanks, or as a
        repair brings it back.
        """
        if _digest(text) in self._known:
            return True
        was, missing = last.get(chat.identity), self._missing.get(chat.identity)
        others = [was, missing.chat if missing is not None else None]
        return any(other is not None and same_value(other.value, chat.value) for other in others)


def with_chats(history: History, more: Sequence[Kept]) -> bytes:
    """Return a history with chats that it lacks, each in its place; all other bytes are kept.

    Raise ValueError if it is no array.
    """
    return insert_all(history, [(kept.chat, kept.source) for kept in more])


def newest_of(vanished: Iterable[Kept]) -> bytes:
    """Return the newest snapshot that holds one of these chats."""
    return max(vanished, key=lambda kept: kept.number).snapshot


def _texts(history: History) -> Iterator[tuple[Chat, bytes]]:
    return ((chat, history.text_of(chat)) for chat in history.chats)


def _text(kept: Kept) -> bytes:
    return kept.source.text_of(kept.chat)


def _digest(text: bytes) -> bytes:
    return blake3(text).digest(16)
