"""What watching is about: who touched what, and what was noticed of it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from shenyu_data.model.layout import HISTORIES, USERS, Place, kind_of, owner_of_user_file

OPENED = 1
WRITTEN = 2
REMOVED = 4
"""Deleted, or moved to where it is none of the documents any more."""

Standing = Literal["own", "application", "allowed", "other", "gone", "unseen"]
"""How a process stands: one of this program's registered runs; the application; on the list of
others that may read; none of these; one that was gone before it could be looked at; and unseen, if
the mechanism tells of no process."""

Cause = Literal[
    "bulk-read",
    "bulk-read-day",
    "bulk-removed",
    "writer",
    "program",
    "account",
    "hours",
    "dropped",
    "part",
    "killed",
    "blind",
]
"""Why something was noticed. ``part``: a part of the directory is not watched; ``killed``: the
watch before had no end; ``blind``: nothing was seen for a time, though it ran."""

BULK: tuple[Cause, ...] = ("bulk-read", "bulk-read-day", "bulk-removed")
STRANGERS: tuple[Cause, ...] = ("writer", "program", "account", "hours")
MISSED: tuple[Cause, ...] = ("dropped", "part", "killed", "blind")


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who touches the data: an account of the system and a program. ``login`` is the account that
    logged in, if that is another one, as with sudo. ``program`` is a path that is safe to print, ""
    if it cannot be known.
    """

    standing: Standing
    account: int | None = None
    login: int | None = None
    program: str = ""


class Noticed(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was noticed: why, and of whom. Times are ms since 1970.

    ``accesses`` counts what happened since this was noticed last; ``users`` and ``documents`` count
    different ones within one window. No name of a user of the application is in it.
    """

    cause: Cause
    who: str
    first_ms: int
    last_ms: int
    account: int | None = None
    login: int | None = None
    programs: list[str] = []
    accesses: int = 0
    users: int = 0
    documents: int = 0
    dropped: int = 0
    blind_s: int = 0

    def figures(self) -> dict[str, int]:
        """Return the numbers that say something."""
        names = ("accesses", "users", "documents", "dropped", "blind_s")
        found = {name: value for name in names if (value := getattr(self, name))}
        for name in ("account", "login"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        return found


def joined(before: Noticed, item: Noticed) -> Noticed:
    """Return two that were noticed of the same as one."""
    return msgspec.structs.replace(
        item,
        first_ms=min(before.first_ms, item.first_ms),
        programs=list(dict.fromkeys([*item.programs, *before.programs]))[:5],
        accesses=before.accesses + item.accesses,
        users=max(before.users, item.users),
        documents=max(before.documents, item.documents),
        dropped=item.dropped if item.cause == "part" else before.dropped + item.dropped,
        blind_s=before.blind_s + item.blind_s,
    )


def owner_of(path: bytes) -> bytes | None:
    """Return which user of the application a path belongs to; None if it is nobody's."""
    first, _, rest = path.partition(b"/")
    if first == HISTORIES:
        return rest.partition(b"/")[0] or None
    if first == USERS:
        found = owner_of_user_file(rest)
        return found[0] if found is not None else None
    return None


def is_document(path: bytes) -> bool:
    """Whether a path is that of a document which the application reads, or of a folder of them."""
    first, _, rest = path.partition(b"/")
    if first == USERS:
        return not rest or owner_of_user_file(rest) is not None
    if first == HISTORIES:
        _, _, name = rest.partition(b"/")
        return not name or kind_of(Place.IN_HISTORY_FOLDER, name) == "history"
    return False
