"""What the rules of alerts are made of: what a rule is and sees, what is overdue, how it is said.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shenyu_data.model.ages import parse_age
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, Facts, span
from shenyu_data.model.config_alerts import AlertsTable, Level

GRACE_MS = 2 * HOUR_MS
"""Whoever was off may make up for what was due, before it is called overdue."""


class Seen(msgspec.Struct, frozen=True):
    """What a rule saw, without the rule's own words: see :class:`Condition`. ``level``: how loud
    that is, unless the configuration says so; None: as the rule is.
    """

    since_ms: int
    message: str
    command: str
    figures: dict[str, int] = {}
    subject: str = ""
    level: Level | None = None


class Rule(msgspec.Struct, frozen=True):
    """A rule: its code, how loud it is by default, what it watches, and how."""

    code: str
    level: Level
    about: str
    look: Callable[[Facts, AlertsTable], Iterator[Seen]]


def allowed_ms(facts: Facts, table: AlertsTable, code: str) -> int:
    """Return how old what a rule about an age watches may be: as configured, or by default, and
    where the schedule is slower than that, half as long again as its pause.
    """
    said = getattr(table.rule(code), "older_than", None)
    if said is not None:
        return parse_age(said) * 1000
    verb, usual_ms = _AGES[code]
    return max(usual_ms, facts.every_ms.get(verb, 0) * 3 // 2)


_AGES = {
    "backup-old": ("backup", 36 * HOUR_MS),
    "verify-overdue": ("verify", 4 * DAY_MS),
    "read-overdue": ("", 45 * DAY_MS),
    "drill-overdue": ("drill", 15 * DAY_MS),
    "jobs-stopped": ("", 3 * HOUR_MS),
}


def overdue_since(facts: Facts, table: AlertsTable, code: str, last_ms: int | None) -> int | None:
    """Return since when something is overdue that happened last at ``last_ms``; None if it is not,
    or may be about to be made up for.
    """
    since_ms = (facts.since_ms if last_ms is None else last_ms) + allowed_ms(facts, table, code)
    if facts.now_ms <= since_ms:
        return None
    awake_ms = facts.awake_ms
    just_woken = awake_ms is not None and facts.now_ms - awake_ms < GRACE_MS
    return None if just_woken and code not in facts.standing else since_ms


def ago(facts: Facts, time_ms: int | None) -> str:
    """Return how long ago a time was, as people say it."""
    return "never" if time_ms is None else f"{span(facts.now_ms - time_ms)} ago"


def age_figures(facts: Facts, time_ms: int | None) -> dict[str, int]:
    """Return the figure of how old what happened then is."""
    return {} if time_ms is None else {"age_s": (facts.now_ms - time_ms) // 1000}


def nth(count: int) -> str:
    """Return ``second``, ``4th``, ``21st``."""
    if count in _NTH:
        return _NTH[count]
    teens = 10 <= count % 100 < 20
    return f"{count:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"


_NTH = {1: "first", 2: "second", 3: "third"}
