"""Since when jobs are taken for known whose state folder was lost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from shenyu_data.health.jobs import Program
from shenyu_data.health.known import REPOSITORY, KnownRepository, note
from shenyu_data.health.lost import Rebuilding, lost_since
from shenyu_data.health.runs import begin_run, end_run
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.config_schedule import ScheduleTable
from shenyu_data.model.monitor import CollectingMonitor

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOON = 1_772_366_400_000  # Sunday, 2026-03-01 12:00 UTC
SCHEDULE = open_schedule(ScheduleTable(timezone="UTC"), "", {})


def known(**values: int) -> KnownRepository:
    nothing = KnownRepository(
        id="00",
        location="repo",
        snapshots=9,
        oldest_ms=NOON - 90 * DAY_MS,
        newest_ms=None,
        good_ms=None,
        degraded=0,
        totals={},
        held_bytes=1,
        size_bytes=1,
        proven_ms=None,
        slots=[],
    )
    return KnownRepository(
        **{name: getattr(nothing, name) for name in nothing.__struct_fields__} | values
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "state"))


def due(store: Store, found: KnownRepository | None) -> list[str]:
    """Give the jobs whose latest time came after they are taken for known."""
    since = lost_since(store, SCHEDULE, found, NOON)
    return [
        job.name
        for job in SCHEDULE.jobs
        if job.name in since and (job.cron.before(NOON, SCHEDULE.zone) or 0) > since[job.name]
    ]


ALL = ["backup", "backup-full", "prune", "verify", "validate", "drill"]


def test_where_nothing_can_be_told_every_job_is_due(store: Store) -> None:
    assert due(store, None) == ALL
    assert due(store, known()) == ALL


def test_what_the_repository_tells_is_not_due_again(store: Store) -> None:
    told = known(
        newest_ms=NOON - HOUR_MS,
        full_ms=NOON - 8 * DAY_MS,
        proven_ms=NOON - HOUR_MS,
        pruned_ms=NOON - 2 * DAY_MS,
    )
    assert due(store, told) == ["backup-full", "prune", "validate", "drill"]


def test_times_that_are_yet_to_come_tell_nothing(store: Store) -> None:
    assert due(store, known(newest_ms=NOON + DAY_MS, proven_ms=NOON + 1)) == ALL


def test_what_a_person_did_since_counts(store: Store) -> None:
    for verb, figures in (("drill", {}), ("backup", {"kind": "incremental"})):
        run = begin_run(store, verb, NOON - HOUR_MS)
        end_run(store, run, NOON - HOUR_MS, "good", figures=figures)
    failed = begin_run(store, "validate", NOON - HOUR_MS)
    end_run(store, failed, NOON - HOUR_MS, "failed")
    assert due(store, known()) == ["backup-full", "prune", "verify", "validate"]


def test_no_run_is_said_to_be_missed_of_which_nobody_knows(store: Store) -> None:
    since = lost_since(store, SCHEDULE, known(proven_ms=NOON - 30 * DAY_MS), NOON)
    for job in SCHEDULE.jobs:
        latest_ms = job.cron.before(NOON, SCHEDULE.zone)
        assert latest_ms is not None
        assert job.cron.count(since[job.name], latest_ms, SCHEDULE.zone, 1000)[0] == 0


class Asked:
    """The process that asks the repository: it notes what that holds, and has ended."""

    pid = 0

    def poll(self) -> int:
        return 0

    def wait(self) -> int:
        return 0

    def send_signal(self, sig: int) -> None:
        raise AssertionError("it has ended")


@pytest.mark.parametrize(("snapshots", "lost"), [(0, False), (9, True)])
def test_a_repository_that_is_far_away_is_asked_by_another_process_alone(
    snapshots: int, lost: bool, store: Store
) -> None:
    asked: list[Sequence[str]] = []

    def start(command: Sequence[str], environment: Mapping[str, str]) -> Asked:
        asked.append(command)
        note(store, REPOSITORY, NOON, known(snapshots=snapshots))
        return Asked()

    def is_empty() -> bool:
        raise AssertionError("it may take minutes")

    monitor = CollectingMonitor()
    rebuilding = Rebuilding(is_empty, start, monitor)
    program = Program(words=["program"], flags=[])
    place = (store, SCHEDULE, "s3://far/away", program, NOON)
    assert rebuilding.since(*place) is None
    waits = [rebuilding.asks]
    assert bool(rebuilding.since(*place)) == lost
    waits.append(rebuilding.asks)
    assert waits == [True, False]
    assert [command[1:3] for command in asked] == [["status", "--refresh"]]
    assert [item.code for item in monitor.findings] == ["state-rebuilt"] * lost


def test_a_log_that_reaches_back_as_far_as_the_repository_was_not_lost(store: Store) -> None:
    begin_run(store, "backup", NOON - 90 * DAY_MS)
    assert lost_since(store, SCHEDULE, known(newest_ms=NOON - 9 * DAY_MS), NOON) == {}
