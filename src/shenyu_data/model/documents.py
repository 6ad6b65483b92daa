"""What a document's bytes say, read as the application reads them. For rules and repairs; pure.

The application reads a file as UTF-8 and hands it to JavaScript's ``JSON.parse``; what that takes
is JSON here too, lone surrogates (an emoji cut in two by a title's length) and all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from shenyu_data.model.findings import Finding, Severity, printable

MAX_PARSED_VALUES = 1_000_000
"""Documents with more brackets and commas than this are not unfolded: a value takes 64 bytes."""

MOST_DEPTH = 200
"""What nests deeper is no chat of the application's. Parsers give up at some thousand levels, and
whoever writes or compares what one of them gave at some hundred less: this is below all of them.
"""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BLANK = b" \t\r\n\0"
_CUT_OFF = re.compile(  # what is left when a literal, a number or an escape is cut off
    r"t|tr|tru|f|fa|fal|fals|n|nu|nul|-|\.|(\.\d+)?[eE][+-]?|\\?u?[0-9a-fA-F]{0,3}"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unparsable(Exception):
    """Why a document's bytes are not one JSON value; everything a finding needs but the path."""

    def __init__(self, code: str, severity: Severity, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.severity: Severity = severity
        self.message = message
        self.hint = hint

    def finding(self, path: str) -> Finding:
        """Return the finding about the document at the printable ``path``."""
        return Finding(
            code=self.code,
            severity=self.severity,
            path=path,
            message=self.message,
            hint=self.hint,
        )


def parse(data: bytes) -> object:
    """Return the value ``data`` holds, as the application reads it. Raise Unparsable if none."""
    if not data:
        raise _lost(code="empty-file", message="the file is empty")
    if not data.strip(_BLANK):
        raise _lost(
            code="blank-file", message=f"nothing but NUL bytes or blanks ({len(data):,} bytes)"
        )
    if data.endswith(b"\0") and not data.startswith(_UTF_16):
        kept = len(data.rstrip(b"\0"))
        raise _torn(f"{len(data) - kept:,} NUL bytes at the end")
    text = _decode(data)
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_PARSED_VALUES:
        raise Unparsable(
            code="too-large",
            severity="warning",
            message=f"more than {MAX_PARSED_VALUES:,} values; it is not looked into any further",
            hint="Split the history, or see what filled it.",
        )
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=integer)
    except json.JSONDecodeError as error:
        raise _syntax(text, error) from None
    except RecursionError:
        raise Unparsable(
            code="json-too-deep",
            severity="warning",
            message="JSON nested so deep that it is not looked into",
            hint="The application writes at most a few levels; see what made this file.",
        ) from None


def is_deep(value: object) -> bool:
    """Whether a value nests deeper than :data:`MOST_DEPTH`."""
    level: list[object] = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            below
            for item in level
            if isinstance(item, dict | list)
            for below in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def lone_surrogates(value: object) -> Iterator[str]:
    """Yield the JSON pointer of every string or key in ``value`` that holds half a character."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        pointer, item = waiting.pop()
        if isinstance(item, str):
            if _SURROGATE.search(item):
                yield pointer
        elif isinstance(item, list):
            waiting += [(f"{pointer}/{number}", below) for number, below in enumerate(item)][::-1]
        elif isinstance(item, dict):
            for key, below in reversed(item.items()):
                escaped = pointer + "/" + printable(key.replace("~", "~0").replace("/", "~1"))
                waiting.append((escaped, below))
                if _SURROGATE.search(key):
                    yield escaped


def _decode(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.end == len(data) and error.reason == "unexpected end of data":
            raise _torn("cut off in the middle of a character") from None
        raise Unparsable(
            code="not-utf8",
            severity="error",
            message=f"not UTF-8 at byte {error.start:,}",
            hint="The application's next save turns such bytes into '\ufffd' for good: restore the "
            "document from a snapshot, or convert it to UTF-8.",
        ) from None
    if text.startswith("\ufeff"):
        raise Unparsable(
            code="byte-order-mark",
            severity="error",
            message="the file begins with a byte order mark, which is not JSON",
            hint="The application takes it for empty and overwrites it: save it as UTF-8 without "
            "a byte order mark.",
        )
    return text


def _syntax(text: str, error: json.JSONDecodeError) -> Unparsable:
    rest = text[error.pos :].strip()
    where = f"line {error.lineno}, column {error.colno}"
    if error.msg == "Extra data":
        return Unparsable(
            code="trailing-data",
            severity="error",
            message=f"a whole document ends before {where}, and {len(rest.encode()):,} more bytes "
            "follow",
            hint="Two processes wrote it at once, the longer one first. The application takes it "
            "for empty and overwrites it: remove what follows, or restore it from a snapshot.",
        )
    if error.msg.startswith("Unterminated string") or _CUT_OFF.fullmatch(rest) or not rest:
        return _torn(f"cut off in line {text.count(chr(10)) + 1}")
    return Unparsable(
        code="not-json",
        severity="error",
        message=f"not JSON at {where}: {error.msg}",
        hint="The application takes it for empty and overwrites it: restore it from a snapshot.",
    )


def _lost(*, code: str, message: str) -> Unparsable:
    return Unparsable(
        code=code,
        severity="error",
        message=message,
        hint="This is what a crash or a power failure leaves: restore it from a snapshot.",
    )


def _torn(message: str) -> Unparsable:
    return Unparsable(
        code="torn-json",
        severity="error",
        message=f"torn: {message}",
        hint="A write was interrupted. The application takes it for empty and overwrites it: "
        "restore it from a snapshot, or salvage the chats that are whole.",
    )


def _no_constant(name: str) -> NoReturn:
    raise Unparsable(
        code="not-json",
        severity="error",
        message=f"not JSON: it holds {name}",
        hint="The application takes it for empty and overwrites it: restore it from a snapshot.",
    )


def integer(digits: str) -> float:
    """Return the number that digits mean, as the application reads them."""
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts; JavaScript makes a float of any of them
        return float(digits)
