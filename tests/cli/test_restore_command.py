"""``shenyu-data restore``: into which folder, of whom, and what it exits with."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.testing.tree import read_tree
from tests.cli.conftest import Shenyu

KEYS: dict[str, Any] = {
    "snapshot": str,
    "target": str,
    "user": (str, type(None)),
    "history": (str, type(None)),
    "chat": (str, type(None)),
    "documents": int,
    "document_bytes": int,
    "folders": int,
    "links": int,
    "torn": int,
    "failed": int,
    "damaged": int,
    "erased": int,
    "elapsed_s": float,
    "dry_run": bool,
    "findings": list,
}
HISTORY = "histories/ben/chat-history.json"


def test_a_restore_gives_the_data_directory_back(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("restore", "latest", "--to", "target")
    assert said.status == 0
    assert read_tree("target") == read_tree("data")
    assert "4 documents" in said.out
    assert said.err == ""


def test_the_json_has_the_documented_keys_and_types(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--json").json
    assert said.keys() == KEYS.keys()
    for key, kind in KEYS.items():
        assert isinstance(said[key], kind), key
    assert said["target"] == str(backed_up / "target")
    assert (said["documents"], said["torn"], said["failed"], said["damaged"]) == (4, 0, 0, 0)


def test_one_user_is_restored_alone(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--user", "ben", "--json")
    assert (said.status, said.json["user"], said.json["documents"]) == (0, "ben", 2)
    files = {path for path, node in read_tree("target").nodes.items() if node.kind == "file"}
    assert files == {b"users/ben.json", HISTORY.encode()}


def test_one_history_is_restored_alone(backed_up: Path, shenyu: Shenyu) -> None:
    words = ("restore", "latest", "--to", "target", "--user", "ben")
    said = shenyu(*words, "--history", "chat-history", "--json")
    assert (said.status, said.json["history"], said.json["documents"]) == (0, "chat-history", 1)
    files = {path for path, node in read_tree("target").nodes.items() if node.kind == "file"}
    assert files == {HISTORY.encode()}
    said = shenyu(*words, "--history", "other", "--overwrite", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "history-not-found")


def test_one_chat_is_restored_as_a_history_of_its_own(backed_up: Path, shenyu: Shenyu) -> None:
    chats = json.loads(Path("data", HISTORY).read_bytes())
    words = ("restore", "latest", "--to", "target", "--user", "ben")
    said = shenyu(*words, "--chat", str(chats[1]["id"]), "--json")
    assert (said.status, said.json["chat"], said.json["documents"]) == (0, str(chats[1]["id"]), 1)
    assert json.loads(Path("target", HISTORY).read_bytes()) == [chats[1]]
    files = {path for path, node in read_tree("target").nodes.items() if node.kind == "file"}
    assert files == {HISTORY.encode()}
    said = shenyu(*words, "--chat", "nosuch", "--overwrite", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "chat-not-found")
    said = shenyu("restore", "latest", "--to", "other", "--chat", "1", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "usage")


def test_a_folder_that_holds_something_is_refused(backed_up: Path, shenyu: Shenyu) -> None:
    Path("target").mkdir()
    Path("target/mine.txt").write_text("mine")
    for flags in ([], ["--dry-run"]):
        said = shenyu("restore", "latest", "--to", "target", "--json", *flags)
        assert said.status == 2
        assert said.json["error"]["code"] == "target-not-empty"
        assert os.listdir("target") == ["mine.txt"]


def test_overwrite_replaces_what_is_in_the_way_and_leaves_the_rest(
    backed_up: Path, shenyu: Shenyu
) -> None:
    Path("target/users").mkdir(parents=True)
    Path("target/mine.txt").write_text("mine")
    Path("target/users/anna.json").write_text("other")
    assert shenyu("restore", "latest", "--to", "target", "--overwrite").status == 0
    assert Path("target/mine.txt").read_text() == "mine"
    found = read_tree("target")
    for path, node in read_tree("data").nodes.items():
        assert not path or found.nodes[path] == node


def test_a_dry_run_writes_nothing(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--dry-run", "--json")
    assert said.status == 0
    assert said.json["dry_run"] is True
    assert said.json["documents"] == 4
    assert not Path("target").exists()
    said = shenyu("restore", "latest", "--to", "target", "--dry-run", "--user", "ben")
    assert said.out.startswith("Would restore user ben of snapshot")


def test_a_torn_document_comes_back_as_it_was_and_exits_with_1(
    degraded: Path, shenyu: Shenyu
) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--json")
    assert (said.status, said.json["torn"]) == (1, 1)
    assert said.json["findings"][0]["code"] == "restored-degraded"
    assert Path("target", HISTORY).read_bytes() == Path("data", HISTORY).read_bytes()


def test_last_good_gives_the_last_whole_version(
    degraded: Path, shenyu: Shenyu, made_once: Path
) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--last-good")
    assert said.status == 1
    assert "its last good version" in said.err
    assert Path("target", HISTORY).read_bytes() == (made_once / "data" / HISTORY).read_bytes()


def test_the_earlier_snapshot_still_has_the_good_version(
    degraded: Path, shenyu: Shenyu, made_once: Path
) -> None:
    first = shenyu("snapshots", "--json").json["snapshots"][0]["id"]
    assert shenyu("restore", first, "--to", "target").status == 0
    assert Path("target", HISTORY).read_bytes() == (made_once / "data" / HISTORY).read_bytes()


def test_damage_exits_with_4_and_is_named(damaged: Path, shenyu: Shenyu) -> None:
    said = shenyu("restore", "latest", "--to", "target", "--json")
    assert said.status == 4
    assert said.json["damaged"] >= 1
    paths = {finding["path"] for finding in said.json["findings"]}
    assert paths <= {f"users/{u}.json" for u in ("anna", "ben")} | {
        "histories/anna/chat1.json",
        HISTORY,
    }
    assert said.json["documents"] == 4 - said.json["damaged"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_cannot_be_written_exits_with_3(backed_up: Path, shenyu: Shenyu) -> None:
    Path("target/users").mkdir(parents=True)
    os.chmod("target/users", 0o500)
    assert shenyu("restore", "latest", "--to", "target", "--overwrite").status == 3


def test_a_folder_in_a_documents_place_exits_with_3_and_the_rest_is_restored(
    backed_up: Path, shenyu: Shenyu
) -> None:
    Path("target/users/anna.json/full").mkdir(parents=True)
    said = shenyu("restore", "latest", "--to", "target", "--overwrite", "--json")
    assert said.status == 3
    (finding,) = said.json["findings"]
    assert (finding["code"], finding["path"]) == ("not-written", "users/anna.json")
    assert Path("target", HISTORY).read_bytes() == Path("data", HISTORY).read_bytes()


def test_a_target_that_is_a_file_is_a_usage_error(backed_up: Path, shenyu: Shenyu) -> None:
    Path("target").write_text("a file")
    assert shenyu("restore", "latest", "--to", "target").status == 2
    assert shenyu("restore", "latest", "--to", "target/below").status == 2
    assert Path("target").read_text() == "a file"


def test_without_a_target_or_a_snapshot_it_is_a_usage_error(
    backed_up: Path, shenyu: Shenyu
) -> None:
    assert shenyu("restore", "latest").status == 2
    assert shenyu("restore", "--to", "target").status == 2


def test_a_target_whose_name_is_no_text_is_shown_with_escapes(
    backed_up: Path, shenyu: Shenyu
) -> None:
    target = os.fsdecode(b"t\xff\n\x1b")
    said = shenyu("restore", "latest", "--to", target, "--json")
    assert said.status == 0
    assert said.json["target"].endswith("t\\udcff\n\x1b")
    assert read_tree(target) == read_tree("data")
    text = shenyu("restore", "latest", "--to", target, "--overwrite")
    assert text.status == 0
    assert "\x1b" not in text.out
