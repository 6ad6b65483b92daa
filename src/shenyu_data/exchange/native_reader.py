"""The native format, read: every line is checked before anything is made of it. Pure but for the
stream it reads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator

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
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError

MOST_LINE_BYTES = 8 << 20
"""A piece of control characters only, each written as six, is the longest line there is."""

MAGIC = b'{"shenyu_data_export":'

_LATEST_NS = 1 << 80  # far beyond what any file system can hold

_decode_line = msgspec.json.Decoder(Line).decode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_closing = msgspec.json.Decoder(Closing).decode


class NativeReader:
    """Reads an export from ``read(count)``, which gives at most so many bytes, none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._lines = _lines(read)
        self._digest = blake3()
        self._number = 0
        self._counts = {"folder": 0, "file": 0, "link": 0}
        self._file_bytes = 0
        self._damaged = False
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Record]:
        """Yield what the export holds. A line that is damaged comes as Damage.

        Raise ArchiveDamaged at the end if some of it is missing.
        """
        size: int | None = None  # of the file whose pieces come
        for line in self._lines:
            self._number += 1
            if line.startswith(b'{"kind":"closing",'):
                if size is not None:
                    yield self._damage("a file that came in pieces is not complete")
                self._check_closing(line)
                return
            self._digest.update(line)
            self._digest.update(b"\n")
            try:
                record = self._record(line)
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
                self._file_bytes += record.size
                size = None
            elif size is not None:
                yield self._damage("a file that came in pieces is not complete")
                size = None
            if isinstance(record, Item):
                self._counts[record.kind] += 1
                if record.data is None:
                    size = 0
                elif record.kind == "file":
                    self._file_bytes += len(record.data)
            yield record
        raise cut_off()

    def _read_header(self) -> Header:
        line = next(self._lines, b"")
        self._number = 1
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

    def _record(self, line: bytes) -> Record:
        record = _decode_line(_checked(line))
        data = _bytes(record.text, record.text_bytes)
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

    def _damage(self, why: str) -> Damage:
        self._damaged = True
        return Damage(f"line {self._number:,}", why)

    def _check_closing(self, line: bytes) -> None:
        try:
            closing = _decode_closing(_checked(line))
        except (ValueError, RecursionError):
            raise cut_off() from None
        if next(self._lines, None) is not None:
            raise ArchiveDamaged(
                "something follows the last line of the export",
                hint="Exports cannot be joined: import them one after another.",
            )
        found = Closing(
            folders=self._counts["folder"],
            files=self._counts["file"],
            links=self._counts["link"],
            file_bytes=self._file_bytes,
            digest=self._digest.hexdigest(length=DIGEST_BYTES),
        )
        if found != closing and not self._damaged:
            raise ArchiveDamaged(
                "the export is not as it was written: lines were removed, added or moved",
                hint="Take another copy of it.",
            )


def cut_off() -> ArchiveDamaged:
    """Return the error for an export that ends too early."""
    return ArchiveDamaged("the export is cut off", hint="Take another copy of it.")


def _checked(line: bytes) -> bytes:
    """Return the JSON of a line whose digest is right. Raise ValueError if it is not."""
    body = line[:-TAIL_BYTES]
    digest = blake3(body).hexdigest(length=DIGEST_BYTES).encode()
    if line[-TAIL_BYTES:] != b'%b%b"}' % (DIGEST_KEY, digest):
        raise ValueError("its digest is another")
    return body + b"}"


def _bytes(text: str | None, encoded: str | None) -> bytes | None:
    if text is not None:
        return text.encode()  # a lone surrogate is a ValueError, as it should be
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield lines without their ends; one that has no end is cut off and left out."""
    waiting: list[bytes] = []
    size = 0
    while piece := read(1 << 20):
        first, *rest = piece.split(b"\n")
        waiting.append(first)
        size += len(first)
        if size > MOST_LINE_BYTES:
            raise ArchiveDamaged(
                f"a line of the export is longer than {MOST_LINE_BYTES:,} bytes, which none is",
                hint="Take another copy of it.",
            )
        if rest:
            yield b"".join(waiting)
            yield from rest[:-1]
            waiting = [rest[-1]]
            size = len(rest[-1])
    if size:
        raise cut_off()
