"""The users of the guide's ``export.json``, and the histories of each, one document at a time. For
``guide_reader.py`` and ``guide_stretch.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shenyu_data.exchange.guide import Names
from shenyu_data.exchange.items import Damage, Item, LeftOut, Record
from shenyu_data.exchange.json_stream import JsonStream
from shenyu_data.exchange.json_text import indented
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, JSON_SUFFIX, USERS, is_plain_name

SMALL_BYTES = 100
"""So much of a name is told."""


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
        return record_of(self.part, self.key, self.path, self.value)


def record_of(part: str, key: str, path: bytes | None, value: bytes) -> Record:
    """Return the item that a document makes."""
    if path is not None:
        try:
            return Item(kind="file", path=path, data=indented(value))
        except ValueError as error:
            return Damage(_place(part, key), f"it is no JSON: {error}")
    return LeftOut(_place(part, key), "such a name leads elsewhere")


def _place(part: str, key: str) -> str:
    return f"{part} of {printable(key[:SMALL_BYTES])}"


def user_document(stream: JsonStream, key: str) -> GuideDocument:
    """Read the document of a user."""
    value = stream.value()
    return GuideDocument("users", key, user_path(key), stream.position - len(value), value)


def histories_of(
    stream: JsonStream, key: str, counts: dict[bytes, int]
) -> Iterator[GuideDocument | Item | LeftOut]:
    """Read the histories of a user. ``counts`` counts the names that they get."""
    if not stream.next_is(b"["):
        yield LeftOut(printable(key[:SMALL_BYTES]), "its histories are not in an array")
        stream.value()
        return
    folder = folder_of(key)
    yield folder
    if not isinstance(folder, Item):
        stream.value()
        return
    names = Names()
    try:
        for _ in stream.elements():
            value = stream.value()
            path = b"%b/%b" % (folder.path, names.next(value))
            yield GuideDocument("histories", key, path, stream.position - len(value), value)
    finally:
        names.add_to(counts)


def user_path(key: str) -> bytes | None:
    """Return where the document of a user belongs; None if there can be none."""
    user = _name(key)
    return USERS + b"/" + user + JSON_SUFFIX if is_plain_name(user) else None


def folder_of(key: str) -> Item | LeftOut:
    """Return the folder of a user's histories."""
    name = _name(key)
    if not is_plain_name(name):
        return LeftOut(printable(key[:SMALL_BYTES]), "such a name leads elsewhere")
    return Item(kind="folder", path=HISTORIES + b"/" + name, data=b"", mode=0o700)


def _name(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        return b""  # half a character: no name
