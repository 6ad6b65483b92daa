"""Metrics say what is known, and nothing else; the file they are written to is whole."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shenyu_data.health.alerts import observe
from shenyu_data.health.hooks import Occasion, call_hooks
from shenyu_data.health.metric_names import METRICS
from shenyu_data.health.metrics import measure, text_of
from shenyu_data.health.runs import KEPT_MS, begin_run, end_run, forget_old_runs, skip_run
from shenyu_data.health.schedule import Schedule, open_schedule
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.alerts import Condition
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.configuration import Settings, load_settings

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
HOOKS = ["shenyu_data.health.metrics_out:write_after"]
FIGURES = {
    "totals": {"users": 3, "chats": 5, "torn": 1},
    "degraded": True,
    "stored_bytes": 70,
    "elapsed_s": 1.5,
    "changes": {"new": 4},
    "user": "ben",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "state")) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return load_settings(
        config_file=None,
        data=str(tmp_path / "data"),
        repository="s3://bucket/of-nobody",
        jobs=None,
        environment={},
    )


@pytest.fixture
def schedule() -> Schedule:
    return open_schedule(None, "", {"TZ": "UTC"})


@pytest.fixture
def measured(store: Store, settings: Settings, schedule: Schedule, tmp_path: Path) -> "Measured":
    return Measured(store, settings, schedule, str(tmp_path))


class Measured:
    """What is measured, by name and labels."""

    def __init__(self, store: Store, settings: Settings, schedule: Schedule, state: str) -> None:
        self.store, self.settings, self.schedule, self.state = store, settings, schedule, state

    def __call__(self, now_ms: int = NOW_MS) -> dict[str, float]:
        samples = measure(self.store, self.schedule, self.settings, self.state, now_ms)
        return {
            " ".join([name.removeprefix("shenyu_data_"), *labels]): value
            for name, labels, value in samples
        }


def ran(store: Store, outcome: str, ended_ms: int, verb: str = "backup", **more: object) -> None:
    status = {"good": 0, "findings": 1, "killed": None}.get(outcome, 3)
    figures = more.pop("figures", {})
    run = begin_run(store, verb, ended_ms - 2500, **more)  # type: ignore[arg-type]
    end_run(store, run, ended_ms, outcome, exit_status=status, figures=figures)  # type: ignore[arg-type]


def test_before_any_run_there_are_no_figures_of_runs(measured: Measured) -> None:
    found = measured()
    assert found["log_usable"] == 1
    assert found["job_runs_total backup backup good"] == 0
    for name in found:
        assert not name.startswith(("users", "backup_", "verify_", "drill_", "job_last", "repo"))


def test_the_last_backup_says_what_the_data_directory_holds(measured: Measured) -> None:
    ran(measured.store, "findings", NOW_MS - DAY_MS, figures=FIGURES)
    found = measured()
    assert (found["users"], found["chats"], found["torn_documents"]) == (3, 5, 1)
    assert (found["backup_degraded"], found["backup_stored_bytes"]) == (1, 70)
    assert (found["backup_duration_seconds"], found["backup_documents new"]) == (1.5, 4)


def test_a_degraded_backup_is_completed_and_no_success(measured: Measured) -> None:
    ran(measured.store, "good", NOW_MS - 2 * DAY_MS)
    ran(measured.store, "findings", NOW_MS - DAY_MS)
    found = measured()
    assert found["backup_last_success_timestamp_seconds"] == (NOW_MS - 2 * DAY_MS) / 1000
    assert found["backup_last_completion_timestamp_seconds"] == (NOW_MS - DAY_MS) / 1000


def test_a_job_has_its_last_run_and_its_last_good_one(measured: Measured) -> None:
    store = measured.store
    ran(store, "good", NOW_MS - DAY_MS, job="backup", due_ms=1)
    ran(store, "killed", NOW_MS - 1000, job="backup", due_ms=2)
    skip_run(store, "verify", NOW_MS - 1000, "verify", 3, "it was late")
    found = measured()
    assert found["job_last_exit_status backup backup"] == -1
    assert found["job_last_exit_status verify verify"] == -1
    assert found["job_last_duration_seconds backup backup"] == 2.5
    assert found["job_last_run_timestamp_seconds backup backup"] == (NOW_MS - 3500) / 1000
    assert found["job_last_success_timestamp_seconds backup backup"] == (NOW_MS - DAY_MS) / 1000
    assert found["job_runs_total backup backup good"] == 1
    assert found["job_runs_total backup backup killed"] == 1
    assert found["job_running backup backup"] == 0
    assert found["job_next_run_timestamp_seconds backup backup"] > NOW_MS / 1000


def test_a_run_that_is_dated_in_the_future_says_nothing(measured: Measured) -> None:
    ran(measured.store, "good", NOW_MS + DAY_MS, figures=FIGURES)
    found = measured()
    assert "backup_last_success_timestamp_seconds" not in found
    assert "users" not in found


def test_a_verify_that_failed_says_what_is_damaged(measured: Measured) -> None:
    figures = {"damaged_objects": 2, "object_bytes": 900, "objects": 9, "snapshots": 3}
    ran(measured.store, "failed", NOW_MS - 1000, "verify", figures=figures)
    found = measured()
    assert found["verify_damaged_objects"] == 2
    assert found["repository_bytes"] == 900  # of a bucket, which nothing lists here
    assert found["repository_snapshots"] == 3


def test_a_counter_does_not_fall_when_runs_are_forgotten(measured: Measured) -> None:
    store, name = measured.store, "job_runs_total backup backup good"
    for number in range(15):
        ran(store, "good", NOW_MS + number, job="backup", due_ms=number)
    assert measured(NOW_MS + 100)[name] == 15
    later_ms = NOW_MS + KEPT_MS + DAY_MS
    for _ in range(2):
        forget_old_runs(store, later_ms)
        assert measured(later_ms)[name] == 15
    with store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (10,)


def test_alerts_are_counted_by_their_level_until_they_are_over(measured: Measured) -> None:
    condition = Condition(
        code="backup-old",
        subject="",
        level="critical",
        since_ms=NOW_MS - DAY_MS,
        message="the last good backup is 3 days old",
        command="shenyu-data backup",
        figures={},
    )
    assert measured()["alerts critical"] == 0
    observe(measured.store, [condition], AlertsTable(), NOW_MS)
    assert (measured()["alerts critical"], measured()["alerts warning"]) == (1, 0)
    for day in range(1, 4):
        observe(measured.store, [], AlertsTable(), NOW_MS + day * DAY_MS)
    assert measured(NOW_MS + 4 * DAY_MS)["alerts critical"] == 0


def test_without_a_log_the_rest_is_measured(
    settings: Settings, schedule: Schedule, tmp_path: Path
) -> None:
    samples = measure(None, schedule, settings, str(tmp_path), NOW_MS)
    found = {sample.name: sample.value for sample in samples}
    assert found["shenyu_data_log_usable"] == 0
    assert found["shenyu_data_filesystem_free_bytes"] > 0


def test_every_sample_is_of_a_metric_with_its_labels(
    measured: Measured, settings: Settings, schedule: Schedule, tmp_path: Path
) -> None:
    ran(measured.store, "good", NOW_MS - 1, job="backup", due_ms=1, figures=FIGURES)
    samples = measure(measured.store, schedule, settings, str(tmp_path), NOW_MS)
    for name, labels, _ in samples:
        assert len(labels) == len(METRICS[name].labels), name
    text = text_of(samples).decode()
    assert "shenyu_data_users 3.0\n" in text
    assert "ben" not in text


def hooked(measured: Measured, path: Path, monitor: CollectingMonitor, event: str = "tick") -> None:
    settings = msgspec.structs.replace(measured.settings, metrics_textfile=str(path))
    occasion = Occasion(
        event=event,  # type: ignore[arg-type]
        store=measured.store,
        settings=settings,
        now_ms=NOW_MS,
        monitor=monitor,
    )
    call_hooks(occasion, HOOKS)


def test_the_file_is_for_everybody_and_nothing_lies_beside_it(
    measured: Measured, tmp_path: Path
) -> None:
    folder, monitor = tmp_path / "exporter", CollectingMonitor()
    folder.mkdir()
    mask = os.umask(0o077)
    try:
        for event in ("begin", "tick", "end"):
            hooked(measured, folder / "shenyu_data.prom", monitor, event)
            assert len(list(folder.iterdir())) == (event != "begin")
    finally:
        os.umask(mask)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_text().endswith("\n")
    assert monitor.findings == []


@pytest.mark.parametrize("place", ["missing", "data", "link"])
def test_a_file_that_must_not_or_cannot_be_is_a_finding(
    place: str, measured: Measured, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monitor = CollectingMonitor()
    hooked(measured, tmp_path / place / "shenyu_data.prom", monitor)
    (finding,) = monitor.findings
    assert finding.code == "metrics-not-written"
    assert list((tmp_path / "data").iterdir()) == []
