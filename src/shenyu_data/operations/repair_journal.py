"""What the journals tell a repair: which chats cleanups removed, which versions were put back.
Called by operations/repair_past.py.
"""

from __future__ import annotations

from shenyu_data.model.chats import Chat
from shenyu_data.operations.journal import (
    Began,
    Digests,
    Journals,
    Line,
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
        self._removed: dict[bytes, set[bytes]] = {}
        self._written: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for journal in journals.newest_first():
            lines = journal.lines()
            began = next((line for line in lines if isinstance(line, Began)), None)
            if began is not None and began.repository == repository.keys.repository_id:
                self._take(lines)

    def _take(self, lines: list[Line]) -> None:
        taken_back = any(isinstance(line, TakenBack) for line in lines)
        saved = b""
        for line in lines:
            if isinstance(line, Saved):
                saved = line.snapshot
            elif isinstance(line, Swap):
                self._written.setdefault(line.path, []).append((saved, line.wrote))
            elif isinstance(line, Step) and line.removed and not taken_back:
                self._removed.setdefault(line.path, set()).update(line.removed)

    def is_removed(self, path: bytes, chat: Chat) -> bool:
        """Whether a cleanup took this chat, as it is here, out of the history at ``path``."""
        removed = self._removed.get(path)
        return removed is not None and chat_digest(self._digests, chat.value) in removed

    def written(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the digests of what was put at ``path``, each after the safety snapshot that was
        taken before.
        """
        return self._written.get(path, [])

    def digest(self, data: bytes) -> bytes:
        """Return the digest of a document as the journals have it."""
        return self._digests.of(data)
