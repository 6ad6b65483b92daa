"""``shenyu-data repair``: plan, confirmation, what it prints and exits with, what it keeps."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

HISTORY = "data/histories/ben/chat-history.json"


def tear(place: Path, size: int = -40, path: str = HISTORY) -> bytes:
    """Cut a document off, long ago; return what is left of it."""
    history = place / path
    history.write_bytes(history.read_bytes()[:size])
    os.utime(history, (1, 1))
    return history.read_bytes()


def test_a_dry_run_shows_the_plan_and_changes_nothing(backed_up: Path, shenyu: Shenyu) -> None:
    torn = tear(backed_up)
    said = shenyu("repair", "--dry-run")
    assert said.status == 0
    assert "histories/ben/chat-history.json  torn-json" in said.out
    assert (backed_up / HISTORY).read_bytes() == torn
    document = shenyu("repair", "--dry-run", "--json").json
    assert [one["action"] for one in document["documents"]] == ["restore"]
    assert (document["changes"], document["dry_run"]) == (1, True)


def test_without_a_yes_and_nobody_to_ask_nothing_is_done(backed_up: Path, shenyu: Shenyu) -> None:
    torn = tear(backed_up)
    assert shenyu("repair").status == 2
    assert (backed_up / HISTORY).read_bytes() == torn


def test_a_torn_history_is_mended_and_undo_takes_it_back(backed_up: Path, shenyu: Shenyu) -> None:
    whole = (backed_up / HISTORY).read_bytes()
    torn = tear(backed_up)
    said = shenyu("repair", "--yes")
    assert said.status == 0, said.err
    assert "restore --undo" in said.out
    assert (backed_up / HISTORY).read_bytes() == whole
    assert shenyu("restore", "--undo", "--yes").status == 0
    assert (backed_up / HISTORY).read_bytes() == torn


def test_nothing_to_mend_is_said_and_asks_nothing(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("repair")
    assert (said.status, said.out) == (0, "Nothing to mend.\n")


def test_what_is_taken_away_is_told_listed_and_put_back(place: Path, shenyu: Shenyu) -> None:
    (place / "shenyu-data.toml").write_text('data = "data"\njobs = 1\n')
    tear(place, 0)
    said = shenyu("repair", "--yes")
    assert said.status == 1
    assert "[quarantined]" in said.err
    assert not (place / HISTORY).exists()
    assert shenyu("validate", "--fail-on", "error").status == 0
    (kept,) = shenyu("repair", "--kept", "--json").json["documents"]
    assert kept["path"] == "histories/ben/chat-history.json"
    assert kept["id"] in shenyu("repair", "--kept").out
    assert shenyu("repair", "--put-back", kept["id"]).status == 2
    assert shenyu("repair", "--put-back", kept["id"], "--dry-run").status == 0
    assert not (place / HISTORY).exists()
    assert shenyu("repair", "--put-back", kept["id"], "--yes").status == 0
    assert (place / HISTORY).read_bytes() == b""


def test_a_chat_that_was_cut_off_is_told(place: Path, shenyu: Shenyu) -> None:
    (place / "shenyu-data.toml").write_text('data = "data"\njobs = 1\n')
    tear(place)
    said = shenyu("repair", "--yes")
    assert said.status == 1
    assert "[partial-chat]" in said.err
    found = json.loads((place / HISTORY).read_bytes())
    assert [len(one["messages"]) for one in found] == [2, 2, 1]


def test_only_what_is_named_is_mended(backed_up: Path, shenyu: Shenyu) -> None:
    tear(backed_up)
    other = tear(backed_up, path="data/histories/anna/chat1.json")
    assert shenyu("repair", "data/histories/ben", "--yes").status == 0
    assert (backed_up / "data/histories/anna/chat1.json").read_bytes() == other
    assert shenyu("repair", "--user", "anna", "--yes").status == 0
    assert shenyu("validate").status == 0


def test_a_path_in_another_data_directory_is_refused(backed_up: Path, shenyu: Shenyu) -> None:
    """Its users may have the same names, and the repository is not of them."""
    (backed_up / "elsewhere/users").mkdir(parents=True)
    assert shenyu("repair", "elsewhere", "--yes").status == 2


def test_flags_that_contradict_are_refused(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("repair", "--kept", "--user", "ben").status == 2
    assert shenyu("repair", "--kept", "--put-back", "x").status == 2
    assert shenyu("repair", "--put-back", "x", "--yes").status == 2


def test_a_data_directory_that_is_not_there_is_an_error(place: Path, shenyu: Shenyu) -> None:
    shutil.rmtree(place / "data")
    said = shenyu("repair", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "data-directory")
    assert "cannot open the data directory" in said.err


def chats_of(place: Path) -> list[dict[str, object]]:
    """Give what the history holds that is backed up."""
    found: list[dict[str, object]] = json.loads((place / HISTORY).read_bytes())
    assert len(found) > 2
    return found


def test_a_history_that_shrank_is_seen_and_filled_up(backed_up: Path, shenyu: Shenyu) -> None:
    chats = chats_of(backed_up)
    new = {"id": 1_800_000_000_009, "title": "t", "messages": []}
    (backed_up / HISTORY).write_text(json.dumps([new]))
    assert "shrunken-history" not in shenyu("validate").err
    said = shenyu("validate", "--against-snapshots", "--json")
    assert said.status == 1
    (finding,) = [one for one in said.json["findings"] if one["code"] == "shrunken-history"]
    assert finding["path"] == "histories/ben/chat-history.json"
    assert said.json["warnings"] == 1
    command = finding["hint"].split("`")[1].split()
    assert shenyu(*command[1:], "--yes").status == 0
    assert json.loads((backed_up / HISTORY).read_bytes()) == [new, *chats]
    assert shenyu("validate", "--against-snapshots").status == 0


def test_deleted_chats_come_back_only_if_it_is_said_whose(backed_up: Path, shenyu: Shenyu) -> None:
    chats = chats_of(backed_up)
    (backed_up / HISTORY).write_text(json.dumps(chats[:2]))
    assert shenyu("repair", "--every-chat", "--yes").status == 2
    assert shenyu("repair", "--yes").out.startswith("Nothing to mend.")
    assert shenyu("repair", "--every-chat", "--user", "ben", "--yes").status == 0
    assert json.loads((backed_up / HISTORY).read_bytes()) == chats


@pytest.mark.parametrize("name", ["nobody", "ben/", "../users"])
def test_a_repair_of_nobody_is_refused(backed_up: Path, shenyu: Shenyu, name: str) -> None:
    for more in ([], ["--dry-run"]):
        said = shenyu("repair", "--user", name, "--yes", "--json", *more)
        assert (said.status, said.json["error"]["code"]) == (2, "user-not-found")


def test_a_user_whom_only_snapshots_know_is_no_error(backed_up: Path, shenyu: Shenyu) -> None:
    (backed_up / "data/users/ben.json").unlink()
    shutil.rmtree(backed_up / "data/histories/ben")
    said = shenyu("repair", "--user", "ben", "--yes")
    assert (said.status, said.err) == (1, "")
    assert "2 documents are gone that snapshots hold" in said.out


def test_the_command_that_is_named_brings_back_what_is_gone(
    backed_up: Path, shenyu: Shenyu
) -> None:
    before = (backed_up / HISTORY).read_bytes()
    (backed_up / HISTORY).unlink()
    planned = shenyu("repair", "--dry-run", "--json")
    assert (planned.status, planned.json["gone"], planned.json["changes"]) == (1, 1, 0)
    assert [one["path"] for one in planned.json["gone_documents"]] == [HISTORY.partition("/")[2]]
    said = shenyu("validate", "--against-snapshots", "--json")
    (finding,) = [one for one in said.json["findings"] if one["code"] == "gone-document"]
    command = finding["hint"].split("`")[1].split()
    assert shenyu(*command[1:], "--yes").status == 0
    assert (backed_up / HISTORY).read_bytes() == before
    assert shenyu("validate", "--against-snapshots").status == 0
    assert shenyu("restore", "--undo", "--yes").status == 0
    assert not (backed_up / HISTORY).exists()


@pytest.mark.parametrize("folder", ["users", "histories"])
def test_a_link_in_the_place_of_users_or_histories_is_an_error(
    backed_up: Path, shenyu: Shenyu, folder: str
) -> None:
    (backed_up / "data" / folder).rename(backed_up / "elsewhere")
    (backed_up / "data" / folder).symlink_to(backed_up / "elsewhere")
    for more in ([], ["--dry-run"]):
        said = shenyu("repair", "--yes", "--json", *more)
        assert (said.status, said.json["error"]["code"]) == (3, "data-directory")
        assert f"cannot list {folder}/" in said.err


def test_after_the_directory_was_moved_it_is_said_where_its_journals_are(
    backed_up: Path, shenyu: Shenyu
) -> None:
    tear(backed_up)
    assert shenyu("repair", "--yes").status == 0
    (backed_up / "data").rename(backed_up / "moved")
    said = shenyu("repair", "--data", "moved", "--yes", "--json")
    (finding,) = [one for one in said.json["findings"] if one["code"] == "journals-left-behind"]
    refused = shenyu("restore", "--undo", "--data", "moved", "--yes", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (2, "nothing-to-take-back")
    command = finding["hint"].split("`")[1]
    assert command in refused.json["error"]["hint"]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert shenyu("repair", "--data", "moved", "--yes").err == ""
    assert shenyu("restore", "--undo", "--data", "moved", "--yes").status == 0


def test_the_journals_of_another_directory_are_not_taken_for_left_behind(
    backed_up: Path, shenyu: Shenyu
) -> None:
    tear(backed_up)
    assert shenyu("repair", "--yes").status == 0
    shutil.copytree(backed_up / "data", backed_up / "another")
    assert shenyu("repair", "--data", "another", "--yes").err == ""
