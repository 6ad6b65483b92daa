"""Cursors: where a page of a list ended, so that the next one goes on after it. Pure.

A cursor names the last item of a page by what it was sorted by and by a number that only it has;
so items that come, go or move elsewhere meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import UsageError

_VERSION = 1
_CHECK_BYTES = 6
_MOST_CHARACTERS = 4096
_SIGNED = msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)  # what SQLite holds


class Cursor(NamedTuple):
    """The last item of a page: what it was sorted by, and the number that only it has."""

    value: int | str | bytes
    tie: int


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    listing: bytes
    value: Any  # a text or bytes: which of them, msgspec cannot tell types apart by
    tie: Annotated[int, _SIGNED]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


def write_cursor(cursor: Cursor, listing: object) -> str:
    """Return the cursor as a word. ``listing`` is what the list was asked for: its kind, order and
    filters.
    """
    body = _encode(_Written(_VERSION, _mark(listing), *cursor))
    return base64.urlsafe_b64encode(body + _check(body)).rstrip(b"=").decode()


def read_cursor(word: str, listing: object) -> Cursor:
    """Return what :func:`write_cursor` wrote. Raise UsageError if it is none, was altered, or is of
    a list that was asked for something else.
    """
    try:
        if len(word) > _MOST_CHARACTERS:
            raise ValueError
        padded = word.encode("ascii") + b"=" * (-len(word) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if check != _check(body):
            raise ValueError
        written = _decode(body)
        if not isinstance(written.value, int | str | bytes):
            raise ValueError
        if isinstance(written.value, int):
            msgspec.convert(written.value, Annotated[int, _SIGNED])
    except (ValueError, RecursionError):
        raise UsageError(
            "the cursor is none, or was altered",
            hint="Give after --after exactly what the page before it ended with.",
        ) from None
    if written.version != _VERSION or written.listing != _mark(listing):
        raise UsageError(
            "the cursor is of another list",
            hint="Give the same order and filters as for the page before, or begin anew.",
        )
    return Cursor(written.value, written.tie)


def _mark(listing: object) -> bytes:
    return blake3(_encode(listing)).digest(8)


def _check(body: bytes) -> bytes:
    return blake3(b"shenyu-data cursor" + body).digest(_CHECK_BYTES)
