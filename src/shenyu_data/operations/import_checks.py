"""Whether what an export holds may come into a data directory: whose it is, of what kind, and what
is wrong with it. For ``import_items.py`` and the workers of an import.

An export is input from anywhere: no name in it may lead out of the data directory, no mode or link
may give anybody a right that the person who imports did not mean to give.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import msgspec

from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.exchange.guide_reader import GuideDocuments
from shenyu_data.exchange.guide_stretch import GuideStretch
from shenyu_data.exchange.items import Damage, Item, LeftOut, Piece, PiecesEnd
from shenyu_data.exchange.native_reader import Counts, NativeLines
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

MOST_TOLD = 1000
"""Of damaged places and of unsafe entries; all are counted."""

MOST_NAME_BYTES = 255
MOST_PATH_BYTES = 4000

Part = NativeLines | GuideDocuments | GuideStretch
"""Many entries in a row that are still to be looked into."""

_PIECES = (Piece, PiecesEnd)
_SET_ID = 0o6000
_PASSING_MARK = b".shenyu-data-"
_PLAIN = rb"[A-Za-z0-9_\x80-\xff-][A-Za-z0-9_.\x80-\xff-]{0,127}"
_ORDINARY = re.compile(
    rb"(?:histories/(" + _PLAIN + rb")/" + _PLAIN + rb"|users/(" + _PLAIN + rb"))\.json"
).fullmatch
"""Nearly all paths are so, and then there is no more to ask."""


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
        return self._replace(item=with_changes(self.item, path=path))

    def write(self, write: Callable[[bytes], object]) -> None:
        """Write the contents to a function, piece by piece."""
        if self.large is None:
            write(self.item.data or b"")
            return
        self.large.seek(0)
        while piece := self.large.read(1 << 20):
            write(piece)


class Checks:
    """Checks records; ``refused`` and ``damaged`` count what is left out. The first MOST_TOLD of
    these are told.

    ``exact``: owners, set-id bits and links that lead out are taken as they are.
    """

    def __init__(self, report: Callable[[Finding], None], *, exact: bool) -> None:
        self._report = report
        self._exact = exact
        self.refused = 0
        self.damaged = 0

    def entry(self, record: Item | Damage | LeftOut) -> Entry | None:
        """Return the entry a record makes; None, told and counted, if it makes none."""
        if isinstance(record, Item):
            if (
                record.kind == "file"
                and not record.mode & _SET_ID
                and (owns := _ORDINARY(record.path)) is not None
            ):
                if record.owner is not None and not self._exact:
                    # Nobody else has seen it yet, and this is done for every entry.
                    msgspec.structs.force_setattr(record, "owner", None)
                user, other = owns.groups()
                size = len(record.data or b"")
                if user is None:
                    return Entry(record, other, "user", None, size)
                return Entry(record, user, "history", None, size)
            return self._checked(record)
        if isinstance(record, LeftOut):
            self._note_unsafe(record.where, record.why)
        else:
            self.note_damage(record.where, record.why)
        return None

    def note_damage(self, where: str, why: str) -> None:
        """Count and tell a damaged place."""
        self.damaged += 1
        self._tell(
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
        self._tell(
            Finding(
                code="unsafe-entry",
                severity="error",
                path=where,
                message=f"it is left out: {why}",
                hint="See who made the export; --exact takes links as they are.",
            )
        )

    def _tell(self, finding: Finding) -> None:
        if self.refused + self.damaged <= MOST_TOLD:
            self._report(finding)

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
                item = with_changes(item, mode=item.mode & ~_SET_ID)
            if item.owner is not None:
                item = with_changes(item, owner=None)
        user, kind = whose(item.path)
        kind = kind if item.kind == "file" else "other"
        return Entry(item, user, kind, None, len(item.data or b""))


class Looked(msgspec.Struct):
    """What was seen in a part of an export beside its entries."""

    counts: Counts = msgspec.field(default_factory=Counts)
    refused: int = 0
    damaged: int = 0
    findings: list[Finding] = []
    names: dict[bytes, int] = {}


class PartEntries:
    """The entries of a part of an export, checked; ``looked`` is complete after the last one."""

    def __init__(self, part: Part, *, exact: bool) -> None:
        self._part = part
        self._exact = exact
        self.looked = Looked()

    def __iter__(self) -> Iterator[Entry]:
        looked = self.looked
        checks = Checks(looked.findings.append, exact=self._exact)
        check = checks.entry
        take = looked.counts.take if isinstance(self._part, NativeLines) else None
        for record in self._part.records():
            if take is not None:  # only that format says how much there is
                take(record)
            if not isinstance(record, _PIECES):
                entry = check(record)
                if entry is not None:
                    yield entry
        looked.refused, looked.damaged = checks.refused, checks.damaged
        if isinstance(self._part, GuideStretch):
            looked.names = self._part.names


def whose(path: bytes) -> tuple[bytes | None, Kind]:
    """Given a path in a data directory, return whose it is and the kind of a file there."""
    parts = path.split(b"/", 2)
    if parts[0] == USERS and len(parts) == 2 and (found := owner_of_user_file(parts[1])):
        return found[0], "user"
    if parts[0] == HISTORIES and len(parts) > 1:
        inside = parts[2] if len(parts) == 3 else b""
        return parts[1], kind_of(Place.IN_HISTORY_FOLDER, inside) if inside else "other"
    return None, "other"


def _unsafe_path(item: Item) -> str | None:
    path = item.path
    if not path and item.kind == "folder":
        return None
    if not is_plain_path(path):
        return "its name would lead out of the data directory, or is none"
    if path.count(b"/") > MAX_DEPTH:
        return f"it is nested deeper than {MAX_DEPTH} folders"
    if len(path) > MOST_NAME_BYTES and (
        len(path) > MOST_PATH_BYTES or any(len(part) > MOST_NAME_BYTES for part in path.split(b"/"))
    ):
        return "its name is longer than a file's can be"
    if _PASSING_MARK in path and any(map(is_passing, path.split(b"/"))):
        return "its name is one that this program gives to files under way"
    if item.kind != "folder" and path in (USERS, HISTORIES):
        return "it stands where a folder of the application's belongs"
    if item.kind == "link" and b"\0" in (item.data or b""):
        return "it is a link to what can be no name"
    return None


def _unsafe_link(item: Item) -> str | None:
    target = item.data or b""
    inside = os.path.normpath(os.path.join(os.path.dirname(item.path), target))
    if os.path.isabs(target) or inside.split(b"/")[0] == b"..":
        return "the link leads out of the data directory"
    return None


def with_changes(item: Item, **changes: object) -> Item:
    """Return an item as it is but for some fields."""
    return msgspec.structs.replace(item, **changes)
