"""What a check saw: one finding, with a stable code. Made by every operation, rendered by the
CLI.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One thing a check saw.

    ``code`` is stable across releases; ``path`` is the document, relative to the data directory, or
    the repository's object, made printable by :func:`printable`; ``pointer`` is an RFC 6901 JSON
    pointer into the document; ``hint`` says what a person can do now.
    """

    code: str
    severity: Severity
    path: str
    message: str
    pointer: str | None = None
    hint: str = ""


def printable(name: bytes | str) -> str:
    """Given a file name as the system gave it, return text that is safe to print and to put in
    JSON.

    Bytes that are not UTF-8, and control characters, come back as backslash escapes, so that a
    hostile name can neither move the cursor nor break a line.
    """
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
