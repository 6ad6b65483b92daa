"""JSON as the guide's scripts write it, JSON.stringify(value, null, 2), made from a document's own
text: numbers and escapes stay as they are. Pure.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate

import msgspec

from shenyu_data.model.documents import Unparsable, parse

MOST_DEPTH = 900
"""Where parsers give up depends on who calls them; what is written here must be read elsewhere."""

_TOO_DEEP = b"\n" + b"  " * (MOST_DEPTH + 1)
_DEEP_BYTES = MOST_DEPTH * MOST_DEPTH
"""What is deeper has at least so many blanks: a line at each depth."""

_GROWTH = 4
_FREE_BYTES = 1 << 20
"""Indenting may make so many times its size of a document, and this."""

_SMALL_BYTES = 4 << 10
"""A document of so few bytes is not asked: it becomes 6 MB at most, and most are so small."""

_format = msgspec.json.format

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def indented(data: bytes, column: int = 0) -> bytes:
    """Return a document indented by two blanks a level, to stand at a column of a larger one.

    One that is nested so deep that it would be nothing but blanks stays as it is. Raise ValueError
    if it is no JSON, or nested deeper than :data:`MOST_DEPTH`.
    """
    depth = _depth_of_blanks(data) if len(data) > _SMALL_BYTES else 0
    try:
        text = _format(data, indent=-1 if depth else 2)
        if not text.isascii():
            text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _as_the_application_writes(data, None if depth else 2)
    if depth > MOST_DEPTH or (len(text) > _DEEP_BYTES and _TOO_DEEP in text):
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels")
    # A string holds no line end as it is, so each of these ends a line.
    return text.replace(b"\n", b"\n" + b" " * column) if column else text


def _depth_of_blanks(data: bytes) -> int:
    """Return how deep a document is nested that is a bomb, a few bytes a line and each far to the
    right; 0 if it is none.
    """
    most = _GROWTH * len(data) + _FREE_BYTES
    opening = data.count(b"[") + data.count(b"{")  # in text, too
    if 2 * opening * (2 * opening + len(data)) <= most:  # whatever it is: nearly all are so
        return 0
    if 2 * opening * _lines(data, opening) <= most:  # however deep it is, and what is text
        return 0
    marks = _STRING.sub(b"", data)
    opening = marks.count(b"[") + marks.count(b"{")
    lines = _lines(marks, opening)
    if 2 * opening * lines <= most:
        return 0
    depth = max(accumulate(_STEPS.get(byte, 0) for byte in marks), default=0)
    return depth if 2 * depth * lines > most else 0


def _lines(data: bytes, opening: int) -> int:
    return 2 * opening + data.count(b",")


def _as_the_application_writes(data: bytes, indent: int | None) -> bytes:
    """Indent what msgspec refuses: an escape of half a character is JSON for the application."""
    try:
        value = parse(data)
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except (Unparsable, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text.encode("utf-8", "backslashreplace")


def string(text: str) -> bytes:
    """Return a JSON string."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")
