"""``schedule``: what it shows, and the runs it makes, as processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shenyu_data.health.runs import Run, begin_run, end_run, runs
from shenyu_data.health.store import STORE_NAME, Store, open_store
from shenyu_data.operations.places import state_folder, state_of

from .conftest import Shenyu

DAY_MS = 86_400_000
PATIENCE_S = 240.0

JOBS = """
[schedule]
timezone = "UTC"
[schedule.jobs.nightly]
run = ["backup"]
at = "* * * * *"
retries = 0
[schedule.jobs.rarely]
run = ["validate"]
at = "@yearly"
"""


def store_of(place: Path) -> Store:
    return open_store(state_of(state_folder(os.environ), str(place / "data")))


def noted(place: Path) -> list[Run]:
    with store_of(place) as store:
        return runs(store)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def scheduled(place: Path) -> Path:
    with open(place / "shenyu-data.toml", "a") as file:
        file.write(JOBS)
    return place


def test_without_a_configuration_there_are_the_usual_jobs(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "show", "--json")
    assert said.status == 0
    jobs = {item["name"]: item for item in said.json["jobs"]}
    assert list(jobs) == ["backup", "backup-full", "prune", "verify", "validate", "drill"]
    assert {item["state"] for item in jobs.values()} == {"waiting"}
    assert jobs["prune"]["run"] == ["prune", "--yes"]


def test_the_first_backup_is_due_at_once(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "show", "--json")
    states = {item["name"]: item["state"] for item in said.json["jobs"]}
    assert states == {name: "due" if name == "backup" else "waiting" for name in states}


def test_drifted_permissions_are_noticed_by_a_job(place: Path, shenyu: Shenyu) -> None:
    with open(place / "shenyu-data.toml", "a") as file:
        file.write('[schedule.jobs.guard]\nrun = ["permissions", "check"]\nat = "@daily"\n')
    (place / "data").chmod(0o700)
    for folder in (place / "data").rglob("*/"):
        folder.chmod(0o700)
    assert shenyu("permissions", "check").status == 0
    (place / "data/users/anna.json").chmod(0o666)
    said = shenyu("schedule", "run", "guard", "--json")
    assert (said.status, said.json["outcome"]) == (1, "findings")
    assert noted(place)[0].verb == "permissions check"
    assert "permissions-drifted" in [item["code"] for item in listed(shenyu)]
    assert shenyu("permissions", "fix", "--yes").status == 0
    assert "permissions-drifted" not in [item["code"] for item in listed(shenyu)]


def listed(shenyu: Shenyu) -> list[dict[str, str]]:
    found: list[dict[str, str]] = shenyu("status", "--json").json["alerts"]
    return found


def test_a_run_that_is_due_is_made_once(scheduled: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "run", "rarely", "--json")
    assert (said.status, said.json["outcome"], said.json["attempts"]) == (0, "good", 1)
    (run,) = noted(scheduled)
    assert (run.job, run.verb, run.outcome, run.attempt) == ("rarely", "validate", "good", 1)
    assert run.figures["documents"] == 4
    assert run.due_ms is not None
    assert run.due_ms % DAY_MS == 0
    again = shenyu("schedule", "run", "rarely")
    assert again.status == 0
    assert "rarely is not due: it is due next at" in again.out
    assert len(noted(scheduled)) == 1
    assert shenyu("schedule", "run", "rarely", "--now", "--json").json["outcome"] == "good"
    assert len(noted(scheduled)) == 2


def test_a_run_exits_as_its_verb_does(
    scheduled: Path, shenyu: Shenyu, capfd: pytest.CaptureFixture[str]
) -> None:
    (scheduled / "data/users/cut.json").write_bytes(b'{"id": ')
    said = shenyu("schedule", "run", "rarely", "--json")
    assert (said.status, said.json["outcome"]) == (1, "findings")
    assert "users/cut.json" in capfd.readouterr().err
    assert [run.outcome for run in noted(scheduled)] == ["findings"]


def test_a_run_that_fails_says_so_and_is_shown(
    scheduled: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "wrong")
    assert shenyu("schedule", "run", "nightly").status == 4
    (run,) = noted(scheduled)
    assert (run.outcome, run.exit_status) == ("failed", 4)
    assert "does not open the repository" in run.error
    shown = shenyu("schedule", "show")
    assert shown.status == 1
    assert "FAILED" in shown.out


def test_a_verb_that_cannot_even_begin_is_noted_as_failed(
    scheduled: Path, shenyu: Shenyu, capfd: pytest.CaptureFixture[str]
) -> None:
    with open(scheduled / "shenyu-data.toml", "a") as file:
        file.write('retries = 0\n[schedule.jobs.odd]\nrun = ["validate", "--nosuch"]\n')
        file.write('at = "@daily"\nretries = 0\n')
    assert shenyu("schedule", "run", "odd").status == 2
    assert "--nosuch" in capfd.readouterr().err
    (run,) = noted(scheduled)
    assert (run.outcome, run.exit_status) == ("failed", 2)
    assert run.error == "exited with 2 before it could say why"


def test_what_was_missed_is_told_in_one_row(scheduled: Path, shenyu: Shenyu) -> None:
    with store_of(scheduled) as store:
        due_ms = (now_ms() // 60_000 - 10) * 60_000
        run_id = begin_run(store, "backup", due_ms, job="nightly", due_ms=due_ms)
        end_run(store, run_id, due_ms + 1, "good", exit_status=0)
    assert shenyu("schedule", "run", "nightly").status == 0
    rows = noted(scheduled)
    (skipped,) = [run for run in rows if run.outcome == "skipped"]
    assert "runs that were due from" in skipped.error
    assert "a later run makes up for it" in skipped.error
    assert [run.outcome for run in rows].count("good") == 2


def test_a_job_that_runs_already_is_not_begun(scheduled: Path, shenyu: Shenyu) -> None:
    with store_of(scheduled) as store:
        begin_run(store, "backup", now_ms(), job="nightly", due_ms=1)  # this process lives
    said = shenyu("schedule", "run", "nightly", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "already-run")


def test_a_run_whose_process_is_gone_is_shown_as_killed(scheduled: Path, shenyu: Shenyu) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with store_of(scheduled) as store:
        due_ms = now_ms() - DAY_MS // 24
        begin_run(store, "validate", due_ms, job="rarely", due_ms=due_ms, pid=gone.pid)
    job = shenyu("schedule", "show", "--json").json["jobs"][-1]
    assert (job["state"], job["last"]["outcome"]) == ("due", "killed")
    assert [run.outcome for run in noted(scheduled)] == ["running"]  # who only looks notes nothing


def test_a_job_runs_though_it_cannot_be_noted(scheduled: Path, shenyu: Shenyu) -> None:
    folder = Path(state_of(state_folder(os.environ), str(scheduled / "data")))
    (folder / STORE_NAME).mkdir(parents=True)
    said = shenyu("schedule", "run", "nightly", "--json")
    assert (said.status, said.json["outcome"]) == (0, "good")
    assert [item["code"] for item in said.json["findings"]] == ["run-not-noted"]
    assert len(shenyu("snapshots", "--json").json["snapshots"]) == 1


def test_a_job_that_is_not_there_is_named(scheduled: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "run", "daily\x1b", "--json")
    assert said.status == 2
    assert "nightly, rarely" in said.json["error"]["hint"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd"])
def test_a_time_zone_that_is_not_there_is_named(zone: str, place: Path, shenyu: Shenyu) -> None:
    with open(place / "shenyu-data.toml", "a") as file:
        file.write(f'[schedule]\ntimezone = "{zone}"\n')
    for words in (["schedule", "show"], ["schedule", "run", "backup"], ["config", "check"]):
        said = shenyu(*words, "--json")
        assert (said.status, said.json["error"]["code"]) == (2, "config")
        assert "schedule.timezone" in said.json["error"]["message"]


def test_an_interrupt_is_passed_on_to_the_verb(scheduled: Path, interruptible: None) -> None:
    """The verb waits for its passphrase, and is waited for until it has noted its end."""
    (scheduled / "slow").write_text("#!/bin/sh\ntouch started\nsleep 300\n")
    (scheduled / "slow").chmod(0o700)
    text = (scheduled / "shenyu-data.toml").read_text()
    config = f'passphrase_command = ["{scheduled}/slow"]\n{text}'
    (scheduled / "shenyu-data.toml").write_text(config)
    environment = {key: value for key, value in os.environ.items() if "PASSPHRASE" not in key}
    process = subprocess.Popen(
        [sys.executable, "-m", "shenyu_data.cli.main", "schedule", "run", "nightly"],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_until((scheduled / "started").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 130
    (run,) = noted(scheduled)
    assert (run.outcome, run.exit_status) == ("interrupted", 130)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
