"""``chats show``: a chat as it stands in its document, wherever it stands by now."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir import catalog_read
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.testing.application import Application, chat
from tests.cli.conftest import Shenyu

KEY = "1739100649795"


def test_a_chat_is_printed(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("chats", "show", KEY)
    assert said.status == 0
    assert said.out.startswith("histories/ben/chat-history.json\n  chat 1739100649795, 你好, ")
    assert "\nuser:\n  你好\n\nassistant:\n  好\n" in said.out


def test_its_json_has_what_the_list_has_and_the_messages(place: Path, shenyu: Shenyu) -> None:
    (listed,) = [
        item for item in shenyu("chats", "list", "--json").json["chats"] if item["id"] == KEY
    ]
    (shown,) = shenyu("chats", "show", KEY, "--json").json["chats"]
    messages = shown.pop("messages")
    assert shown == listed
    assert [message["role"] for message in messages] == ["user", "assistant"]


def test_several_chats_are_printed_in_the_order_they_are_asked_for(
    place: Path, shenyu: Shenyu
) -> None:
    words = [KEY, "1739100649794", "chat"]
    shown = shenyu("chats", "show", *words, "--json").json["chats"]
    assert [item["id"] for item in shown] == words


def test_a_chat_without_an_id_is_shown_by_what_the_list_calls_it(
    place: Path, shenyu: Shenyu
) -> None:
    data = Application(place / "data")
    data.write("histories/cleo/7.json", {"messages": [{"role": "user", "content": "alone"}]})
    data.write("histories/cleo/many.json", [{"messages": []}, {"title": "nameless"}])
    listed = shenyu("chats", "list", "--user", "cleo", "--json").json["chats"]
    assert len(listed) == 3
    for item in listed:
        (shown,) = shenyu("chats", "show", item["id"], "--json").json["chats"]
        assert shown["title"] == item["title"]


def test_whose_chat_is_asked_if_several_have_it(place: Path, shenyu: Shenyu) -> None:
    data = Application(place / "data")
    data.add_user("cleo", [chat(5, about="one")])
    data.add_user("dora", [chat(5, about="two")], key="sn43-history")
    key = str(chat(5)["id"])
    said = shenyu("chats", "show", key)
    assert said.status == 2
    assert "cleo/chat-history, dora/sn43-history" in said.err
    assert "one" in shenyu("chats", "show", key, "--user", "cleo").out
    assert "two" in shenyu("chats", "show", key, "--history", "sn43-history").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nosuch"], "chat-not-found"),
        ([KEY, "--user", "anna"], "chat-not-found"),
        ([KEY, "--user", "nobody"], "user-not-found"),
        ([KEY, "--history", "nosuch"], "chat-not-found"),
    ],
)
def test_what_is_not_there_is_said_to_be_missing(
    place: Path, shenyu: Shenyu, words: list[str], code: str
) -> None:
    said = shenyu("chats", "show", *words, "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == code


def test_the_rest_of_the_history_is_not_read(place: Path, shenyu: Shenyu) -> None:
    (entry,) = shenyu("chats", "show", KEY, "--json").json["chats"]
    history = place / "data/histories/ben/chat-history.json"
    text = history.read_bytes()
    start, end = entry["offset_bytes"], entry["offset_bytes"] + entry["size_bytes"]
    history.write_bytes(b"\xff" * start + text[start:end] + b"\xff" * (len(text) - end))
    (again,) = shenyu("chats", "show", KEY, "--stale", "--json").json["chats"]
    assert again == entry


def test_a_chat_of_a_history_larger_than_what_is_parsed_is_shown(
    place: Path, shenyu: Shenyu
) -> None:
    large = [{**chat(number), "noise": "x" * (5 << 20)} for number in range(8)]
    Application(place / "data").add_user("cleo", [*large, chat(99, about="at the end")])
    history = place / "data/histories/cleo/chat-history.json"
    assert history.stat().st_size > MAX_PARSED_BYTES
    said = shenyu("chats", "show", str(chat(99)["id"]))
    assert said.status == 0
    assert "at the end" in said.out


def prepended(data: Application, chats: list[dict[str, Any]]) -> None:
    data.prepend_chat("ben", chat(1, messages=9))


def compact(data: Application, chats: list[dict[str, Any]]) -> None:
    text = json.dumps(chats, ensure_ascii=False, separators=(",", ":")).encode()
    data.write("histories/ben/chat-history.json", text)


def talked(data: Application, chats: list[dict[str, Any]]) -> None:
    for item in chats:
        item["messages"].append({"role": "user", "content": "more"})
    data.write("histories/ben/chat-history.json", chats)


def same_stat(data: Application, chats: list[dict[str, Any]]) -> None:
    history = data.folder / "histories/ben/chat-history.json"
    found = history.stat()
    history.write_bytes(history.read_bytes().replace("好".encode(), "坏".encode()))
    os.utime(history, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("change", [prepended, compact, talked, same_stat])
@pytest.mark.parametrize("stale", [[], ["--stale"]], ids=["current", "stale"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_chat_is_shown_as_it_is_now_though_the_history_was_written_since(
    place: Path,
    shenyu: Shenyu,
    change: Callable[[Application, list[dict[str, Any]]], None],
    stale: list[str],
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr(catalog_read, "STREAMED_BYTES", 100)
    assert shenyu("chats", "list").status == 0
    data = Application(place / "data")
    change(data, data.chats("ben"))
    (shown,) = shenyu("chats", "show", KEY, *stale, "--json").json["chats"]
    (now,) = [item for item in data.chats("ben") if str(item["id"]) == KEY]
    assert shown["messages"] == now["messages"]
    assert shown["messages_count"] == len(now["messages"])
    text = (data.folder / "histories/ben/chat-history.json").read_bytes()
    start = shown["offset_bytes"]
    assert json.loads(text[start : start + shown["size_bytes"]]) == now


def test_a_chat_that_went_since_is_not_shown(place: Path, shenyu: Shenyu) -> None:
    assert shenyu("chats", "list").status == 0
    Application(place / "data").write("histories/ben/chat-history.json", [chat(3)])
    said = shenyu("chats", "show", KEY, "--stale", "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "chat-not-found"


def test_a_chat_of_a_compressed_history_is_shown(place: Path, shenyu: Shenyu) -> None:
    packed = gzip.compress(json.dumps([chat(1), chat(2, about="packed")]).encode())
    Application(place / "data").write("histories/cleo/chat-history.json.gz", packed)
    said = shenyu("chats", "show", str(chat(2)["id"]))
    assert said.status == 0
    assert "packed 第 2 个对话" in said.out


def test_only_the_last_messages_are_printed_if_there_are_many(place: Path, shenyu: Shenyu) -> None:
    Application(place / "data").add_user("cleo", [chat(1, messages=120)])
    out = shenyu("chats", "show", str(chat(1)["id"]), "--limit", "2").out
    assert "118 earlier messages more" in out
    assert out.count("assistant:") == 1


def test_hostile_words_cannot_move_the_cursor(place: Path, shenyu: Shenyu) -> None:
    messages = [{"role": "\x1b[1m", "content": "\x1b]0;x\x07\r\u202e"}, "\x1b", 7]
    Application(place / "data").add_user("eve", [{"id": "evil", "messages": messages}])
    for said in (
        shenyu("chats", "show", "evil").out,
        shenyu("chats", "show", "evil", "--json").out,
    ):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(said)


def test_a_link_in_the_historys_place_is_not_followed(place: Path, shenyu: Shenyu) -> None:
    assert shenyu("chats", "list").status == 0
    history = place / "data/histories/ben/chat-history.json"
    history.rename(place / "elsewhere.json")
    history.symlink_to(place / "elsewhere.json")
    assert shenyu("chats", "show", KEY, "--stale").status == 2
