"""Cron expressions: when a job is due in a time zone, and what changes of the clock do to it. Pure.

A job at fixed times (neither its minute nor its hour begins with a star) is due once a day for each
of them: those that a clock change leaps over right after it, those that come twice the first time.
Every other job follows the clock on the wall: what is leapt over is not due, what comes twice is
due twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

import msgspec

from shenyu_data.model.errors import UsageError

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What may be written instead of five fields."""

MINUTE_MS = 60_000
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_FIRST, _LAST = date(1971, 1, 1), date(9990, 12, 31)
_FAR = 9 * 366
"""No two days that match lie further apart, in days: 29 February, around a year such as 2100."""


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """An expression, and the numbers of each of its fields that match.

    ``either``: a day matches if one of its two fields does, as neither begins with a star.
    ``fixed``: the job is at fixed times. Days of the week are 0 to 6, from Sunday.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    fixed: bool

    def matches(self, day: date) -> bool:
        """Whether it is due at all on a day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week

    def before(self, now_ms: int, zone: tzinfo) -> int | None:
        """Return the last time at or before ``now_ms``, in ms since 1970; None if there is none."""
        found = None
        for day in self._days(now_ms, zone, -1):
            times = _times(self, day, zone)
            place = bisect_right(times, now_ms)
            if found is not None:
                # A clock that was set back over midnight: times of two days are mixed.
                return max(found, times[place - 1]) if place else found
            if place:
                found = times[place - 1]
        return found

    def after(self, now_ms: int, zone: tzinfo) -> int | None:
        """Return the first time after ``now_ms``; None if there is none."""
        found = None
        for day in self._days(now_ms, zone, 1):
            times = _times(self, day, zone)
            place = bisect_right(times, now_ms)
            if found is not None:
                return min(found, times[place]) if place < len(times) else found
            if place < len(times):
                found = times[place]
        return found

    def count(self, after_ms: int, before_ms: int, zone: tzinfo, most: int) -> tuple[int, int]:
        """Return how many times lie between two others, at most ``most``, and the first of them."""
        counted, first = 0, before_ms
        while counted < most:
            earlier = self.before(first - 1, zone)
            if earlier is None or earlier <= after_ms:
                break
            counted, first = counted + 1, earlier
        return counted, first

    def _days(self, now_ms: int, zone: tzinfo, step: int) -> Iterator[date]:
        """Give the days that match, from the one before, or after, that of ``now_ms``."""
        day = _local(now_ms, zone).date() - timedelta(days=step)
        far = day + timedelta(days=step * _FAR)
        while _FIRST <= day <= _LAST and (day <= far if step > 0 else day >= far):
            if day.month not in self.months:  # on to the next month, or back to the last
                edge = day.replace(day=1)
                day = edge + timedelta(days=32) if step > 0 else edge
                day = day.replace(day=1) - timedelta(days=step < 0)
                continue
            if self.matches(day):
                yield day
            day += timedelta(days=step)


def parse_cron(text: str) -> Cron:
    """Given five fields, or one of SHORTHANDS, return the expression. Raise UsageError if it is
    none, or if no day ever matches.
    """
    words = SHORTHANDS.get(text.strip().lower(), text).lower().split()
    if len(words) != len(_FIELDS):
        raise _wrong(text, "it needs five fields")
    sets = []
    for word, (name, low, high, names) in zip(words, _FIELDS, strict=True):
        try:
            sets.append(frozenset(_field(word, low, high, names)))
        except ValueError:
            raise _wrong(text, f"{word} is no {name}") from None
    minutes, hours, days, months, weekdays = sets
    cron = Cron(
        text=text,
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        either=not words[2].startswith("*") and not words[4].startswith("*"),
        fixed=not words[0].startswith("*") and not words[1].startswith("*"),
    )
    start = date(2000, 1, 1)
    if not any(cron.matches(start + timedelta(days=number)) for number in range(_FAR)):
        raise _wrong(text, "there is no such day")
    return cron


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text} is not a time as cron has it: {why}",
        hint='Write "30 2 * * *" for half past two, "30 2 * * sun" for that on Sundays, or @daily.',
    )


def _field(word: str, low: int, high: int, names: dict[str, int]) -> Iterator[int]:
    """Give the numbers that a field means. Raise ValueError if it means none."""
    for part in word.split(","):
        span, slash, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, names)
            last = _number(end, names) if dash else first
            if slash and not dash:
                raise ValueError("a step needs a range")
        if not low <= first <= last <= high:
            raise ValueError("out of range")
        every = _number(step, {}) if slash else 1
        yield from range(first, last + 1, every)  # a step of 0 is a ValueError of range


def _number(word: str, names: dict[str, int]) -> int:
    if word in names:
        return names[word]
    if not (word.isascii() and word.isdecimal() and len(word) <= 2):
        raise ValueError("no number")
    return int(word)


def _local(time_ms: int, zone: tzinfo) -> datetime:
    seconds = min(max(time_ms // 1000, 86_400), 253_000_000_000)  # 1970-01-02 to the year 9987
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone)


def _since_1970(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * 1000


@lru_cache(maxsize=1024)
def _times(cron: Cron, day: date, zone: tzinfo) -> list[int]:
    """Return when it is due of a day that matches, in order."""
    minutes = [60 * hour + minute for hour in cron.hours for minute in cron.minutes]
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    offsets = {(midnight + timedelta(hours=hour)).utcoffset() for hour in range(25)}
    if len(offsets) == 1:  # no clock change on that day
        start = _since_1970(midnight)
        return [start + minute * MINUTE_MS for minute in minutes]
    found = set()
    for minute in minutes:
        for fold in (0,) if cron.fixed else (0, 1):
            moment = (midnight + timedelta(minutes=minute)).replace(fold=fold)
            exists = moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0)
            if exists == moment.replace(tzinfo=None, fold=0):
                found.add(_since_1970(moment))
            elif cron.fixed:
                found.add(_after_leap(moment, zone))
    return sorted(found)


def _after_leap(moment: datetime, zone: tzinfo) -> int:
    """Given a time that a clock change leaps over, return the moment of the change."""
    # By the offset after the change such a time lies before it, by that before the change after it.
    around = range(
        _since_1970(moment.replace(fold=1)) // MINUTE_MS,
        _since_1970(moment.replace(fold=0)) // MINUTE_MS + 1,
    )
    offset = _local(around[-1] * MINUTE_MS, zone).utcoffset()
    place = bisect_left(
        around, True, key=lambda minute: _local(minute * MINUTE_MS, zone).utcoffset() == offset
    )
    return around[place] * MINUTE_MS
