"""Every run of a verb that jobs are made of is noted, whoever called it and however it ended."""

import os
from pathlib import Path

import pytest

from shenyu_data.health.runs import Run, begin_run, end_run, runs
from shenyu_data.health.store import STORE_NAME, open_store
from shenyu_data.operations.places import state_folder, state_of

from .conftest import PASSPHRASE, Shenyu


def noted(place: Path) -> list[Run]:
    with open_store(state_of(state_folder(os.environ), str(place / "data"))) as store:
        return runs(store)


def test_a_backup_is_noted_with_its_figures(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("backup", "--json")
    (run,) = noted(place)
    assert (run.verb, run.outcome, run.exit_status, run.job) == ("backup", "good", 0, None)
    assert run.figures["id"] == said.json["id"]
    assert run.figures["totals"] == said.json["totals"]


def test_a_degraded_backup_is_noted_as_one_with_findings(degraded: Path) -> None:
    assert [run.outcome for run in noted(degraded)] == ["findings", "good"]
    assert noted(degraded)[0].figures["degraded"] is True


def test_a_verify_that_finds_damage_is_noted_as_failed(damaged: Path, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--read-data").status == 4
    run = noted(damaged)[0]
    assert (run.verb, run.outcome, run.exit_status) == ("verify", "failed", 4)


def test_an_error_is_noted_with_its_words(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "wrong")
    assert shenyu("backup").status == 4
    (run,) = noted(place)
    assert (run.outcome, run.exit_status) == ("failed", 4)
    assert "does not open the repository" in run.error


def test_what_only_plans_is_not_noted(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("prune", "--dry-run")
    shenyu("cleanup", "--older-than", "1d", "--dry-run")
    assert [run.verb for run in noted(backed_up)] == ["backup"]


def test_a_run_of_a_job_fills_in_its_own_row(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(state_of(state_folder(os.environ), str(place / "data"))) as store:
        run_id = begin_run(store, "backup", 1, job="nightly", due_ms=1)
    monkeypatch.setenv("SHENYU_DATA_RUN", run_id)
    assert shenyu("backup").status == 0
    (run,) = noted(place)
    assert (run.id, run.job, run.outcome) == (run_id, "nightly", "good")


def test_what_a_run_of_a_job_calls_itself_does_not_take_its_row(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = place / "shenyu-data.toml"
    say = f"echo ${{SHENYU_DATA_RUN:-none}} > {place}/told; echo {PASSPHRASE}"
    config.write_text(f"passphrase_command = ['sh', '-c', '{say}']\n" + config.read_text())
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    with open_store(state_of(state_folder(os.environ), str(place / "data"))) as store:
        run_id = begin_run(store, "backup", 1, job="nightly", due_ms=1)
    monkeypatch.setenv("SHENYU_DATA_RUN", run_id)
    assert shenyu("backup").status == 0
    assert (place / "told").read_text() == "none\n"
    assert [(run.id, run.outcome) for run in noted(place)] == [(run_id, "good")]


def test_a_backup_that_cannot_be_noted_is_a_backup_all_the_same(
    place: Path, shenyu: Shenyu
) -> None:
    folder = Path(state_of(state_folder(os.environ), str(place / "data")))
    (folder / STORE_NAME).mkdir(parents=True)
    said = shenyu("backup", "--json")
    assert said.json["totals"]["users"] == 2
    assert [item["code"] for item in said.json["findings"]] == ["run-not-noted"]


def test_an_erasure_takes_the_name_out_of_the_log(
    backed_up: Path, shenyu: Shenyu, tmp_path: Path
) -> None:
    with open_store(state_of(state_folder(os.environ), str(backed_up / "data"))) as store:
        run_id = begin_run(store, "backup", 1)
        end_run(store, run_id, 2, "failed", error="histories/anna: permission denied")
    assert shenyu("erase-user", "anna", "--yes", "--receipt", str(tmp_path / "r")).status == 0
    assert [run.error for run in noted(backed_up) if run.id == run_id] == [""]
