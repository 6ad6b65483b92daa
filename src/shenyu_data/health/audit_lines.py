"""The lines of the audit log: what they hold, and how each is told from one that was altered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from blake3 import blake3

MOST_LINE_BYTES = 32_768
FIRST_PREVIOUS = "0" * 64
"""What the first line of a log names as the hash of the line before."""

_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES = len(b',"hash":""}') + 64
_MOST_FIGURES_BYTES = 8192

Kind = Literal["log", "begun", "ended", "mended", "accepted", "noticed"]
"""``log``: the first line there is; ``mended``: a line that was cut off, as by a power cut, was
taken away before this one; ``accepted``: somebody said that earlier lines are lost; ``noticed``: by
``watch``, of others."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``time_ms``: since 1970. ``previous``: the hash of the line before, in hex.

    ``run`` joins the beginning of a run with its end. ``login_uid`` is who logged in, if ``uid``
    was taken on later, as by sudo; ``born`` tells the process from others with its number.
    ``code`` is that of an error, and ``repository`` the id of the one that was unlocked.
    """

    sequence: int
    time_ms: int
    kind: Kind
    previous: str
    run: str = ""
    verb: str = ""
    uid: int = 0
    user: str = ""
    login_uid: int | None = None
    pid: int = 0
    born: str = ""
    outcome: str = ""
    exit_status: int | None = None
    code: str = ""
    repository: str = ""
    figures: dict[str, Any] = {}


class Altered(Exception):
    """A line, or a file, is not as this program writes it."""


def as_line(entry: Entry) -> tuple[bytes, str]:
    """Return an entry as a line with its end, and its hash."""
    body = msgspec.json.encode(entry)
    digest = blake3(body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', digest


def parse(line: bytes) -> tuple[Entry, str]:
    """Return the entry of a line without its end, and its hash. Raise Altered."""
    tail = _TAIL.fullmatch(line[-_TAIL_BYTES:])
    body = line[:-_TAIL_BYTES] + b"}"
    if tail is None or len(line) > MOST_LINE_BYTES or blake3(body).hexdigest() != tail[1].decode():
        raise Altered
    try:
        return msgspec.json.decode(body, type=Entry), tail[1].decode()
    except (ValueError, RecursionError):
        raise Altered from None


def kept_figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of what a verb's ``--json`` says; texts and lists may name users."""

    def thinned(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, bool | int | float):
                kept[key] = value
            elif isinstance(value, Mapping) and depth:
                kept[key] = thinned(value, depth - 1)
        return kept

    figures = thinned(document, 1)
    return figures if len(msgspec.json.encode(figures)) <= _MOST_FIGURES_BYTES else {}
