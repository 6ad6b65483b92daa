"""``shenyu-data prune``: plan, question, result."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

KEYS = {
    "snapshots",
    "unreadable_dropped",
    "kept",
    "dropped",
    "deleted_objects",
    "deleted_bytes",
    "waiting_objects",
    "waiting_bytes",
    "repacked_packs",
    "rewritten_bytes",
    "users_losing",
    "users_gone",
    "versions_lost",
    "versions_left",
    "users",
    "elapsed_s",
    "dry_run",
    "findings",
}


@pytest.fixture
def several(backed_up: Path, shenyu: Shenyu) -> Path:
    """A repository with three snapshots, in which ben's history grew."""
    history = backed_up / "data/histories/ben/chat-history.json"
    for number in range(2):
        chats = [{"id": number, "messages": []}, *json.loads(history.read_bytes())]
        history.write_text(json.dumps(chats))
        assert shenyu("backup", "--full", "--tag", f"t{number}").status == 0
    return backed_up


def test_without_yes_nothing_is_done(several: Path, shenyu: Shenyu) -> None:
    said = shenyu("prune", "--keep-last", "1")
    assert said.status == 2
    assert "--yes" in said.err
    assert len(shenyu("snapshots", "--json").json["snapshots"]) == 3


def test_a_dry_run_says_what_would_go_and_who_loses(several: Path, shenyu: Shenyu) -> None:
    said = shenyu("prune", "--keep-last", "1", "--dry-run")
    assert said.status == 0
    assert said.out.count("DROP") == 2
    assert "last 1 of 1" in said.out
    assert "ben" in said.out
    assert "anna" not in said.out
    document = shenyu("prune", "--keep-last", "1", "--dry-run", "--json").json
    assert document.keys() == KEYS
    assert document["dry_run"] is True
    assert [item["keep"] for item in document["snapshots"]] == [False, False, True]
    assert document["users"] == [{"user": "ben", "versions_lost": 2, "versions_left": 1}]
    assert len(shenyu("snapshots", "--json").json["snapshots"]) == 3


def test_snapshots_go_at_once_and_space_after_the_grace(several: Path, shenyu: Shenyu) -> None:
    said = shenyu("prune", "--keep-last", "1", "--yes", "--json")
    assert said.status == 0
    assert (said.json["kept"], said.json["dropped"]) == (1, 2)
    assert said.json["deleted_objects"] == 0
    assert said.json["waiting_objects"] > 0
    later = shenyu("prune", "--keep-last", "1", "--grace", "0h", "--yes", "--json").json
    assert later["deleted_objects"] == said.json["waiting_objects"]
    assert later["deleted_bytes"] == said.json["waiting_bytes"] > 0
    assert shenyu("verify", "--read-data").status == 0
    assert shenyu("restore", "latest", "--to", "target").status == 0


def test_with_nothing_to_do_it_asks_nothing(several: Path, shenyu: Shenyu) -> None:
    said = shenyu("prune", "--keep-last", "3")
    assert said.status == 0
    assert "drops 0 snapshots" in said.out


def test_the_defaults_keep_a_month(several: Path, shenyu: Shenyu) -> None:
    assert shenyu("prune", "--yes", "--json").json["dropped"] == 0


def test_tags_and_names(several: Path, shenyu: Shenyu) -> None:
    document = shenyu(
        "prune", "--keep-last", "1", "--keep-tagged", "t0", "--dry-run", "--json"
    ).json
    assert [item["keep"] for item in document["snapshots"]] == [False, True, True]
    first = document["snapshots"][0]["id"]
    said = shenyu("prune", "--drop", first[:8], "--yes", "--json")
    assert (said.status, said.json["dropped"]) == (0, 1)
    assert shenyu("prune", "--drop", first[:8], "--yes").status == 2


def test_damage_stops_it_with_exit_status_4(several: Path, shenyu: Shenyu) -> None:
    for manifest in (several / "repo/manifests").iterdir():
        manifest.write_bytes(b"x")
    said = shenyu("prune", "--keep-last", "1", "--yes", "--json")
    assert said.status == 4
    assert {item["code"] for item in said.json["findings"]} == {"object-damaged"}
    assert len(list((several / "repo/snapshots").iterdir())) == 6


def test_a_destroyed_key_that_came_back_goes_though_there_is_nothing_else_to_do(
    several: Path, shenyu: Shenyu
) -> None:
    keys = several / "repo/keys"
    old = {path: path.read_bytes() for path in keys.iterdir()}
    assert shenyu("erase-user", "anna", "--yes").status == 0
    for _ in range(3):
        assert shenyu("prune", "--grace", "0h", "--yes").status == 0
    for path, content in old.items():
        path.write_bytes(content)
    assert "destroyed-key-back" in shenyu("verify").err
    plan = shenyu("prune", "--dry-run", "--json").json
    assert (plan["dropped"], plan["deleted_objects"], plan["waiting_objects"]) == (0, 0, 0)
    said = shenyu("prune", "--json")
    assert (said.status, said.json["dry_run"]) == (0, False)
    assert "destroyed-key-back" not in shenyu("verify").err
