"""One owner's part of a copy: the record of the source, read, checked and sealed anew.

Called by the workers of operations/copy_tasks.py. Every document that is not in the destination yet
is read and compared with its digest: what is copied is known to be sound.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.scan import Found, describe
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.layout import Place
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.documents import LARGE_BYTES, DocumentReader, DocumentWriter
from shenyu_data.repository.format import (
    Entry,
    Extent,
    FileEntry,
    FileState,
    FolderEntry,
    LastGood,
    OwnerRecord,
    Segment,
)

Key = tuple[int, bytes]
"""Place and name: what an entry is known by within its owner."""


class Part(NamedTuple):
    """Entries to bring: those of ``new``, in the place of those of ``old``, which the destination
    holds already. ``documents`` and ``old_documents`` read them in the source; ``segments`` are the
    new ones'.
    """

    new: list[Entry]
    old: list[Entry]
    segments: list[Segment]
    documents: DocumentReader
    old_documents: DocumentReader


class Damaged(NamedTuple):
    """A document that cannot be read in the source; ``segments`` are those to blame, by nonce."""

    entry: FileEntry
    segments: list[bytes]
    error: RepositoryError


class Here(NamedTuple):
    """A version of a document in the destination."""

    digest: bytes
    extents: list[Extent]


class OwnerCopy:
    """Makes the destination's record of one owner.

    ``before`` is the record there now, ``usable`` the packs that are there: what lies in others is
    stored again. Of shared entries, those stay that no part speaks of.
    """

    def __init__(
        self,
        keys: OwnerKeys,
        writer: DocumentWriter,
        before: OwnerRecord | None,
        usable: frozenset[bytes],
    ) -> None:
        self._keys = keys
        self._writer = writer
        self._known: dict[tuple[bytes, int], Here] = {}
        self._before: dict[Key, Entry] = {}
        self._unusable: set[int] = set()
        self.damaged: list[Damaged] = []
        self.documents = 0
        self.read_bytes = 0
        if before is not None:
            self._before = {(entry.place, entry.name): entry for entry in before.entries}
            self._unusable = {
                index for index, segment in enumerate(before.segments) if segment.pack not in usable
            }

    def take(self, parts: list[Part]) -> list[Entry]:
        """Return the new entries, sorted.

        A document that cannot be read goes into :attr:`damaged`, and is unreadable in what comes
        back.
        """
        entries = self.kept(parts)
        for part in parts:
            self._learn(part.old)
        for part in parts:
            old = {(entry.place, entry.name): entry for entry in part.old}
            for entry in part.new:
                if isinstance(entry, FileEntry):
                    entries.append(self._file(entry, old.get((entry.place, entry.name)), part))
                else:
                    entries.append(entry)
        return sorted(entries, key=lambda entry: (entry.place, entry.name))

    def kept(self, parts: list[Part]) -> list[Entry]:
        """Return the shared entries of the record before that no part speaks of."""
        spoken = {(entry.place, entry.name) for part in parts for entry in part.old}
        return [
            entry
            for key, entry in self._before.items()
            if key not in spoken and entry.place == Place.ANYWHERE
        ]

    def _learn(self, old: list[Entry]) -> None:
        """Match what the source held in the snapshot before with what the destination holds of
        it: those versions need not be read again.
        """
        for theirs in old:
            ours = self._before.get((theirs.place, theirs.name))
            if not isinstance(theirs, FileEntry) or not isinstance(ours, FileEntry):
                continue
            if ours.state == theirs.state != FileState.UNREADABLE:
                self._match(theirs, ours)
            if theirs.good is not None and ours.good is not None:
                self._match(theirs.good, ours.good)

    def _match(self, theirs: FileEntry | LastGood, ours: FileEntry | LastGood) -> None:
        if theirs.size == ours.size and theirs.mtime_ns == ours.mtime_ns and self._usable(ours):
            self._known[theirs.digest, theirs.size] = Here(ours.digest, ours.extents)

    def _usable(self, version: FileEntry | LastGood) -> bool:
        return self._unusable.isdisjoint(index for index, _, _ in version.extents)

    def _file(self, entry: FileEntry, old: Entry | None, part: Part) -> FileEntry:
        replace = msgspec.structs.replace
        good = None
        if entry.good is not None:
            try:
                here = self._version(entry.good, None, part)
                good = replace(entry.good, digest=here.digest, extents=here.extents)
            except RepositoryError as error:
                self._note_damage(entry, entry.good, part, error)
        if entry.state == FileState.UNREADABLE:
            return replace(entry, good=good)
        try:
            here = self._version(entry, old, part)
        except RepositoryError as error:
            self._note_damage(entry, entry, part, error)
            return _unreadable(entry, good)
        return replace(entry, digest=here.digest, extents=here.extents, good=good)

    def _note_damage(
        self, entry: FileEntry, version: FileEntry | LastGood, part: Part, error: RepositoryError
    ) -> None:
        blamed = []
        for index in {index for index, _, _ in version.extents}:
            if index < len(part.segments):
                try:
                    part.documents.check_segment(index)
                except RepositoryError:
                    blamed.append(part.segments[index].nonce)
        self.damaged.append(Damaged(entry, blamed, error))

    def _version(self, version: FileEntry | LastGood, old: Entry | None, part: Part) -> Here:
        identity = (version.digest, version.size)
        here = self._known.get(identity)
        if here is None:
            if version.size > LARGE_BYTES:
                here = self._stream(version, part.documents)
            else:
                data = part.documents.read(version)
                here = Here(self._keys.digest(data), self._store(data, version, old, part))
            self.documents += 1
            self.read_bytes += version.size
            self._known[identity] = here
        return here

    def _stream(self, version: FileEntry | LastGood, documents: DocumentReader) -> Here:
        extents: list[Extent] = []
        digest = self._keys.new_digest()

        def store(piece: bytes) -> None:
            digest.update(piece)
            extents.extend(self._writer.append(piece))

        documents.stream(version, store)
        return Here(digest.digest(16), extents)

    def _store(
        self, data: bytes, version: FileEntry | LastGood, old: Entry | None, part: Part
    ) -> list[Extent]:
        """Store a document, sharing what it can with its version before: the source is asked for
        that one's bytes, which may be nearer than the destination.
        """
        if not isinstance(version, FileEntry) or not isinstance(old, FileEntry):
            return self._writer.append(data)
        ours = self._before.get((version.place, version.name))
        known = self._known.get((old.digest, old.size))
        if (
            not isinstance(ours, FileEntry)
            or known is None
            or known.digest != ours.digest
            or not self._usable(ours)
            or old.size > LARGE_BYTES
        ):
            return self._writer.append(data)
        try:
            bytes_before = part.old_documents.read(old)
        except RepositoryError:
            return self._writer.append(data)
        return self._writer.add(data, ours, bytes_before)


def describe_entries(entries: list[Entry]) -> bytes:
    """Return what a scan of these very entries would be described as, as far as they say.

    A link's entry says too little: with one among them, no scan is described so.
    """
    return describe(
        Found(Place(entry.place), entry.name, _stat(entry))
        for entry in sorted(entries, key=lambda entry: (entry.place, entry.name))
    )


def _stat(entry: Entry) -> os.stat_result:
    kind = (
        stat.S_IFREG
        if isinstance(entry, FileEntry)
        else stat.S_IFDIR
        if isinstance(entry, FolderEntry)
        else stat.S_IFLNK
    )
    mode = kind | getattr(entry, "mode", 0)
    inode, links, size = (getattr(entry, name, 0) for name in ("inode", "links", "size"))
    times = {"st_mtime_ns": entry.mtime_ns, "st_ctime_ns": getattr(entry, "ctime_ns", 0)}
    return os.stat_result((mode, inode, 0, links, entry.uid, entry.gid, size, 0, 0, 0), times)


def _unreadable(entry: FileEntry, good: LastGood | None) -> FileEntry:
    return msgspec.structs.replace(
        entry,
        state=FileState.UNREADABLE,
        ctime_ns=0,
        size=0,
        digest=b"",
        chats=0,
        messages=0,
        extents=[],
        good=good,
    )
