"""``users list`` and ``chats list``: what they print, page by page."""

import json
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.testing.application import Application, chat
from tests.cli.conftest import Shenyu


def rows(text: str) -> list[str]:
    return text.splitlines()[1:]


def test_users_are_listed_with_what_they_have(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("users", "list", "--order", "name")
    assert said.status == 0
    assert [row.split()[0] for row in rows(said.out)] == ["anna", "ben"]
    (anna, ben) = shenyu("users", "list", "--order", "name", "--json").json["users"]
    assert anna["chats_count"] == 1
    assert ben["chats_count"] == 3
    assert ben["last_activity_source"] == "id"
    assert ben["began"] == "2025-02-10T03:28:00Z"


def test_chats_are_listed_by_the_last_active(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("chats", "list", "--user", "ben", "--json")
    ids = [chat["id"] for chat in said.json["chats"]]
    assert ids == sorted(ids, reverse=True)
    assert {chat["title"] for chat in said.json["chats"]} == {"你好"}
    assert said.json["next"] is None


def test_pages_follow_one_another_by_their_cursors(place: Path, shenyu: Shenyu) -> None:
    data = Application(place / "data")
    data.add_user("cleo", [chat(number) for number in range(7)])
    met: list[str] = []
    words = ["chats", "list", "--user", "cleo", "--limit", "3", "--json"]
    page = shenyu(*words).json
    met += [item["id"] for item in page["chats"]]
    # The newest chat comes on top of what was seen already: nothing is shifted by it.
    data.prepend_chat("cleo", chat(50))
    while page["next"]:
        page = shenyu(*words, "--after", page["next"]).json
        met += [item["id"] for item in page["chats"]]
    assert met == [str(1_700_000_000_000 + number) for number in reversed(range(7))]


def test_the_text_of_a_page_says_how_to_go_on(place: Path, shenyu: Shenyu) -> None:
    first = shenyu("users", "list", "--limit", "1", "--order", "name").out
    cursor = first.split("--after ")[1].strip()
    second = shenyu("users", "list", "--limit", "1", "--order", "name", "--after", cursor).out
    assert rows(first)[0].startswith("anna")
    assert rows(second)[0].startswith("ben")
    assert "--after" not in second


@pytest.mark.parametrize("cursor", ["", "nonsense", "lAECAwQ", "--json"])
def test_a_wrong_cursor_is_refused(place: Path, shenyu: Shenyu, cursor: str) -> None:
    said = shenyu("users", "list", f"--after={cursor}")
    assert said.status == 2
    assert "cursor" in said.err


def test_a_cursor_of_another_order_is_refused(place: Path, shenyu: Shenyu) -> None:
    word = shenyu("users", "list", "--limit", "1", "--json").json["next"]
    said = shenyu("users", "list", "--limit", "1", "--order", "size", "--after", word)
    assert said.status == 2
    assert "another list" in said.err


def listed(shenyu: Shenyu, *words: str) -> set[str]:
    said = shenyu("chats", "list", *words, "--json")
    assert said.status == 0
    return {item["id"] for item in said.json["chats"]}


def test_filters_of_chats(place: Path, shenyu: Shenyu) -> None:
    data = Application(place / "data")
    old: dict[str, Any] = {**chat(1), "id": "old", "timestamp": "2020-01-02T00:00:00Z"}
    new: dict[str, Any] = {**chat(2), "id": "new", "timestamp": "2024-01-02T00:00:00Z"}
    large = {**chat(3, messages=200), "id": "large", "timestamp": "2022-01-02T00:00:00Z"}
    data.add_user("dora", [{**old, "model": "deepseek"}, large], key="sn43-history")
    data.add_user("dora", [new])
    assert listed(shenyu, "--user", "dora") == {"old", "new", "large"}
    assert listed(shenyu, "--user", "dora", "--history", "sn43-history") == {"old", "large"}
    assert listed(shenyu, "--history", "sn43-history") == {"old", "large"}
    assert listed(shenyu, "--model", "deepseek") == {"old"}
    assert listed(shenyu, "--user", "dora", "--since", "2022-01-01") == {"new", "large"}
    assert listed(shenyu, "--user", "dora", "--until", "2022-01-01") == {"old"}
    assert listed(shenyu, "--user", "dora", "--larger-than", "10kB") == {"large"}
    assert listed(shenyu, "--user", "dora", "--smaller-than", "10kB") == {"new", "old"}
    by_size = shenyu("chats", "list", "--user", "dora", "--order", "size", "--reverse", "--json")
    assert by_size.json["chats"][-1]["id"] == "large"


@pytest.mark.parametrize(
    "words", [["--since", "once"], ["--larger-than", "big"], ["--limit", "0"], ["--order", "luck"]]
)
def test_what_makes_no_sense_is_a_usage_error(
    place: Path, shenyu: Shenyu, words: list[str]
) -> None:
    assert shenyu("chats", "list", *words).status == 2


def test_an_unknown_user_is_told_from_one_without_chats(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("chats", "list", "--user", "nobody", "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "user-not-found"
    Application(place / "data").write("users/quiet.json", {"id": "quiet"})
    assert shenyu("chats", "list", "--user", "quiet").out == "No chats.\n"


def test_histories_that_cannot_be_listed_are_counted_and_exit_with_1(
    place: Path, shenyu: Shenyu
) -> None:
    (place / "data/histories/ben/chat-history.json").write_bytes(b"[{")
    said = shenyu("chats", "list", "--json")
    assert said.status == 1
    assert [item["code"] for item in said.json["findings"]] == ["histories-unlisted"]
    assert shenyu("chats", "list", "--user", "anna").status == 0


def test_a_hostile_title_cannot_move_the_cursor(place: Path, shenyu: Shenyu) -> None:
    hostile = {"id": "\x1b[2Jid", "title": "\x1b[31m\r\n\u202eevil", "messages": []}
    Application(place / "data").add_user("eve\x1b[2J", [hostile])
    for words in (["users", "list"], ["chats", "list"]):
        for said in (shenyu(*words).out, shenyu(*words, "--json").out):
            assert not {"\x1b", "\r", "\u202e"} & set(said)
    assert json.loads(shenyu("chats", "list", "--json").out)["chats"]


def test_stale_answers_from_the_catalog_alone(place: Path, shenyu: Shenyu) -> None:
    before = shenyu("users", "list", "--stale", "--json").json["users"]
    Application(place / "data").add_user("new", [chat(1)])
    assert shenyu("users", "list", "--stale", "--json").json["users"] == before
    assert len(shenyu("users", "list", "--json").json["users"]) == len(before) + 1
