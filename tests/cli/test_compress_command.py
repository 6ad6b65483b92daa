"""``compress`` and ``decompress`` at the command line, and every verb on compressed histories."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest

from shenyu_data.testing.tree import read_tree
from tests.cli.conftest import Shenyu

CHAT = Path("histories/anna/chat1.json")
PACKED = Path("histories/anna/chat1.json.gz")


@pytest.fixture
def data(backed_up: Path, shenyu: Shenyu) -> Path:
    """Give the data directory, the guide's history in it compressed, and backed up like that."""
    said = shenyu("compress", "--yes", "--json")
    assert said.status == 0
    assert (said.json["documents"], said.json["in_use"]) == (1, 1)
    assert shenyu("backup").status == 0
    return backed_up / "data"


def test_nothing_is_done_unasked(backed_up: Path, shenyu: Shenyu) -> None:
    there = read_tree(backed_up / "data")
    assert shenyu("compress").status == 2
    dry = shenyu("compress", "--dry-run")
    assert dry.status == 0
    assert "histories/anna/chat1.json" in dry.out
    assert "1 history left, which the application reads" in dry.out
    assert read_tree(backed_up / "data") == there


def test_compress_and_back(data: Path, shenyu: Shenyu) -> None:
    assert not (data / CHAT).exists()
    assert shenyu("decompress", "--yes").status == 0
    assert (data / CHAT).exists()


def test_named_history_of_the_application_is_refused(backed_up: Path, shenyu: Shenyu) -> None:
    words = ["compress", "--user", "ben", "--history", "chat-history", "--yes"]
    said = shenyu(*words)
    assert said.status == 1
    assert "read-by-application" in said.err
    assert "--offline" in said.out
    assert shenyu(*words, "--offline").status == 0
    assert (backed_up / "data/histories/ben/chat-history.json.gz").exists()


def test_young_histories_are_left(backed_up: Path, shenyu: Shenyu) -> None:
    history = backed_up / "data" / CHAT
    os.utime(history, (time.time(), time.time()))
    said = shenyu("compress", "--older-than", "30d", "--yes", "--json")
    assert (said.json["documents"], said.json["recent"]) == (0, 1)


@pytest.mark.parametrize("words", [["--level", "0"], ["--level", "10"], ["--older-than", "6m"]])
def test_a_wrong_flag_is_an_error(backed_up: Path, shenyu: Shenyu, words: list[str]) -> None:
    assert shenyu("compress", *words, "--yes").status == 2


def test_validate_counts_what_is_inside(data: Path, shenyu: Shenyu) -> None:
    said = shenyu("validate", "--all", "--json")
    codes = [finding["code"] for finding in said.json["findings"]]
    assert said.status == 0
    assert codes.count("compressed-document") == 1
    assert said.json["chats"] == 4


def test_show_diff_and_timeline_read_it(data: Path, shenyu: Shenyu) -> None:
    shown = shenyu("show", "latest", "--user", "anna", "--history", "chat1", "--json")
    assert shown.status == 0
    assert shown.json["chats"]
    assert shenyu("diff", "latest", "live", "--user", "anna").status == 0
    found = shenyu("timeline", "--user", "anna", "--search", "hello", "--json")
    assert PACKED.name in found.out or "chat1" in found.out


def test_a_chat_is_restored_from_it_into_a_folder_but_not_in_place(
    data: Path, shenyu: Shenyu, tmp_path: Path
) -> None:
    shown = shenyu("show", "latest", "--user", "anna", "--history", "chat1", "--json")
    chat = shown.json["chats"][0]["id"]
    words = ["restore", "latest", "--user", "anna", "--chat", chat]
    assert shenyu(*words, "--to", str(tmp_path / "to")).status == 0
    assert b"hello" in gzip.decompress((tmp_path / "to" / PACKED).read_bytes())
    refused = shenyu(*words, "--in-place", "--yes")
    assert refused.status == 2
    assert "compressed" in refused.err


def test_a_whole_history_is_put_back_compressed(data: Path, shenyu: Shenyu) -> None:
    packed = (data / PACKED).read_bytes()
    (data / PACKED).unlink()
    words = ["restore", "latest", "--user", "anna", "--history", "chat1", "--in-place", "--yes"]
    assert shenyu(*words).status == 0
    assert (data / PACKED).read_bytes() == packed


def test_export_and_lists_have_it(data: Path, shenyu: Shenyu, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    assert shenyu("export", str(target)).status == 0
    assert shenyu("import", str(target), "--data", str(tmp_path / "new"), "--yes").status in (0, 2)
    listed = shenyu("chats", "list", "--user", "anna", "--json")
    assert listed.status == 0
    assert len(listed.json["chats"]) == 1


def test_permissions_see_it(data: Path, shenyu: Shenyu) -> None:
    (data / PACKED).chmod(0o604)
    said = shenyu("permissions", "check", "--folder-mode", "755", "--json")
    assert [finding["path"] for finding in said.json["findings"]] == [str(PACKED)]


def test_erase_user_removes_both_twins(data: Path, shenyu: Shenyu) -> None:
    (data / CHAT).write_bytes(gzip.decompress((data / PACKED).read_bytes()))
    assert shenyu("erase-user", "anna", "--yes").status == 0
    assert not (data / "histories/anna").exists()


def test_cleanup_expires_it(data: Path, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--read-data").status == 0
    said = shenyu("cleanup", "--older-than", "1d", "--user", "anna", "--yes", "--json")
    assert said.status == 0
    assert not (data / PACKED).exists(), said.out


def test_archived_chats_are_read_by_every_verb_and_come_back(
    backed_up: Path, shenyu: Shenyu, tmp_path: Path
) -> None:
    live = backed_up / "data/histories/ben/chat-history.json"
    before = live.read_bytes()
    words = ["compress", "--archive", "--older-than", "1d", "--user", "ben"]
    assert shenyu(*words).status == 2
    assert shenyu(*words, "--dry-run", "--json").json["chats"] == 3
    assert shenyu(*words, "--yes", "--json").json["chats"] == 3
    archived = live.with_name("chat-history.archive.json.gz")
    assert archived.exists()
    assert shenyu("backup").status == 0
    shown = shenyu("show", "latest", "--user", "ben", "--history", "chat-history.archive", "--json")
    chats = shown.json["chats"]
    assert len(chats) == 3
    found = shenyu("timeline", "--user", "ben", "--search", "你好")
    assert "chat-history.archive" in found.out
    to = str(tmp_path / "to")
    words = ["restore", "latest", "--user", "ben", "--history", "chat-history.archive"]
    assert shenyu(*words, "--chat", chats[0]["id"], "--to", to).status == 0
    assert shenyu("compress", "--offline", "--yes").status == 0
    assert shenyu("decompress", "--yes").status == 0
    assert archived.exists()
    assert shenyu("decompress", "--archive", "--yes", "--json").json["chats"] == 3
    assert live.read_bytes() == before
    assert not archived.exists()


@pytest.mark.parametrize("words", [[], ["--older-than", "1d", "--offline"]])
def test_archive_needs_an_age_and_no_offline(
    backed_up: Path, shenyu: Shenyu, words: list[str]
) -> None:
    assert shenyu("compress", "--archive", *words, "--yes").status == 2
