"""Documents to and from segments: what a record's extents mean, and how new ones come about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from shenyu_data.model.errors import ObjectDamaged, RepositoryError
from shenyu_data.repository.crypto import DIGEST_BYTES, OwnerKeys
from shenyu_data.repository.delta import compare
from shenyu_data.repository.format import (
    Entry,
    Extent,
    FileEntry,
    LastGood,
    ObjectKind,
    OwnerRecord,
    Segment,
    damaged,
    object_name,
)
from shenyu_data.repository.packs import SEGMENT_BYTES, PackWriter, SegmentReader

LARGE_BYTES = 32 << 20
"""Larger documents are never held in memory whole."""

MAX_EXTENTS = 24
"""A document in more pieces than this is stored whole again, so that restoring it stays cheap."""


class DocumentReader:
    """Puts the documents of one owner's record together again."""

    def __init__(
        self, segments: Sequence[Segment], keys: list[OwnerKeys], reader: SegmentReader
    ) -> None:
        self._segments = segments
        self._keys = keys
        self._reader = reader

    def read(self, file: FileEntry | LastGood) -> bytes:
        """Return a document's bytes, checked against its digest.

        Raise ObjectMissing or ObjectDamaged, naming the pack.
        """
        extents = file.extents
        if len(extents) == 1:
            data = self._piece(extents[0])
        else:
            data = b"".join([self._piece(extent) for extent in extents])
        for keys in self._keys:
            if keys.digest(data) == file.digest:
                return data
        raise self._wrong_digest(file)

    def stream(self, file: FileEntry | LastGood, sink: Callable[[bytes], object]) -> None:
        """As :meth:`read`, of a document that memory may not hold: give it away piece by piece.

        If this raises, what ``sink`` got is worth nothing.
        """
        for piece in self.pieces(file):
            sink(piece)

    def pieces(self, file: FileEntry | LastGood) -> Iterator[bytes]:
        """As :meth:`stream`, for whoever asks for one piece after another; only when they have come
        to their end without an error were they right.
        """
        digests = [keys.new_digest() for keys in self._keys]
        for extent in file.extents:
            piece = self._piece(extent)
            for digest in digests:
                digest.update(piece)
            yield piece
        if all(digest.digest(DIGEST_BYTES) != file.digest for digest in digests):
            raise self._wrong_digest(file)

    def check(self, file: FileEntry | LastGood) -> int:
        """Read a document, whatever its size, and forget it; return its size in bytes.

        Raises as :meth:`read` does.
        """
        if file.size <= LARGE_BYTES:
            return len(self.read(file))
        self.stream(file, len)
        return file.size

    def _wrong_digest(self, file: FileEntry | LastGood) -> ObjectDamaged:
        extents = file.extents
        return damaged(
            object_name(ObjectKind.PACK, self._segments[extents[0][0]].pack)
            if extents
            else "a manifest",
            "a document put together from it has the wrong digest",
        )

    def check_segment(self, index: int) -> None:
        """Read one segment. Raise ObjectMissing or ObjectDamaged, naming the pack."""
        self._reader.read(self._keys, self._segments[index])

    def _piece(self, extent: Extent) -> bytes:
        index, offset, length = extent
        if not 0 <= index < len(self._segments):
            raise damaged("a manifest", "a record refers to a segment it does not list")
        segment = self._segments[index]
        plain = self._reader.read(self._keys, segment)
        end = offset + length
        if not 0 <= offset <= end <= len(plain):
            name = object_name(ObjectKind.PACK, segment.pack)
            raise damaged(name, "a document reaches beyond its segment")
        return plain[offset:end]


class DocumentWriter:
    """Stores one owner's new documents, sharing what it can with the record before.

    Extents it returns count the old record's segments first; :meth:`finish` drops those no longer
    used.
    """

    def __init__(
        self,
        keys: list[OwnerKeys],
        packs: PackWriter,
        old_segments: Sequence[Segment],
        reader: SegmentReader,
    ) -> None:
        self._keys = keys
        self._packs = packs
        self._reader = reader
        self._old = DocumentReader(old_segments, keys, reader)
        self._old_segments = len(old_segments)
        self._segments = list(old_segments)
        self._buffer: list[bytes] = []
        self._buffered = 0

    def is_sound(self, segment: Segment) -> bool:
        """Whether one of the old record's segments can still be read."""
        return self._reader.is_sound(self._keys, segment)

    def read_old(self, file: FileEntry | LastGood) -> bytes:
        """Return the bytes of a document of the old record. Raises as a reader's ``read``."""
        return self._old.read(file)

    def add(
        self, data: bytes, previous: FileEntry | None, old: bytes | None = None
    ) -> list[Extent]:
        """Store a document's bytes; ``previous`` is its version in the record before, and ``old``
        that one's bytes, if they are at hand.
        """
        if previous is not None and previous.extents and previous.size <= LARGE_BYTES:
            shared = self._share(data, previous, old)
            if shared is not None:
                return shared
        return self.append(data)

    def append(self, data: bytes) -> list[Extent]:
        """Store bytes as they are; may be called again and again for the pieces of one large
        document.
        """
        size = len(data)
        if 0 < size < SEGMENT_BYTES - self._buffered:
            extents = [(len(self._segments), self._buffered, size)]
            self._buffer.append(data)
            self._buffered += size
            return extents
        extents = []
        position = 0
        while position < len(data):
            length = min(len(data) - position, SEGMENT_BYTES - self._buffered)
            extents.append((len(self._segments), self._buffered, length))
            self._buffer.append(data[position : position + length] if length < len(data) else data)
            self._buffered += length
            position += length
            if self._buffered >= SEGMENT_BYTES:
                self._flush()
        return extents

    def finish(self, owner: bytes, shared: bool, entries: list[Entry]) -> OwnerRecord:
        """Seal what is buffered and return the record, with only the segments that its
        entries use.
        """
        self._flush()
        if not self._old_segments:
            return OwnerRecord(owner, shared, self._segments, entries)
        used = sorted({index for entry in entries for index, _, _ in _all_extents(entry)})
        if len(used) == len(self._segments):
            return OwnerRecord(owner, shared, self._segments, entries)
        renumbered = {index: number for number, index in enumerate(used)}
        return OwnerRecord(
            owner,
            shared,
            [self._segments[index] for index in used],
            [_renumber(entry, renumbered) for entry in entries],
        )

    def _flush(self) -> None:
        if self._buffered:
            plain = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
            self._segments.append(self._packs.add(self._keys[0], plain))
            self._buffer = []
            self._buffered = 0

    def _share(self, data: bytes, previous: FileEntry, old: bytes | None) -> list[Extent] | None:
        if old is None:
            try:
                old = self._old.read(previous)
            except RepositoryError:
                return None  # damaged: verify tells; the new version must not lean on it
        pieces = compare(old, data)
        if all(piece.old_offset is None for piece in pieces):
            return None
        extents: list[Extent] = []
        for piece in pieces:
            if piece.old_offset is not None:
                extents += cut(previous.extents, piece.old_offset, piece.length)
        if len(extents) + len(pieces) > MAX_EXTENTS:
            return None
        extents = []
        for piece in pieces:
            if piece.old_offset is None:
                extents += self.append(data[piece.start : piece.start + piece.length])
            else:
                extents += cut(previous.extents, piece.old_offset, piece.length)
        return extents


def cut(extents: Sequence[Extent], start: int, length: int) -> list[Extent]:
    """Given a document's extents, return those of ``length`` bytes of it from ``start``."""
    result: list[Extent] = []
    for index, offset, size in extents:
        if start < size and length > 0:
            taken = min(size - start, length)
            result.append((index, offset + start, taken))
            length -= taken
            start = 0
        else:
            start -= min(start, size)
    return result


def _all_extents(entry: Entry) -> list[Extent]:
    if not isinstance(entry, FileEntry):
        return []
    return entry.extents if entry.good is None else entry.extents + entry.good.extents


def _renumber(entry: Entry, numbers: dict[int, int]) -> Entry:
    if not isinstance(entry, FileEntry):
        return entry
    good = entry.good
    if good is not None:
        good = msgspec.structs.replace(good, extents=_renumbered(good.extents, numbers))
    return msgspec.structs.replace(entry, extents=_renumbered(entry.extents, numbers), good=good)


def _renumbered(extents: list[Extent], numbers: dict[int, int]) -> list[Extent]:
    return [(numbers[index], offset, length) for index, offset, length in extents]
