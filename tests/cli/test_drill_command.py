"""``shenyu-data drill``: what it prints, what it exits with, and what is noted of it."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.health import drill_check
from shenyu_data.health.runs import runs
from shenyu_data.health.store import STORE_NAME, open_store
from shenyu_data.operations.places import state_folder, state_of
from tests.cli.conftest import Shenyu

KEYS = {
    "snapshot",
    "snapshot_time",
    "proven",
    "users",
    "chosen_users",
    "proven_users",
    "erased_users",
    "documents",
    "document_bytes",
    "chats",
    "messages",
    "degraded",
    "failed",
    "damaged",
    "live",
    "controls",
    "ledger",
    "kept",
    "elapsed_s",
    "findings",
}


def state(place: Path) -> str:
    return state_of(state_folder(os.environ), str(place / "data"))


def test_a_sound_repository_is_proven(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("drill", "--json")
    assert said.status == 0
    assert said.json.keys() == KEYS
    assert said.json["proven"] is True
    assert (said.json["users"], said.json["proven_users"], said.json["documents"]) == (2, 2, 4)
    assert said.json["chats"] == 4
    assert {item["result"] for item in said.json["controls"]} == {"noticed"}
    assert said.json["live"]["differing"] == 0
    assert said.json["ledger"]["proven_30d"] == 2
    text = shenyu("drill")
    assert text.out.startswith("Proven: 2 of 2 users came back whole from snapshot ")
    assert "10 damages made on purpose: noticed" in text.out


def test_damage_exits_with_4_and_says_not_proven(ruined: Path, shenyu: Shenyu) -> None:
    said = shenyu("drill", "--json")
    assert said.status == 4
    assert (said.json["proven"], said.json["proven_users"]) == (False, 0)
    assert {item["code"] for item in said.json["findings"]} == {"object-damaged"}
    assert said.json["ledger"]["failing"] == 2
    assert shenyu("drill").out.startswith("NOT ALL PROVEN: 0 of 2 users")


def test_a_degraded_snapshot_exits_with_1(degraded: Path, shenyu: Shenyu) -> None:
    said = shenyu("drill", "--json")
    assert said.status == 1
    assert (said.json["degraded"], said.json["damaged"]) == (1, 0)
    assert said.json["proven_users"] == 2  # the last good version is proven


def test_a_blind_drill_exits_with_3(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill_check._Check, "_check_bytes", lambda *_: None)
    said = shenyu("drill", "--json")
    assert said.status == 3
    assert said.json["error"]["code"] == "drill-blind"
    assert "flipped-byte" in said.json["error"]["message"]


def test_rot_in_the_live_data_is_mended_by_the_command_that_is_printed(
    place: Path, shenyu: Shenyu
) -> None:
    time.sleep(0.1)  # what was written less than 50 ms ago counts as being written still
    assert shenyu("backup").status == 0
    history = place / "data/histories/ben/chat-history.json"
    whole, before = history.read_bytes(), history.stat()
    history.write_bytes(whole.replace(b"messages", b"messagez", 1))
    os.utime(history, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = shenyu("drill", "--json")
    assert said.status == 1
    (finding,) = said.json["findings"]
    assert finding["code"] == "live-differs"
    words = finding["hint"].partition("`shenyu-data ")[2].partition("`")[0].split()
    assert shenyu(*words, "--yes").status == 0
    assert history.read_bytes() == whole


@pytest.mark.parametrize(
    "flags",
    [
        ["--all", "--users", "3"],
        ["--percent", "0"],
        ["--percent", "101"],
        ["--users", "0"],
        ["--user", "ben", "--all"],
        ["--snapshot", "nosuch"],
        ["--user", "nobody"],
        ["--sandbox", "data"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_drilled_is_a_usage_error(
    flags: list[str], backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("drill", *flags)
    assert (said.status, said.out) == (2, "")


@pytest.mark.parametrize(
    "flags", [["--users", "1"], ["--percent", "50%"], ["--all"], ["--user", "ben"]], ids=" ".join
)
def test_how_much_is_drilled_can_be_said(flags: list[str], backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("drill", *flags, "--json")
    assert said.status == 0
    assert said.json["proven_users"] == said.json["chosen_users"] >= 1


def test_a_sandbox_that_cannot_be_made_exits_with_3(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("drill", "--sandbox", "nowhere", "--json")
    assert said.status == 3
    assert said.json["error"]["code"] == "sandbox-unusable"


def test_the_sandbox_is_where_it_is_said_and_gone_afterwards(
    backed_up: Path, shenyu: Shenyu, tmp_path: Path
) -> None:
    place = tmp_path / "sandboxes"
    place.mkdir()
    assert shenyu("drill", "--sandbox", str(place)).status == 0
    assert list(place.iterdir()) == []
    said = shenyu("drill", "--sandbox", str(place), "--keep", "--json")
    assert [str(path) for path in place.iterdir()] == [said.json["kept"]]
    assert "remove it" in shenyu("drill", "--sandbox", str(place), "--keep").out


def test_an_older_snapshot_is_drilled_and_not_noted(backed_up: Path, shenyu: Shenyu) -> None:
    (backed_up / "data/notes.txt").write_text("x")
    assert shenyu("backup").status == 0
    assert "not noted" in shenyu("drill", "--snapshot", "latest~1").out
    assert shenyu("drill", "show", "--json").json["ledgers"] == []


def test_a_drill_is_noted_in_the_log_of_runs_and_a_look_at_the_ledger_is_not(
    backed_up: Path, shenyu: Shenyu
) -> None:
    shenyu("drill")
    shenyu("drill", "show")
    with open_store(state(backed_up)) as store:
        run, _ = runs(store)
    assert (run.verb, run.outcome) == ("drill", "good")
    assert run.figures["proven_users"] == 2
    assert run.figures["ledger"]["never_proven"] == 0


def test_the_ledger_is_shown_without_key_or_repository(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There was no drill yet" in shenyu("drill", "show").out
    shenyu("drill")
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (backed_up / "repo").rename(backed_up / "away")
    said = shenyu("drill", "show", "--json")
    assert said.status == 0
    (ledger,) = said.json["ledgers"]
    assert (ledger["users"], ledger["never_proven"], ledger["failing"]) == (2, 0, 0)
    assert ledger["oldest_proof_age_s"] >= 0
    assert "of 2 users 2 proven within 30 days" in shenyu("drill", "show").out


def test_an_erased_user_is_gone_from_the_ledger(
    backed_up: Path, shenyu: Shenyu, tmp_path: Path
) -> None:
    shenyu("drill")
    assert shenyu("erase-user", "ben", "--yes", "--receipt", str(tmp_path / "r")).status == 0
    assert shenyu("drill", "show", "--json").json["ledgers"][0]["users"] == 1


def test_the_ledger_survives_a_rotation_of_the_key(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    shenyu("drill")
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "another horse")
    assert shenyu("key", "rotate", "--yes").status == 0
    said = shenyu("drill", "--user", "ben", "--json")
    assert said.status == 0
    assert (said.json["ledger"]["users"], said.json["ledger"]["never_proven"]) == (2, 0)


def test_without_a_place_for_the_ledger_the_drill_says_so(backed_up: Path, shenyu: Shenyu) -> None:
    (Path(state(backed_up)) / STORE_NAME).unlink()
    (Path(state(backed_up)) / STORE_NAME).mkdir()
    said = shenyu("drill", "--json")
    assert said.status == 1
    codes: list[Any] = [item["code"] for item in said.json["findings"]]
    assert sorted(codes) == ["ledger-not-kept", "run-not-noted"]
    assert (said.json["proven_users"], said.json["ledger"]) == (2, None)


def test_no_name_of_a_user_is_remembered(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("drill")
    for path in Path(state(backed_up)).iterdir():
        if path.name.startswith(STORE_NAME):
            assert b"anna" not in path.read_bytes()
