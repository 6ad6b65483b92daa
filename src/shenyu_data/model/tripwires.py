"""Tripwires: what a snapshot shows that is no ordinary use, told by what earlier ones showed. Pure.

A snapshot says in numbers what vanished since the one before it (:class:`Evidence`). The rules
compare that with what used to vanish in a day. docs/tripwires.md says why each is as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

DAY_MS = 86_400_000
OVERWRITTEN = "history-overwritten"
"""The code of the rule about histories that lost chats by accident."""

LEARNED_DAYS = 7
"""From so many days on that have a snapshot, what they showed says what is ordinary."""

ODD_LEARNED_DAYS = 14
"""As many for the hours of the day."""

ODD_SHARE = 2000
"""An hour at which less than one of so many histories was written is one without writes."""

MOST_PAST = 100
"""So many snapshots say what is ordinary, the newest ones."""

Count = Annotated[int, Meta(ge=0)]
Level = Literal["alarm", "warning", "info"]


class Evidence(msgspec.Struct, array_like=True, frozen=True):
    """What vanished between the snapshot before and this one, and was not this program's doing.

    Chats and messages are the net of each user. ``chat_owners`` and ``message_owners`` are how many
    users have fewer. ``shrunken`` histories lost chats by accident; ``rewritten`` ones are others
    than before with no message more; ``torn`` documents were whole; ``noisy`` users wrote text that
    cannot be compressed. ``unseen`` buckets could not be compared. ``hours`` counts the histories
    that were written, by the hour of the day in UTC. ``archives`` of histories hold less or are
    gone; the application never touches one. ``halved`` histories were too large or too deep to be
    looked into, and hold less, or are less than half as large.
    """

    users: Count = 0
    histories: Count = 0
    chats: Count = 0
    chat_owners: Count = 0
    messages: Count = 0
    message_owners: Count = 0
    shrunken: Count = 0
    rewritten: Count = 0
    torn: Count = 0
    noisy: Count = 0
    unseen: Count = 0
    hours: list[Count] = []
    archives: Count = 0
    halved: Count = 0

    def plus(self, other: Evidence) -> Evidence:
        """Return the sum."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in COUNTED}
        return Evidence(**counts, hours=_added(self.hours, other.hours))


COUNTED = tuple(name for name in Evidence.__struct_fields__ if name != "hours")
"""What of the evidence are plain numbers."""


class Trip(msgspec.Struct, array_like=True, frozen=True):
    """A rule that a snapshot broke: ``count`` where less than ``limit`` would be ordinary.

    ``total`` is of how many.
    """

    rule: str
    level: str
    count: Count
    limit: Count
    total: Count

    @property
    def is_alarm(self) -> bool:
        """Whether somebody must acknowledge it: until then what was there before is kept."""
        return self.level != "info"

    @property
    def blocks(self) -> bool:
        """Whether nothing at all is pruned until somebody acknowledges it."""
        return self.level not in ("info", "warning")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From how many on a rule may trip, however little is ordinary; ``times`` what is ordinary it
    must be in any case, and while that is not known yet, ``percent`` of all there are. Prunes stop
    if more than ``overwritten_percent`` of the histories were overwritten in a day: of so many,
    somebody deletes all chats and begins anew every few months, which looks the same.
    """

    users: int = 5
    histories: int = 5
    chats: int = 20
    messages: int = 100
    owners: int = 5
    rewritten: int = 20
    torn: int = 5
    noise: int = 5
    times: int = 5
    percent: int = 25
    overwritten_percent: int = 1
    odd_writes: int = 20
    odd_hours: Literal["off", "info", "alarm"] = "info"


class Sizes(NamedTuple):
    """What the snapshot before held."""

    users: int
    histories: int
    chats: int
    messages: int
    documents: int


class Seen(NamedTuple):
    """What an earlier snapshot showed; ``days`` since the one before it. ``alarmed``: a tripwire
    tripped at it, and somebody acknowledged that.
    """

    time_ms: int
    days: float
    evidence: Evidence
    alarmed: bool = False


def days_between(before_ms: int, after_ms: int) -> float:
    """Return how many days of use lie between two snapshots: at least one, whatever clocks say."""
    return max(1.0, (after_ms - before_ms) / DAY_MS)


class _Day(NamedTuple):
    days: float
    evidence: Evidence


def judge(
    evidence: Evidence,
    sizes: Sizes,
    past: Iterable[Seen],
    limits: Limits,
    *,
    now_ms: int,
    days: float,
) -> list[Trip]:
    """Return the rules that a snapshot breaks, taken at ``now_ms``, ``days`` after the one before.

    ``past`` are earlier ones, in their order, without those whose alarm nobody acknowledged. What
    vanished in the same day is added up: many small losses are one.
    """
    today, before = _by_day(past, now_ms)
    whole = evidence.plus(today.evidence) if today is not None else evidence
    days = max(days, today.days if today is not None else 0.0)
    rules = _Rules(whole, before, limits, days)
    trips = [
        rules.check_overwritten(evidence.shrunken, sizes.histories, code="history-overwritten"),
        rules.check_archives(sizes.histories, code="archives-shrunken"),
        rules.check_halved(sizes.histories, code="large-history-shrunken"),
        rules.check("users", limits.users, sizes.users, code="users-vanished"),
        rules.check("histories", limits.histories, sizes.histories, code="histories-vanished"),
        rules.check_texts("chats", limits.chats, sizes.chats, sizes.users, code="chats-vanished"),
        rules.check_texts(
            "messages", limits.messages, sizes.messages, sizes.users, code="messages-vanished"
        ),
        rules.check(
            "rewritten",
            limits.rewritten,
            sizes.histories,
            code="histories-rewritten",
            scaled=False,
        ),
        rules.check("torn", limits.torn, sizes.documents, code="documents-torn"),
        rules.check("noisy", limits.noise, sizes.users, code="text-turned-to-noise", scaled=False),
        rules.check_hours(limits, sizes.histories, code="odd-hours"),
    ]
    return [trip for trip in trips if trip is not None]


class _Rules:
    def __init__(
        self, evidence: Evidence, before: Sequence[_Day], limits: Limits, days: float
    ) -> None:
        self._evidence = evidence
        self._before = before
        self._limits = limits
        self._days = days

    def check(
        self, name: str, least: int, total: int, *, code: str, scaled: bool = True
    ) -> Trip | None:
        count: int = getattr(self._evidence, name)
        if not count:
            return None
        limit = self._limit(name, least, total, scaled=scaled)
        return Trip(code, "alarm", count, limit, total) if count >= limit else None

    def check_overwritten(self, count: int, total: int, *, code: str) -> Trip | None:
        """Histories that were overwritten, ``count`` of them since the snapshot before. One is too
        many, unless somebody went on saying that so many are as it should be: of very many people
        some delete all chats of a history and begin a new one.
        """
        limit = 1
        if len(self._before) >= LEARNED_DAYS:
            limit += int(self._limits.times * self._normal("shrunken") * self._days)
        found = self._evidence.shrunken
        if not count or found < limit:
            return None
        # What was there before is kept in any case: to stop all prunes it takes more than what
        # people do who delete everything and begin anew.
        many = found > total * self._days * self._limits.overwritten_percent / 100
        return Trip(code, "alarm" if many else "warning", found, limit, total)

    def check_archives(self, total: int, *, code: str) -> Trip | None:
        """Archives of histories that hold less. Only this program writes any, and what it did is
        not counted: one is too many.
        """
        count = self._evidence.archives
        return Trip(code, "alarm", count, 1, total) if count else None

    def check_halved(self, total: int, *, code: str) -> Trip | None:
        """Histories of which nobody knows what was in them. Somebody may have deleted half of it:
        so what was there before is kept, and prunes go on.
        """
        count = self._evidence.halved
        return Trip(code, "warning", count, 1, total) if count else None

    def check_texts(
        self, name: str, least: int, total: int, users: int, *, code: str
    ) -> Trip | None:
        """Chats or messages. Somebody may delete all that is theirs: it takes several people, or
        half of everything.
        """
        count: int = getattr(self._evidence, name)
        owners_name = "chat_owners" if name == "chats" else "message_owners"
        owners: int = getattr(self._evidence, owners_name)
        if count < least:
            return None
        several = owners >= self._limit(owners_name, self._limits.owners, users)
        if not several and 2 * count < total:
            return None
        return Trip(code, "alarm", count, self._limit(name, least, total), total)

    def check_hours(self, limits: Limits, total: int, *, code: str) -> Trip | None:
        if limits.odd_hours == "off" or len(self._before) < ODD_LEARNED_DAYS:
            return None
        used: list[int] = []
        for day in self._before:
            used = _added(used, day.evidence.hours)
        written = sum(used)
        odd = 0
        for hour, count in enumerate(self._evidence.hours):
            # The hours beside it count: clocks are put forward and back.
            near = sum(used[(hour + step) % len(used)] for step in (-1, 0, 1)) if used else 0
            odd += count if near * ODD_SHARE < written else 0
        if not written or odd < limits.odd_writes:
            return None
        return Trip(code, limits.odd_hours, odd, limits.odd_writes, total)

    def _limit(self, name: str, least: int, total: int, *, scaled: bool = True) -> int:
        """Return from how many on it is not ordinary any more. ``scaled``: where there are few,
        three quarters of them are too many.
        """
        if len(self._before) >= LEARNED_DAYS:
            normal = self._normal(name)
            # Half of all is not ordinary, whatever was.
            usual = min(self._limits.times * normal * self._days, total / 2)
        else:
            usual = total * self._limits.percent * self._days / 100
        few = min(least, max(1, ceil(total * 3 / 4))) if scaled else least
        return max(few, int(usual) + 1)

    def _normal(self, name: str) -> float:
        """Return what nine of ten days showed at most."""
        rates: list[float] = sorted(getattr(day.evidence, name) / day.days for day in self._before)
        return rates[ceil(0.9 * len(rates)) - 1]


def _by_day(past: Iterable[Seen], now_ms: int) -> tuple[_Day | None, list[_Day]]:
    """Add up the days before ``now_ms`` that have snapshots: the last one, as far as no alarm told
    of it, and those before it.

    Snapshots of a time to come are of a wrong clock, and say nothing.
    """
    found: dict[int, _Day] = {}
    for item in past:
        age = (now_ms - item.time_ms) // DAY_MS
        if age < 0:
            continue
        if age == 0 and item.alarmed:
            found.pop(0, None)  # that day's losses were told by then
            continue
        known = found.get(age)
        if known is None:
            found[age] = _Day(item.days, item.evidence)
        else:
            found[age] = _Day(max(known.days, item.days), known.evidence.plus(item.evidence))
    return found.pop(0, None), [found[age] for age in sorted(found)]


def _added(one: Sequence[int], two: Sequence[int]) -> list[int]:
    if len(one) != len(two):  # one of them is empty: nothing was written
        return [*max(one, two, key=len)]
    return [first + second for first, second in zip(one, two, strict=True)]


def describe(trip: Trip) -> str:
    """Return a sentence about a trip, for people: numbers, and nobody's name."""
    one, many = _WHAT.get(trip.rule, (trip.rule, trip.rule))
    what = f"{trip.count:,} {one if trip.count == 1 else many}"
    if trip.rule == OVERWRITTEN:
        return f"{what}, as when the application takes a torn history for empty and overwrites it"
    if trip.rule in ("archives-shrunken", "large-history-shrunken"):
        return what
    return f"{what}, of {trip.total:,}; fewer than {trip.limit:,} would be ordinary"


_WHAT = {
    OVERWRITTEN: (
        "history is whole and lost chats at once",
        "histories are whole and lost chats at once",
    ),
    "archives-shrunken": (
        "archive of a history holds less or is gone, and no command did that",
        "archives of histories hold less or are gone, and no command did that",
    ),
    "large-history-shrunken": (
        "history that was too large or too deep to be looked into holds much less",
        "histories that were too large or too deep to be looked into hold much less",
    ),
    "users-vanished": ("user vanished", "users vanished"),
    "histories-vanished": ("history vanished", "histories vanished"),
    "chats-vanished": ("chat vanished", "chats vanished"),
    "messages-vanished": ("message vanished", "messages vanished"),
    "histories-rewritten": (
        "history was rewritten with no message more",
        "histories were rewritten with no message more",
    ),
    "documents-torn": (
        "document that was whole does not parse or cannot be read",
        "documents that were whole do not parse or cannot be read",
    ),
    "text-turned-to-noise": (
        "user's new text cannot be compressed, as if it were encrypted",
        "users' new text cannot be compressed, as if it were encrypted",
    ),
    "odd-hours": (
        "history was written at an hour at which nobody writes",
        "histories were written at hours at which nobody writes",
    ),
}
RULES = tuple(_WHAT)
"""The codes of all rules."""
