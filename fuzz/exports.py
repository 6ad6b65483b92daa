"""Oracles of what reads exports: the stream of JSON, the two formats, what is compressed."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from typing import Any

import zstandard

from fuzz.parts import NONE, Drip, first, python
from shenyu_data.exchange.guide_reader import GuideReader
from shenyu_data.exchange.items import Item, Record
from shenyu_data.exchange.json_stream import JsonStream
from shenyu_data.exchange.native import TAIL_BYTES, signed
from shenyu_data.exchange.native_reader import NativeReader
from shenyu_data.exchange.streams import Input
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import is_plain_path
from shenyu_data.operations.import_items import ImportItems

MOST_BYTES = 1 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def json_stream(data: bytes) -> None:
    """An object of objects and arrays comes piece by piece as Python's parser reads it whole."""
    size, text = first(data)
    found = _walk(text, 1 + size)
    assert found == _walk(text, 1 << 20), "it depends on the pieces"
    value = python(text)
    if b"\\ud" in text.lower():
        return  # a name that is half a character comes as one that nothing can have
    if isinstance(value, dict):
        assert found == value, found
    elif value is not NONE:
        assert found is NONE


def _walk(text: bytes, size: int) -> Any:
    """Read members, their elements and members; NONE if that is refused, or some of it no JSON."""
    stream = JsonStream(Drip(text, size).read)
    found: dict[str, Any] = {}
    sound = True
    try:
        for key in stream.members():
            if stream.next_is(b"["):
                parts = [python(stream.value()) for _ in stream.elements()]
                sound &= NONE not in parts
                found[key] = parts
            elif stream.next_is(b"{"):
                within: dict[str, Any] = {}
                for name in stream.members():
                    within[name] = python(stream.value())
                sound &= NONE not in within.values()
                found[key] = within
            else:
                found[key] = python(stream.value())
                sound &= found[key] is not NONE
        stream.end()
    except ArchiveError:
        return NONE
    return found if sound else NONE


def guide(data: bytes) -> None:
    """Whatever the bytes, documents come that parse, under names that lead nowhere else."""
    size, text = first(data)
    try:
        for record in GuideReader(Drip(text, 1 + size).read):
            _check(record)
            if isinstance(record, Item) and record.kind == "file":
                assert python(record.data or b"") is not NONE or b"\\u" in (record.data or b"")
    except ArchiveError:
        pass
    _import(text, "guide")


def native(data: bytes) -> None:
    """Whatever the lines say, and be their digests right, what comes is sound or reported."""
    choice, text = first(data)
    if choice & 1:
        text = b"".join(map(_signed, text.split(b"\n")))
    size = 1 + (choice >> 1) if choice < 200 else 1 << 20
    try:
        for record in NativeReader(Drip(text, size).read):
            _check(record)
    except ArchiveError:
        pass
    _import(text, "native")


def _signed(line: bytes) -> bytes:
    """Return a line with the digest that it should have, in place of the one it has."""
    body = line[:-TAIL_BYTES] if line[-TAIL_BYTES:].startswith(b',"blake3":"') else line[:-1]
    return signed(body + b"}") if line else b""


def _check(record: Record) -> None:
    if isinstance(record, Item):
        assert record.kind in ("folder", "file", "link")
        assert 0 <= record.mode <= 0o7777


def _import(text: bytes, form: Any) -> None:
    reported: list[Finding] = []
    try:
        items = ImportItems(
            io.BytesIO(text),
            form=form,
            exact=False,
            damaged_too=True,
            max_bytes=MOST_BYTES,
            report=reported.append,
        )
        for entry in items:
            assert not entry.path or is_plain_path(entry.path)
            entry.write(len)
            if entry.item.kind == "link":
                assert b"\0" not in (entry.item.data or b"")
        assert [name.histories > 0 for name in items.names].count(False) == 0
    except ArchiveError:
        pass
    json.dumps([finding.message for finding in reported])


def streams(data: bytes) -> None:
    """What is unpacked is what gzip and zstd unpack, and never more than was allowed."""
    size, text = first(data)
    found = _unpacked(text, 1 + size)
    if isinstance(found, bytes) and isinstance(whole := _unpacked(text, 1 << 16), bytes):
        # Of a zstd frame that is cut off more or less may come: what it holds tells that it is.
        length = min(len(found), len(whole)) if text[:4] == _ZSTD_MAGIC else len(whole)
        assert found[:length] == whole[:length]
    if text.startswith(b"\x1f\x8b"):
        try:
            wanted = gzip.decompress(text)
        except (OSError, EOFError, zlib.error):
            return
        assert found == wanted or len(wanted) > MOST_BYTES or isinstance(found, str)
    elif text.startswith(_ZSTD_MAGIC):
        try:
            wanted = zstandard.ZstdDecompressor().decompress(text, MOST_BYTES)
        except (zstandard.ZstdError, MemoryError):
            return  # or it promises more than there can be
        assert isinstance(found, str) or found[: len(wanted)] == wanted
    else:
        assert found == text or len(text) > MOST_BYTES


def _unpacked(text: bytes, size: int) -> bytes | str:
    try:
        source = Input(Drip(text, size), max_bytes=MOST_BYTES)  # type: ignore[arg-type]
        begin = source.peek(5)
        parts = []
        while piece := source.read(1 << 12):
            parts.append(piece)
        whole = b"".join(parts)
        assert len(whole) <= MOST_BYTES
        assert whole.startswith(begin)
    except ArchiveDamaged:
        return "damaged"
    except ArchiveError as error:
        return error.message
    return whole
