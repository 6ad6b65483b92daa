"""The guide's ``export.json``, read one document at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from shenyu_data.exchange.guide import VERSION
from shenyu_data.exchange.guide_members import (
    SMALL_BYTES,
    GuideDocument,
    histories_of,
    user_document,
)
from shenyu_data.exchange.guide_stretch import GuideStretch
from shenyu_data.exchange.items import Item, LeftOut, Record
from shenyu_data.exchange.json_stream import JsonStream, Stretch
from shenyu_data.exchange.streams import PlainFile
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import printable

_MOST_UNKNOWN = 1000
PART_BYTES = 1 << 20
"""So much a worker looks into at a time."""
_MOST_PART_BYTES = 8 << 20
_ENTRY_BYTES = 500
"""What an entry takes beside its value."""


_Place = tuple[str, str, bytes | None, int, int]
"""A document without its value, but with how long that is."""


class GuideDocuments:
    """Documents and folders of some users, in a row: whoever takes them may look into them
    elsewhere.

    Of an export in a plain file, pickled ones are but their places there.
    """

    __slots__ = ("_entries", "_file", "size")

    def __init__(
        self,
        entries: Sequence[GuideDocument | _Place | Item],
        size: int,
        file: PlainFile | None = None,
    ) -> None:
        self._entries = entries
        self._file = file
        self.size = size

    def __reduce__(self) -> tuple[object, ...]:
        if self._file is None:
            return GuideDocuments, (self._entries, self.size)
        places = [
            (*entry[:4], len(entry.value)) if isinstance(entry, GuideDocument) else entry
            for entry in self._entries
        ]
        return GuideDocuments, (places, self.size, self._file)

    @property
    def is_full(self) -> bool:
        """Whether there are likely more of them."""
        return self.size > PART_BYTES // 2

    def records(self) -> Iterator[Record]:
        """Yield what they are. Raise ArchiveError if they cannot be read."""
        begin, text = 0, b""
        for entry in self._entries:
            if isinstance(entry, GuideDocument):
                yield entry.record()
            elif isinstance(entry, Item):
                yield entry
            else:
                part, key, path, at, size = entry
                if not text:
                    begin, text = at, self._read(at)
                value = text[at - begin : at - begin + size]
                yield GuideDocument(part, key, path, at, value).record()

    def _read(self, begin: int) -> bytes:
        """Return what stands in the file from the first document to the last."""
        if self._file is None:
            return b""
        end = begin
        for entry in self._entries:
            if not isinstance(entry, GuideDocument | Item):
                end = entry[3] + entry[4]
        return self._file.read(begin, end - begin)


class GuideReader:
    """Reads an export from ``read(count)``. ``file``: where workers may read it themselves, and
    in stretches of at most ``stretch_bytes`` all by themselves; 0: in none. ``names`` counts the
    names that histories got, but in stretches.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        file: PlainFile | None = None,
        *,
        stretch_bytes: int = 0,
    ) -> None:
        self._json = JsonStream(read)
        self._file = file
        self._stretch_bytes = stretch_bytes if file is not None else 0
        self._found: set[str] = set()
        self.names: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Record]:
        """Yield the documents. Raise ArchiveDamaged if it is no JSON or cut off, ArchiveError if it
        is of a version that nobody knows.
        """
        for part in self.parts():
            if isinstance(part, GuideDocuments | GuideStretch):
                yield from part.records()
            else:
                yield part

    def parts(self) -> Iterator[GuideDocuments | GuideStretch | Record]:
        """As iterating, but yield many documents at a time, which are still to be looked into."""
        waiting: list[GuideDocument | Item] = []
        size = 0
        entries = self._entries()
        while True:
            try:
                entry = next(entries, None)
            except ArchiveError:
                if waiting:
                    yield GuideDocuments(waiting, size, self._file)
                raise
            if waiting and (entry is None or _is_cut(entry, size)):
                yield GuideDocuments(waiting, size, self._file)
                waiting, size = [], 0
            if entry is None:
                return
            if isinstance(entry, LeftOut | GuideStretch):
                yield entry
                continue
            waiting.append(entry)
            size += _ENTRY_BYTES
            if isinstance(entry, GuideDocument):
                size += len(entry.key) + len(entry.value)

    def _entries(self) -> Iterator[GuideDocument | Item | LeftOut | GuideStretch]:
        unknown = 0
        for key in self._json.members():
            self._found.add(key)
            if key == "users" and self._json.next_is(b"{"):
                yield from self._users()
            elif key == "histories" and self._json.next_is(b"{"):
                yield from self._histories()
            elif key == "version":
                self._check_version(self._json.value())
            elif key == "exportDate":
                self._json.value()
            else:
                unknown += 1
                if unknown > _MOST_UNKNOWN:
                    raise ArchiveError(
                        f"it has more than {_MOST_UNKNOWN:,} members that the format does not know",
                        hint="Give the file export.json that the guide's script wrote.",
                    )
                yield LeftOut(printable(key[:SMALL_BYTES]), "the format knows no such member")
                self._json.value()
        self._json.end()
        if not self._found & {"users", "histories"}:
            raise ArchiveError(
                "it is no export of the guide's: it has neither users nor histories",
                hint="Give the file export.json that the guide's script wrote.",
            )

    def _users(self) -> Iterator[GuideDocument | GuideStretch]:
        for key in self._json.parts(self._stretch_bytes):
            if isinstance(key, Stretch):
                yield from self._stretch("users", key)
            else:
                yield user_document(self._json, key)

    def _histories(self) -> Iterator[GuideDocument | Item | LeftOut | GuideStretch]:
        for key in self._json.parts(self._stretch_bytes, last="users" in self._found):
            if isinstance(key, Stretch):
                yield from self._stretch("histories", key)
            else:
                yield from histories_of(self._json, key, self.names)

    def _stretch(self, part: str, stretch: Stretch) -> Iterator[GuideStretch]:
        if self._file is not None:
            yield GuideStretch(self._file, part, stretch)

    def _check_version(self, value: bytes) -> None:
        try:
            version = msgspec.json.decode(value, type=str)
        except (ValueError, RecursionError):
            version = value[:SMALL_BYTES].decode("utf-8", "replace")
        if version != VERSION:
            raise ArchiveError(
                f"the export is of version {printable(version)[:SMALL_BYTES]}, and this "
                f"program knows {VERSION}",
                hint="Look what wrote it, and whether a newer version of this program knows it.",
            )


def _is_cut(entry: GuideDocument | Item | LeftOut | GuideStretch, size: int) -> bool:
    """Whether a part of so many bytes ends before an entry: between users, if it can be."""
    if isinstance(entry, LeftOut | GuideStretch) or size >= _MOST_PART_BYTES:
        return True
    return size >= PART_BYTES and (isinstance(entry, Item) or entry.part == "users")
