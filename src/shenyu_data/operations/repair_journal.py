"""What the journals tell a repair: which chats cleanups removed, which versions were put back.
Called by operations/repair_past.py.
"""

from __future__ import annotations

import sqlite3
import sys
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.model.chats import Chat
from shenyu_data.model.errors import ShenyuDataError
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
        self._digests = Digests(repository)
        self._removed: list[array[int]] = []  # of each cleanup, sorted
        self._written = _Written()
        self._files: list[tuple[int, array[int]]] = []  # that each cleanup removed, sorted
        newer_ms = sys.maxsize
        for number, journal in enumerate(journals.newest_first()):
            began = journal.began()
            if began is not None and began.repository == repository.keys.repository_id:
                # Only one is at work at a time; an erasure writes old ones anew.
                ended_ms = min(journal.changed_ms(), newer_ms)
                self._take(journal, number, ended_ms)
            newer_ms = journal.began_ms

    def _take(self, journal: Journal, number: int, ended_ms: int) -> None:
        """Remember what a journal says, the newest one having number 0: of an old one, what was
        removed.
        """
        recent = number < KEPT_JOURNALS
        taken_back, saved, removed, gone = False, b"", array("Q"), array("Q")
        for line in journal.read():
            if isinstance(line, TakenBack):
                taken_back = True
            elif isinstance(line, Saved):
                saved = line.snapshot
            elif isinstance(line, Swap) and recent:
                self._written.add(line.path, _Row(number, ended_ms, saved, line.wrote))
            elif isinstance(line, Step) and line.removed is not None:
                removed.extend(_number(line.path, digest) for digest in line.removed)
                if line.wrote is None:
                    gone.append(_number(line.path, b""))
        if removed and not taken_back:
            self._removed.append(array("Q", sorted(removed)))
        if gone and not taken_back:
            self._files.append((ended_ms, array("Q", sorted(gone))))

    def is_gone(self, path: bytes, since_ms: int) -> bool:
        """Whether an operation of ours took the document at ``path`` away, after that time."""
        last = self._written.last_at(path)
        if last is not None and last.ended_ms >= since_ms:
            return last.wrote == self.digest(b"")
        wanted = _number(path, b"")
        return any(ended_ms >= since_ms and _has(gone, wanted) for ended_ms, gone in self._files)

    def is_removed(self, path: bytes, chat: Chat) -> bool:
        """Whether a cleanup took this chat, as it is here, out of the history at ``path``."""
        if not self._removed:
            return False
        wanted = _number(path, chat_digest(self._digests, chat.value))
        return any(_has(removed, wanted) for removed in self._removed)

    def written(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the digests of what was put at ``path``, each after the safety snapshot that was
        taken before.
        """
        return self._written.at(path)

    def digest(self, data: bytes) -> bytes:
        """Return the digest by which the journals know a document."""
        return self._digests.of(data)


def _has(numbers: array[int], wanted: int) -> bool:
    place = bisect_left(numbers, wanted)
    return place < len(numbers) and numbers[place] == wanted


_MOST_WAITING = 1000


class _Row(NamedTuple):
    """What an operation put at a path: the number of its journal, when it had ended, the safety
    snapshot taken before, and the digest.
    """

    journal: int
    ended_ms: int
    saved: bytes
    wrote: bytes


class _Written:
    """What was put at each path, in order: in a file without a name when it is much, as operations
    on all of a large directory write millions of documents.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, bytes, bytes]] = []
        self._is_indexed = False
        with _room_needed():
            self._database = sqlite3.connect("", isolation_level=None)
            weakref.finalize(self, self._database.close)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(
                "CREATE TABLE written"
                " (path INTEGER, journal INTEGER, ended_ms INTEGER, saved BLOB, wrote BLOB)"
            )

    def add(self, path: bytes, row: _Row) -> None:
        """Remember one writing, the newest journal first; all come before the first question."""
        self._waiting.append((_row_number(path), *row))
        if len(self._waiting) >= _MOST_WAITING:
            self._store()

    def at(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return what was put at a path: the safety snapshot taken before, and its digest."""
        return [(row.saved, row.wrote) for row in self._rows(path, "rowid")]

    def last_at(self, path: bytes) -> _Row | None:
        """Return what was put at a path last; None if nothing was."""
        return next(iter(self._rows(path, "journal, rowid DESC LIMIT 1")), None)

    def _rows(self, path: bytes, order: str) -> list[_Row]:
        if not self._is_indexed:
            self._store()
            with _room_needed():
                self._database.execute("CREATE INDEX paths ON written (path)")
            self._is_indexed = True
        question = "SELECT journal, ended_ms, saved, wrote FROM written WHERE path = ? ORDER BY "
        with _room_needed():
            found = self._database.execute(question + order, (_row_number(path),))
            return [_Row(*row) for row in found]

    def _store(self) -> None:
        with _room_needed():
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?)", self._waiting)
            self._database.execute("COMMIT")
        self._waiting.clear()


@contextmanager
def _room_needed() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ShenyuDataError(
            f"cannot keep what the journals say in a temporary file: {error}",
            hint="Make room in the temporary folder, or set TMPDIR.",
        ) from error


def _row_number(path: bytes) -> int:
    return int.from_bytes(blake3(path).digest(8), "little", signed=True)


def _number(path: bytes, digest: bytes) -> int:
    """Return what a chat at a path is remembered by: of millions in years, eight bytes each."""
    return int.from_bytes(blake3(path + b"\0" + digest).digest(8), "little")
