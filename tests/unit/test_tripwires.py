"""The rules of tripwires, without any repository: what trips, and what is ordinary."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.config import parse_config
from shenyu_data.model.config_tripwires import TRIPWIRES_DESCRIPTIONS, TripwiresTable
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.tripwires import (
    COUNTED,
    DAY_MS,
    LEARNED_DAYS,
    RULES,
    Evidence,
    Limits,
    Seen,
    Sizes,
    Trip,
    days_between,
    describe,
    judge,
)

NOW_MS = 1_700_000_000_000
LARGE = Sizes(users=20_000, histories=32_000, chats=200_000, messages=2_000_000, documents=52_000)
SMALL = Sizes(users=3, histories=3, chats=30, messages=200, documents=6)
OFFICE = [0] * 8 + [40] * 10 + [0] * 6
EVIDENCE = st.builds(Evidence, **{name: st.integers(0, 1000) for name in COUNTED})


def trips(
    evidence: Evidence,
    past: list[Seen] | None = None,
    sizes: Sizes = LARGE,
    limits: Limits | None = None,
    days: float = 1.0,
) -> set[str]:
    found = judge(evidence, sizes, past or [], limits or Limits(), now_ms=NOW_MS, days=days)
    return {trip.rule for trip in found}


def days_of(*evidence: Evidence) -> list[Seen]:
    """Give a past of one snapshot a day, up to yesterday."""
    count = len(evidence)
    return [Seen(NOW_MS - (count - n) * DAY_MS, 1.0, one) for n, one in enumerate(evidence)]


QUIET = days_of(*[Evidence()] * 30)


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (Evidence(shrunken=1), "history-overwritten"),
        (Evidence(archives=1), "archives-shrunken"),
        (Evidence(halved=1), "large-history-shrunken"),
        (Evidence(users=5), "users-vanished"),
        (Evidence(histories=5), "histories-vanished"),
        (Evidence(chats=20, chat_owners=5), "chats-vanished"),
        (Evidence(chats=100_000, chat_owners=1), "chats-vanished"),
        (Evidence(messages=100, message_owners=5), "messages-vanished"),
        (Evidence(rewritten=20), "histories-rewritten"),
        (Evidence(torn=5), "documents-torn"),
        (Evidence(noisy=5), "text-turned-to-noise"),
    ],
)
def test_each_rule_trips_at_its_cause_where_nothing_of_the_kind_is_ordinary(
    evidence: Evidence, rule: str
) -> None:
    assert trips(evidence, QUIET) == {rule}


@pytest.mark.parametrize(
    "name", [name for name in COUNTED if name not in ("shrunken", "archives", "halved", "unseen")]
)
def test_a_few_of_anything_are_no_alarm(name: str) -> None:
    few = msgspec.structs.replace(Evidence(chats=19, messages=99), **{name: 1})
    assert trips(few, QUIET) == set()


@pytest.mark.parametrize(
    ("total", "count", "days", "level"),
    [
        (99, 1, 1, "alarm"),
        (100, 1, 1, "warning"),
        (800, 8, 1, "warning"),
        (800, 9, 1, "alarm"),
        (32_000, 1, 1, "warning"),
        (32_000, 321, 1, "alarm"),
        (100, 9, 9, "warning"),
        (100, 10, 9, "alarm"),
    ],
)
def test_few_overwritten_among_very_many_are_a_warning_and_never_nothing(
    total: int, count: int, days: float, level: str
) -> None:
    sizes = Sizes(users=total, histories=total, chats=9 * total, messages=99 * total, documents=1)
    found = judge(Evidence(shrunken=count), sizes, QUIET, Limits(), now_ms=NOW_MS, days=float(days))
    assert [(trip.rule, trip.level) for trip in found] == [("history-overwritten", level)]
    assert (found[0].is_alarm, found[0].blocks) == (True, level == "alarm")


def test_who_wants_it_has_each_overwritten_history_stop_prunes() -> None:
    sizes = Sizes(users=9999, histories=9999, chats=99_990, messages=999_900, documents=1)
    limits = Limits(overwritten_percent=0)
    (found,) = judge(Evidence(shrunken=1), sizes, QUIET, limits, now_ms=NOW_MS, days=1.0)
    assert found.blocks


def test_one_person_who_deletes_very_much_is_no_alarm_in_a_large_directory() -> None:
    assert (
        trips(Evidence(chats=500, chat_owners=1, messages=5000, message_owners=1), QUIET) == set()
    )


def test_half_of_all_chats_is_an_alarm_even_if_one_person_loses_them() -> None:
    assert "chats-vanished" in trips(Evidence(chats=20, chat_owners=1), QUIET, SMALL)


def test_a_small_directory_has_smaller_limits() -> None:
    rules = {"users-vanished", "histories-vanished", "documents-torn"}
    assert trips(Evidence(users=3, histories=3, torn=5), QUIET, SMALL) == rules
    assert trips(Evidence(users=2, histories=2, torn=4), QUIET, SMALL) == set()


def test_the_only_one_is_never_few() -> None:
    alone = Sizes(users=1, histories=1, chats=3, messages=9, documents=2)
    assert trips(Evidence(users=1, histories=1), [], alone) == {
        "users-vanished",
        "histories-vanished",
    }


def test_what_is_ordinary_is_learned_from_the_past() -> None:
    lost = Evidence(chats=400, chat_owners=200)
    daily = Evidence(chats=100, chat_owners=50)
    assert trips(lost, QUIET) == {"chats-vanished"}
    assert trips(lost, days_of(*[daily] * 30)) == set()
    five_times = Evidence(chats=2000, chat_owners=251)
    assert trips(five_times, days_of(*[daily] * 30)) == {"chats-vanished"}


def test_until_enough_is_known_it_takes_a_share_of_everything() -> None:
    few_days = days_of(*[Evidence()] * (LEARNED_DAYS - 1))
    assert trips(Evidence(users=5000), few_days) == set()
    assert trips(Evidence(users=5001), few_days) == {"users-vanished"}


def test_overwritten_histories_are_ordinary_only_once_somebody_went_on_saying_so() -> None:
    now_and_then = days_of(*[Evidence(shrunken=n % 11 == 0) for n in range(60)])
    assert trips(Evidence(shrunken=1), now_and_then) == {"history-overwritten"}
    daily = days_of(*[Evidence(shrunken=3)] * 30)
    assert trips(Evidence(shrunken=15), daily) == set()
    assert trips(Evidence(shrunken=16), daily) == {"history-overwritten"}
    assert trips(Evidence(shrunken=1), daily[: LEARNED_DAYS - 1]) == {"history-overwritten"}


def test_what_was_overwritten_earlier_that_day_is_no_news() -> None:
    earlier = Seen(NOW_MS - 3_600_000, 1.0, Evidence(shrunken=3))
    assert trips(Evidence(), [*QUIET, earlier]) == set()


def test_one_bad_day_does_not_become_what_is_ordinary() -> None:
    past = days_of(*[Evidence()] * 28, Evidence(users=15_000), Evidence())
    assert trips(Evidence(users=5), past) == {"users-vanished"}


def test_half_of_everything_is_never_ordinary() -> None:
    past = days_of(*[Evidence(users=9000)] * 30)
    assert trips(Evidence(users=10_001), past) == {"users-vanished"}


def test_a_machine_that_was_off_for_weeks_may_show_what_weeks_bring() -> None:
    past = days_of(*[Evidence(users=10)] * 30)
    assert trips(Evidence(users=210), past) == {"users-vanished"}
    assert trips(Evidence(users=210), past, days=21.0) == set()


def test_many_small_losses_in_one_day_are_one() -> None:
    hours = [Seen(NOW_MS - n * 3_600_000, 1.0, Evidence(users=1)) for n in range(4, 0, -1)]
    assert trips(Evidence(users=1), [*QUIET, *hours]) == {"users-vanished"}


def test_what_an_alarm_told_today_is_not_told_again() -> None:
    hours = [Seen(NOW_MS - n * 3_600_000, 1.0, Evidence(users=4), n == 2) for n in (3, 2, 1)]
    assert trips(Evidence(users=0), [*QUIET, *hours]) == set()
    assert trips(Evidence(users=1), [*QUIET, *hours]) == {"users-vanished"}


def test_hourly_snapshots_make_no_day_less_ordinary() -> None:
    hours = [Seen(NOW_MS - n * 3_600_000, 1.0, Evidence(users=2)) for n in range(24 * 30, 0, -1)]
    assert trips(Evidence(users=2), hours) == set()


def test_snapshots_of_a_time_to_come_say_nothing() -> None:
    future = [Seen(NOW_MS + n * DAY_MS, 1.0, Evidence(users=9000)) for n in range(1, 30)]
    assert trips(Evidence(users=5), [*QUIET, *future]) == {"users-vanished"}


@pytest.mark.parametrize("jump_ms", [-DAY_MS, 0, 1])
def test_a_clock_that_goes_back_takes_a_day_as_any_other(jump_ms: int) -> None:
    assert days_between(NOW_MS, NOW_MS + jump_ms) == 1.0


def writes(hour: int, count: int) -> Evidence:
    return Evidence(hours=[count * (number == hour) for number in range(24)])


def test_writes_at_hours_at_which_nobody_writes_are_told() -> None:
    past = days_of(*[Evidence(hours=OFFICE)] * 30)
    assert trips(writes(3, 20), past) == {"odd-hours"}
    assert trips(writes(3, 19), past) == set()
    assert trips(writes(18, 500), past) == set(), "the hours beside ordinary ones are ordinary"
    assert trips(writes(3, 20), past, limits=Limits(odd_hours="off")) == set()
    assert trips(writes(3, 20), past[-7:]) == set(), "too little is known"


@pytest.mark.parametrize("level", ["info", "alarm"])
def test_odd_hours_are_an_alarm_only_if_that_is_said(level: str) -> None:
    past = days_of(*[Evidence(hours=OFFICE)] * 30)
    limits = msgspec.convert({"odd_hours": level}, Limits)
    (trip,) = judge(writes(3, 20), LARGE, past, limits, now_ms=NOW_MS, days=1.0)
    assert trip.is_alarm == (level == "alarm")


@given(EVIDENCE, st.lists(EVIDENCE, max_size=40), st.sampled_from(COUNTED))
def test_losing_more_never_trips_less(evidence: Evidence, past: list[Evidence], name: str) -> None:
    more = msgspec.structs.replace(evidence, **{name: getattr(evidence, name) + 500})
    assert trips(evidence, days_of(*past)) <= trips(more, days_of(*past))


@given(EVIDENCE, st.lists(EVIDENCE, max_size=40), st.floats(1, 400))
def test_whatever_it_was_a_trip_says_how_much_and_what_would_be_ordinary(
    evidence: Evidence, past: list[Evidence], days: float
) -> None:
    for trip in judge(evidence, LARGE, days_of(*past), Limits(), now_ms=NOW_MS, days=days):
        assert trip.rule in RULES
        assert f"{trip.count:,}" in describe(trip)
        if not trip.rule.startswith(("chats", "messages")):  # there, users may be what is too much
            assert trip.count >= trip.limit


@pytest.mark.parametrize("users", [20, 2000, 200_000])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.1])
def test_a_year_of_chance_is_quiet(users: int, share: float) -> None:
    """Each of so many people deletes something with a chance; some days five times that."""
    chance = random.Random(f"{users} {share}")
    sizes = Sizes(users, users * 2, users * 10, users * 100, users * 3)
    seen: list[Seen] = []
    told: Counter[str] = Counter()
    for day in range(365):
        busy = chance.choice((0.3, 0.7, 1.0, 1.0, 1.2, 1.5))
        expected = users * share * busy
        owners = min(users, max(0, round(chance.gauss(expected, expected**0.5))))
        evidence = Evidence(
            chats=owners * 2,
            chat_owners=owners,
            messages=owners * 9,
            message_owners=owners,
            rewritten=owners,
            users=chance.randrange(2),
            histories=chance.randrange(2),
        )
        now_ms = NOW_MS + day * DAY_MS
        found = judge(evidence, sizes, seen[-100:], Limits(), now_ms=now_ms, days=1.0)
        told.update(trip.rule for trip in found)
        seen.append(Seen(now_ms, 1.0, evidence))
    assert told == Counter()


def test_the_sentence_about_one_is_about_one() -> None:
    one = Trip("history-overwritten", "alarm", 1, 1, 30)
    assert describe(one).startswith("1 history is whole and lost chats at once")
    assert describe(Trip("users-vanished", "alarm", 8, 5, 30)) == (
        "8 users vanished, of 30; fewer than 5 would be ordinary"
    )
    assert "9" in describe(Trip("a-rule-of-a-later-program", "alarm", 9, 5, 30))


def test_the_configuration_sets_each_limit() -> None:
    assert list(TripwiresTable.__struct_fields__) == list(Limits.__struct_fields__)
    assert list(TRIPWIRES_DESCRIPTIONS) == list(TripwiresTable.__struct_fields__)
    table = parse_config('[tripwires]\nchats = 7\nodd_hours = "off"\n', "x").tripwires
    assert table is not None
    assert table.limits() == Limits(chats=7, odd_hours="off")
    assert TripwiresTable().limits() == Limits()


@pytest.mark.parametrize("text", ["users = 0", "percent = 101", 'odd_hours = "loud"', "user = 1"])
def test_a_limit_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f"[tripwires]\n{text}\n", "x")


def test_the_descriptions_name_the_defaults() -> None:
    for name, about in TRIPWIRES_DESCRIPTIONS.items():
        value = getattr(Limits(), name)
        assert f"Default: {msgspec.json.encode(value).decode()}." in about
