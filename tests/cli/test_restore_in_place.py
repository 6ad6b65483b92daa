"""``shenyu-data restore --in-place`` and ``--undo``: what is asked, said, and exited with."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.operations import repair, restore_live, restore_undo
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.testing.tree import read_tree
from tests.cli.conftest import OLD_NS, Shenyu

HISTORY = Path("data/histories/ben/chat-history.json")


def lose_a_chat() -> str:
    """Take the second chat out of ben's history; return its id."""
    chats = json.loads(HISTORY.read_bytes())
    lost = chats.pop(1)
    HISTORY.write_text(json.dumps(chats, ensure_ascii=False, indent=2))
    os.utime(HISTORY, ns=(OLD_NS, OLD_NS))
    return str(lost["id"])


def test_one_chat_comes_back_and_is_taken_out_again(backed_up: Path, shenyu: Shenyu) -> None:
    before = HISTORY.read_bytes()
    number = lose_a_chat()
    without = HISTORY.read_bytes()
    words = ("restore", "latest", "--user", "ben", "--chat", number, "--in-place")
    plan = shenyu(*words, "--dry-run", "--json")
    assert (plan.status, plan.json["changes"], plan.json["dry_run"]) == (0, 1, True)
    assert plan.json["documents"][0]["action"] == "insert"
    assert HISTORY.read_bytes() == without
    said = shenyu(*words, "--yes", "--json")
    assert (said.status, said.json["changed"], said.json["undone"]) == (0, 1, False)
    assert json.loads(HISTORY.read_bytes()) == json.loads(before)
    snapshots = shenyu("snapshots", "--json").json["snapshots"]
    assert snapshots[-1]["id"] == said.json["safety_snapshot"]
    assert (snapshots[-1]["partial"], snapshots[-1]["safety"]) == (True, True)
    assert shenyu("restore", "--undo", "--dry-run", "--json").json["changes"] == 1
    said = shenyu("restore", "--undo", "--yes", "--json")
    assert (said.status, said.json["undone"]) == (0, True)
    assert json.loads(HISTORY.read_bytes()) == json.loads(without)
    said = shenyu("restore", "--undo", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "nothing-to-take-back")


def test_offline_nothing_is_watched(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[float] = []

    class Writer(LiveWriter):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            watched.append(self._quiet_s)

    for module in (restore_live, restore_undo, repair):
        monkeypatch.setattr(module, "LiveWriter", Writer)
    lose_a_chat()
    said = shenyu("restore", "latest", "--to", "target", "--offline")
    assert (said.status, watched) == (2, [])
    assert shenyu("restore", "latest", "--in-place", "--offline", "--yes").status == 0
    assert shenyu("restore", "--undo", "--offline", "--yes").status == 0
    HISTORY.write_text("[{")
    assert shenyu("recover", "--no-service", "--offline", "--yes").status == 0
    assert watched == [0.0, 0.0, 0.0]


def test_without_yes_and_a_terminal_nothing_is_done(backed_up: Path, shenyu: Shenyu) -> None:
    lose_a_chat()
    before = read_tree("data")
    said = shenyu("restore", "latest", "--in-place")
    assert said.status == 2
    assert "replace" in said.out
    assert "--yes" in said.err
    assert read_tree("data") == before
    assert len(shenyu("snapshots", "--json").json["snapshots"]) == 1


def test_everything_in_place_is_as_it_was(backed_up: Path, shenyu: Shenyu) -> None:
    before = read_tree("data")
    lose_a_chat()
    Path("data/users/anna.json").unlink()
    said = shenyu("restore", "latest", "--in-place", "--yes", "--json")
    assert (said.status, said.json["changed"], said.json["unchanged"]) == (0, 2, 2)
    now = read_tree("data")
    files = now.below(lambda path: now.nodes[path].kind == "file")
    assert files == before.below(lambda path: before.nodes[path].kind == "file")
    assert shenyu("restore", "latest", "--in-place").out.endswith("4 as it should be already\n")


def test_a_conflict_exits_with_1_and_is_shown_in_the_plan(backed_up: Path, shenyu: Shenyu) -> None:
    chats = json.loads(HISTORY.read_bytes())
    chats[0]["title"] = "changed"
    HISTORY.write_text(json.dumps(chats))
    words = ("restore", "latest", "--user", "ben", "--chat", str(chats[0]["id"]), "--in-place")
    plan = shenyu(*words, "--dry-run")
    assert plan.status == 1
    assert "CONFLICT changed-since" in plan.out
    said = shenyu(*words, "--yes", "--json")
    assert (said.status, said.json["refused"]) == (1, 1)
    assert [finding["code"] for finding in said.json["findings"]] == ["changed-since"]
    assert json.loads(HISTORY.read_bytes()) == chats
    assert shenyu(*words, "--yes", "--overwrite").status == 0
    assert json.loads(HISTORY.read_bytes()) != chats


def test_flags_that_do_not_go_together_are_usage_errors(backed_up: Path, shenyu: Shenyu) -> None:
    for words in (
        ["latest", "--in-place", "--to", "x"],
        ["latest", "--undo"],
        ["--undo", "--user", "ben"],
        ["--in-place"],
        ["latest", "--in-place", "--history", "chat-history"],
    ):
        assert shenyu("restore", *words).status == 2, words
    said = shenyu("restore", "latest", "--in-place", "--user", "nobody", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "user-not-found")
    said = shenyu("restore", "--undo", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "nothing-to-take-back")


def test_after_the_user_was_erased_an_older_restore_is_not_taken_back_instead(
    backed_up: Path, shenyu: Shenyu
) -> None:
    before = HISTORY.read_bytes()
    lose_a_chat()
    assert shenyu("restore", "latest", "--user", "ben", "--in-place", "--yes").status == 0
    Path("data/users/anna.json").unlink()
    assert shenyu("restore", "latest", "--user", "anna", "--in-place", "--yes").status == 0
    assert shenyu("erase-user", "anna", "--yes").status == 0
    said = shenyu("restore", "--undo", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "nothing-to-take-back")
    assert HISTORY.read_bytes() == before


def test_an_undo_whose_safety_snapshot_was_dropped_says_so_and_does_nothing(
    backed_up: Path, shenyu: Shenyu
) -> None:
    lose_a_chat()
    said = shenyu("restore", "latest", "--user", "ben", "--in-place", "--yes", "--json")
    safety = said.json["safety_snapshot"]
    assert shenyu("prune", "--drop", safety, "--yes").status == 0
    before = read_tree("data")
    for words in (("--dry-run",), ("--yes",)):
        said = shenyu("restore", "--undo", *words, "--json")
        assert (said.status, said.json["error"]["code"]) == (2, "nothing-to-take-back")
        assert safety[:8] in said.json["error"]["message"]
        assert said.json["error"]["hint"]
    assert read_tree("data") == before


def test_what_the_safety_snapshot_cannot_give_back_does_not_hold_up_the_rest(
    backed_up: Path, shenyu: Shenyu
) -> None:
    lose_a_chat()
    Path("data/users/anna.json").write_bytes(b'{"id": "somebody"}')
    old = set(Path("repo/packs").iterdir())
    assert shenyu("restore", "latest", "--in-place", "--yes").status == 0
    (pack,) = set(Path("repo/packs").iterdir()) - old
    content = pack.read_bytes()
    pack.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    plan = shenyu("restore", "--undo", "--dry-run", "--json")
    assert (plan.status, plan.json["changes"]) == (4, 1)
    assert [finding["code"] for finding in plan.json["findings"]] == ["object-damaged"]
    said = shenyu("restore", "--undo", "--yes", "--json")
    assert (said.status, said.json["changed"], said.json["damaged"]) == (4, 1, 1)
    assert [finding["code"] for finding in said.json["findings"]] == ["object-damaged"]


def test_what_is_remembered_between_calls_is_for_its_owner_alone(
    backed_up: Path, shenyu: Shenyu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new" / "state"))
    assert shenyu("restore", "latest", "--in-place", "--yes").status == 0
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
