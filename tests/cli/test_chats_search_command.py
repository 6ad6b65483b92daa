"""``chats search``: every chat that holds the words, with and without an index of words."""

import os
from pathlib import Path

import pytest

from shenyu_data.testing.application import Application, chat
from tests.cli.conftest import Shenyu

INDEX = pytest.mark.parametrize("index", [[], ["--index"]], ids=["scan", "index"])


@pytest.fixture
def data(place: Path) -> Application:
    data = Application(place / "data")
    data.add_user("cleo", [chat(1, about="候鸟迁徙"), chat(2, about="Zugunruhe"), chat(3)])
    data.add_user("dora", [chat(4, about="zugunruhe 迁徙")], key="sn43-history")
    return data


def found(shenyu: Shenyu, *words: str) -> list[int]:
    """Give the numbers of the chats that were found, in order."""
    said = shenyu("chats", "search", *words, "--json")
    assert said.status == 0, said.err
    return [int(item["id"]) - 1_700_000_000_000 for item in said.json["chats"]]


@INDEX
def test_words_in_chinese_and_english_are_found(
    data: Application, shenyu: Shenyu, index: list[str]
) -> None:
    assert found(shenyu, "迁徙", *index) == [4, 1]
    assert found(shenyu, "徙", *index) == [4, 1]
    assert found(shenyu, "ZUGUNRUHE", *index) == [4, 2]
    assert found(shenyu, "gunru", "迁", *index) == [4]
    assert found(shenyu, "zu", "--user", "cleo", *index) == [2]
    assert found(shenyu, "zugunruhe", "--history", "sn43-history", *index) == [4]
    assert found(shenyu, "zugunruhe", "--reverse", *index) == [2, 4]
    assert found(shenyu, "nowhere", *index) == []


@INDEX
def test_pages_follow_one_another(data: Application, shenyu: Shenyu, index: list[str]) -> None:
    data.add_user("eve", [chat(10 + number, about="迁徙") for number in range(7)])
    met: list[str] = []
    words = ["chats", "search", "迁徙", "--limit", "2", "--json", *index]
    page = shenyu(*words).json
    met += [item["id"] for item in page["chats"]]
    data.prepend_chat("eve", chat(90, about="迁徙"))
    while page["next"]:
        page = shenyu(*words, "--after", page["next"]).json
        met += [item["id"] for item in page["chats"]]
    numbers = [*range(16, 9, -1), 4, 1]
    assert met == [str(1_700_000_000_000 + number) for number in numbers]


def test_a_cursor_of_other_words_is_refused(data: Application, shenyu: Shenyu) -> None:
    word = shenyu("chats", "search", "迁徙", "--limit", "1", "--json").json["next"]
    assert shenyu("chats", "search", "候鸟", "--limit", "1", "--after", word).status == 2


def test_an_index_says_which_chats_need_not_be_read(data: Application, shenyu: Shenyu) -> None:
    said = shenyu("chats", "search", "zugunruhe", "--index", "--json").json
    assert said["indexed"] is True
    assert said["read_count"] == 2
    scanned = shenyu("chats", "search", "zu", "--json").json
    assert scanned["indexed"] is False
    assert scanned["read_count"] > 2


def test_an_index_follows_what_changes(data: Application, shenyu: Shenyu) -> None:
    assert found(shenyu, "zugunruhe", "--index") == [4, 2]
    data.prepend_chat("cleo", chat(5, about="Zugunruhe"))
    data.remove("histories/dora/sn43-history.json")
    assert found(shenyu, "zugunruhe") == [5, 2]
    assert shenyu("chats", "search", "zugunruhe", "--json").json["indexed"] is True
    data.add_user("cleo", [chat(6, about="quite other")])
    assert found(shenyu, "zugunruhe") == []
    assert found(shenyu, "quite", "other") == [6]


@pytest.mark.parametrize("damage", ["lost", "text", "empty", "other", "catalog"])
def test_a_damaged_index_never_hides_a_chat(data: Application, shenyu: Shenyu, damage: str) -> None:
    assert found(shenyu, "zugunruhe", "--index") == [4, 2]
    (index,) = index_files()
    if damage == "lost":
        index.unlink()
    elif damage == "text":
        index.write_bytes(b"no database" * 999)
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "other":
        index.write_bytes(index.with_name("catalog.db").read_bytes())
    else:
        index.with_name("catalog.db").unlink()
    assert found(shenyu, "zugunruhe", "--stale") == [4, 2]
    assert found(shenyu, "zugunruhe") == [4, 2]


def index_files() -> list[Path]:
    return list(Path(os.environ["XDG_STATE_HOME"]).rglob("catalog-text.db"))


def test_the_index_is_for_its_owner_alone_and_holds_no_text(
    data: Application, shenyu: Shenyu
) -> None:
    assert found(shenyu, "zugunruhe", "--index") == [4, 2]
    (index,) = index_files()
    assert index.stat().st_mode & 0o777 == 0o600
    text = index.read_bytes().lower()
    assert b"zugunruhe" not in text
    assert "迁徙".encode() not in text


def test_a_chat_that_changed_since_is_not_told_by_what_it_said(
    data: Application, shenyu: Shenyu
) -> None:
    assert found(shenyu, "zugunruhe", "--index") == [4, 2]
    data.add_user("cleo", [chat(2, about="silence!!")])
    assert found(shenyu, "zugunruhe", "--stale") == [4]


@pytest.mark.parametrize("words", [[""], [" "], []])
def test_without_a_word_nothing_is_searched(
    data: Application, shenyu: Shenyu, words: list[str]
) -> None:
    assert shenyu("chats", "search", *words).status == 2


def test_hostile_words_are_words(data: Application, shenyu: Shenyu) -> None:
    for words in ('"', "' OR 1", "NEAR(a b)", "a*", "\\", "-x", "%"):
        said = shenyu("chats", "search", "--index", "--json", "--", words)
        assert said.status == 0
        assert said.json["chats"] == []
    hostile = {"id": "e", "messages": [{"role": "user", "content": "\x1b[31mfindme\r\u202e"}]}
    data.add_user("eve", [hostile])
    assert not {"\x1b", "\r", "\u202e"} & set(shenyu("chats", "search", "findme").out)
