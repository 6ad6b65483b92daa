"""What a document was found to be by the rules of a validation, as the catalog keeps it.

Kept by the version of the rules: what another version of the program found counts for nothing.
"""

from __future__ import annotations

import msgspec

from shenyu_data import __version__
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.history_rules import Held
from shenyu_data.model.layout import Kind
from shenyu_data.model.rules import RULES_VERSION, Checked, check, prove

RULES = f"{RULES_VERSION} {__version__} {msgspec.__version__}"
"""By which rules what is kept was found."""

SOUND = b""
"""Nothing was found, and the document holds what the catalog says it does."""


class _Kept(msgspec.Struct, array_like=True):
    chats: int
    messages: int
    findings: list[Finding]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


def check_document(
    kind: Kind, owner: bytes | None, name: bytes, path: bytes, data: bytes
) -> Checked:
    """Say everything that is wrong with a document; ``name`` is the file's own."""
    held = prove(kind, owner, name, data)
    if held is not None:
        return Checked([], held)
    return check(kind, owner, name, printable(path), data)


def keep_check(checked: Checked, chats: int, messages: int) -> bytes:
    """Return what is kept; ``chats`` and ``messages`` are what the catalog counts in it."""
    if not checked.findings and checked.held == (chats, messages):
        return SOUND
    return _encode(_Kept(*checked.held, checked.findings))


def kept_check(kept: bytes, chats: int, messages: int) -> Checked | None:
    """Return what was kept; None if it is damaged."""
    if kept == SOUND:
        return Checked([], Held(chats, messages))
    try:
        found = _decode(kept)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Checked(found.findings, Held(found.chats, found.messages))
