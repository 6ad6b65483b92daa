"""The native format, read: every line is checked before anything is made of it. Pure but for the
stream it reads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from itertools import chain

import msgspec
from blake3 import blake3

from shenyu_data.exchange.items import Damage, Item, Piece, PiecesEnd, Record
from shenyu_data.exchange.native import (
    DIGEST_BYTES,
    DIGEST_KEY,
    TAIL_BYTES,
    VERSION,
    Closing,
    Header,
    Line,
)
from shenyu_data.exchange.streams import PlainFile
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError

MOST_LINE_BYTES = 8 << 20
"""A piece of control characters only, each written as six, is the longest line there is."""

MAGIC = b'{"shenyu_data_export":'

_CLOSING = b'{"kind":"closing",'
_OWNER = b'\n{"kind":"file","path":"users/'
_NOT_SIMPLE = (_CLOSING, b'{"kind":"piece"', b'{"kind":"end"')
_IN_PIECES = b',"in_pieces":true,"blake3":'
_IN_PIECES_AT = TAIL_BYTES + len(b',"in_pieces":true') + 1
_BLOCK_BYTES = 1 << 20

_LATEST_NS = 1 << 80  # far beyond what any file system can hold

_decode_line = msgspec.json.Decoder(Line).decode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_closing = msgspec.json.Decoder(Closing).decode


class Counts(msgspec.Struct):
    """How much lines hold, and whether one of them is damaged."""

    folders: int = 0
    files: int = 0
    links: int = 0
    file_bytes: int = 0
    damaged: bool = False

    def take(self, record: Record) -> None:
        """Count a record."""
        if isinstance(record, Item):
            if record.kind == "file":
                self.files += 1
                self.file_bytes += len(record.data or b"")
            elif record.kind == "folder":
                self.folders += 1
            else:
                self.links += 1
        elif isinstance(record, PiecesEnd):
            self.file_bytes += record.size
        elif isinstance(record, Damage):
            self.damaged = True

    def add(self, other: Counts) -> None:
        """Add what other lines hold."""
        self.folders += other.folders
        self.files += other.files
        self.links += other.links
        self.file_bytes += other.file_bytes
        self.damaged = self.damaged or other.damaged


class NativeLines:
    """Whole lines of an export, in a row, that make sense on their own: whoever takes them may
    decode them elsewhere. The first is the export's line ``number``.

    Of an export in a plain file, pickled ones are but their place there.
    """

    __slots__ = ("_place", "_text", "number")

    def __init__(
        self, text: bytes | None, number: int, place: tuple[PlainFile, int, int] | None = None
    ) -> None:
        self._text = text
        self.number = number
        self._place = place

    def __reduce__(self) -> tuple[object, ...]:
        text = self._text if self._place is None else None
        return NativeLines, (text, self.number, self._place)

    @property
    def text(self) -> bytes:
        """The lines. Raise ArchiveError if they cannot be read."""
        if self._text is None and self._place is not None:
            file, at, size = self._place
            self._text = file.read(at, size)
        return self._text or b""

    @property
    def is_full(self) -> bool:
        """Whether there are likely more of them."""
        return len(self.text) > _BLOCK_BYTES // 2

    def records(self) -> Iterator[Record]:
        """Yield what the lines hold. A line that is damaged comes as Damage."""
        for number, line in enumerate(self.text[:-1].split(b"\n"), self.number):
            try:
                record = _record(line)
            except (ValueError, RecursionError) as error:
                yield Damage(f"line {number:,}", str(error))
                continue
            if isinstance(record, Item) and record.data is not None:
                yield record
            else:  # its members are in another order than the format has them
                yield Damage(f"line {number:,}", "a piece of no file, or a file without its pieces")


class NativeReader:
    """Reads an export from ``read(count)``, which gives at most so many bytes, none at the end.
    ``file``: where workers may read it themselves.
    """

    def __init__(self, read: Callable[[int], bytes], file: PlainFile | None = None) -> None:
        self._file = file
        self._at = 0
        self._blocks = _blocks(read)
        self._digest = blake3()
        self._number = 0
        self._counts = Counts()
        self._closing: Closing | None = None
        self._damaged = False
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Record]:
        """Yield what the export holds. A line that is damaged comes as Damage.

        Raise ArchiveDamaged at the end if some of it is missing.
        """
        for part in self.parts():
            if isinstance(part, NativeLines):
                counts = Counts()
                for record in part.records():
                    counts.take(record)
                    yield record
                self.add(counts)
            else:
                yield part
        self.finish()

    def parts(self) -> Iterator[NativeLines | Record]:
        """Yield what the export holds, most of it in lines that are still to be decoded. Whoever
        does that hands their :class:`Counts` to :meth:`add`, and calls :meth:`finish` at the end.

        Raise ArchiveDamaged if the export is cut off, or something follows its end.
        """
        size: int | None = None  # of the file whose pieces come
        for block in self._blocks:
            at = self._at
            self._at += len(block)
            if size is None and _is_simple(block):
                self._digest.update(block)
                place = (self._file, at, len(block)) if self._file is not None else None
                lines = NativeLines(block, self._number + 1, place)
                self._number += block.count(b"\n")
                yield lines
                continue
            lines_of_block = block[:-1].split(b"\n")
            for index, line in enumerate(lines_of_block):
                self._number += 1
                if line.startswith(_CLOSING):
                    if size is not None:
                        yield self._damage("a file that came in pieces is not complete")
                    self._take_closing(line, last=index + 1 == len(lines_of_block))
                    return
                self._digest.update(line + b"\n")
                try:
                    record = _record(line)
                except (ValueError, RecursionError) as error:
                    # What the pieces after it belong to is not known any more.
                    yield self._damage(str(error))
                    size = None
                    continue
                if isinstance(record, Piece):
                    if size is None:
                        yield self._damage("a piece of no file")
                        continue
                    size += len(record.data)
                elif isinstance(record, PiecesEnd):
                    if size != record.size:
                        yield self._damage("pieces of a file are missing")
                        size = None
                        continue
                    size = None
                elif size is not None:
                    yield self._damage("a file that came in pieces is not complete")
                    size = None
                if isinstance(record, Item) and record.data is None:
                    size = 0
                self._counts.take(record)
                yield record
        raise cut_off()

    def add(self, counts: Counts) -> None:
        """Take account of lines that were decoded elsewhere."""
        self._counts.add(counts)
        self._damaged = self._damaged or counts.damaged

    def finish(self) -> None:
        """Raise ArchiveDamaged if what was read is not what the last line says, and no line was
        damaged, which was told.
        """
        counts = self._counts
        found = Closing(
            folders=counts.folders,
            files=counts.files,
            links=counts.links,
            file_bytes=counts.file_bytes,
            digest=self._digest.hexdigest(length=DIGEST_BYTES),
        )
        if found != self._closing and not self._damaged:
            raise ArchiveDamaged(
                "the export is not as it was written: lines were removed, added or moved",
                hint="Take another copy of it.",
            )

    def _read_header(self) -> Header:
        line, _, rest = next(self._blocks, b"\n").partition(b"\n")
        if rest:
            self._blocks = chain((rest,), self._blocks)
        self._number = 1
        self._at = len(line) + 1
        self._digest.update(line + b"\n")
        try:
            header = _decode_header(_checked(line))
        except (ValueError, RecursionError):
            raise ArchiveDamaged(
                "the first line of the export is damaged",
                hint="Take another copy of it.",
            ) from None
        if header.shenyu_data_export != VERSION:
            raise ArchiveError(
                f"the export is of version {header.shenyu_data_export}, and this program knows "
                f"version {VERSION}",
                hint="Use a newer version of the program.",
            )
        return header

    def _damage(self, why: str) -> Damage:
        self._damaged = True
        return Damage(f"line {self._number:,}", why)

    def _take_closing(self, line: bytes, *, last: bool) -> None:
        try:
            self._closing = _decode_closing(_checked(line))
        except (ValueError, RecursionError):
            raise cut_off() from None
        if not last or next(self._blocks, None) is not None:
            raise ArchiveDamaged(
                "something follows the last line of the export",
                hint="Exports cannot be joined: import them one after another.",
            )


def cut_off() -> ArchiveDamaged:
    """Return the error for an export that ends too early."""
    return ArchiveDamaged("the export is cut off", hint="Take another copy of it.")


def _record(line: bytes) -> Record:
    record = _decode_line(_checked(line))
    text = record.text
    # A lone surrogate is a ValueError, as it should be.
    data = text.encode() if text is not None else _bytes(None, record.text_bytes)
    if record.kind == "piece":
        return Piece(data or b"")
    if record.kind == "end":
        return PiecesEnd(record.size if record.size is not None else -1, record.torn)
    path = _bytes(record.path, record.path_bytes)
    if path is None:
        raise ValueError("it names no path")
    if record.kind == "link":
        data = _bytes(record.target, record.target_bytes)
        if not data:
            raise ValueError("the link leads nowhere")
    elif record.kind == "folder" or record.in_pieces:
        data = None if record.in_pieces else b""
    elif data is None or (record.size is not None and record.size != len(data)):
        raise ValueError("its contents are not complete")
    mode = int(record.mode, 8) if record.mode is not None else 0o600
    mtime_ns = int(record.mtime_ns) if record.mtime_ns is not None else None
    if not 0 <= mode <= 0o7777 or abs(mtime_ns or 0) > _LATEST_NS:
        raise ValueError("its mode or its time is none")
    known = record.uid is not None and record.gid is not None
    if known and not (0 <= (record.uid or 0) < 1 << 32 and 0 <= (record.gid or 0) < 1 << 32):
        raise ValueError("its owner is none")
    return Item(
        kind=record.kind,
        path=path,
        data=data,
        mode=mode,
        mtime_ns=mtime_ns,
        owner=(record.uid or 0, record.gid or 0) if known else None,
        same=record.same,
        torn=record.torn,
    )


def _checked(line: bytes) -> bytes:
    """Return a line if its digest is right. Raise ValueError if it is not."""
    digest = blake3(memoryview(line)[:-TAIL_BYTES]).hexdigest(length=DIGEST_BYTES).encode()
    if line[-TAIL_BYTES:] != b'%b%b"}' % (DIGEST_KEY, digest):
        raise ValueError("its digest is another")
    return line


def _bytes(text: str | None, encoded: str | None) -> bytes | None:
    if text is not None:
        return text.encode()  # a lone surrogate is a ValueError, as it should be
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield whole lines, about a megabyte at a time, and if it can be, all of an owner's together.
    A last line that has no end is cut off.
    """
    waiting: list[bytes] = []
    size = 0
    while piece := read(_BLOCK_BYTES):
        end = piece.rfind(b"\n") + 1
        if not end:
            waiting.append(piece)
            size += len(piece)
            _check_length(size)
            continue
        _check_length(size + piece.index(b"\n"))
        block = b"".join((*waiting, piece))
        owner = block.rfind(_OWNER, 0, len(block) - len(piece) + end) + 1
        cut = owner or len(block) - len(piece) + end
        if len(block) - cut > MOST_LINE_BYTES:
            cut = len(block) - len(piece) + end
        yield from _closing_apart(block[:cut])
        waiting = [block[cut:]]
        size = len(block) - max(cut, block.rfind(b"\n") + 1)
    rest = b"".join(waiting)
    whole = rest.rfind(b"\n") + 1
    if whole:
        yield from _closing_apart(rest[:whole])
    if whole < len(rest):
        raise cut_off()


def _closing_apart(block: bytes) -> Iterator[bytes]:
    """Yield a block, and on its own the line that ends the export, so that the rest is simple."""
    last = block.rfind(b"\n", 0, -1) + 1
    if last and block.startswith(_CLOSING, last):
        yield block[:last]
        block = block[last:]
    yield block


def _check_length(size: int) -> None:
    if size > MOST_LINE_BYTES:
        raise ArchiveDamaged(
            f"a line of the export is longer than {MOST_LINE_BYTES:,} bytes, which none is",
            hint="Take another copy of it.",
        )


def _is_simple(block: bytes) -> bool:
    """Whether all lines make sense on their own: no pieces, no end, and not just line ends."""
    if block.count(b"\n") * TAIL_BYTES > len(block):
        return False
    start = 0
    while end := block.find(b"\n", start) + 1:
        if block.startswith(_NOT_SIMPLE, start) or block.startswith(
            _IN_PIECES, end - _IN_PIECES_AT
        ):
            return False
        start = end
    return True
