"""What an export in the guide's format makes of each owner, and what it must leave out."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from operator import itemgetter

from shenyu_data.datadir.scan import Found, Scan
from shenyu_data.exchange.guide import HISTORY_COLUMN, USER_COLUMN, Names, member
from shenyu_data.exchange.items import Item
from shenyu_data.exchange.json_text import indented
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, USERS, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.operations.export_source import Source


class GuideUsers:
    """The users of an export in the guide's format."""

    separator = b","
    users_only = True
    histories_only = False

    def owner(self, source: Source, scan: Scan, owner: bytes) -> Iterator[bytes]:
        """Yield the member of one user; nothing if there is no document of it."""
        entries = [found for found in scan.entries if found.place <= Place.USER_FILE_GZIP]
        for number, found in enumerate(entries):
            item = source.item(found, owner)
            if item is None:
                continue
            name = _text(source, source.name_of(owner), item.path)
            value = _value(source, item, USER_COLUMN) if name is not None else None
            if name is None or value is None:
                continue
            source.lose("times")
            yield member(name) + value
            for twin in entries[number + 1 :]:
                source.lose("compressed_twins", path_of(owner, twin.place, twin.name), _TWIN)
            return


class GuideHistories:
    """The histories of an export in the guide's format."""

    separator = b","
    users_only = False
    histories_only = True

    def owner(self, source: Source, scan: Scan, owner: bytes) -> Iterator[bytes]:
        """Yield the member of one user, in pieces; nothing if there is no folder of histories."""
        folder = next((found for found in scan.entries if _is_folder(found)), None)
        if folder is None or not owner:
            self._lose_all(source, scan, owner)
            return
        name = _text(source, source.name_of(owner), path_of(owner, Place.HISTORY_FOLDER, b""))
        if name is None:
            return
        yield member(name) + b"["
        names, some = Names(), 0
        file_names = 0
        for found in sorted(scan.entries, key=itemgetter(1)):  # by name
            if not _is_history(found):
                self._lose(source, found, owner)
                continue
            item = source.item(found, owner)
            value = _value(source, item, HISTORY_COLUMN) if item is not None else None
            if value is None:
                continue
            if names.next(value) != found.name:
                file_names += 1
            yield b",\n      " if some else b"\n      "
            yield value
            some += 1
        source.lose("file_names", count=file_names)
        source.lose("times", count=some)
        yield b"\n    ]" if some else b"]"

    def _lose_all(self, source: Source, scan: Scan, owner: bytes) -> None:
        for found in scan.entries:
            self._lose(source, found, owner)

    def _lose(self, source: Source, found: Found, owner: bytes) -> None:
        """Take note of an entry that the format has no place for."""
        if found.place <= Place.USER_FILE_GZIP:
            return  # it stands among the users
        path = path_of(owner, found.place, found.name)
        mode = found.stat.st_mode
        if stat.S_ISREG(mode):
            source.lose("unknown_files", path, "the format carries only users and histories")
        elif stat.S_ISLNK(mode):
            source.lose("links", path, "the format carries no links")
        elif stat.S_ISDIR(mode):
            known = found.place == Place.HISTORY_FOLDER or path in (b"", USERS, HISTORIES)
            if not known:
                source.lose("folders", path, "the format carries no other folders")
        else:
            source.item(found, owner)  # which tells of FIFOs and the like


def _value(source: Source, item: Item, column: int) -> bytes | None:
    """Return a document as it stands in the export; None, told, if it cannot."""
    data = item.data
    if data is None:
        source.lose("too_large", item.path, "it is too large to be checked, so it is left out")
        return None
    if item.torn:
        source.lose("torn", item.path, "a torn document would make the whole export unreadable")
        return None
    if item.path.endswith(GZIP_SUFFIX):
        data = gunzip(data, MAX_PARSED_BYTES) or b""
    if item.kind != "file":
        source.lose("links", item.path, "the format carries no links")
        return None
    try:
        value = indented(data, column)
    except ValueError as error:
        source.lose("not_json", item.path, f"it cannot be written as JSON: {error}")
        return None
    if item.mode != 0o600:
        source.lose("modes")
    if item.same is not None:
        source.lose("hard_links")
    return value


def _text(source: Source, owner: bytes, path: bytes) -> str | None:
    try:
        return owner.decode()
    except UnicodeDecodeError:
        source.lose("names", path, "a name that is not UTF-8 cannot stand in JSON")
        return None


def _is_folder(found: Found) -> bool:
    return found.place == Place.HISTORY_FOLDER and stat.S_ISDIR(found.stat.st_mode)


def _is_history(found: Found) -> bool:
    return kind_of(found.place, found.name) == "history" and stat.S_ISREG(found.stat.st_mode)


_TWIN = "the document is there plain as well, and that is what the export has"
