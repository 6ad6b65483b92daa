"""What makes a user document sound, in the guide's layout and in the application's. Pure.

:func:`is_sound_user` proves most documents sound in one typed pass; :func:`check_user` takes the
time to say what is wrong with the rest.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from shenyu_data.model.notes import LATEST_MS, Notes, shown

Milliseconds = Annotated[int, Meta(ge=0, le=LATEST_MS)]
FractionalMilliseconds = Annotated[float, Meta(ge=0, le=LATEST_MS)]
Time = Milliseconds | FractionalMilliseconds | datetime | None

_APPLICATION_NAME = re.compile(b"[0-9a-f]{64}")
_APPLICATION_FIELDS = ("fingerprint", "firstSeen", "lastSeen")


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; what it holds is skipped."""


class _User(msgspec.Struct, gc=False):
    id: str
    created_at: Time = None
    fingerprint: _Object | None = None
    firstSeen: Time = None
    lastSeen: Time = None
    name: str | None = None
    settings: _Object | None = None
    preferences: _Object | None = None


_decode_user = msgspec.json.Decoder(_User).decode


def is_application_name(owner: bytes) -> bool:
    """Whether ``owner`` is a name the application gives: 64 hexadecimal digits."""
    return _APPLICATION_NAME.fullmatch(owner) is not None


def is_sound_user(data: bytes, owner: bytes) -> bool:
    """Whether the bytes of ``owner``'s user document are sound; false means: not proven."""
    try:
        user = _decode_user(data)
        if not data.isascii():
            data.decode()  # text in fields that were skipped
        if user.id.encode() != owner:
            return False
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    if user.fingerprint is None:
        # Half an application's user is no guide's user.
        return user.created_at is not None and user.firstSeen is None and user.lastSeen is None
    return user.firstSeen is not None and user.lastSeen is not None and is_application_name(owner)


def is_same_but_the_visit(one: bytes, other: bytes) -> bool:
    """Whether two versions of a user's document differ in no more than what the application changes
    at every visit.
    """
    try:
        versions = [msgspec.json.decode(data, type=dict[str, object]) for data in (one, other)]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    for version in versions:
        version.pop("lastSeen", None)
    return versions[0] == versions[1]


def check_user(value: object, owner: bytes | None, notes: Notes) -> None:
    """Note everything wrong with the user ``value``; ``owner`` is None if no file name binds it."""
    if not isinstance(value, dict):
        notes.wrong_type(value, "an object (a user)", "")
        return
    of_application = any(value.get(field) is not None for field in _APPLICATION_FIELDS)
    of_guide = value.get("created_at") is not None
    _check_id(value, owner, notes, of_application=of_application)
    if of_application:
        _check_application_user(value, owner, notes)
    elif not of_guide:
        notes.add(
            code="user-shape",
            severity="error",
            message="neither the guide's user (created_at) nor the application's (fingerprint, "
            "firstSeen, lastSeen)",
            pointer="",
            hint="The application fails for every visitor over a user without a fingerprint: "
            "restore the document from a snapshot.",
        )
    notes.time(value.get("created_at"), "/created_at")
    notes.optional(value.get("name"), str, "a string", "/name")
    notes.optional(value.get("settings"), dict, "an object", "/settings")
    notes.optional(value.get("preferences"), dict, "an object", "/preferences")


def _check_id(
    value: dict[str, object], owner: bytes | None, notes: Notes, *, of_application: bool
) -> None:
    identity = value.get("id")
    if identity is None:
        notes.missing("id", "")
    elif not isinstance(identity, str):
        notes.wrong_type(identity, "a string", "/id")
    elif owner is not None and identity.encode("utf-8", "surrogatepass") != owner:
        notes.add(
            code="id-mismatch",
            severity="error" if of_application else "info",
            message=f"the id {shown(identity)} is not the file's name",
            pointer="/id",
            hint="The application follows the id to the histories and writes the user back under "
            "it: make the two the same."
            if of_application
            else "Only the file's name counts in the guide's layout; make the two the same.",
        )


def _check_application_user(value: dict[str, object], owner: bytes | None, notes: Notes) -> None:
    fingerprint = value.get("fingerprint")
    if fingerprint is None:
        notes.missing("fingerprint", "")
    elif not isinstance(fingerprint, dict):
        notes.wrong_type(fingerprint, "an object", "/fingerprint")
    for field in ("firstSeen", "lastSeen"):
        if value.get(field) is None:
            notes.missing(field, "", severity="warning")
        else:
            notes.time(value[field], f"/{field}")
    if owner is not None and not is_application_name(owner):
        notes.add(
            code="user-name",
            severity="info",
            message="a user of the application whose name is not 64 hexadecimal digits",
            pointer=None,
            hint="The application never gives such a name; see who made this user.",
        )
