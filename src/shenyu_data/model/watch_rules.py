"""The rules of watching: accesses in, what is no ordinary use out. Pure: the time is given, and
memory is bounded however many accesses, processes and users there are.

Who reads is told apart by accounts of the system, and not by processes or programs: whoever copies
documents one by one, each by a process of its own, reads as much as one that reads them all.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

import msgspec

from shenyu_data.model.alerts import DAY_MS
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.distinct import Distinct
from shenyu_data.model.watch_groups import Group, Peak, Stranger, usual
from shenyu_data.model.watch_pauses import OTHERS, Names, Pauses
from shenyu_data.model.watch_terms import (
    REMOVED,
    WRITTEN,
    Actor,
    Cause,
    Noticed,
)

KNOWN_DAYS = 7
"""After so many days it is known what is ordinary for the application."""

_KEPT_DAYS = 30
_MOST_GROUPS = 64


class Tally:
    """Counts accesses, and says what of them is no ordinary use. ``accounts`` are those of the
    table as numbers; ``ordinary`` is what was seen on the days before, by group.
    """

    def __init__(
        self,
        table: WatchTable,
        accounts: frozenset[int] | None,
        zone: tzinfo,
        ordinary: dict[str, list[Peak]] | None = None,
    ) -> None:
        self.ordinary = ordinary if ordinary is not None else {}
        self.accesses = 0
        self._table = table
        self._accounts = accounts
        self._zone = zone
        self._hours = table.minutes()
        self._groups: dict[str, Group] = {}
        self._strangers: dict[tuple[Cause, str], Stranger] = {}
        self._pauses = Pauses(table.window_ms())
        self._names = Names()
        self._due: list[Noticed] = []
        self._now_ms = 0
        self._odd = False

    def at(self, now_ms: int) -> None:
        """Say what time it is: for all accesses until it is said again."""
        self._now_ms = now_ms
        if self._hours is not None:
            now = datetime.fromtimestamp(now_ms / 1000, self._zone)
            self._odd = not _within(now.hour * 60 + now.minute, self._hours)
        self._names.at(now_ms)
        for name, group in list(self._groups.items()):
            if not 0 <= now_ms - group.since_ms < self._table.window_ms():
                self._end_window(name, group)
                if not group.accesses and name != "application":
                    self._forget_idle(name, group)
                group.begin(now_ms)
            if not 0 <= now_ms - group.day_ms < DAY_MS:
                group.day_ms, group.day_users = now_ms, Distinct()

    def _forget_idle(self, name: str, group: Group) -> None:
        """Leave an account out that did nothing for a window and whose day is no concern."""
        if len(group.day_users) == 0 or len(self._groups) > _MOST_GROUPS // 2:
            self._groups.pop(name, None)

    def add(self, actor: Actor, what: int, path: bytes) -> None:
        """Count an access; ``what`` is made of OPENED, WRITTEN and REMOVED."""
        if actor.standing == "own":
            return
        if actor.standing == "application" and not self._may(actor):
            # Its program, and whoever ran it.
            actor = msgspec.structs.replace(actor, standing="other")
        self.accesses += 1
        self._group(actor).add(actor, what, path, self._now_ms)
        if actor.standing not in ("application", "unseen"):
            self._judge_stranger(actor, what, path)
        elif self._odd and actor.standing == "unseen":
            self._strange("hours", actor, path)

    def _may(self, actor: Actor) -> bool:
        return self._accounts is None or actor.account in self._accounts

    def _group(self, actor: Actor) -> Group:
        name = _group_name(actor)
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= _MOST_GROUPS:
                name = OTHERS
                group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = Group(self._now_ms)
        return group

    def _judge_stranger(self, actor: Actor, what: int, path: bytes) -> None:
        table = self._table
        if table.application is not None and what & (WRITTEN | REMOVED):
            self._strange("writer", actor, path)
        if table.programs is not None and actor.standing != "allowed":
            self._strange("program", actor, path)
        if not self._may(actor):
            self._strange("account", actor, path)
        if self._odd:
            self._strange("hours", actor, path)

    def _strange(self, cause: Cause, actor: Actor, path: bytes) -> None:
        program = actor.program if cause in ("writer", "program") else ""
        who = self._names.who(cause, _group_name(actor), program)
        stranger = self._strangers.get((cause, who))
        if stranger is None:
            stranger = self._strangers[cause, who] = Stranger(actor, self._now_ms)
        stranger.add(path, self._now_ms)

    def judge(self) -> list[Noticed]:
        """Return what is to be told now: each cause and account once, and then again at longer and
        longer intervals as long as it goes on.
        """
        for name, group in self._groups.items():
            for cause, count, limit in self._counts(name, group):
                if limit is not None and count >= limit and cause not in group.told:
                    group.told[cause] = count
                    if self._pauses.may_tell(cause, name, self._now_ms):
                        self._due.append(group.noticed(cause, name))
        for (cause, who), stranger in list(self._strangers.items()):
            if self._pauses.may_tell(cause, who, self._now_ms):
                self._due.append(stranger.noticed(cause, who))
                del self._strangers[cause, who]
        due, self._due = self._due, []
        return due

    def _counts(self, name: str, group: Group) -> list[tuple[Cause, int, int | None]]:
        """Return what is counted of a group, with its limits; None: there is none yet."""
        days = self.ordinary.get(name, [])
        learns = self._learns(name)
        is_known = len(days) >= KNOWN_DAYS
        users: int | None = self._table.users
        removed: int | None = self._table.removed
        if learns and is_known:
            days_users = usual([day.users for day in days])
            days_removed = usual([day.removed for day in days])
            users = max(self._table.users, self._table.times * days_users)
            removed = max(self._table.removed, self._table.times * days_removed)
        elif name == "application":
            users = removed = None  # how many people there are is not known yet
        gone = 1 << 62 if group.everything else len(group.removed)
        found: list[tuple[Cause, int, int | None]] = [
            ("bulk-read", len(group.users), users),
            ("bulk-removed", gone, 1 if group.everything else removed),
        ]
        if self._table.application is not None and name not in ("application", "unseen"):
            found.append(("bulk-read-day", len(group.day_users), self._table.users_a_day))
        return found

    def _learns(self, name: str) -> bool:
        """Whether what a group does day by day is ordinary: of the application, and of what it may
        be part of.
        """
        return name in ("application", "unseen") or self._table.application is None

    def _end_window(self, name: str, group: Group) -> None:
        """Note what a window held: the whole of what was told when it passed the limit, and what is
        ordinary.
        """
        for cause, told in group.told.items():
            if cause != "bulk-read-day" and group.count_of(cause) >= 2 * told:
                self._due.append(group.noticed(cause, name))
        if not group.accesses or (len(self.ordinary) >= _MOST_GROUPS and name not in self.ordinary):
            return
        if not self._learns(name):
            return
        days = self.ordinary.setdefault(name, [])
        day = group.since_ms // DAY_MS
        if not days or days[-1].day != day:
            days.append(Peak(day))
            del days[:-_KEPT_DAYS]
        days[-1].users = max(days[-1].users, len(group.users))
        days[-1].removed = max(days[-1].removed, len(group.removed))


def _group_name(actor: Actor) -> str:
    if actor.standing in ("application", "gone", "unseen"):
        return actor.standing
    return f"account-{actor.account}"


def _within(minute: int, hours: tuple[int, int]) -> bool:
    first, last = hours
    return first <= minute < last if first < last else not last <= minute < first
