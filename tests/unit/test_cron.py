"""Cron expressions: what they mean, and when they are due while clocks change."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.cron import SHORTHANDS, parse_cron
from shenyu_data.model.errors import UsageError

ZONES = {
    name: ZoneInfo(name)
    for name in (
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",  # clocks changed at midnight
        "Australia/Sydney",
        "Australia/Lord_Howe",  # by half an hour
        "Pacific/Apia",  # leapt over 30 December 2011
        "Asia/Shanghai",
        "UTC",
    )
}
MINUTE_MS = 60_000


def ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def shown(time_ms: int | None, zone: tzinfo) -> str:
    assert time_ms is not None
    return datetime.fromtimestamp(time_ms / 1000, zone).isoformat(sep=" ", timespec="minutes")


def due(expression: str, zone_name: str, first: str, count: int) -> list[str]:
    """Give the times that are due from a date on."""
    zone, cron = ZONES[zone_name], parse_cron(expression)
    found = []
    time_ms = ms(datetime.fromisoformat(first).replace(tzinfo=zone)) - 1
    for _ in range(count):
        following = cron.after(time_ms, zone)
        assert following is not None
        time_ms = following
        found.append(shown(time_ms, zone))
    return found


def test_fixed_times_that_are_leapt_over_are_due_right_after() -> None:
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-28", 3) == [
        "2026-03-28 02:30+01:00",
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:30+02:00",
    ]


def test_fixed_times_that_come_twice_are_due_once() -> None:
    assert due("30 2 * * *", "Europe/Berlin", "2026-10-24", 3) == [
        "2026-10-24 02:30+02:00",
        "2026-10-25 02:30+02:00",
        "2026-10-26 02:30+01:00",
    ]


def test_several_times_that_are_leapt_over_are_one() -> None:
    assert due("0,20,40 2 * * *", "America/New_York", "2026-03-08", 2) == [
        "2026-03-08 03:00-04:00",
        "2026-03-09 02:00-04:00",
    ]


def test_jobs_by_the_hour_follow_the_clock_on_the_wall() -> None:
    assert due("0 * * * *", "Europe/Berlin", "2026-03-29T01:00", 2) == [
        "2026-03-29 01:00+01:00",
        "2026-03-29 03:00+02:00",
    ]
    assert due("0 * * * *", "Europe/Berlin", "2026-10-25T02:00", 3) == [
        "2026-10-25 02:00+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 03:00+01:00",
    ]


def test_clocks_that_change_by_half_an_hour_or_at_midnight() -> None:
    assert due("10 2 * * *", "Australia/Lord_Howe", "2026-10-03", 2) == [
        "2026-10-03 02:10+10:30",
        "2026-10-04 02:30+11:00",
    ]
    assert due("45 1 * * *", "Australia/Lord_Howe", "2026-04-04", 3) == [
        "2026-04-04 01:45+11:00",
        "2026-04-05 01:45+11:00",
        "2026-04-06 01:45+10:30",
    ]
    assert due("0 3 * * *", "Australia/Lord_Howe", "2026-10-04", 1) == ["2026-10-04 03:00+11:00"]
    assert due("0 0 * * *", "America/Sao_Paulo", "2018-11-03", 2) == [
        "2018-11-03 00:00-03:00",
        "2018-11-04 01:00-02:00",
    ]


def test_a_day_that_never_was_is_one_with_the_next() -> None:
    assert due("30 4 * * *", "Pacific/Apia", "2011-12-29", 3) == [
        "2011-12-29 04:30-10:00",
        "2011-12-31 00:00+14:00",
        "2011-12-31 04:30+14:00",
    ]


def test_leap_days_are_found_over_years_without_one() -> None:
    assert due("0 0 29 2 *", "UTC", "2095-01-01", 2) == [
        "2096-02-29 00:00+00:00",
        "2104-02-29 00:00+00:00",
    ]


def test_a_day_of_the_month_or_one_of_the_week_is_enough_if_both_are_said() -> None:
    assert due("0 0 13 * fri", "UTC", "2026-11-10", 3) == [
        "2026-11-13 00:00+00:00",
        "2026-11-20 00:00+00:00",
        "2026-11-27 00:00+00:00",
    ]
    assert due("0 0 */2 * fri", "UTC", "2026-11-10", 1) == ["2026-11-13 00:00+00:00"]
    assert due("0 0 */2 * fri", "UTC", "2026-11-14", 1) == ["2026-11-27 00:00+00:00"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0 0 * * 7", "0 0 * * sun"),
        ("0 0 * JAN-MAR Mon-Fri", "0 0 * 1-3 1-5"),
        ("5-10/5 */6 * * *", "5,10 0,6,12,18 * * *"),
        ("@daily", SHORTHANDS["@daily"]),
        ("@WEEKLY", "0 0 * * 0"),
    ],
)
def test_ways_to_say_the_same(text: str, same: str) -> None:
    one, other = parse_cron(text), parse_cron(same)
    for name in ("minutes", "hours", "days", "months", "weekdays"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 0 * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 30 2 *",
        "5/10 * * * *",
        "*/0 * * * *",
        "10-5 * * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "٣ * * * *",
        "0 0 L * *",
        "@reboot",
        "0 0 * * fri-mon",
        "1" * 5000 + " * * * *",
    ],
)
def test_what_is_no_expression_says_so(text: str) -> None:
    with pytest.raises(UsageError, match="not a time as cron has it"):
        parse_cron(text)


EXPRESSIONS = (
    "30 2 * * *",
    "0,30 1-3 * * *",
    "*/20 * * * *",
    "0 * * * *",
    "15 */3 * * *",
    "0 0 * * *",
    "59 23 * * 6",
    "*/7 1-4 * * sun",
    "0 3 29 2 *",
)


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(sorted(ZONES)),
    st.integers(ms(datetime(2009, 1, 1, tzinfo=UTC)), ms(datetime(2029, 1, 1, tzinfo=UTC))),
)
def test_the_last_time_before_the_next_one_is_the_last_one(
    expression: str, zone_name: str, now_ms: int
) -> None:
    zone, cron = ZONES[zone_name], parse_cron(expression)
    before, after = cron.before(now_ms, zone), cron.after(now_ms, zone)
    assert before is not None
    assert after is not None
    assert before <= now_ms < after
    assert cron.before(after - 1, zone) == before
    assert cron.after(before, zone) == after
    assert cron.before(after, zone) == after


@given(
    st.sampled_from([text for text in EXPRESSIONS if parse_cron(text).fixed]),
    st.sampled_from(sorted(ZONES)),
    st.dates(date(2009, 1, 1), date(2028, 12, 31)),
)
def test_fixed_times_are_due_as_often_as_a_calendar_has_them(
    expression: str, zone_name: str, day: date
) -> None:
    """In ten days: as many as on the wall, but for those that a change of the clock makes one."""
    zone, cron = ZONES[zone_name], parse_cron(expression)
    days = [day + timedelta(days=number) for number in range(10)]
    wanted = set()
    for local in (
        datetime(one.year, one.month, one.day, hour, minute, tzinfo=zone)
        for one in filter(cron.matches, days)
        for hour in cron.hours
        for minute in cron.minutes
    ):
        moment = local.astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            # Leapt over: back to the first minute after.
            while (earlier := moment - timedelta(minutes=1)).astimezone(zone).utcoffset() == (
                moment.astimezone(zone).utcoffset()
            ):
                moment = earlier
        wanted.add(ms(moment))
    if wanted:
        counted = cron.count(min(wanted) - 1, max(wanted) + 1, zone, 5000)
        assert counted == (len(wanted), min(wanted))
