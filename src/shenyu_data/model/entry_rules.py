"""What is wrong with an entry of the data directory before anyone opens it: its name, its kind.

Pure: called with what a scan saw.
"""

from __future__ import annotations

import re
import stat

from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import is_plain_name

MAX_NAME_BYTES = 240
"""Longer names leave no room for ``.gz`` or a temporary name; most systems end at 255."""

_LEFTOVER = re.compile(rb"\.tmp-.*|.*\.(tmp|temp|swp|swo|bak|orig|partial)|.*~|\.#.*|#.*#")
_is_ordinary = re.compile(rb"[0-9A-Za-z_-][0-9A-Za-z_.@+-]{0,200}").fullmatch
_IMPORTED = re.compile(rb"\d+\.json")


def name_finding(name: bytes, path: bytes) -> Finding | None:
    """Given an entry's own name and its path, return what is wrong with the name, or None."""
    if _is_ordinary(name):
        return None
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return Finding(
            code="name-not-utf8",
            severity="warning",
            path=printable(path),
            message="the name is not UTF-8",
            hint="The application cannot read a file of such a name: rename or remove it.",
        )
    if not text.isprintable():
        problem = "control or invisible characters"
    elif len(name) > MAX_NAME_BYTES:
        problem = f"{len(name)} bytes, which leaves no room for a temporary name"
    elif "\\" in text:
        problem = "a backslash, which is a path on other systems"
    elif text.startswith("..") or not is_plain_name(name.removesuffix(b".json")):
        problem = "a path out of its folder, or nearly one"
    else:
        return None
    return Finding(
        code="hostile-name",
        severity="warning",
        path=printable(path),
        message=f"the name holds {problem}",
        hint="Names come from the network: see who made this one, then rename or remove it.",
    )


def other_finding(name: bytes, path: bytes, *, folder: bool) -> Finding:
    """Given an entry that is no document the application knows, return what to say about it."""
    if not folder and _LEFTOVER.fullmatch(name):
        return Finding(
            code="leftover-file",
            severity="warning",
            path=printable(path),
            message="what a killed or forgotten writer left behind",
            hint="Remove it, unless its writer is still at work or its content is missed.",
        )
    return Finding(
        code="unknown-file",
        severity="info",
        path=printable(path),
        message="a folder the application does not know" if folder else "not a document",
        hint="It is kept and backed up as it is.",
    )


def hard_link_finding(links: int, path: bytes) -> Finding:
    """Return the finding about a document that has ``links`` names."""
    return Finding(
        code="hard-link",
        severity="info",
        path=printable(path),
        message=f"the file has {links} names",
        hint="The application writes in place, so every name changes with it, a copy made of hard "
        "links too: make a real copy.",
    )


def compressed_finding(path: bytes) -> Finding:
    """Return the finding about a document that only the guide's scripts read."""
    return Finding(
        code="compressed-document",
        severity="info",
        path=printable(path),
        message="compressed: the application does not read it",
        hint="Unpack it with `shenyu-data decompress` when it is wanted again.",
    )


def twin_finding(path: bytes) -> Finding:
    """Return the finding about a compressed document whose plain twin is there as well."""
    return Finding(
        code="compressed-twin",
        severity="warning",
        path=printable(path),
        message="the same document is there plain and compressed, and they may differ",
        hint="The application reads and writes the plain one: compare them, then remove one.",
    )


def link_finding(path: bytes, target: bytes) -> Finding:
    """Return the finding about a link to another place in the data directory."""
    return Finding(
        code="link",
        severity="info",
        path=printable(path),
        message=f"a link to {printable(target)}",
        hint="It is kept as a link and never followed.",
    )


def special_finding(path: bytes, mode: int) -> Finding:
    """Return the finding about a FIFO, socket or device; ``mode`` is its ``st_mode``."""
    kind = "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return Finding(
        code="special-file",
        severity="warning",
        path=printable(path),
        message=f"{kind}, not a document; it is skipped",
        hint="The application makes none; remove it if nothing else needs it.",
    )


def outside_link_finding(path: bytes, target: bytes) -> Finding:
    """Return the finding about a link that leads out of the data directory."""
    return Finding(
        code="link-outside",
        severity="warning",
        path=printable(path),
        message=f"a link out of the data directory, to {printable(target)}",
        hint="It is never followed, so what it leads to is neither checked nor backed up: move "
        "that here, or remove the link.",
    )


def dangling_link_finding(path: bytes, target: bytes) -> Finding:
    """Return the finding about a link to a place in the data directory where nothing is."""
    return Finding(
        code="dangling-link",
        severity="warning",
        path=printable(path),
        message=f"a link to {printable(target)}, where nothing is",
        hint="Remove it, or restore what it led to.",
    )


def is_imported_name(name: bytes) -> bool:
    """Whether a history has a name as the guide's import gives: a number."""
    return _IMPORTED.fullmatch(name) is not None


def imported_finding(path: bytes) -> Finding:
    """Return the finding about a history of an application's user with an imported file's name."""
    return Finding(
        code="imported-name",
        severity="info",
        path=printable(path),
        message="a number for a name, as the guide's import gives: the application never reads it",
        hint="Rename it to the storage key it had, most likely chat-history.json.",
    )


def without_history_finding(path: bytes) -> Finding:
    """Return the finding about a user who has no history folder."""
    return Finding(
        code="user-without-history",
        severity="info",
        path=printable(path),
        message="the user has no history folder",
        hint="Nothing to do if the user never chatted; else restore the histories.",
    )


def without_user_finding(path: bytes) -> Finding:
    """Return the finding about a history folder that holds something but belongs to no user."""
    return Finding(
        code="history-without-user",
        severity="warning",
        path=printable(path),
        message="histories of a user who is not in users/",
        hint="Restore the user from a snapshot; nobody reaches these chats without it.",
    )
