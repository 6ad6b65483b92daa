"""What alerts are judged by is gathered from the log, however it came about."""

from pathlib import Path

import pytest

from shenyu_data.health.facts import gather
from shenyu_data.health.runs import begin_run, end_run
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.store import open_store
from shenyu_data.model.config_schedule import JobTable, ScheduleTable
from shenyu_data.operations.configuration import load_settings

NOW = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize("verb", ["backup", "verify", "drill"])
def test_a_job_that_failed_for_months_was_done_once(tmp_path: Path, verb: str) -> None:
    """It is never said that there was none, however many runs failed since."""
    jobs = {"nightly": JobTable(run=[verb], at="0 2 * * *")}
    schedule = open_schedule(ScheduleTable(timezone="UTC", jobs=jobs), "", {})
    settings = load_settings(
        config_file=None, data="/d", repository=None, jobs=None, environment={}
    )
    with open_store(str(tmp_path)) as store:
        for number in range(100):
            at_ms = NOW - (100 - number) * HOUR_MS
            run = begin_run(store, verb, at_ms, job="nightly", due_ms=at_ms)
            end_run(store, run, at_ms, "failed" if number else "good", exit_status=bool(number) * 3)
        facts = gather(store, settings, schedule, NOW)
    done = {"backup": facts.backup_ms, "verify": facts.verified_ms, "drill": facts.drilled_ms}
    assert done[verb] == NOW - 100 * HOUR_MS
    assert facts.jobs[0].good_ms == NOW - 100 * HOUR_MS
