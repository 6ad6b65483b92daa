"""JSON as the guide's scripts write it, JSON.stringify(value, null, 2), made from a document's own
text: numbers and escapes stay as they are. Pure.
"""

from __future__ import annotations

import json

import msgspec

from shenyu_data.model.documents import Unparsable, parse

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def indented(data: bytes, column: int = 0) -> bytes:
    """Return a document indented by two blanks a level, to stand at a column of a larger one.

    Raise ValueError if it is no JSON.
    """
    try:
        _decode_any(data)
        text = msgspec.json.format(data, indent=2)
        text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _as_the_application_writes(data)
    # A string holds no line end as it is, so each of these ends a line.
    return text.replace(b"\n", b"\n" + b" " * column) if column else text


def _as_the_application_writes(data: bytes) -> bytes:
    """Indent what msgspec refuses: an escape of half a character is JSON for the application."""
    try:
        value = parse(data)
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (Unparsable, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text.encode("utf-8", "backslashreplace")


def string(text: str) -> bytes:
    """Return a JSON string."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")
