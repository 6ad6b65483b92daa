"""What an import takes from an export: its entries, one after another, checked. Called by
``import_data.py``.

An export is input from anywhere: no name in it may lead out of the data directory, no mode or link
may give anybody a right that the person who imports did not mean to give.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.exchange.guide_reader import GuideReader
from shenyu_data.exchange.items import Item, LeftOut, Piece, PiecesEnd, Record
from shenyu_data.exchange.native_reader import MAGIC, NativeReader
from shenyu_data.exchange.streams import Input
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import (
    HISTORIES,
    USERS,
    Kind,
    Place,
    is_passing,
    is_plain_path,
    kind_of,
    owner_of_user_file,
)
from shenyu_data.model.records import MAX_PARSED_BYTES

InputFormat = Literal["auto", "native", "guide"]

MOST_BLANKS = 64
MOST_NAME_BYTES = 255
MOST_PATH_BYTES = 4000

_SPOOLED_BYTES = 8 << 20
_SET_ID = 0o6000


class Entry(NamedTuple):
    """An item, whose it is, and its contents: in memory, or in ``large`` if they are too many."""

    item: Item
    user: bytes | None
    kind: Kind
    large: BinaryIO | None = None
    size: int = 0

    @property
    def path(self) -> bytes:
        """Where it belongs."""
        return self.item.path

    def at(self, path: bytes) -> Entry:
        """Return the entry as it is at another path."""
        return self._replace(item=_with(self.item, path=path))

    def write(self, write: Callable[[bytes], object]) -> None:
        """Write the contents to a function, piece by piece."""
        if self.large is None:
            write(self.item.data or b"")
            return
        self.large.seek(0)
        while piece := self.large.read(1 << 20):
            write(piece)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A name that was given to histories, to how many, and why."""

    name: str
    histories: int
    why: str


class ImportItems:
    """Reads an export; ``problems`` counts what was left out of it for being unsafe or damaged.

    ``exact``: as it stands there, with owners, set-id bits and links that lead out.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        form: InputFormat,
        exact: bool,
        damaged_too: bool,
        max_bytes: int | None,
        report: Callable[[Finding], None],
    ) -> None:
        self._exact = exact
        self._damaged_too = damaged_too
        self._report = report
        self.refused = 0
        self.damaged = 0
        self.records = _open(Input(file, max_bytes=max_bytes), form)

    @property
    def names(self) -> list[Chosen]:
        """The names that histories got which had none."""
        found = self.records.names if isinstance(self.records, GuideReader) else {}
        return [
            Chosen(
                name=name.decode() or "0.json, 1.json, …",
                histories=count,
                why="an array of chats: the application reads it under this name"
                if name
                else "a single chat, or one array too many: numbered as the guide's import does",
            )
            for name, count in sorted(found.items(), reverse=True)
        ]

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries. Raise ArchiveDamaged if some are missing or damaged, after the rest;
        with ``damaged_too`` that is only reported.
        """
        large: tuple[Item, BinaryIO, int] | None = None
        try:
            for record in self._all():
                if isinstance(record, Item):
                    if large is not None:
                        large[1].close()
                        large = None
                    if record.kind == "file" and record.data is None:
                        large = (record, _spool(), 0)
                    elif (entry := self._checked(record)) is not None:
                        yield entry
                elif large is not None and isinstance(record, Piece):
                    large[1].write(record.data)
                    large = (*large[:2], large[2] + len(record.data))
                elif large is not None and isinstance(record, PiecesEnd):
                    item, file, size = large
                    large = None
                    with file:
                        whole = self._joined(item, file, size)
                        if whole is not None:
                            yield whole
        finally:
            if large is not None:
                large[1].close()
        if self.damaged and not self._damaged_too:
            raise ArchiveDamaged(
                f"the export is damaged in {self.damaged:,} places",
                hint="Take another copy of it; --damaged-too imports what can be read.",
            )

    def _all(self) -> Iterator[Record]:
        records = iter(self.records)
        while True:
            try:
                record = next(records, None)
            except ArchiveDamaged as error:
                if not self._damaged_too:
                    raise
                self._note_damage("", error.message)
                return
            if record is None:
                return
            if isinstance(record, Item | Piece | PiecesEnd):
                yield record
            elif isinstance(record, LeftOut):
                self._note_unsafe(record.where, record.why)
            else:
                self._note_damage(record.where, record.why)

    def _note_damage(self, where: str, why: str) -> None:
        self.damaged += 1
        self._report(
            Finding(
                code="damaged-export",
                severity="error",
                path=where,
                message=f"the export is damaged here: {why}",
                hint="Take another copy of it; --damaged-too imports what can be read.",
            )
        )

    def _note_unsafe(self, where: str, why: str) -> None:
        self.refused += 1
        self._report(
            Finding(
                code="unsafe-entry",
                severity="error",
                path=where,
                message=f"it is left out: {why}",
                hint="See who made the export; --exact takes links as they are.",
            )
        )

    def _joined(self, item: Item, file: BinaryIO, size: int) -> Entry | None:
        if size > MAX_PARSED_BYTES:
            entry = self._checked(item)
            return None if entry is None else entry._replace(large=file, size=size)
        file.seek(0)
        return self._checked(_with(item, data=file.read()))

    def _checked(self, item: Item) -> Entry | None:
        """Return the entry an item makes; None, told and counted, if it is unsafe."""
        why = _unsafe_path(item)
        if why is None and item.kind == "link" and not self._exact:
            why = _unsafe_link(item)
        if why is not None:
            self._note_unsafe(printable(item.path[:MOST_NAME_BYTES]), why)
            return None
        if not self._exact:
            if item.mode & _SET_ID:
                item = _with(item, mode=item.mode & ~_SET_ID)
            if item.owner is not None:
                item = _with(item, owner=None)
        user, kind = whose(item.path)
        return Entry(
            item, user, kind if item.kind == "file" else "other", None, len(item.data or b"")
        )


def whose(path: bytes) -> tuple[bytes | None, Kind]:
    """Given a path in a data directory, return whose it is and the kind of a file there."""
    parts = path.split(b"/", 2)
    if parts[0] == USERS and len(parts) == 2 and (found := owner_of_user_file(parts[1])):
        return found[0], "user"
    if parts[0] == HISTORIES and len(parts) > 1:
        inside = parts[2] if len(parts) == 3 else b""
        return parts[1], kind_of(Place.IN_HISTORY_FOLDER, inside) if inside else "other"
    return None, "other"


def _open(source: Input, form: InputFormat) -> NativeReader | GuideReader:
    native = source.peek(len(MAGIC)) == MAGIC
    if form == "native" and not native:
        raise ArchiveError(
            "it is no export in the native format", hint="See what it is; --format auto finds out."
        )
    if native and form != "guide":
        return NativeReader(source.read)
    if not native and source.peek(MOST_BLANKS).lstrip()[:1] == b"{":
        return GuideReader(source.read)
    raise ArchiveError(
        "it is no export",
        hint="Give a file that `shenyu-data export` or the guide's script wrote.",
    )


def _unsafe_path(item: Item) -> str | None:
    path = item.path
    if not path and item.kind == "folder":
        return None
    if not is_plain_path(path):
        return "its name would lead out of the data directory, or is none"
    parts = path.split(b"/")
    if len(parts) > MAX_DEPTH + 1:
        return f"it is nested deeper than {MAX_DEPTH} folders"
    if len(path) > MOST_PATH_BYTES or any(len(part) > MOST_NAME_BYTES for part in parts):
        return "its name is longer than a file's can be"
    if is_passing(parts[-1]):
        return "its name is one that this program gives to files under way"
    if item.kind != "folder" and path in (USERS, HISTORIES):
        return "it stands where a folder of the application's belongs"
    return None


def _unsafe_link(item: Item) -> str | None:
    target = item.data or b""
    inside = os.path.normpath(os.path.join(os.path.dirname(item.path), target))
    if os.path.isabs(target) or inside.split(b"/")[0] == b"..":
        return "the link leads out of the data directory"
    return None


def _spool() -> BinaryIO:
    spool: BinaryIO = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # type: ignore[assignment]  # noqa: SIM115
    return spool


def _with(item: Item, **changes: object) -> Item:
    return msgspec.structs.replace(item, **changes)
