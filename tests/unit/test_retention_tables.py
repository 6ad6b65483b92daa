"""What the retention policy decides about histories that are easy to picture, as tables to read.

``golden/retention/*.txt`` holds a timeline, a policy, and what was decided and why. After a change
that is meant, write them anew and read the difference:

    .venv/bin/python -m tests.unit.test_retention_tables && git diff tests/unit/golden
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from shenyu_data.model.ages import format_age
from shenyu_data.model.retention import (
    DAY_S,
    DEFAULT_RETENTION,
    Candidate,
    Decision,
    Retention,
    decide,
)
from shenyu_data.model.retention_points import recovery_points

GOLDEN = Path(__file__).parent / "golden" / "retention"
BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

WEEK_AND_MORE = Retention(keep_daily=7, keep_weekly=4, keep_monthly=6)


class Case(msgspec.Struct, frozen=True):
    """A history to judge, at a moment, by a policy."""

    about: str
    candidates: list[Candidate]
    retention: Retention
    now: datetime


def at(text: str) -> datetime:
    """Give a moment of Berlin's clocks; an offset says which of two."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=BERLIN)


def taken(times: Iterable[datetime | str], **common: object) -> list[Candidate]:
    """Give snapshots taken one after another, whatever the clock said."""
    moments = (at(time) if isinstance(time, str) else time for time in times)
    return [
        Candidate(
            id=number.to_bytes(2, "big"),
            sequence=number,
            time_ms=int(moment.timestamp() * 1000),
            **common,  # type: ignore[arg-type]
        )
        for number, moment in enumerate(moments, 1)
    ]


def days(start: str, number: int) -> list[datetime]:
    """Give the same time of that many days in a row."""
    return [at(start) + DAY * day for day in range(number)]


def but(candidates: list[Candidate], changes: dict[int, dict[str, object]]) -> list[Candidate]:
    """Change some, by their sequence numbers."""
    return [msgspec.structs.replace(item, **changes.get(item.sequence, {})) for item in candidates]


def each(numbers: Iterable[int], **change: object) -> dict[int, dict[str, object]]:
    return {number: dict(change) for number in numbers}


def year_of_dailies() -> Case:
    candidates = taken(days("2025-03-02T03:00", 365))
    proved = each(range(1, 366, 7), verified=True)
    return Case(
        "A backup every night for a year, verified on Sundays; the default policy.",
        but(candidates, proved),
        DEFAULT_RETENTION,
        at("2026-03-01T12:00"),
    )


def power_off() -> Case:
    return Case(
        "Two weeks of backups, off for three months, then two more days. Nothing but the number of "
        "days with a snapshot expires anything.",
        taken([*days("2025-11-01T03:00", 14), *days("2026-02-20T03:00", 2)]),
        Retention(keep_daily=7, keep_weekly=4, keep_within=7 * DAY_S),
        at("2026-02-21T12:00"),
    )


def clock_set_back() -> Case:
    return Case(
        "After 20 days the clock is a year behind for 12 days, then right again.",
        taken(
            [
                *days("2026-01-01T03:00", 20),
                *days("2025-01-21T03:00", 12),
                *days("2026-02-02T03:00", 10),
            ]
        ),
        WEEK_AND_MORE,
        at("2026-02-11T12:00"),
    )


def clock_at_1970() -> Case:
    nights = days("2026-01-01T03:00", 16)
    return Case(
        "A machine without a battery: every fourth backup runs before the clock is set.",
        taken(
            at("1970-01-01T01:00:30") if number % 4 == 3 else night
            for number, night in enumerate(nights)
        ),
        Retention(keep_daily=5),
        at("2026-01-16T12:00"),
    )


def clock_back_for_one() -> Case:
    nights = days("2026-01-01T03:00", 12)
    nights[5] = at("1970-01-01T01:00:30")
    return Case(
        "The clock was not set for one snapshot. It goes on telling the older ones apart, so that "
        "the next run decides as this one did.",
        taken(nights),
        Retention(keep_daily=3),
        at("2026-01-12T12:00"),
    )


def clock_ahead_for_one() -> Case:
    nights = days("2026-01-01T03:00", 30)
    nights[14] += 365 * DAY
    return Case(
        "The clock was a year ahead for one snapshot, which is still in the future.",
        taken(nights),
        WEEK_AND_MORE,
        at("2026-01-30T12:00"),
    )


def clock_ahead_once() -> Case:
    nights = days("2025-01-01T03:00", 10)
    nights[4] += 300 * DAY
    return Case(
        "The clock was 300 days ahead for one snapshot; by now that time has come.",
        taken([*nights, *days("2026-01-02T03:00", 10)]),
        WEEK_AND_MORE,
        at("2026-01-11T12:00"),
    )


def clock_was_always_ahead() -> Case:
    return Case(
        "The clock was a year ahead for 40 days, then corrected: real history is not thrown away.",
        taken([*days("2026-12-01T03:00", 40), *days("2026-01-10T03:00", 12)]),
        WEEK_AND_MORE,
        at("2026-01-21T12:00"),
    )


def forged_future() -> Case:
    real = taken(days("2026-01-01T03:00", 12))
    forged = taken(days("2090-01-01T03:00", 10), verified=True)
    later = [msgspec.structs.replace(one, sequence=one.sequence + 12) for one in forged]
    return Case(
        "Ten forged snapshots of 2090, newest of all: they take nobody's place.",
        [*real, *later],
        Retention(keep_last=2, keep_daily=5, keep_verified=2),
        at("2026-01-12T12:00"),
    )


def clocks_go_forward() -> Case:
    start = at("2026-03-29T00:30")
    return Case(
        "Every hour of the night in which Berlin's clocks go from 2:00 to 3:00.",
        taken((start.astimezone(ZoneInfo("UTC")) + HOUR * n) for n in range(6)),
        Retention(keep_hourly=4, keep_daily=2),
        at("2026-03-29T08:00"),
    )


def clocks_go_back() -> Case:
    start = at("2026-10-25T00:30+02:00")
    return Case(
        "Every half hour of the night in which Berlin's clocks go from 3:00 to 2:00: the hour from "
        "2:00 to 3:00 comes twice and is two hours.",
        taken(start + HOUR / 2 * n for n in range(12)),
        Retention(keep_hourly=5, keep_daily=2),
        at("2026-10-25T08:00"),
    )


def day_begins_at_local_midnight() -> Case:
    times = ["2026-03-01T23:59:59", "2026-03-02T00:00:01", "2026-03-31T23:30", "2026-04-01T00:30"]
    return Case(
        "Around local midnight, which is another day in UTC.",
        taken(times),
        Retention(keep_daily=4, keep_monthly=2),
        at("2026-04-01T12:00"),
    )


def leap_day() -> Case:
    return Case(
        "February of a leap year.",
        taken(days("2028-02-26T03:00", 6)),
        Retention(keep_daily=3, keep_monthly=2),
        at("2028-03-02T12:00"),
    )


def week_53() -> Case:
    return Case(
        "New Year in week 53: 2027-01-01 to 03 still belong to 2026-W53.",
        taken(days("2026-12-24T03:00", 14)),
        Retention(keep_weekly=3, keep_yearly=2),
        at("2027-01-06T12:00"),
    )


def new_year() -> Case:
    times = ["2024-12-30T03:00", "2024-12-31T23:59", "2025-01-01T00:01", "2025-12-31T23:59"]
    return Case(
        "Years and months end at midnight, and 2024-12-30 is in the first week of 2025.",
        taken([*times, "2026-01-01T00:01"]),
        Retention(keep_weekly=3, keep_monthly=3, keep_yearly=3),
        at("2026-01-01T12:00"),
    )


def several_a_day() -> Case:
    times = (night + HOUR * hour for night in days("2026-03-01T06:00", 4) for hour in (0, 6, 12))
    return Case(
        "Three a day; the last of each day stands for it.",
        taken(times),
        Retention(keep_last=2, keep_hourly=4, keep_daily=3),
        at("2026-03-04T20:00"),
    )


def degraded_runs() -> Case:
    candidates = taken(night + HOUR * h for night in days("2026-03-01T06:00", 5) for h in (0, 12))
    return Case(
        "Degraded evenings, and from the third day on nothing but degraded ones: a good one stands "
        "for its day, and however many degraded days follow, two good days remain.",
        but(candidates, each([2, 4, *range(5, 11)], degraded=True)),
        Retention(keep_daily=2),
        at("2026-03-05T20:00"),
    )


def tags() -> Case:
    candidates = taken(days("2026-03-01T03:00", 8))
    return Case(
        "Tags to keep; the safety snapshots of restores in place have a rule of their own.",
        but(
            candidates,
            {
                1: {"tag": "release"},
                2: {"tag": "before-restore", "partial": True},
                3: {"tag": "other"},
                5: {"tag": "release", "degraded": True},
                7: {"tag": "before-restore", "partial": True},
                8: {"tag": "before-restore", "partial": True},
            },
        ),
        Retention(keep_last=1, keep_tagged=["release"]),
        at("2026-04-01T12:00"),
    )


def any_tag() -> Case:
    return Case(
        "Every tag is kept, but not that of safety snapshots, which have had their 30 days.",
        but(
            taken(days("2026-03-01T03:00", 5)),
            {1: {"tag": "a"}, 2: {"tag": "before-cleanup", "partial": True}, 4: {"tag": "b"}},
        ),
        Retention(keep_last=1, keep_tagged=["*"]),
        at("2026-05-01T12:00"),
    )


def verified_few() -> Case:
    return Case(
        "Three verified ones are wanted, and there is one good and one degraded.",
        but(
            taken(days("2026-03-01T03:00", 8)),
            {2: {"verified": True}, 4: {"verified": True, "degraded": True}},
        ),
        Retention(keep_last=1, keep_verified=3),
        at("2026-03-08T12:00"),
    )


def verified_long_ago() -> Case:
    return Case(
        "The only verified ones are the oldest.",
        but(taken(days("2026-03-01T03:00", 8)), each([1, 2, 3], verified=True)),
        Retention(keep_daily=3, keep_verified=2),
        at("2026-03-08T12:00"),
    )


def held() -> Case:
    good: dict[str, object] = {"held": "last good version of histories/anna/chat-history.json"}
    return Case(
        "Something outside the policy pins one.",
        but(taken(days("2026-03-01T03:00", 4)), {1: good}),
        Retention(keep_last=1),
        at("2026-03-04T12:00"),
    )


def within() -> Case:
    night = days("2026-03-01T03:00", 6)
    night[4] = at("2026-01-01T03:00")
    return Case(
        "Everything of three days; one whose clock was set back is no older than those before it.",
        taken(night),
        Retention(keep_within=3 * DAY_S),
        at("2026-03-06T02:59"),
    )


def no_rule() -> Case:
    return Case(
        "No rule is set: nothing is dropped.",
        taken(days("2026-03-01T03:00", 2)),
        Retention(keep_daily=0, keep_tagged=["release"], keep_verified=1),
        at("2026-03-06T12:00"),
    )


def empty() -> Case:
    return Case("Nothing at all.", [], DEFAULT_RETENTION, at("2026-03-06T12:00"))


def only_one() -> Case:
    return Case(
        "One, degraded and old.",
        taken(["2020-02-29T03:00"], degraded=True),
        Retention(keep_within=3600),
        at("2026-03-06T12:00"),
    )


def adopted_archives() -> Case:
    old = taken(days("2025-02-10T03:00", 3), tag="archive")
    return Case(
        "Archives adopted later have the sequence of the one before them: 0 if none is older.",
        [
            *(
                msgspec.structs.replace(one, sequence=0, id=bytes([0xA0 + one.sequence]))
                for one in old
            ),
            *taken(days("2026-03-01T03:00", 3)),
        ],
        Retention(keep_daily=4),
        at("2026-03-06T12:00"),
    )


CASES: list[Callable[[], Case]] = [
    year_of_dailies,
    power_off,
    clock_set_back,
    clock_at_1970,
    clock_back_for_one,
    clock_ahead_for_one,
    clock_ahead_once,
    clock_was_always_ahead,
    forged_future,
    clocks_go_forward,
    clocks_go_back,
    day_begins_at_local_midnight,
    leap_day,
    week_53,
    new_year,
    several_a_day,
    degraded_runs,
    tags,
    any_tag,
    verified_few,
    verified_long_ago,
    held,
    within,
    no_rule,
    empty,
    only_one,
    adopted_archives,
]


def table(case: Case) -> str:
    """Give a case and what is decided, as text."""
    now_ms = int(case.now.timestamp() * 1000)
    decisions = decide(case.candidates, case.retention, now_ms=now_ms, zone=BERLIN)
    lines = [case.about, "", f"now     {case.now:%Y-%m-%d %H:%M %Z}"]
    lines.append(f"policy  {', '.join(_rules(case.retention)) or 'no rule'}")
    lines += ["", "no.  taken                     of it                decision"]
    lines += [_row(decision) for decision in decisions]
    kept = sum(decision.keep for decision in decisions)
    lines += ["", f"{kept} of {len(decisions)} are kept"]
    for points in recovery_points(decisions, zone=BERLIN):
        lines.append(f"{points.period + 's':7} {points.before} -> {points.after}")
    return "\n".join(lines) + "\n"


def _rules(retention: Retention) -> Iterator[str]:
    for name in retention.__struct_fields__:
        value = getattr(retention, name)
        if value is not None and value != []:
            shown = format_age(value) if name == "keep_within" else value
            yield f"{name} {' '.join(shown) if isinstance(shown, list) else shown}"


def _row(decision: Decision) -> str:
    item = decision.candidate
    moment = datetime.fromtimestamp(item.time_ms / 1000, BERLIN)
    marks = [name for name in ("degraded", "verified", "partial") if getattr(item, name)]
    marks = [item.tag, *marks] if item.tag is not None else marks
    decided = f"keep: {', '.join(decision.reasons)}" if decision.keep else "drop"
    time = f"{moment:%a %Y-%m-%d %H:%M %Z}"
    return f"{item.sequence:3}  {time:25} {' '.join(marks) or '-':20} {decided}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_policy_decides_as_the_table_says(case: Callable[[], Case]) -> None:
    golden = GOLDEN / f"{case.__name__.replace('_', '-')}.txt"
    assert table(case()) == golden.read_text(encoding="utf-8")


def test_every_table_belongs_to_a_case() -> None:
    names = {f"{case.__name__.replace('_', '-')}.txt" for case in CASES}
    assert {path.name for path in GOLDEN.iterdir()} == names


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for make in CASES:
        name = make.__name__.replace("_", "-")
        (GOLDEN / f"{name}.txt").write_text(table(make()), encoding="utf-8")
