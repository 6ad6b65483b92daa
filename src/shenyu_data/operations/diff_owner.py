"""How two records of one owner differ, in documents, chats and messages. Pure but for what
``same`` reads. Called by ``diff``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shenyu_data.model.findings import printable
from shenyu_data.model.layout import kind_of, path_of
from shenyu_data.repository.format import (
    Entry,
    FileEntry,
    FileState,
    FolderEntry,
    LastGood,
    LinkEntry,
    OwnerRecord,
)

Bytes = FileEntry | LastGood
"""A version of a document: an entry's own, or its last good one."""

Same = Callable[[Bytes, Bytes], bool]
"""Whether two versions, the first of the record before, have the same bytes."""


class DocumentDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that differs. ``change``: added, removed, changed (its bytes), or ``attributes``
    (only its mode, owner or time). ``kind``: user, history, other; or folder, link. States and
    sizes are null on the side where it is not.
    """

    path: str
    kind: str
    change: str
    state_before: str | None
    state_after: str | None
    size_before_bytes: int | None
    size_after_bytes: int | None
    chats_before: int
    chats_after: int
    messages_before: int
    messages_after: int


class OwnerDiff(msgspec.Struct, kw_only=True):
    """How one user differs; ``user`` is null for what belongs to nobody. ``other`` counts folders
    and links, and entries of which only mode, owner or time differ.

    Chats added and removed are the net of each document, by its count: a chat that made room for
    another is not seen. Before and after are those of documents that differ.
    """

    user: str | None
    change: str
    documents_added: int = 0
    documents_removed: int = 0
    documents_changed: int = 0
    other: int = 0
    chats_added: int = 0
    chats_removed: int = 0
    chats_before: int = 0
    chats_after: int = 0
    messages_before: int = 0
    messages_after: int = 0

    def add(self, item: DocumentDiff) -> None:
        """Count one entry."""
        if item.kind in ("folder", "link") or item.change == "attributes":
            self.other += 1
            return
        name = f"documents_{item.change}"
        setattr(self, name, getattr(self, name) + 1)
        self.chats_added += max(0, item.chats_after - item.chats_before)
        self.chats_removed += max(0, item.chats_before - item.chats_after)
        for name in ("chats_before", "chats_after", "messages_before", "messages_after"):
            setattr(self, name, getattr(self, name) + getattr(item, name))

    @property
    def rank(self) -> tuple[int, int, int, int, str]:
        """Orders users: whoever lost most first."""
        lost = max(0, self.messages_before - self.messages_after)
        changed = self.documents_added + self.documents_changed + self.other
        return (-lost, -self.chats_removed, -self.documents_removed, -changed, self.user or "")


def owner_diff(
    before: OwnerRecord | None, after: OwnerRecord | None, found: list[DocumentDiff]
) -> OwnerDiff | None:
    """Add up what :func:`document_diffs` found; None if nothing differs."""
    record = after or before
    if record is None or not found:
        return None
    change = "added" if before is None else "removed" if after is None else "changed"
    result = OwnerDiff(user=None if record.shared else printable(record.owner), change=change)
    for item in found:
        result.add(item)
    return result


def document_diffs(
    before: OwnerRecord | None, after: OwnerRecord | None, same: Same
) -> Iterator[DocumentDiff]:
    """Yield every entry that differs, by place and name."""
    record = after or before
    if record is None:
        return
    old, new = _entries(before), _entries(after)
    for place, name, kind in sorted(old.keys() | new.keys()):
        one, other = old.get((place, name, kind)), new.get((place, name, kind))
        change = _change(one, other, same)
        if change is not None:
            path = printable(path_of(record.owner, place, name)) or "."
            yield _diff(path, change, one, other)


def version_of(entry: FileEntry) -> Bytes | None:
    """Return what a restore would give of a document: of an unreadable one its last good
    version.
    """
    return entry.good if entry.state == FileState.UNREADABLE else entry


def _entries(record: OwnerRecord | None) -> dict[tuple[int, bytes, str], Entry]:
    if record is None:
        return {}
    return {(item.place, item.name, _kind(item)): item for item in record.entries}


def _kind(entry: Entry) -> str:
    if isinstance(entry, FileEntry):
        return kind_of(entry.place, entry.name)
    return "folder" if isinstance(entry, FolderEntry) else "link"


def _change(before: Entry | None, after: Entry | None, same: Same) -> str | None:
    if before is None or after is None:
        return "added" if before is None else "removed"
    if isinstance(before, FileEntry) and isinstance(after, FileEntry):
        old, new = version_of(before), version_of(after)
        if old is None or new is None:
            return None if old is new else "changed"
        if not same(old, new):
            return "changed"
        alike = (old.mode, old.mtime_ns) == (new.mode, new.mtime_ns)
    elif isinstance(before, LinkEntry) and isinstance(after, LinkEntry):
        if before.target != after.target:
            return "changed"
        alike = before.mtime_ns == after.mtime_ns
    elif isinstance(before, FolderEntry) and isinstance(after, FolderEntry):
        alike = (before.mode, before.mtime_ns) == (after.mode, after.mtime_ns)
    else:
        return "changed"
    alike = alike and (before.uid, before.gid) == (after.uid, after.gid)
    return None if alike else "attributes"


def _diff(path: str, change: str, before: Entry | None, after: Entry | None) -> DocumentDiff:
    old = before if isinstance(before, FileEntry) else None
    new = after if isinstance(after, FileEntry) else None
    some = before or after
    return DocumentDiff(
        path=path,
        kind=_kind(some) if some is not None else "other",
        change=change,
        state_before=_state(old),
        state_after=_state(new),
        size_before_bytes=old.size if old is not None else None,
        size_after_bytes=new.size if new is not None else None,
        chats_before=old.chats if old is not None else 0,
        chats_after=new.chats if new is not None else 0,
        messages_before=old.messages if old is not None else 0,
        messages_after=new.messages if new is not None else 0,
    )


def _state(entry: FileEntry | None) -> str | None:
    return FileState(entry.state).name.lower() if entry is not None else None
