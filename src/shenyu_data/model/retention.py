"""The retention policy: snapshots in; keep or drop, with reasons, out. Pure.

Periods are days, weeks and so on **that have a snapshot**, so that a machine that was off for
months loses nothing. Of each period the last good snapshot stands for it; periods that have none
but degraded ones take no good one's place.

The clock is not trusted. What is newest is said by the order in which snapshots were taken, never
by their times. A snapshot dated in the future is kept and counts for nothing until its time comes.
Going back from the newest, one that claims to be later than one taken after it belongs to another
**timeline** (``retention_timelines.py``), and every timeline gets the whole policy: wrong times
keep more, never less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Annotated

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import format_age
from shenyu_data.model.retention_periods import PERIODS, Key, key_of, label_of
from shenyu_data.model.retention_timelines import TOLERANCE_MS, timelines, witness_of

DAY_S = 86_400

SAFETY_S = 30 * DAY_S
"""A partial snapshot is kept this long, or for ``keep_within`` if that is longer. It is soon of no
use, so it counts for no period.
"""

ALL_TAGS = "*"

Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy needs to know of a snapshot.

    ``degraded``: some document in it is not whole. ``verified``: every byte of it was proved.
    ``partial``: only some users were looked at, or it was taken only so that a change of live data
    can be undone. ``held``: why something outside the policy pins it.
    """

    id: bytes
    sequence: int
    time_ms: int
    tag: str | None = None
    degraded: bool = False
    verified: bool = False
    partial: bool = False
    held: str | None = None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep. A snapshot is kept if any rule keeps it; None and 0 are no rule.

    ``keep_within`` is in seconds. ``keep_tagged`` lists tags, or ``*`` for any but those
    of safety snapshots; ``keep_verified`` is how many verified snapshots there must remain, at
    least 1. Both only add: with nothing else set, nothing is dropped.
    """

    keep_last: Count | None = None
    keep_hourly: Count | None = None
    keep_daily: Count | None = None
    keep_weekly: Count | None = None
    keep_monthly: Count | None = None
    keep_yearly: Count | None = None
    keep_within: Annotated[int, Meta(ge=0)] | None = None
    keep_tagged: list[str] = []
    keep_verified: Count | None = None

    @property
    def drops(self) -> bool:
        """Whether it could drop anything at all."""
        return any(
            (
                self.keep_last,
                self.keep_hourly,
                self.keep_daily,
                self.keep_weekly,
                self.keep_monthly,
                self.keep_yearly,
                self.keep_within,
            )
        )


DEFAULT_RETENTION = Retention(
    keep_within=30 * DAY_S,
    keep_daily=30,
    keep_weekly=12,
    keep_monthly=12,
    keep_yearly=3,
    keep_verified=2,
)
"""Everything of the last 30 days, as the guide asks; 30 days even if the machine was off; then
weeks, months and years.
"""

DEFAULT_GRACE_S = DAY_S
"""How long what is to be deleted lies aside: longer than any backup takes."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a snapshot is kept and, if so, by which rules. What no rule keeps has no reasons."""

    candidate: Candidate
    keep: bool
    reasons: list[str]


def decide(
    candidates: Iterable[Candidate],
    retention: Retention,
    *,
    now_ms: int,
    zone: tzinfo | None = None,
) -> list[Decision]:
    """Given all snapshots, in any order, say what to keep; oldest first, in the order in which they
    were taken.

    Days and weeks are those of ``zone``; None is the machine's own.
    """
    ordered = sorted(candidates, key=lambda item: (item.sequence, item.time_ms, item.id))
    policy = _Policy(ordered, retention, now_ms, zone)
    if retention.drops:
        policy.apply()
    else:
        policy.keep_all()
    return [
        Decision(candidate=item, keep=bool(reasons), reasons=reasons)
        for item, reasons in zip(ordered, policy.reasons, strict=True)
    ]


class _Policy:
    """Collects reasons. Snapshots are known by their index, in the order they were taken."""

    def __init__(
        self, items: list[Candidate], retention: Retention, now_ms: int, zone: tzinfo | None
    ) -> None:
        self.reasons: list[list[str]] = [[] for _ in items]
        self._items = items
        self._retention = retention
        self._now_ms = now_ms
        self._zone = zone
        everything = range(len(items))
        future = {i for i in everything if items[i].time_ms > now_ms + TOLERANCE_MS}
        self._future = sorted(future)
        self._past = [i for i in everything if i not in future]
        self._whole = [i for i in self._past if not items[i].partial]

    def keep_all(self) -> None:
        for reasons in self.reasons:
            reasons.append("no rule is set")

    def apply(self) -> None:
        self._keep_minimum()
        self._keep_newest(self._whole, self._retention.keep_last or 0, "last")
        self._keep_periods()
        self._keep_within()
        self._keep_tagged_and_held()
        for i in self._future:
            self._keep(i, "its time has not come")
        self._keep_witnesses()

    def _keep(self, index: int, reason: str) -> None:
        self.reasons[index].append(reason)

    def _newest(self, among: Sequence[int], test: Callable[[Candidate], bool]) -> list[int]:
        return [i for i in reversed(among) if test(self._items[i])]

    def _keep_newest(self, among: Sequence[int], count: int, name: str) -> None:
        for number, i in enumerate(list(reversed(among))[:count], 1):
            self._keep(i, f"{name} {number} of {count}")

    def _keep_minimum(self) -> None:
        """Keep what no policy may drop: the newest, the newest good, and enough verified ones."""
        for i in self._past[-1:]:
            self._keep(i, "newest")
        if self._whole and self._whole[-1] != self._past[-1]:
            self._keep(self._whole[-1], "newest of all users")
        good = self._newest(self._whole, lambda item: not item.degraded)
        if good and good[0] != self._whole[-1]:
            self._keep(good[0], "newest that is not degraded")
        wanted = self._retention.keep_verified or 0
        least = max(1, wanted)
        proved = [i for i in good if self._items[i].verified]
        for number, i in enumerate(proved[:least], 1):
            self._keep(i, f"newest verified {number} of {least}")
        # Where good ones are not verified, both good ones that are not and degraded ones that are.
        unproved = [i for i in good if not self._items[i].verified]
        for i in unproved[: max(0, wanted - len(proved))]:
            self._keep(i, "too few are verified")
        degraded = self._newest(self._whole, lambda item: item.verified and item.degraded)
        for i in degraded[: max(0, least - len(proved))]:
            self._keep(i, "newest verified, though degraded")

    def _keep_periods(self) -> None:
        times = [self._items[i].time_ms for i in self._whole]
        self._timeline = dict(zip(self._whole, timelines(times), strict=True))
        for number in range(1, max(self._timeline.values(), default=0) + 1):
            members = [i for i in self._whole if self._timeline[i] == number]
            for period in PERIODS:
                count = getattr(self._retention, f"keep_{period}") or 0
                if count:
                    self._keep_period(members, number, period, count)

    def _keep_period(self, members: list[int], timeline: int, period: str, count: int) -> None:
        standing: dict[Key, int] = {}
        for i in members:
            key = key_of(period, self._items[i].time_ms, self._zone)
            there = standing.get(key)
            if there is None or not self._items[i].degraded or self._items[there].degraded:
                standing[key] = i
        where = "" if timeline == 1 else f"; timeline {timeline}"
        newest = sorted(standing, reverse=True)
        good = [key for key in newest if not self._items[standing[key]].degraded]
        for number, key in enumerate(good[:count], 1):
            text = f"{period} {number} of {count} ({label_of(period, key)}{where})"
            self._keep(standing[key], text)
        for key in newest[:count]:  # beside the good ones: a run of degraded ones ousts none
            if self._items[standing[key]].degraded:
                self._keep(
                    standing[key], f"{period} ({label_of(period, key)}{where}; none is good)"
                )

    def _keep_within(self) -> None:
        within = self._retention.keep_within or 0
        partial = [i for i in self._past if self._items[i].partial]
        for among, seconds in ((self._whole, within), (partial, max(within, SAFETY_S))):
            oldest = self._now_ms - seconds * 1000
            latest = oldest - 1  # none is older than one that was taken before it
            for i in among if seconds else []:
                latest = max(latest, self._items[i].time_ms)
                if latest >= oldest:
                    self._keep(i, f"within {format_age(seconds)}")

    def _keep_tagged_and_held(self) -> None:
        tags = set(self._retention.keep_tagged)
        for i, item in enumerate(self._items):
            if item.tag in tags or (item.tag and not item.partial and ALL_TAGS in tags):
                self._keep(i, f"tag {item.tag}")
            if item.held is not None:
                self._keep(i, item.held)

    def _keep_witnesses(self) -> None:
        """Keep what tells the timelines of kept ones apart, or the next run would join them."""
        times = [self._items[i].time_ms for i in self._whole]
        numbers = [self._timeline[i] for i in self._whole]
        # From the last timeline to the first: a witness may itself need one.
        for number in range(max(numbers, default=0), 1, -1):
            find = witness_of(times, numbers, number)
            for position, i in enumerate(self._whole):
                if numbers[position] == number and self.reasons[i]:
                    witness = self._whole[find(position)]
                    if not self.reasons[witness]:
                        self._keep(witness, "shows that the clock was wrong")
