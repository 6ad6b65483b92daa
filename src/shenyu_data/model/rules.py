"""Whether one document is sound, and what is wrong with it. Called by validate and repair; pure.

Sound documents are proven so by one typed pass (:func:`prove`). Only what that does not prove is
unfolded and walked (:func:`check`), which says exactly what is wrong, and where.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from shenyu_data.model.documents import Unparsable, lone_surrogates, parse
from shenyu_data.model.entry_rules import is_imported_name
from shenyu_data.model.findings import Finding
from shenyu_data.model.history_rules import Held, check_history, count_sound_history
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Kind
from shenyu_data.model.notes import Notes
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.model.user_rules import check_user, is_application_name, is_sound_user

APPLICATION_KEYS = (b"chat-history", b"sn43-history")
"""The storage keys the application is known to use."""

RULES_VERSION = 1
"""To be raised whenever a document may be found to be something else than before: what was found
by other rules is not trusted.
"""

NOTHING = Held(0, 0)


class Checked(NamedTuple):
    """What a close look at a document gave."""

    findings: list[Finding]
    held: Held


def prove(kind: Kind, owner: bytes | None, name: bytes, data: bytes) -> Held | None:
    """Return what the document holds if one quick pass proves it sound, or None: look closer.

    ``name`` is the file's own name; ``owner`` is None where the name binds to nobody.
    """
    if len(data) > MAX_PARSED_BYTES:
        return None
    if kind == "history":
        return count_sound_history(data, array_only=_is_read_by_application(owner, name))
    if kind == "user" and owner is not None and is_sound_user(data, owner):
        return NOTHING
    return None


def check(kind: Kind, owner: bytes | None, name: bytes, path: str, data: bytes) -> Checked:
    """Say everything that is wrong with a document. Never raises, whatever the bytes.

    ``path`` is printable and stands in the findings; the rest is as in :func:`prove`. A document
    whose name ends in ``.gz`` is unpacked, but no further than what is looked into at most.
    """
    notes = Notes(path)
    held = NOTHING
    try:
        if name.endswith(GZIP_SUFFIX):
            data = _unpack(data)
            if (proven := prove(kind, owner, name, data)) is not None:
                return Checked([], proven)
        if len(data) > MAX_PARSED_BYTES:
            raise too_large(len(data))
        value = parse(data)
    except Unparsable as problem:
        return Checked([problem.finding(path)], held)
    if kind == "history":
        array_only = _is_read_by_application(owner, name)
        held = check_history(value, notes, array_only=array_only)
    elif kind == "user":
        check_user(value, owner, notes)
    _check_characters(data, value, notes)
    return Checked(notes.findings(), held)


def is_unread_name(owner: bytes, name: bytes) -> bool:
    """Whether the application, whose user ``owner`` is, never reads a history of this name."""
    return is_imported_name(name) and is_application_name(owner)


def too_large(size: int) -> Unparsable:
    """Return the problem of a document of ``size`` bytes that is too large to be looked into."""
    return Unparsable(
        code="too-large",
        severity="warning",
        message=f"{size:,} bytes or more; beyond {MAX_PARSED_BYTES:,} bytes nothing is looked into",
        hint="It is backed up byte for byte, but nobody knows whether it is whole: split it.",
    )


def _unpack(data: bytes) -> bytes:
    unpacked = gunzip(data, MAX_PARSED_BYTES)
    if unpacked is None:
        raise Unparsable(
            code="damaged-gzip",
            severity="error",
            message="cut off, or not gzip",
            hint="Restore it from a snapshot; gzip -dc may salvage its beginning.",
        )
    return unpacked


def _is_read_by_application(owner: bytes | None, name: bytes) -> bool:
    """Whether the application itself reads this history: its key, and one of its users."""
    return (
        name.removesuffix(JSON_SUFFIX) in APPLICATION_KEYS
        and owner is not None
        and is_application_name(owner)
    )


def _check_characters(data: bytes, value: object, notes: Notes) -> None:
    """Note half characters: JavaScript writes them when it cuts a text; strict readers stop."""
    if b"\\u" not in data:
        return
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        for pointer in lone_surrogates(value):
            notes.add(
                code="lone-surrogate",
                severity="info",
                message="half a character: an emoji cut in two",
                pointer=pointer,
                hint="The application reads it; other programs may refuse it. Remove the half.",
            )
