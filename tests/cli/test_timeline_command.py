"""``shenyu-data timeline``: versions of a user, a history, a chat; search."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

HISTORY = "data/histories/ben/chat-history.json"
HOSTILE = "\x1b[2J\x9b31m\u202eevil\r\nline 2 " + "长" * 5000


@pytest.fixture
def changed(backed_up: Path, shenyu: Shenyu) -> Path:
    """Give two snapshots: in the second one a chat is new, with a hostile title."""
    path = backed_up / HISTORY
    chats = json.loads(path.read_bytes())
    words = [{"role": "user\x1b[1m", "content": "apples\x07 and\tpears\n\x9b2J second line"}]
    path.write_text(
        json.dumps([{"id": "x\x1b[3m", "title": HOSTILE, "messages": words}, *chats]),
        encoding="utf-8",
    )
    assert shenyu("backup").status == 0
    return backed_up


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_every_version_is_a_line_oldest_first(changed: Path, shenyu: Shenyu) -> None:
    ids = [item["id"] for item in shenyu("snapshots", "--json").json["snapshots"]]
    said = shenyu("timeline", "--user", "ben", "--history", "chat-history", "--json")
    assert said.status == 0
    told = said.json
    assert [(item["first"], item["chats"]) for item in told["versions"]] == [
        (ids[0], 3),
        (ids[1], 4),
    ]
    assert (told["found"], told["snapshots_count"], told["matches"]) == (2, 2, [])
    lines = shenyu("timeline", "--user", "ben").out.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "#1", "#2"]
    assert ids[0][:8] in lines[1]


def test_a_limit_leaves_out_the_earlier_ones_and_says_so(changed: Path, shenyu: Shenyu) -> None:
    out = shenyu("timeline", "--user", "ben", "--limit", "1").out
    assert "1 earlier version more" in out
    assert "#1" not in out
    assert "#1" in shenyu("timeline", "--user", "ben", "--limit", "0").out


def test_titles_and_messages_cannot_touch_the_terminal(changed: Path, shenyu: Shenyu) -> None:
    for words in (
        ("timeline", "--user", "ben", "--chat", "x\x1b[3m"),
        ("timeline", "--user", "ben", "--search", "apples"),
        ("show", "latest", "--user", "ben", "--history", "chat-history"),
        ("show", "latest", "--user", "ben", "--chat", "x\x1b[3m"),
    ):
        said = shenyu(*words)
        assert said.status == 0
        assert "evil" in said.out
        assert harmless(said.out)
        assert max(map(len, said.out.splitlines())) < 400
        as_json = shenyu(*words, "--json")
        assert harmless(as_json.out)
        assert "长" * 5000 in as_json.out or words[0] == "show"


def test_search_shows_the_chat_the_snapshots_and_an_excerpt(changed: Path, shenyu: Shenyu) -> None:
    said = shenyu("timeline", "--user", "ben", "--search", "Apples PEARS", "--json")
    assert said.status == 0
    (match,) = said.json["matches"]
    assert match["history"] == "chat-history"
    assert match["first"] == match["last"]
    assert "apples" in match["excerpt"]
    assert said.json["search"] == "Apples PEARS"
    assert "1 match in 2 snapshots" in shenyu("timeline", "--user", "ben", "--search", "pears").out
    nothing = shenyu("timeline", "--user", "ben", "--search", "cherries")
    assert (nothing.status, nothing.out[:9]) == (0, "0 matches")


def test_search_says_what_it_could_not_look_into(degraded: Path, shenyu: Shenyu) -> None:
    said = shenyu("timeline", "--user", "ben", "--search", "你好", "--json")
    assert said.status == 1
    assert said.json["found"] == 3
    assert [item["code"] for item in said.json["findings"]] == ["torn-json"]


def test_damaged_packs_exit_with_4_and_the_rest_is_told(ruined: Path, shenyu: Shenyu) -> None:
    assert shenyu("timeline", "--user", "ben").status == 0  # reads no documents
    said = shenyu("timeline", "--user", "ben", "--search", "你好", "--json")
    assert said.status == 4
    assert said.json["matches"] == []
    assert said.json["findings"][0]["code"] == "object-damaged"
    assert shenyu("timeline", "--user", "ben", "--chat", "1739100649794").status == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--user", "nobody"), "user-not-found"),
        (("--user", "ben", "--history", "no"), "history-not-found"),
        (("--user", "ben", "--chat", "no"), "chat-not-found"),
        (("--user", "ben", "--search", " "), "usage"),
        (("--user", "ben", "--search", "x", "--chat", "y"), "usage"),
        ((), "usage"),
    ],
)
def test_what_is_not_there_is_a_usage_error(
    words: tuple[str, ...], code: str, backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("timeline", *words, "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == code
