"""``cleanup`` and ``cleanup hold`` as a person meets them."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.operations import cleanup_known
from shenyu_data.testing.application import settle
from tests.cli.conftest import Shenyu

BEN = "data/histories/ben/chat-history.json"
T0 = 1_700_000_000_000


def chat(number: int, **more: Any) -> dict[str, Any]:
    return {"id": T0 + number, "messages": [{"role": "user", "content": "你好"}], **more}


@pytest.fixture
def saved(place: Path, shenyu: Shenyu) -> Path:
    """As ``place``, with a history of five old chats, in a verified snapshot."""
    (place / BEN).write_text(json.dumps([chat(number) for number in range(5, 0, -1)]))
    assert shenyu("backup").status == 0
    assert shenyu("verify", "--read-data").status == 0
    return place


def ids(place: Path) -> list[int]:
    return [item["id"] - T0 for item in json.loads((place / BEN).read_bytes())]


def test_it_does_what_the_dry_run_says_and_undo_takes_it_back(saved: Path, shenyu: Shenyu) -> None:
    before = (saved / BEN).read_bytes()
    told = shenyu("cleanup", "--keep-newest", "2", "--dry-run", "--json").json
    assert (saved / BEN).read_bytes() == before
    done = shenyu("cleanup", "--keep-newest", "2", "--yes", "--json")
    assert done.status == 0
    assert ids(saved) == [5, 4]
    assert done.json["planned"] == told["planned"]
    same = {key: done.json["planned"][key] for key in done.json["removed"]}
    assert done.json["removed"] == same
    assert done.json["removed"]["chats"] == 3
    assert shenyu("restore", "--undo", "--yes").status == 0
    assert (saved / BEN).read_bytes() == before


def test_the_plan_names_users_chats_clocks_and_reasons(saved: Path, shenyu: Shenyu) -> None:
    shenyu("cleanup", "hold", "add", "ben", "--chat", str(T0 + 1))
    said = shenyu("cleanup", "--older-than", "90d", "--history", "chat-history", "--dry-run")
    assert said.status == 0
    assert "Would remove" in said.out
    assert "4 chats with 4 messages" in said.out
    assert f"{T0 + 5}" in said.out
    assert "not active for 90d" in said.out
    assert "4 chats by the chat's id" in said.out
    assert "1 chat would expire and stay" in said.out


def test_without_yes_and_without_a_terminal_nothing_is_done(saved: Path, shenyu: Shenyu) -> None:
    said = shenyu("cleanup", "--keep-newest", "2")
    assert said.status == 2
    assert ids(saved) == [5, 4, 3, 2, 1]


def test_without_a_rule_nothing_is_done(saved: Path, shenyu: Shenyu) -> None:
    for words in ((), ("--history", "chat-history"), ("--unsaved-too", "--yes")):
        said = shenyu("cleanup", *words)
        assert said.status == 2
        assert "nothing says what expires" in said.err


def test_the_rules_of_the_configuration_count_unless_a_flag_gives_one(
    saved: Path, shenyu: Shenyu
) -> None:
    with (saved / "shenyu-data.toml").open("a") as file:
        file.write("[cleanup]\nkeep_newest = 4\n[cleanup.histories.chat1]\nkeep_newest = 9\n")
    planned = shenyu("cleanup", "--dry-run", "--json").json["planned"]
    assert planned["chats"] == 1
    planned = shenyu("cleanup", "--keep-newest", "1", "--dry-run", "--json").json["planned"]
    assert planned["chats"] == 4
    shown = shenyu("config", "show", "--json").json["settings"]["cleanup"]
    assert shown == {
        "value": {"keep_newest": 4, "histories": [{"history": "chat1", "keep_newest": 9}]},
        "source": "file",
    }


def test_what_no_verified_snapshot_holds_stays_and_it_is_said_how_to_go_on(
    place: Path, shenyu: Shenyu
) -> None:
    (place / BEN).write_text(json.dumps([chat(2), chat(1)]))
    shenyu("backup")
    said = shenyu("cleanup", "--keep-newest", "1", "--yes")
    assert said.status == 0
    assert "There is nothing to clean up" in said.out
    assert "verify --read-data" in said.out
    assert ids(place) == [2, 1]
    assert shenyu("cleanup", "--keep-newest", "1", "--yes", "--unsaved-too").status == 0
    assert ids(place) == [2]


def test_a_torn_history_is_left_alone_and_exits_with_1(saved: Path, shenyu: Shenyu) -> None:
    (saved / "data/histories/ben/torn.json").write_text('[{"id"')
    said = shenyu("cleanup", "--keep-newest", "2", "--yes", "--json")
    assert said.status == 1
    assert "live-torn" in {item["code"] for item in said.json["findings"]}
    assert ids(saved) == [5, 4]


def test_a_hold_is_added_listed_heeded_and_removed(saved: Path, shenyu: Shenyu) -> None:
    added = shenyu(
        "cleanup", "hold", "add", "ben", "--reason", "court", "--until", "2999-01-01", "--json"
    )
    assert added.json["hold"]["reason"] == "court"
    listed = shenyu("cleanup", "hold", "list")
    assert "2999-01-01" in listed.out
    said = shenyu("cleanup", "--keep-newest", "0", "--yes", "--json")
    assert said.json["planned"]["held"] == 5
    assert {item["kept"] for item in said.json["chats"] if item["user"] == "ben"} == {"held: court"}
    assert ids(saved) == [5, 4, 3, 2, 1]
    assert shenyu("cleanup", "hold", "remove", "ben", "--chat", "1").status == 2
    assert shenyu("cleanup", "hold", "remove", "ben").status == 0
    assert shenyu("cleanup", "--keep-newest", "0", "--yes").status == 0
    assert ids(saved) == []


@pytest.mark.parametrize("until", ["yesterday", "2001-01-01", "99999-01-01"])
def test_a_hold_until_no_day_to_come_is_refused(place: Path, shenyu: Shenyu, until: str) -> None:
    assert shenyu("cleanup", "hold", "add", "ben", "--until", until).status == 2
    assert "ben" not in shenyu("cleanup", "hold", "list").out


def test_a_lost_or_damaged_file_of_holds_stops_every_cleanup(saved: Path, shenyu: Shenyu) -> None:
    paths = [Path(path) for path in shenyu("cleanup", "hold", "list", "--json").json["files"]]
    whole = paths[1].read_bytes()
    for damage, listing in ((None, 1), (b"", 3), (whole[:-30], 3)):
        paths[1].unlink() if damage is None else paths[1].write_bytes(damage)
        said = shenyu("cleanup", "--keep-newest", "0", "--yes", "--json")
        assert said.status == 3
        assert said.json["error"]["code"] == "holds-damaged"
        assert shenyu("cleanup", "hold", "list").status == listing
    assert ids(saved) == [5, 4, 3, 2, 1]
    paths[1].unlink()
    shenyu("cleanup", "hold", "add", "held")
    assert shenyu("cleanup", "--keep-newest", "0", "--dry-run").status == 0


def test_a_hold_on_nobody_says_so(place: Path, shenyu: Shenyu) -> None:
    """It is written: the user may come. But a mistyped name must not pass for a held user."""
    said = shenyu("cleanup", "hold", "add", "bne")
    assert said.status == 0
    assert "There is no such user now" in said.out
    assert "no such user" not in shenyu("cleanup", "hold", "add", "ben").out
    assert shenyu("cleanup", "hold", "add", "bne", "--json").json["user_is_there"] is False


@pytest.mark.parametrize("name", ["ben/", "../ben", "..", ""])
def test_what_cannot_be_a_name_cannot_be_held(place: Path, shenyu: Shenyu, name: str) -> None:
    said = shenyu("cleanup", "hold", "add", "--", name)
    assert said.status == 2
    assert "cannot be a user's name" in said.err
    held = shenyu("cleanup", "hold", "list", "--json").json["holds"]
    assert name not in [hold["user"] for hold in held]


def test_a_cleanup_of_nobody_is_refused(saved: Path, shenyu: Shenyu) -> None:
    for name in ("bne", "ben/", "../users"):
        said = shenyu("cleanup", "--keep-newest", "0", "--user", name, "--yes", "--json")
        assert (said.status, said.json["error"]["code"]) == (2, "user-not-found")
    assert ids(saved) == [5, 4, 3, 2, 1]


def test_a_clock_that_may_be_wrong_must_be_vouched_for(saved: Path, shenyu: Shenyu) -> None:
    later_s = time.time() + 10 * 86_400
    os.utime(saved / "data/users", (later_s, later_s))
    words = ("cleanup", "--keep-newest", "2", "--yes", "--json")
    said = shenyu(*words)
    assert (said.status, said.json["error"]["code"]) == (2, "clock-doubtful")
    assert ids(saved) == [5, 4, 3, 2, 1]
    assert shenyu(*words, "--clock-is-right").status == 0
    assert ids(saved) == [5, 4]


def test_where_the_catalog_says_that_nothing_expires_the_repository_is_not_opened(
    saved: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(saved / "data")
    assert shenyu("users", "list").status == 0
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "a wrong one")
    for words in (("--dry-run",), ("--yes",)):
        said = shenyu("cleanup", "--older-than", "99y", *words, "--json")
        assert said.status == 0
        assert said.json["users_seen"] == 2
        assert said.json["verified_snapshots"] is None
        assert said.json["planned"]["chats"] == 0
    for words in (("--dry-run",), ("--yes",)):
        said = shenyu("cleanup", "--keep-newest", "2", *words, "--json")
        assert (said.status, said.json["error"]["code"]) == (4, "wrong-key")
    assert ids(saved) == [5, 4, 3, 2, 1]


def test_with_a_catalog_the_plan_still_says_what_no_verified_snapshot_holds(
    saved: Path, shenyu: Shenyu
) -> None:
    (saved / BEN).write_text(json.dumps([chat(number) for number in range(6, 0, -1)]))
    settle(saved / "data")
    assert shenyu("users", "list").status == 0
    said = shenyu("cleanup", "--keep-newest", "0", "--history", "chat-history", "--dry-run")
    assert "5 chats with 5 messages" in said.out
    assert "of 1 user of 2." in said.out
    assert "1 chat would expire and stay: no verified snapshot" in said.out


def test_several_processes_find_by_the_catalog_what_one_finds(
    saved: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(saved / "data")
    assert shenyu("users", "list").status == 0
    monkeypatch.setattr(cleanup_known, "_MANY_USERS", 0)
    monkeypatch.setattr(cleanup_known, "_TASK_USERS", 1)
    said = [
        shenyu("cleanup", *words, "--dry-run", "--json", "--jobs", jobs).json
        for words in (("--older-than", "99y"), ("--keep-newest", "2"))
        for jobs in ("1", "2")
    ]
    for document in said:
        del document["elapsed_s"]
    assert said[0] == said[1]
    assert (said[0]["verified_snapshots"], said[0]["users_seen"]) == (None, 2)
    assert said[2] == said[3]
    assert (said[2]["planned"]["chats"], said[2]["users_seen"]) == (3, 2)


def test_with_a_catalog_a_total_size_still_weighs_everybody(saved: Path, shenyu: Shenyu) -> None:
    settle(saved / "data")
    assert shenyu("users", "list").status == 0
    said = shenyu("cleanup", "--max-total-size", "0B", "--dry-run", "--json")
    assert said.json["planned"]["chats"] == 6


def test_a_history_too_large_to_be_looked_into_exits_with_1(saved: Path, shenyu: Shenyu) -> None:
    huge = chat(1, title="x" * 40_000_000)
    (saved / "data/histories/ben/huge.json").write_text(json.dumps(huge))
    for words in (("--dry-run",), ("--yes",)):
        said = shenyu("cleanup", "--keep-newest", "2", *words, "--json")
        assert said.status == 1
        assert said.json["planned"]["unreadable"] == 1
        (found,) = [item for item in said.json["findings"] if item["code"] == "too-large"]
        assert "nothing is cleaned up in it: too large to be looked into" in found["message"]
        assert "chats list --user" in found["hint"], "what an operator can do here"


CLEANUP = ("cleanup", "--keep-newest", "2", "--yes", "--json")


def moved(place: Path) -> None:
    (place / "data").rename(place / "elsewhere")
    config = place / "shenyu-data.toml"
    config.write_text(config.read_text().replace('"data"', '"elsewhere"'))


def test_holds_of_a_directory_that_was_moved_are_not_passed_over(
    saved: Path, shenyu: Shenyu
) -> None:
    shenyu("cleanup", "hold", "add", "ben", "--reason", "court")
    moved(saved)
    said = shenyu(*CLEANUP)
    assert (said.status, said.json["error"]["code"]) == (3, "holds-damaged")
    assert "from before that was moved" in said.err
    listed = shenyu("cleanup", "hold", "list", "--json")
    assert listed.status == 1
    assert [hold["user"] for hold in listed.json["holds"]] == ["ben", "held"]
    shenyu("cleanup", "hold", "add", "held")
    assert shenyu(*CLEANUP).status == 0
    history = saved / "elsewhere/histories/ben/chat-history.json"
    assert [item["id"] - T0 for item in json.loads(history.read_bytes())] == [5, 4, 3, 2, 1]


def test_an_erasure_takes_a_user_out_of_the_holds_of_before_a_move(
    saved: Path, shenyu: Shenyu
) -> None:
    shenyu("cleanup", "hold", "add", "ben")
    old = shenyu("cleanup", "hold", "list", "--json").json["files"]
    moved(saved)
    assert shenyu("erase-user", "ben", "--yes").status == 3
    assert shenyu("erase-user", "ben", "--yes", "--held-too").status == 0
    new = shenyu("cleanup", "hold", "list", "--json").json["files"]
    for path in {*old, *new}:
        assert not os.path.exists(path) or b"ben" not in Path(path).read_bytes()


def test_holds_of_another_directory_that_is_there_are_its_own(saved: Path, shenyu: Shenyu) -> None:
    shutil.copytree(saved / "data", saved / "other data")
    listed = shenyu("cleanup", "hold", "list", "--data", str(saved / "other data"), "--json")
    assert (listed.status, listed.json["holds"]) == (0, [])


def test_with_another_state_folder_the_holds_beside_the_configuration_stop_a_cleanup(
    saved: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(saved / "another state"))
    said = shenyu(*CLEANUP)
    assert (said.status, said.json["error"]["code"]) == (3, "holds-damaged")
    assert ids(saved) == [5, 4, 3, 2, 1]


def test_holds_that_somebody_else_wrote_beside_the_configuration_stop_a_cleanup(
    saved: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not write there keeps the own copy elsewhere, and reads this one all the same."""
    monkeypatch.setenv("XDG_STATE_HOME", str(saved / "another state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(saved / "another home"))
    monkeypatch.setattr("shenyu_data.operations.holds.os.access", lambda path, mode: False)
    said = shenyu(*CLEANUP)
    assert (said.status, said.json["error"]["code"]) == (3, "holds-damaged")
    assert ids(saved) == [5, 4, 3, 2, 1]
