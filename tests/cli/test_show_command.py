"""``shenyu-data show``: the chats of a history, the messages of a chat."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

CHAT = "1739100649794"


def test_a_historys_chats_are_listed(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("show", "latest", "--user", "ben", "--history", "chat-history", "--json")
    assert said.status == 0
    assert said.json["document"]["path"] == "histories/ben/chat-history.json"
    assert said.json["chats"][0] == {
        "id": CHAT,
        "title": "你好",
        "model": None,
        "messages_count": 2,
        "time": "2025-02-09T11:30:49Z",
    }
    assert len(said.json["chats"]) == 3
    out = shenyu("show", "latest", "--user", "ben", "--history", "chat-history").out
    assert CHAT in out
    assert "你好" in out


def test_a_chats_messages_are_printed(backed_up: Path, shenyu: Shenyu) -> None:
    for more in ((), ("--history", "chat-history")):
        said = shenyu("show", "latest", "--user", "ben", "--chat", CHAT, *more, "--json")
        assert said.status == 0
        (chat,) = said.json["chats"]
        assert chat["messages"] == [
            {"role": "user", "content": "你好"},
            {"role": "assistant", "content": "好"},
        ]
    out = shenyu("show", "latest", "--user", "ben", "--chat", CHAT).out
    assert out.splitlines()[-5:] == ["user:", "  你好", "", "assistant:", "  好"]


def test_the_guides_chat_is_found_by_its_id_and_shown(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("show", "latest", "--user", "anna", "--chat", "chat")
    assert said.status == 0
    assert "hello" in said.out
    assert "histories/anna/chat1.json" in said.out


def test_a_limit_bounds_what_is_printed_and_not_the_json(backed_up: Path, shenyu: Shenyu) -> None:
    history = ("show", "latest", "--user", "ben", "--history", "chat-history", "--limit", "1")
    assert "… and 2 chats more: --limit 0 shows all" in shenyu(*history).out
    assert len(shenyu(*history, "--json").json["chats"]) == 3
    chat = ("show", "latest", "--user", "ben", "--chat", CHAT, "--limit", "1")
    assert "1 earlier message more" in shenyu(*chat).out
    assert "user:" not in shenyu(*chat).out.splitlines()
    assert len(shenyu(*chat, "--json").json["chats"][0]["messages"]) == 2


def test_a_torn_history_offers_its_last_good_version(degraded: Path, shenyu: Shenyu) -> None:
    first = shenyu("snapshots", "--json").json["snapshots"][0]["id"]
    words = ("show", "latest", "--user", "ben", "--history", "chat-history")
    torn = shenyu(*words, "--json")
    assert torn.status == 1
    assert torn.json["chats"] == []
    (finding,) = torn.json["findings"]
    assert finding["code"] == "torn-json"
    assert "--last-good" in finding["hint"]
    assert first[:8] in finding["hint"]
    good = shenyu(*words, "--last-good", "--json")
    assert good.status == 1
    assert len(good.json["chats"]) == 3
    assert first[:8] in good.json["findings"][0]["message"]
    chat = ("show", "latest", "--user", "ben", "--chat", CHAT)
    assert shenyu(*chat).status == 2
    assert shenyu(*chat, "--last-good").status == 1


def test_a_damaged_pack_exits_with_4(ruined: Path, shenyu: Shenyu) -> None:
    for words in (("--history", "chat-history"), ("--chat", CHAT)):
        said = shenyu("show", "latest", "--user", "ben", *words, "--json")
        assert said.status == 4
        assert said.json["error"]["code"] == "object-damaged"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--history", "chat-history"), "usage"),
        (("--chat", CHAT), "usage"),
        (("--user", "nobody", "--chat", CHAT), "user-not-found"),
        (("--user", "ben", "--history", "../ben"), "history-not-found"),
        (("--user", "ben", "--history", "no", "--chat", CHAT), "history-not-found"),
        (("--user", "ben", "--chat", "12"), "chat-not-found"),
    ],
)
def test_what_is_not_there_is_a_usage_error(
    words: tuple[str, ...], code: str, backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("show", "latest", *words, "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == code


def test_odd_messages_are_shown_as_they_are(backed_up: Path, shenyu: Shenyu) -> None:
    odd = [3, None, {"role": 7, "content": {"a": 1}}, {"content": "half \ud83d"}]
    path = backed_up / "data/histories/ben/chat-history.json"
    path.write_text(json.dumps([{"id": 1, "messages": odd}, 5, {"title": "no id"}]))
    assert shenyu("backup").status == 1  # chats vanished: a tripwire says so
    said = shenyu("show", "latest", "--user", "ben", "--chat", "1", "--json")
    assert said.status == 0
    (chat,) = said.json["chats"]
    assert [item["content"] for item in chat["messages"]][:3] == ["3", "", '{"a": 1}']
    assert chat["messages"][3]["content"].startswith("half ")
    assert shenyu("show", "latest", "--user", "ben", "--chat", "1").status == 0
    listed = shenyu("show", "latest", "--user", "ben", "--history", "chat-history")
    assert "(no id)" in listed.out
