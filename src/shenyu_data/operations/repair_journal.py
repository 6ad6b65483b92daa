"""What the journals tell a repair: which chats cleanups removed, which versions were put back.
Called by operations/repair_past.py.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

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
        for number, journal in enumerate(journals.newest_first()):
            began = journal.began()
            if began is not None and began.repository == repository.keys.repository_id:
                self._take(journal, recent=number < KEPT_JOURNALS)

    def _take(self, journal: Journal, *, recent: bool) -> None:
        """Remember what a journal says: of an old one, what was removed."""
        taken_back, saved, removed = False, b"", array("Q")
        for line in journal.read():
            if isinstance(line, TakenBack):
                taken_back = True
            elif isinstance(line, Saved):
                saved = line.snapshot
            elif isinstance(line, Swap) and recent:
                self._written.setdefault(line.path, []).append((saved, line.wrote))
            elif isinstance(line, Step) and line.removed:
                removed.extend(_number(line.path, digest) for digest in line.removed)
        if removed and not taken_back:
            self._removed.append(array("Q", sorted(removed)))

    def is_removed(self, path: bytes, chat: Chat) -> bool:
        """Whether a cleanup took this chat, as it is here, out of the history at ``path``."""
        if not self._removed:
            return False
        wanted = [_number(path, chat_digest(one, chat.value)) for one in self._digests]
        places = (
            (number, removed, bisect_left(removed, number))
            for removed in self._removed
            for number in wanted
        )
        return any(
            place < len(removed) and removed[place] == number for number, removed, place in places
        )

    def written(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the digests of what was put at ``path``, each after the safety snapshot that was
        taken before.
        """
        return self._written.get(path, [])

    def digests(self, data: bytes) -> list[bytes]:
        """Return the digests by which the journals may know a document."""
        return [one.of(data) for one in self._digests]


def _number(path: bytes, digest: bytes) -> int:
    """Return what a chat at a path is remembered by: of millions in years, eight bytes each."""
    return int.from_bytes(blake3(path + b"\0" + digest).digest(8), "little")
