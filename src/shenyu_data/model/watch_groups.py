"""What is counted of who touches the data: an account, or the application, within a window and a
day; and somebody who is not on a list. For model/watch_rules.py. Pure.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.distinct import Distinct
from shenyu_data.model.layout import HISTORIES, USERS
from shenyu_data.model.watch_terms import (
    OPENED,
    REMOVED,
    WRITTEN,
    Actor,
    Cause,
    Noticed,
    is_document,
    owner_of,
)

_MOST_PROGRAMS = 5


class Peak(msgspec.Struct):
    """The most of a day within one window: users whose documents were opened, and documents that
    were removed. ``day`` counts from 1970.
    """

    day: int
    users: int = 0
    removed: int = 0


class Group:
    """What one account, or the application, did in this window and on this day."""

    def __init__(self, now_ms: int) -> None:
        self.programs: dict[str, int] = {}
        self.actor: Actor | None = None
        self.day_ms = now_ms
        self.day_users = Distinct()
        self.begin(now_ms)

    def begin(self, now_ms: int) -> None:
        """Begin a window."""
        self.since_ms = now_ms
        self.last_ms = now_ms
        self.accesses = 0
        self.users = Distinct()
        self.removed = Distinct()
        self.everything = False  # a folder of all users was removed
        self.programs.clear()
        self.told: dict[Cause, int] = {}

    def add(self, actor: Actor, what: int, path: bytes, now_ms: int) -> None:
        """Count an access."""
        self.accesses += 1
        self.last_ms = now_ms
        self.actor = actor
        programs = self.programs
        if actor.program in programs or len(programs) < _MOST_PROGRAMS:
            programs[actor.program] = programs.get(actor.program, 0) + 1
        if what & (OPENED | WRITTEN):  # a document may be cut off, or replaced, without an opening
            owner = owner_of(path)
            if owner is not None:
                self.users.add(owner)
                self.day_users.add(owner)
        if what & REMOVED and is_document(path):
            self.removed.add(path)
            self.everything = self.everything or path in (USERS, HISTORIES)

    def count_of(self, cause: Cause) -> int:
        """Return what counts for a cause."""
        return len(self.removed if cause == "bulk-removed" else self.users)

    def noticed(self, cause: Cause, name: str) -> Noticed:
        """Return what is to be told of it."""
        actor = self.actor or Actor(standing="unseen")
        most = sorted(self.programs, key=lambda program: -self.programs[program])
        return Noticed(
            cause=cause,
            who=name,
            first_ms=min(self.day_ms if cause == "bulk-read-day" else self.since_ms, self.last_ms),
            last_ms=self.last_ms,
            account=actor.account,
            login=actor.login,
            programs=[program for program in most if program],
            accesses=self.accesses,
            users=len(self.day_users if cause == "bulk-read-day" else self.users),
            documents=len(self.removed),
        )


class Stranger:
    """What somebody did who is not on a list, since it was told last."""

    def __init__(self, actor: Actor, now_ms: int) -> None:
        self.actor = actor
        self.first_ms = now_ms
        self.last_ms = now_ms
        self.accesses = 0
        self.documents = Distinct()

    def add(self, path: bytes, now_ms: int) -> None:
        """Count an access."""
        self.last_ms = now_ms
        self.accesses += 1
        self.documents.add(path)

    def noticed(self, cause: Cause, who: str) -> Noticed:
        """Return what is to be told of it."""
        actor = self.actor
        return Noticed(
            cause=cause,
            who=who,
            first_ms=min(self.first_ms, self.last_ms),
            last_ms=self.last_ms,
            account=actor.account,
            login=actor.login,
            programs=[actor.program] if actor.program else [],
            accesses=self.accesses,
            documents=len(self.documents),
        )


def usual(values: list[int]) -> int:
    """Return what nine days of ten stay below, as far as that is known."""
    return sorted(values)[(len(values) * 9 - 1) // 10]
