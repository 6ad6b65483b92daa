"""``shenyu-data diff``: two snapshots, or one and the live directory."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

HISTORY = "data/histories/ben/chat-history.json"


@pytest.fixture
def changed(backed_up: Path, shenyu: Shenyu) -> Path:
    """Give a second snapshot, in which one of ben's chats has a new hostile title, another is
    gone."""
    path = backed_up / HISTORY
    chats = json.loads(path.read_bytes())[:2]
    chats[0]["title"] = "\x1b[2J\u202e" + "长" * 5000
    path.write_text(json.dumps(chats), encoding="utf-8")
    assert shenyu("backup").status == 0
    return backed_up


def test_users_are_listed_and_counted(changed: Path, shenyu: Shenyu) -> None:
    said = shenyu("diff", "latest~1", "latest", "--json")
    assert said.status == 0
    (ben,) = said.json["users"]
    assert (ben["user"], ben["chats_before"], ben["chats_after"]) == ("ben", 3, 2)
    assert said.json["totals"]["chats_removed"] == 1
    assert said.json["before"]["snapshot"]["kind"] == "full"
    out = shenyu("diff", "latest~1", "latest").out
    assert "3 to 2" in out
    assert "0 added, 0 removed, 1 changed" in out


def test_one_users_chats_are_listed(changed: Path, shenyu: Shenyu) -> None:
    words = ("diff", "latest~1", "latest", "--user", "ben")
    said = shenyu(*words, "--json")
    assert said.status == 0
    assert [item["change"] for item in said.json["chats"]] == ["changed", "removed"]
    out = shenyu(*words).out
    assert all(line.isprintable() for line in out.split("\n"))
    assert max(map(len, out.splitlines())) < 250
    assert "removed" in out
    limited = shenyu(*words, "--limit", "1")
    assert "… and 1 chat more" in limited.out


def test_live_is_the_data_directory_as_it_is_now(changed: Path, shenyu: Shenyu) -> None:
    said = shenyu("diff", "latest", "live")
    assert said.status == 0
    assert "Nothing differs." in said.out
    backwards = shenyu("diff", "live", "latest~1", "--json")
    assert backwards.json["before"] == {
        "live": True,
        "data": str(changed / "data"),
        "snapshot": None,
    }
    assert backwards.json["totals"]["chats_added"] == 1
    assert shenyu("diff", "latest", "live", "--user", "anna").out.endswith("Nothing differs.\n")


def test_a_degraded_side_exits_with_1(degraded: Path, shenyu: Shenyu) -> None:
    assert shenyu("diff", "latest~1", "latest").status == 1
    said = shenyu("diff", "latest~1", "latest", "--user", "ben", "--json")
    assert said.status == 1
    assert [item["code"] for item in said.json["findings"]] == ["torn-json"]
    assert shenyu("diff", "latest~1", "latest", "--user", "anna").status == 0


def test_damage_exits_with_4(ruined: Path, shenyu: Shenyu) -> None:
    (ruined / HISTORY).write_text("[]")
    said = shenyu("diff", "latest", "live", "--user", "ben", "--json")
    assert said.status == 4
    assert said.json["chats"] == []
    assert shenyu("diff", "latest", "live").status == 0  # reads no packs


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("live", "live"), "usage"),
        (("live", "live", "--user", "ben"), "usage"),
        (("latest", "nothing"), "snapshot-not-found"),
        (("latest", "latest", "--user", "nobody"), "user-not-found"),
        (("latest",), "usage"),
        (("latest", "live", "--data", "nowhere"), "data-directory"),
        (("latest", "live", "--data", "nowhere", "--user", "ben"), "data-directory"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: tuple[str, ...], code: str, backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("diff", *words, "--json")
    assert said.status in (2, 3)
    assert said.json["error"]["code"] == code
