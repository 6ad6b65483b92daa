"""The guide's ``export.json``, read one document at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from shenyu_data.exchange.guide import ARRAY_NAMES, VERSION, Names
from shenyu_data.exchange.items import Damage, Item, LeftOut, Record
from shenyu_data.exchange.json_stream import JsonStream
from shenyu_data.exchange.json_text import indented
from shenyu_data.exchange.streams import PlainFile
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, JSON_SUFFIX, USERS, is_plain_name

_SMALL_BYTES = 100
_MOST_UNKNOWN = 1000
_PART_BYTES = 1 << 20
_MOST_PART_BYTES = 8 << 20
_ENTRY_BYTES = 500
"""What an entry takes beside its value."""


class GuideDocument(NamedTuple):
    """A document as it stands in the export: of whom, in which part, where it belongs, and at which
    byte its ``value`` begins.
    """

    part: str
    key: str
    path: bytes | None
    """None: its user has no name that could be a file's."""
    at: int
    value: bytes

    def record(self) -> Record:
        """Return the item it makes."""
        place = f"{self.part} of {printable(self.key[:_SMALL_BYTES])}"
        if self.path is None:
            return LeftOut(place, "such a name leads elsewhere")
        try:
            return Item(kind="file", path=self.path, data=indented(self.value))
        except ValueError as error:
            return Damage(place, f"it is no JSON: {error}")


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
        return self.size > _PART_BYTES // 2

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
    """Reads an export from ``read(count)``. ``file``: where workers may read it themselves;
    ``names`` counts the names that histories got.
    """

    def __init__(self, read: Callable[[int], bytes], file: PlainFile | None = None) -> None:
        self._json = JsonStream(read)
        self._file = file
        self._found: set[str] = set()
        self.names: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Record]:
        """Yield the documents. Raise ArchiveDamaged if it is no JSON or cut off, ArchiveError if it
        is of a version that nobody knows.
        """
        for part in self.parts():
            if isinstance(part, GuideDocuments):
                yield from part.records()
            else:
                yield part

    def parts(self) -> Iterator[GuideDocuments | Record]:
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
            if isinstance(entry, LeftOut):
                yield entry
                continue
            waiting.append(entry)
            size += _ENTRY_BYTES
            if isinstance(entry, GuideDocument):
                size += len(entry.key) + len(entry.value)

    def _entries(self) -> Iterator[GuideDocument | Item | LeftOut]:
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
                yield LeftOut(printable(key[:_SMALL_BYTES]), "the format knows no such member")
                self._json.value()
        self._json.end()
        if not self._found & {"users", "histories"}:
            raise ArchiveError(
                "it is no export of the guide's: it has neither users nor histories",
                hint="Give the file export.json that the guide's script wrote.",
            )

    def _users(self) -> Iterator[GuideDocument]:
        for key in self._json.members():
            user = _name(key)
            path = USERS + b"/" + user + JSON_SUFFIX if is_plain_name(user) else None
            value = self._json.value()
            yield GuideDocument("users", key, path, self._json.position - len(value), value)

    def _histories(self) -> Iterator[GuideDocument | Item | LeftOut]:
        for key in self._json.members():
            if not self._json.next_is(b"["):
                yield LeftOut(printable(key[:_SMALL_BYTES]), "its histories are not in an array")
                self._json.value()
                continue
            names = Names()
            folder = HISTORIES + b"/" + _name(key)
            if not is_plain_name(_name(key)):
                yield LeftOut(printable(key[:_SMALL_BYTES]), "such a name leads elsewhere")
                self._json.value()
                continue
            yield Item(kind="folder", path=folder, data=b"", mode=0o700)
            for _ in self._json.elements():
                value = self._json.value()
                name = names.next(value)
                known = name if name in ARRAY_NAMES else b""
                self.names[known] = self.names.get(known, 0) + 1
                at = self._json.position - len(value)
                yield GuideDocument("histories", key, folder + b"/" + name, at, value)

    def _check_version(self, value: bytes) -> None:
        try:
            version = msgspec.json.decode(value, type=str)
        except (ValueError, RecursionError):
            version = value[:_SMALL_BYTES].decode("utf-8", "replace")
        if version != VERSION:
            raise ArchiveError(
                f"the export is of version {printable(version)[:_SMALL_BYTES]}, and this "
                f"program knows {VERSION}",
                hint="Look what wrote it, and whether a newer version of this program knows it.",
            )


def _is_cut(entry: GuideDocument | Item | LeftOut, size: int) -> bool:
    """Whether a part of so many bytes ends before an entry: between users, if it can be."""
    if isinstance(entry, LeftOut) or size >= _MOST_PART_BYTES:
        return True
    return size >= _PART_BYTES and (isinstance(entry, Item) or entry.part == "users")


def _name(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        return b""  # half a character: no name
