"""What an import takes from an export: its entries, checked, one after another or, most of them, in
parts that workers look into. Called by ``import_data.py`` and ``import_plan.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

import msgspec

from shenyu_data.exchange.guide_reader import PART_BYTES, GuideDocuments, GuideReader
from shenyu_data.exchange.guide_stretch import GuideStretch
from shenyu_data.exchange.items import Item, Piece, PiecesEnd, Record
from shenyu_data.exchange.native_reader import MAGIC, NativeLines, NativeReader
from shenyu_data.exchange.streams import Input
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError
from shenyu_data.model.findings import Finding
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.import_checks import (
    MOST_TOLD,
    Checks,
    Entry,
    Looked,
    Part,
    PartEntries,
    with_changes,
)

InputFormat = Literal["auto", "native", "guide"]

MOST_BLANKS = 64

_SPOOLED_BYTES = 8 << 20


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A name that was given to histories, to how many, and why."""

    name: str
    histories: int
    why: str


class ImportItems:
    """Reads an export; ``refused`` and ``damaged`` count what was left out of it.

    ``exact``: as it stands there, with owners, set-id bits and links that lead out. ``stretches``:
    many users at a time; then whoever looks into a part may meet a CutWithinError.
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
        stretches: bool = False,
    ) -> None:
        self._exact = exact
        self._damaged_too = damaged_too
        self._report = report
        self._checks = Checks(self._tell, exact=exact)
        self._told = 0
        self._looked = Looked()
        self._cut_off = False
        self.records = _open(Input(file, max_bytes=max_bytes), form, stretches=stretches)

    @property
    def refused(self) -> int:
        """How many entries were left out for being unsafe."""
        return self._checks.refused + self._looked.refused

    @property
    def damaged(self) -> int:
        """How many places are damaged."""
        return self._checks.damaged + self._looked.damaged

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
        for part in self.parts():
            if isinstance(part, Entry):
                yield part
            else:
                entries = PartEntries(part, exact=self._exact)
                yield from entries
                self.add(entries.looked)
        self.finish()

    def parts(self) -> Iterator[Part | Entry]:
        """As iterating, but most entries come in parts that are still to be looked into. Whoever
        does that hands what was seen to :meth:`add`, and calls :meth:`finish` at the end.
        """
        large: tuple[Item, BinaryIO, int] | None = None
        try:
            for record in self._all():
                if isinstance(record, NativeLines | GuideDocuments | GuideStretch):
                    yield record
                elif isinstance(record, Piece):
                    if large is not None:
                        large[1].write(record.data)
                        large = (*large[:2], large[2] + len(record.data))
                elif isinstance(record, PiecesEnd):
                    if large is not None:
                        item, file, size = large
                        large = None
                        with file:
                            whole = self._joined(item, file, size)
                            if whole is not None:
                                yield whole
                else:
                    if large is not None:
                        large[1].close()
                        large = None
                    if isinstance(record, Item) and record.kind == "file" and record.data is None:
                        large = (record, _spool(), 0)
                    elif (entry := self._checks.entry(record)) is not None:
                        yield entry
                    else:
                        self._give_up_in_time()
        finally:
            if large is not None:
                large[1].close()

    def add(self, looked: Looked) -> None:
        """Take account of a part."""
        for finding in looked.findings:
            self._tell(finding)
        self._looked.refused += looked.refused
        self._looked.damaged += looked.damaged
        if isinstance(self.records, NativeReader):
            self.records.add(looked.counts)
        else:
            for name, count in looked.names.items():
                self.records.names[name] = self.records.names.get(name, 0) + count
        self._give_up_in_time()

    def _tell(self, finding: Finding) -> None:
        self._told += 1
        if self._told <= MOST_TOLD:
            self._report(finding)

    def _give_up_in_time(self) -> None:
        if self.damaged > MOST_TOLD and not self._damaged_too:
            raise ArchiveDamaged(
                f"the export is damaged in more than {MOST_TOLD:,} places",
                hint="Take another copy of it; --damaged-too imports what can be read.",
            )

    def finish(self) -> None:
        """Raise ArchiveDamaged if entries are missing or damaged; with ``damaged_too`` that is only
        reported.
        """
        if isinstance(self.records, NativeReader) and not self._cut_off:
            try:
                self.records.finish()
            except ArchiveDamaged as error:
                self._note(error)
        if self.damaged and not self._damaged_too:
            raise ArchiveDamaged(
                f"the export is damaged in {self.damaged:,} places",
                hint="Take another copy of it; --damaged-too imports what can be read.",
            )

    def _note(self, error: ArchiveDamaged) -> None:
        if not self._damaged_too:
            raise error
        self._checks.note_damage("", error.message)

    def _all(self) -> Iterator[Part | Record]:
        parts: Iterator[Part | Record] = self.records.parts()
        while True:
            try:
                part = next(parts, None)
            except ArchiveDamaged as error:
                self._cut_off = True
                self._note(error)
                return
            if part is None:
                return
            yield part

    def _joined(self, item: Item, file: BinaryIO, size: int) -> Entry | None:
        if size > MAX_PARSED_BYTES:
            entry = self._checks.entry(item)
            return None if entry is None else entry._replace(large=file, size=size)
        file.seek(0)
        return self._checks.entry(with_changes(item, data=file.read()))


def _open(source: Input, form: InputFormat, *, stretches: bool) -> NativeReader | GuideReader:
    native = source.peek(len(MAGIC)) == MAGIC
    if form == "native" and not native:
        raise ArchiveError(
            "it is no export in the native format", hint="See what it is; --format auto finds out."
        )
    if native and form != "guide":
        return NativeReader(source.read, source.plain_file)
    if not native and source.peek(MOST_BLANKS).lstrip()[:1] == b"{":
        size = PART_BYTES if stretches else 0
        return GuideReader(source.read, source.plain_file, stretch_bytes=size)
    raise ArchiveError(
        "it is no export",
        hint="Give a file that `shenyu-data export` or the guide's script wrote.",
    )


def _spool() -> BinaryIO:
    spool: BinaryIO = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # type: ignore[assignment]  # noqa: SIM115
    return spool
