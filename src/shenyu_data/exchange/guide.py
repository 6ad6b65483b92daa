"""The guide's format, ``export.json`` version 1.0.0: how its parts are written, and the names that
an import gives to histories, which the format does not carry. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from shenyu_data.exchange.json_text import string

VERSION = "1.0.0"

USER_COLUMN = 4
HISTORY_COLUMN = 6
"""Where the values of users and of histories begin."""

ARRAY_NAMES = (b"chat-history.json", b"sn43-history.json")
"""What the application calls its histories, in the order in which an export lists them."""

OPENING = b'{\n  "users": {'
MIDDLE = b',\n  "histories": {'


class Names:
    """Gives the histories of one user their names, in the order of the export.

    An array of chats is one of the application's, which reads it under its own names only. A single
    chat is the guide's, whose layout goes by any name: it gets the number that the guide's import
    gives it.
    """

    def __init__(self) -> None:
        self._count = self._arrays = 0

    def next(self, value: bytes) -> bytes:
        """Return the name of the next history, given its text."""
        index, self._count = self._count, self._count + 1
        if value[:1] != b"{" and value.lstrip()[:1] == b"[":
            self._arrays += 1
            if self._arrays <= len(ARRAY_NAMES):
                return ARRAY_NAMES[self._arrays - 1]
        return b"%d.json" % index

    def add_to(self, counts: dict[bytes, int]) -> None:
        """Count the application's names that were given, and under the empty one all others."""
        arrays = ARRAY_NAMES[: self._arrays]
        for name in arrays:
            counts[name] = counts.get(name, 0) + 1
        if others := self._count - len(arrays):
            counts[b""] = counts.get(b"", 0) + others


def ending(*, some: bool) -> bytes:
    """Return what ends the object of users or of histories."""
    return b"\n  }" if some else b"}"


def closing() -> bytes:
    """Return what ends the export."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return b',\n  "exportDate": %b,\n  "version": %b\n}' % (string(now), string(VERSION))


def member(name: str) -> bytes:
    """Return what begins the member of one user."""
    return b"\n    " + string(name) + b": "
