"""The versions of a history that its writers may have read. Pure.

The application reads a history, changes it and writes it, and knows no lock: what it writes may go
on from a version that was replaced meanwhile. Found is which, so that both can be merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from shenyu_data.model.chats import Chat, History
from shenyu_data.model.chats_merge import (
    Merged,
    by_identity,
    history_of,
    merge,
    readable,
    same_chat,
)

_MOST_VERSIONS = 12


class Versions:
    """The versions of a history that its writers may have read, the last one last: what it should
    hold, as far as is known.
    """

    def __init__(self) -> None:
        self.all: list[bytes] = []
        self._seen_last = False

    def put(self, before: bytes, after: bytes) -> None:
        """Note an exchange."""
        for version in (before, after):
            if version in self.all:
                self.all.remove(version)
            self.all.append(version)
        self._seen_last = False
        del self.all[:-_MOST_VERSIONS]

    def goes_on(self, now: bytes) -> bool:
        """Whether what the document holds goes on from what was put there last, or from what was
        seen there since; if so, it is the last version now. Raise Unparsable.
        """
        if now == self.all[-1]:
            return True
        put_last = len(self.all) - 1 - self._seen_last
        if nearest(self.all, now) < put_last:
            return False
        self.stands(now)
        return True

    def stands(self, now: bytes) -> None:
        """Take what the document holds for what it should hold."""
        # What was put there stays known, what was only seen there before is not needed any more.
        if self._seen_last:
            del self.all[-1]
        self.all.append(now)
        self._seen_last = True

    def with_what_came_since(self, now: bytes) -> Merged:
        """Return the last version with what ``now`` did to the one it goes on from."""
        if self.goes_on(now):
            return Merged(now, [])
        return self.merged(now, self.all[-1])

    def merged(self, theirs: bytes, ours: bytes) -> Merged:
        """Return ``ours`` with what ``theirs`` did to the version it goes on from."""
        base = readable(self.all[nearest(self.all, theirs)])
        return merge(base, theirs, readable(ours) or b"[]")


def nearest(versions: Sequence[bytes], now: bytes) -> int:
    """Return the index of the version that ``now`` goes on from: the one with the fewest chats and
    messages added and removed in between; among equals the last.

    An application that read a document before it was changed, and wrote it after, goes on from an
    older version than the last. Raise Unparsable if ``now`` is no history; of the versions, one
    that is none counts as one without chats, which is what the application takes it for.
    """
    history = history_of(now)
    distances = [_distance(history_of(readable(version)), history) for version in versions]
    return max(range(len(versions)), key=lambda index: (-distances[index], index))


def _distance(base: History, now: History) -> int:
    if base.data == now.data:
        return 0
    old, new = by_identity(base), by_identity(now)
    distance = 0
    for identity in old.keys() | new.keys():
        was, found = old.get(identity), new.get(identity)
        if not same_chat(base, was, now, found):
            one, two = _messages(was), _messages(found)
            common = sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
            )
            distance += max(1, len(one) + len(two) - 2 * common)
            distance += was is None or found is None
    return distance


def _messages(chat: Chat | None) -> list[Any]:
    found = chat.value.get("messages") if chat and isinstance(chat.value, dict) else None
    return found if isinstance(found, list) else []
