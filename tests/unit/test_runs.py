"""The log of runs: what it remembers, whoever is killed, and what it survives."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shenyu_data.health.runs import (
    KEPT_MS,
    begin_run,
    end_killed_runs,
    end_run,
    forget_in_runs,
    forget_old_runs,
    outcome_of,
    runs,
    skip_run,
)
from shenyu_data.health.store import STORE_NAME, Store, open_store
from shenyu_data.model.errors import AlreadyRun, StateUnusable

DAY_MS = 86_400_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "state")) as opened:
        yield opened


def test_a_run_is_running_until_it_ends_and_keeps_its_figures(store: Store) -> None:
    run_id = begin_run(store, "backup", 1000)
    assert [run.outcome for run in runs(store)] == ["running"]
    end_run(store, run_id, 3000, "findings", exit_status=1, figures={"totals": {"users": 3}})
    (run,) = runs(store)
    assert (run.id, run.verb, run.started_ms, run.ended_ms) == (run_id, "backup", 1000, 3000)
    assert (run.outcome, run.exit_status) == ("findings", 1)
    assert run.figures == {"totals": {"users": 3}}


def test_a_run_ends_once(store: Store) -> None:
    run_id = begin_run(store, "backup", 1000)
    end_run(store, run_id, 2000, "good", exit_status=0)
    end_run(store, run_id, 3000, "failed", exit_status=3, error="late")
    assert [(run.outcome, run.ended_ms) for run in runs(store)] == [("good", 2000)]


def test_figures_keep_numbers_and_no_list_and_no_text_that_may_name_a_user(store: Store) -> None:
    figures = {"id": "abc", "user": "anna", "users": [{"user": "anna"}], "read_bytes": 7}
    end_run(store, begin_run(store, "cleanup", 1), 2, "good", figures=figures)
    assert runs(store)[0].figures == {"id": "abc", "read_bytes": 7}


def test_a_job_runs_once_for_each_due_time_and_attempt(store: Store) -> None:
    begin_run(store, "backup", 1, job="nightly", due_ms=100)
    with pytest.raises(AlreadyRun):
        begin_run(store, "backup", 2, job="nightly", due_ms=100)
    with pytest.raises(AlreadyRun):
        skip_run(store, "backup", 2, "nightly", 100, "the machine was off")
    begin_run(store, "backup", 3, job="nightly", due_ms=100, attempt=2)
    begin_run(store, "backup", 4, job="nightly", due_ms=200)
    assert [(run.due_ms, run.attempt) for run in runs(store)] == [(200, 1), (100, 2), (100, 1)]


def test_of_many_that_begin_the_same_run_at_once_one_does(tmp_path: Path) -> None:
    folder = str(tmp_path / "state")

    def begin(number: int) -> bool:
        with open_store(folder) as store:
            try:
                begin_run(store, "backup", number, job="nightly", due_ms=100)
            except AlreadyRun:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1


def test_people_may_call_a_verb_as_often_as_they_like(store: Store) -> None:
    begin_run(store, "backup", 1)
    begin_run(store, "backup", 1)
    assert len(runs(store)) == 2


def test_a_run_whose_process_was_killed_is_known_as_killed(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    begin_run(store, "verify", 1, pid=child.pid)
    assert end_killed_runs(store, 5) == []
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    (killed,) = end_killed_runs(store, 6)
    assert (killed.outcome, killed.ended_ms) == ("killed", 6)
    assert runs(store) == [killed]


def test_a_process_that_got_the_number_of_another_is_not_taken_for_it(store: Store) -> None:
    begin_run(store, "verify", 1)  # by this process
    with store.writing() as connection:
        connection.execute("UPDATE runs SET born = 'another-boot 17'")
    assert [run.outcome for run in end_killed_runs(store, 6)] == ["killed"]


def test_runs_are_asked_for_by_verb_job_outcome_and_time(store: Store) -> None:
    first = begin_run(store, "backup", 10, job="nightly", due_ms=10)
    end_run(store, first, 11, "good")
    second = begin_run(store, "backup", 20)
    end_run(store, second, 21, "failed")
    third = begin_run(store, "verify", 30, job="weekly", due_ms=30)
    assert [run.id for run in runs(store)] == [third, second, first]
    assert [run.id for run in runs(store, verb="backup")] == [second, first]
    assert [run.id for run in runs(store, job="weekly")] == [third]
    assert [run.id for run in runs(store, outcomes=["good", "findings"])] == [first]
    assert [run.id for run in runs(store, since_ms=20)] == [third, second]
    assert [run.id for run in runs(store, limit=1)] == [third]


def test_old_runs_are_forgotten_but_for_the_last_of_each_verb(store: Store) -> None:
    for day in range(0, 500, 20):
        end_run(store, begin_run(store, "backup", day * DAY_MS), day * DAY_MS + 1, "failed")
    end_run(store, begin_run(store, "backup", 5), 6, "good")
    end_run(store, begin_run(store, "drill", 5), 6, "good")
    now_ms = 500 * DAY_MS
    forget_old_runs(store, now_ms)
    left = runs(store, limit=1000)
    assert [run.verb for run in left if run.started_ms < now_ms - KEPT_MS] == ["drill", "backup"]
    assert len(left) == KEPT_MS // DAY_MS // 20 + 2


def test_errors_that_name_somebody_who_is_erased_are_forgotten(store: Store) -> None:
    end_run(store, begin_run(store, "backup", 1), 2, "failed", error="histories/anna: no right")
    end_run(store, begin_run(store, "backup", 3), 4, "failed", error="the disk is full")
    forget_in_runs(store, "anna")
    assert [run.error for run in runs(store)] == ["the disk is full", ""]
    assert b"anna" not in b"".join(
        path.read_bytes() for path in Path(store.path).parent.iterdir() if path.is_file()
    )


def test_a_damaged_database_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        begin_run(store, "backup", 1)
    path = tmp_path / STORE_NAME
    data = bytearray(path.read_bytes())
    data[:64] = bytes(64)
    path.write_bytes(data)
    with open_store(str(tmp_path)) as store:
        assert runs(store) == []
        assert Path(store.renewed).read_bytes() == data
    with open_store(str(tmp_path)) as store:
        assert not store.renewed


@pytest.mark.parametrize("length", [1, 100, 5000])
def test_a_cut_off_database_never_stops_anybody(tmp_path: Path, length: int) -> None:
    with open_store(str(tmp_path)) as store:
        begin_run(store, "backup", 1)
    os.truncate(tmp_path / STORE_NAME, length)
    with open_store(str(tmp_path)) as store:
        begin_run(store, "backup", 2)
        assert [run.started_ms for run in runs(store)] == [2]


def test_its_files_are_for_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with open_store(str(folder)) as store:
        begin_run(store, "backup", 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="cannot be used"):
        open_store(str(tmp_path / "file" / "state"))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, "good"),
        (1, "findings"),
        (2, "failed"),
        (3, "failed"),
        (4, "failed"),
        (130, "interrupted"),
    ],
)
def test_exit_statuses_are_outcomes(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
