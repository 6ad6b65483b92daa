"""What the journals tell a repair: which chats cleanups removed, which versions were put back.
Called by operations/repair_past.py.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.model.chats import Chat
from shenyu_data.operations.journal import (
    KEPT_JOURNALS,
    Digests,
    Journal,
    Journals,
    Saved,
    Step,
    Swap,
    TakenBack,
)
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.repository.repository import Repository


class Journaled:
    """What the journals say that operations of ours did to histories."""

    def __init__(self, repository: Repository, journals: Journals) -> None:
        self._digests = Digests.ever_of(repository)
        self._removed: list[array[int]] = []  # of each cleanup, sorted
        self._written: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._last: dict[bytes, _Last] = {}
        self._files: list[tuple[int, array[int]]] = []  # that each cleanup removed, sorted
        newer_ms = sys.maxsize
        for number, journal in enumerate(journals.newest_first()):
            began = journal.began()
            if began is not None and began.repository == repository.keys.repository_id:
                # Only one is at work at a time; an erasure writes old ones anew.
                ended_ms = min(journal.changed_ms(), newer_ms)
                self._take(journal, ended_ms, recent=number < KEPT_JOURNALS)
            newer_ms = journal.began_ms

    def _take(self, journal: Journal, ended_ms: int, *, recent: bool) -> None:
        """Remember what a journal says: of an old one, what was removed."""
        taken_back, saved, removed, gone = False, b"", array("Q"), array("Q")
        last: dict[bytes, _Last] = {}
        for line in journal.read():
            if isinstance(line, TakenBack):
                taken_back = True
            elif isinstance(line, Saved):
                saved = line.snapshot
            elif isinstance(line, Swap) and recent:
                self._written.setdefault(line.path, []).append((saved, line.wrote))
                last[line.path] = _Last(line.wrote, ended_ms)
            elif isinstance(line, Step) and line.removed is not None:
                removed.extend(_number(line.path, digest) for digest in line.removed)
                if line.wrote is None:
                    gone.append(_number(line.path, b""))
        for path, one in last.items():
            self._last.setdefault(path, one)
        if removed and not taken_back:
            self._removed.append(array("Q", sorted(removed)))
        if gone and not taken_back:
            self._files.append((ended_ms, array("Q", sorted(gone))))

    def is_gone(self, path: bytes, since_ms: int) -> bool:
        """Whether an operation of ours took the document at ``path`` away, after that time."""
        last = self._last.get(path)
        if last is not None and last.ended_ms >= since_ms:
            return last.wrote in self.digests(b"")
        wanted = _number(path, b"")
        return any(ended_ms >= since_ms and _has(gone, wanted) for ended_ms, gone in self._files)

    def is_removed(self, path: bytes, chat: Chat) -> bool:
        """Whether a cleanup took this chat, as it is here, out of the history at ``path``."""
        if not self._removed:
            return False
        wanted = [_number(path, chat_digest(one, chat.value)) for one in self._digests]
        return any(_has(removed, number) for removed in self._removed for number in wanted)

    def written(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the digests of what was put at ``path``, each after the safety snapshot that was
        taken before.
        """
        return self._written.get(path, [])

    def digests(self, data: bytes) -> list[bytes]:
        """Return the digests by which the journals may know a document."""
        return [one.of(data) for one in self._digests]


class _Last(NamedTuple):
    """What was put in a place last, as a digest, and when that operation had ended."""

    wrote: bytes
    ended_ms: int


def _has(numbers: array[int], wanted: int) -> bool:
    place = bisect_left(numbers, wanted)
    return place < len(numbers) and numbers[place] == wanted


def _number(path: bytes, digest: bytes) -> int:
    """Return what a chat at a path is remembered by: of millions in years, eight bytes each."""
    return int.from_bytes(blake3(path + b"\0" + digest).digest(8), "little")
