"""What is decided about a job from what is remembered and the time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shenyu_data.model.config import parse_config
from shenyu_data.model.config_schedule import (
    CONFIRMED,
    JOB_DESCRIPTIONS,
    JOB_VERBS,
    SCHEDULE_DESCRIPTIONS,
    JobTable,
    ScheduleTable,
    default_jobs,
)
from shenyu_data.model.cron import parse_cron
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.schedule import (
    LONGEST_WAIT_MS,
    MOST_COUNTED,
    Attempt,
    Clock,
    Decision,
    Job,
    begin_ms,
    decide,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOON = int(datetime(2026, 5, 10, 12, tzinfo=UTC).timestamp()) * 1000
DUE = NOON - 10 * HOUR_MS  # today, at two


def job(at: str = "0 2 * * *", **values: Any) -> Job:
    table = JobTable(run=["backup"], at=at, **values)
    return table.job("nightly")


def attempt(outcome: str, due_ms: int = DUE, number: int = 1, **values: Any) -> Attempt:
    values = {"ended_ms": due_ms + HOUR_MS, "exit_status": 3, **values}
    return Attempt(due_ms=due_ms, attempt=number, outcome=outcome, **values)


def at(now_ms: int, **values: Any) -> Clock:
    return Clock(now_ms=now_ms, zone=UTC, **values)


def test_a_new_job_waits_for_its_next_time() -> None:
    decision = decide(job(), [], at(NOON), since_ms=NOON)
    assert (decision.action, decision.when_ms) == ("wait", DUE + DAY_MS)


def test_a_first_backup_is_due_at_once() -> None:
    decision = decide(job(), [], at(NOON), since_ms=NOON, at_once=True)
    assert (decision.action, decision.due_ms, decision.why) == ("run", NOON, "first")


def test_what_is_due_is_run_and_what_was_run_is_not() -> None:
    before = [attempt("good", DUE - DAY_MS)]
    decision = decide(job(), before, at(DUE), since_ms=0)
    assert decision == Decision(action="run", due_ms=DUE)
    decision = decide(job(), [attempt("good")], at(NOON), since_ms=0)
    assert decision == Decision(action="wait", when_ms=DUE + DAY_MS)
    assert decide(job(), [attempt("findings")], at(NOON), since_ms=0).action == "wait"
    assert decide(job(), [attempt("skipped")], at(NOON), since_ms=0).action == "wait"


def test_a_job_that_runs_is_not_begun_again() -> None:
    assert decide(job(), [], at(NOON), since_ms=0, running=True).action == "running"


def test_runs_that_were_missed_are_made_up_for_by_one() -> None:
    decision = decide(job(), [attempt("good", DUE - 6 * DAY_MS)], at(NOON), since_ms=0)
    assert (decision.action, decision.due_ms, decision.why) == ("run", DUE, "late")
    missed = decision.missed
    assert missed is not None
    assert (missed.count, missed.since_ms, missed.due_ms) == (5, DUE - 5 * DAY_MS, DUE - DAY_MS)


def test_a_run_that_is_too_old_is_not_made_up_for() -> None:
    old = job(catch_up="9h")
    decision = decide(old, [attempt("good", DUE - 3 * DAY_MS)], at(NOON), since_ms=0)
    assert (decision.action, decision.when_ms) == ("wait", DUE + DAY_MS)
    missed = decision.missed
    assert missed is not None
    assert (missed.count, missed.since_ms, missed.due_ms) == (3, DUE - 2 * DAY_MS, DUE)
    young = job(catch_up="11h")
    assert decide(young, [attempt("good", DUE - DAY_MS)], at(NOON), since_ms=0).action == "run"


def test_a_century_of_missed_minutes_is_not_counted() -> None:
    decision = decide(
        job("* * * * *"), [attempt("good", DUE)], at(NOON + 60 * 365 * DAY_MS), since_ms=0
    )
    assert decision.action == "run"
    assert decision.missed is not None
    assert decision.missed.count == MOST_COUNTED


def test_a_run_that_failed_is_tried_again_after_waits_that_double() -> None:
    attempts: list[Attempt] = []
    now_ms, waits = DUE, []
    while True:
        decision = decide(job(), attempts, at(now_ms), since_ms=DUE - 1)
        if decision.action == "wait" and decision.why != "retry":
            break
        if decision.action == "wait":
            assert decision.when_ms is not None
            waits.append((decision.when_ms - now_ms) // 60_000)
            now_ms = decision.when_ms
            continue
        assert decision.attempt == len(attempts) + 1
        attempts.append(attempt("failed", DUE, decision.attempt, ended_ms=now_ms))
    assert waits == [10, 20, 40]
    assert len(attempts) == 4


def test_a_run_that_took_too_long_is_tried_again_as_one_that_failed() -> None:
    decision = decide(job(), [attempt("timed-out")], at(NOON), since_ms=0)
    assert (decision.action, decision.attempt, decision.why) == ("run", 2, "retry")
    many = [attempt("timed-out", DUE, number) for number in range(1, 5)]
    assert decide(job(), many, at(NOON), since_ms=0).why == "due"


def test_no_wait_is_longer_than_some_hours() -> None:
    attempts = [attempt("failed", DUE, number, ended_ms=NOON) for number in range(1, 15)]
    decision = decide(job(retries=20), attempts, at(NOON), since_ms=0)
    assert decision.when_ms == NOON + LONGEST_WAIT_MS


def test_damage_is_not_looked_at_again() -> None:
    decision = decide(job(), [attempt("failed", exit_status=4)], at(NOON), since_ms=0)
    assert (decision.action, decision.why) == ("wait", "due")


def test_what_was_interrupted_when_the_scheduler_stopped_is_begun_at_its_start() -> None:
    interrupted = [attempt("interrupted", ended_ms=NOON - 1000, exit_status=130)]
    stopped = decide(job(retries=0), interrupted, at(NOON, started_ms=NOON - 500), since_ms=0)
    assert (stopped.action, stopped.attempt) == ("run", 2)
    by_hand = decide(job(retries=0), interrupted, at(NOON, started_ms=DUE), since_ms=0)
    assert (by_hand.action, by_hand.why) == ("wait", "retry")


def test_a_run_that_is_always_interrupted_comes_to_an_end() -> None:
    many = [attempt("interrupted", DUE, number) for number in range(1, 101)]
    assert decide(job(), many, at(NOON), since_ms=0).why == "due"


def test_a_new_time_that_is_due_ends_the_attempts_at_the_last_one() -> None:
    decision = decide(job(), [attempt("failed", DUE - DAY_MS)], at(DUE), since_ms=0)
    assert (decision.action, decision.due_ms, decision.attempt) == ("run", DUE, 1)


def test_rows_from_the_future_say_nothing() -> None:
    future = [attempt("good", NOON + 3650 * DAY_MS), attempt("good", DUE - DAY_MS)]
    assert decide(job(), future, at(DUE), since_ms=0).due_ms == DUE
    ended = [attempt("failed", DUE, ended_ms=NOON + 3650 * DAY_MS)]
    assert decide(job(), ended, at(NOON), since_ms=0).action == "run"
    assert decide(job(), [], at(NOON), since_ms=NOON + 3650 * DAY_MS).action == "wait"


def test_a_time_that_comes_again_is_not_run_again() -> None:
    """The clock was set back over it by an hour, and it comes for the second time."""
    attempts = [attempt("good", DUE - DAY_MS), attempt("good")]
    assert decide(job(), attempts, at(DUE - HOUR_MS), since_ms=0).action == "wait"
    assert decide(job(), attempts, at(DUE + 60_000), since_ms=0).action == "wait"


def test_runs_are_spread_the_same_way_for_everybody() -> None:
    spread = {
        begin_ms(job(), DUE + day * DAY_MS, at(NOON, jitter_ms=300_000, salt="a")) - day * DAY_MS
        for day in range(50)
    }
    assert len(spread) > 30
    assert DUE <= min(spread) <= max(spread) < DUE + 300_000
    clock = at(NOON, jitter_ms=300_000, salt="a")
    assert begin_ms(job(), DUE, clock) == begin_ms(job(), DUE, clock)
    assert begin_ms(job(), DUE, clock) != begin_ms(job(), DUE, at(NOON, jitter_ms=300_000))
    minutely = job("* * * * *")
    assert DUE <= begin_ms(minutely, DUE, clock) <= DUE + 30_000


def test_a_run_waits_for_its_share_of_the_spread() -> None:
    clock = at(DUE, jitter_ms=300_000, salt="a")
    decision = decide(job(), [attempt("good", DUE - DAY_MS)], clock, since_ms=0)
    assert (decision.action, decision.why, decision.when_ms) == (
        "wait",
        "jitter",
        begin_ms(job(), DUE, clock),
    )


def test_the_usual_jobs_remove_nothing_and_begin_when_few_are_awake() -> None:
    jobs = ScheduleTable().all_jobs()
    assert [item.name for item in jobs] == list(default_jobs())
    assert not {"cleanup", "compress"} & {item.verb for item in jobs}
    for item in jobs:
        assert min(item.cron.hours) >= 3  # no clock is changed later than that


@pytest.mark.parametrize("verb", JOB_VERBS)
def test_a_verb_that_asks_is_told_yes(verb: str) -> None:
    said = verb.split()
    job = JobTable(run=said, at="@daily").job("x")
    assert job.verb == verb
    assert job.words == ((verb, "--yes") if verb in CONFIRMED else tuple(said))
    assert JobTable(run=[*said, "--yes"], at="@daily").job("x").words == (*said, "--yes")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('run = ["erase-user", "ben"]\nat = "@daily"', "schedule.jobs"),
        ('run = ["permissions", "fix"]\nat = "@daily"', "begins with a verb"),
        ('run = ["permissions"]\nat = "@daily"', "begins with a verb"),
        ('run = []\nat = "@daily"', "begins with a verb"),
        ('run = ["backup"]', "at"),
        ('run = ["backup"]\nat = "61 * * * *"', "`at`: 61"),
        ('run = ["backup"]\nat = "@daily"\nretries = -1', "retries"),
        ('run = ["backup"]\nat = "@daily"\nretry_after = "6m"', "6m is not an age"),
        ('run = ["backup"]\nat = "@daily"\nretry_after = "0h"', "retry_after"),
        ('run = ["backup"]\nat = "@daily"\ncatch_up = "later"', "later is not an age"),
        ('run = ["backup"]\nat = "@daily"\ntimeout = "soon"', "soon is not an age"),
        ('run = ["backup"]\nat = "@daily"\ntimeout = "0h"', "timeout"),
        ('run = ["backup", "--repo=x"]\nat = "@daily"', "--repo=x"),
        ('run = ["backup", "--data", "x"]\nat = "@daily"', "--data"),
        ('run = ["backup"]\nat = "@daily"\nevery = 1', "every"),
    ],
)
def test_a_job_that_is_wrong_is_an_error_that_names_it(table: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml") as raised:
        parse_config(f"[schedule.jobs.nightly]\n{table}", "x.toml")
    assert said in raised.value.message


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "../x", "-x", "x" * 49, "ä", "a%i"])
def test_a_job_has_a_name_that_files_can_have(name: str) -> None:
    text = f'[schedule.jobs."{name}"]\nrun = ["backup"]\nat = "@daily"'
    with pytest.raises(ConfigError, match="no name for a job"):
        parse_config(text, "x.toml")


def test_nobody_needs_to_be_spread() -> None:
    assert ScheduleTable(jitter="0s").jitter_ms() == 0


def test_every_key_is_described() -> None:
    assert list(SCHEDULE_DESCRIPTIONS) == list(ScheduleTable.__struct_fields__)
    assert list(JOB_DESCRIPTIONS) == list(JobTable.__struct_fields__)


def test_a_year_of_a_daily_job_has_no_gap_in_a_leap_year() -> None:
    cron = parse_cron("0 2 * * *")
    start = datetime(2028, 1, 1, tzinfo=UTC)
    days = timedelta(days=366)
    count, _ = cron.count(
        int(start.timestamp() * 1000) - 1, int((start + days).timestamp() * 1000), UTC, 1000
    )
    assert count == 366
