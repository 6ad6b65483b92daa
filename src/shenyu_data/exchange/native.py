"""The native format, written: a line of JSON for each entry (docs/exchange.md). Pure.

A line ends in the digest of what stands before it in the line, the last line in one of all lines.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from blake3 import blake3

from shenyu_data import __version__
from shenyu_data.exchange.items import WHOLE_BYTES, Item, pieces_of

VERSION = 1
DIGEST_BYTES = 16

DIGEST_KEY = b',"blake3":"'
TAIL_BYTES = len(DIGEST_KEY) + 2 * DIGEST_BYTES + 2
"""Of a line without its end: the digest and what stands around it."""


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line: the version, when it was made and with what; what was left out or altered."""

    shenyu_data_export: int
    made: str
    program: str
    selection: dict[str, Any] | None = None
    redacted: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any other line but the last. What is no UTF-8 stands in base64, under ``…_bytes``."""

    kind: Literal["folder", "file", "link", "piece", "end"]
    path: str | None = None
    path_bytes: str | None = None
    mode: str | None = None
    mtime_ns: str | None = None
    uid: int | None = None
    gid: int | None = None
    same: str | None = None
    torn: bool = False
    in_pieces: bool = False
    size: int | None = None
    target: str | None = None
    target_bytes: str | None = None
    text: str | None = None
    text_bytes: str | None = None


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: how much there is, and the digest of all lines before it."""

    kind: Literal["closing"] = "closing"
    folders: int = 0
    files: int = 0
    links: int = 0
    file_bytes: int = 0
    digest: str = ""


_encode = msgspec.json.Encoder().encode


def header_line(selection: dict[str, Any] | None, redacted: str | None) -> bytes:
    """Return the first line."""
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return signed(
        _encode(
            Header(
                shenyu_data_export=VERSION,
                made=made,
                program=__version__,
                selection=selection,
                redacted=redacted,
            )
        )
    )


def closing_line(counts: Closing, digest: bytes) -> bytes:
    """Return the last line."""
    return signed(_encode(msgspec.structs.replace(counts, digest=digest.hex())))


def item_lines(item: Item) -> Iterator[bytes]:
    """Yield the lines of one entry; of a file in pieces (``data`` None) only the first."""
    data = item.data
    text = data
    cut = data is not None and len(data) > WHOLE_BYTES
    if item.kind == "folder" or cut:
        text = None
    path, path_bytes = _either(item.path)
    content, content_bytes = _either(text) if text is not None else (None, None)
    link = item.kind == "link"
    mtime = item.mtime_ns
    uid, gid = item.owner if item.owner is not None else (None, None)
    yield signed(
        _encode(
            Line(
                kind=item.kind,
                path=path,
                path_bytes=path_bytes,
                mode=None if link else f"{item.mode:04o}",
                mtime_ns=None if mtime is None else str(mtime),
                uid=uid,
                gid=gid,
                same=item.same,
                torn=item.torn,
                in_pieces=cut or (item.kind == "file" and data is None),
                size=len(data) if data is not None and item.kind == "file" and not cut else None,
                target=content if link else None,
                target_bytes=content_bytes if link else None,
                text=None if link else content,
                text_bytes=None if link else content_bytes,
            )
        )
    )
    if cut and data is not None:
        for piece in pieces_of(data):
            yield piece_line(piece)
        yield end_line(len(data), torn=item.torn)


def piece_line(data: bytes) -> bytes:
    """Return the line of one piece, at most WHOLE_BYTES."""
    text, text_bytes = _either(data)
    return signed(_encode(Line(kind="piece", text=text, text_bytes=text_bytes)))


def end_line(size: int, *, torn: bool) -> bytes:
    """Return the line that ends a file in pieces."""
    return signed(_encode(Line(kind="end", size=size, torn=torn)))


def signed(encoded: bytes) -> bytes:
    """Return a JSON object's text with the digest as its last member, as a line."""
    body = encoded[:-1]
    digest = blake3(body).hexdigest(length=DIGEST_BYTES).encode()
    return b'%b%b%b"}\n' % (body, DIGEST_KEY, digest)


def _either(data: bytes) -> tuple[str | None, str | None]:
    """Return bytes as text, or what is no UTF-8 in base64."""
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()
