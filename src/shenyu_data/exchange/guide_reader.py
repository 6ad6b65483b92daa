"""The guide's ``export.json``, read one document at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shenyu_data.exchange.guide import ARRAY_NAMES, VERSION, Names
from shenyu_data.exchange.items import Damage, Item, LeftOut, Record
from shenyu_data.exchange.json_stream import JsonStream
from shenyu_data.exchange.json_text import indented
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, JSON_SUFFIX, USERS, is_plain_name

_SMALL_BYTES = 100


class GuideReader:
    """Reads an export from ``read(count)``. ``names`` counts the names that histories got."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._json = JsonStream(read)
        self._found: set[str] = set()
        self.names: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Record]:
        """Yield the documents. Raise ArchiveDamaged if it is no JSON or cut off, ArchiveError if it
        is of a version that nobody knows.
        """
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
                yield LeftOut(printable(key[:_SMALL_BYTES]), "the format knows no such member")
                self._json.value()
        self._json.end()
        if not self._found & {"users", "histories"}:
            raise ArchiveError(
                "it is no export of the guide's: it has neither users nor histories",
                hint="Give the file export.json that the guide's script wrote.",
            )

    def _users(self) -> Iterator[Record]:
        for key in self._json.members():
            yield self._document(b"users", key, self._json.value(), USERS, None)

    def _histories(self) -> Iterator[Record]:
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
                yield self._document(b"histories", key, value, folder, name)

    def _document(
        self, where: bytes, key: str, value: bytes, folder: bytes, name: bytes | None
    ) -> Record:
        user = _name(key)
        place = f"{where.decode()} of {printable(key[:_SMALL_BYTES])}"
        if not is_plain_name(user):
            return LeftOut(place, "such a name leads elsewhere")
        try:
            data = indented(value)
        except ValueError as error:
            return Damage(place, f"it is no JSON: {error}")
        path = folder + b"/" + (name if name is not None else user + JSON_SUFFIX)
        return Item(kind="file", path=path, data=data)

    def _check_version(self, value: bytes) -> None:
        try:
            version = msgspec.json.decode(value)
        except msgspec.DecodeError:
            version = None
        if version != VERSION:
            raise ArchiveError(
                f"the export is of version {printable(str(version))[:_SMALL_BYTES]}, and this "
                f"program knows {VERSION}",
                hint="Look what wrote it, and whether a newer version of this program knows it.",
            )


def _name(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        return b""  # half a character: no name
