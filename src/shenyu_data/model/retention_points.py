"""Which recovery points a retention policy leaves, and which it takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

import msgspec

from shenyu_data.model.retention import Decision
from shenyu_data.model.retention_periods import Key, key_of, label_of

_NOUNS = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


class RecoveryPoints(msgspec.Struct, frozen=True, kw_only=True):
    """How many days (or weeks, months, years: ``period``) have a snapshot to go back to, before and
    after; ``lost`` names those that lose their last one, oldest first.
    """

    period: str
    before: int
    after: int
    lost: list[str]


def recovery_points(
    decisions: Iterable[Decision], *, zone: tzinfo | None = None
) -> list[RecoveryPoints]:
    """Given decisions about all snapshots, or about those that hold a certain user, say what
    remains.

    A snapshot of some users only counts where it holds the user: leave the others out.
    """
    judged = list(decisions)
    points = []
    for period, noun in _NOUNS.items():
        before: set[Key] = set()
        after: set[Key] = set()
        for decision in judged:
            key = key_of(period, decision.candidate.time_ms, zone)
            before.add(key)
            if decision.keep:
                after.add(key)
        lost = [label_of(period, key) for key in sorted(before - after)]
        points.append(RecoveryPoints(period=noun, before=len(before), after=len(after), lost=lost))
    return points
