"""What a bucket holds, added up record by record. For operations that write sections. Pure."""

from __future__ import annotations

import msgspec

from shenyu_data.model.layout import kind_of
from shenyu_data.repository.format import FileEntry, FileState, OwnerRecord, Totals


class RunningTotals:
    """A bucket's totals while they are being added up."""

    def __init__(self, start: Totals) -> None:
        self._totals = list(msgspec.structs.astuple(start))

    def add(self, record: OwnerRecord, sign: int = 1) -> None:
        """Count one owner's record in, or with ``sign`` -1 out."""
        users = histories = chats = messages = documents = size = torn = unreadable = 0
        for entry in record.entries:
            if type(entry) is FileEntry:
                kind = kind_of(entry.place, entry.name)
                if kind == "history":
                    histories += 1
                    chats += entry.chats
                    messages += entry.messages
                elif kind == "user":
                    users += 1
                documents += 1
                size += entry.size
                if entry.state >= FileState.TORN:
                    torn += entry.state == FileState.TORN
                    unreadable += entry.state == FileState.UNREADABLE
        counts = (users, histories, chats, messages, documents, size, torn, unreadable)
        for index, count in enumerate(counts):
            self._totals[index] += sign * count

    def totals(self) -> Totals:
        """Return the sums."""
        return Totals(*self._totals)
