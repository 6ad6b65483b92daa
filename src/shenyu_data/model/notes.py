"""Taking notes of what is wrong with one document, with JSON pointers. For the model's rules."""

from __future__ import annotations

import math
from datetime import datetime

import msgspec

from shenyu_data.model.findings import Finding, Severity, printable

MOST_FINDINGS = 50
"""Of one document; the rest is only counted."""

LATEST_MS = 8_640_000_000_000_000
"""The last moment JavaScript knows, in milliseconds since 1970."""

_SHOWN = 60  # characters of a value in a message

_JSON_NAMES = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}


class Notes:
    """Collects the findings about one document, whose printable path is ``path``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._findings: list[Finding] = []
        self._left_out: list[Severity] = []

    def add(
        self, *, code: str, severity: Severity, message: str, pointer: str | None, hint: str
    ) -> None:
        """Note one finding, or only count it if there are :data:`MOST_FINDINGS` already."""
        if len(self._findings) >= MOST_FINDINGS:
            self._left_out.append(severity)
            return
        self._findings.append(
            Finding(
                code=code,
                severity=severity,
                path=self._path,
                message=message,
                pointer=pointer,
                hint=hint,
            )
        )

    def findings(self) -> list[Finding]:
        """Return what was noted, in order, and one finding more if some were only counted."""
        if not self._left_out:
            return self._findings
        severities: tuple[Severity, ...] = ("error", "warning", "info")
        more = Finding(
            code="more-findings",
            severity=next(severity for severity in severities if severity in self._left_out),
            path=self._path,
            message=f"{len(self._left_out):,} more like these in this document",
            hint="Mend what is told first, then validate the document again.",
        )
        return [*self._findings, more]

    def missing(self, field: str, pointer: str, *, severity: Severity = "error") -> None:
        """Note that the object at ``pointer`` lacks ``field``."""
        self.add(
            code="missing-field",
            severity=severity,
            message=f"there is no {field!r}",
            pointer=pointer,
            hint="Restore the document from a snapshot, or add what is missing.",
        )

    def wrong_type(
        self, value: object, expected: str, pointer: str, *, severity: Severity = "error"
    ) -> None:
        """Note that ``value`` is not of the ``expected`` type, e.g. ``"a string"``."""
        self.add(
            code="wrong-type",
            severity=severity,
            message=f"{json_type(value)} where {expected} belongs",
            pointer=pointer,
            hint="The application cannot use it: restore the document from a snapshot, or mend it.",
        )

    def optional(self, value: object, kind: type, expected: str, pointer: str) -> None:
        """Note it if ``value`` is there and not of ``kind``; nothing depends on such a field."""
        if value is not None and not isinstance(value, kind):
            self.wrong_type(value, expected, pointer, severity="warning")

    def time(self, value: object, pointer: str) -> None:
        """Note it if ``value`` is there and is no moment: ISO 8601 text or ms since 1970."""
        if value is None or is_time(value):
            return
        self.add(
            code="bad-time",
            severity="warning",
            message=f"{shown(value)} is not a time",
            pointer=pointer,
            hint="Write ISO 8601, like 2025-02-10T03:28:00.000Z; until then cleanup cannot tell "
            "how old it is.",
        )


def is_time(value: object) -> bool:
    """Whether ``value`` is ISO 8601 text, or a number of milliseconds since 1970."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return math.isfinite(value) and 0 <= value <= LATEST_MS
    if not isinstance(value, str):
        return False
    try:
        msgspec.convert(value, datetime)
    except (msgspec.ValidationError, UnicodeEncodeError):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
    return True


def is_number(value: object) -> bool:
    """Whether ``value`` is a JSON number; JavaScript has only one kind of them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def json_type(value: object) -> str:
    """Return what JSON calls the type of ``value``, with its article."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    return _JSON_NAMES.get(type(value), "an array")


def shown(value: object) -> str:
    """Return ``value`` as it may stand in a message: printable and short."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return json_type(value)
    text = printable(value) if isinstance(value, str) else str(value)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f'"{text}"' if isinstance(value, str) else text
