"""``shenyu-data snapshots`` and ``show``: listing, and finding by what a person types."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

KEYS = {
    "id",
    "time",
    "kind",
    "parent",
    "tag",
    "degraded",
    "partial",
    "safety",
    "data",
    "program",
    "totals",
    "changes",
    "read_bytes",
    "stored_bytes",
    "elapsed_s",
}


def test_without_snapshots_the_list_is_empty_and_says_what_to_do(
    place: Path, shenyu: Shenyu
) -> None:
    assert shenyu("snapshots", "--json").json == {"snapshots": [], "findings": []}
    assert "shenyu-data backup" in shenyu("snapshots").out


def test_snapshots_are_listed_oldest_first(place: Path, shenyu: Shenyu) -> None:
    ids = [shenyu("backup", "--json").json["id"] for _ in range(3)]
    listed = shenyu("snapshots", "--json").json["snapshots"]
    assert [item["id"] for item in listed] == ids
    assert [item["parent"] for item in listed] == [None, *ids[:2]]
    assert all(item.keys() == KEYS for item in listed)
    times = [datetime.strptime(item["time"], "%Y-%m-%dT%H:%M:%S%z") for item in listed]
    assert times == sorted(times)
    lines = shenyu("snapshots").out.splitlines()
    assert [line[:8] for line in lines[1:]] == [one[:8] for one in ids]


def test_a_degraded_snapshot_is_marked(degraded: Path, shenyu: Shenyu) -> None:
    said = shenyu("snapshots")
    assert said.status == 0
    assert ["DEGRADED" in line for line in said.out.splitlines()[1:]] == [False, True]
    listed = shenyu("snapshots", "--json").json["snapshots"]
    assert [item["degraded"] for item in listed] == [False, True]


def test_a_snapshot_that_cannot_be_read_is_named_and_the_others_are_listed(
    backed_up: Path, shenyu: Shenyu
) -> None:
    whole = shenyu("backup", "--json").json["id"]
    (first,) = {
        path.name.removesuffix(".copy")
        for path in (backed_up / "repo/snapshots").iterdir()
        if not path.name.startswith(whole)
    }
    for path in (backed_up / "repo/snapshots").glob(first + "*"):
        path.write_bytes(path.read_bytes()[:-1])
    said = shenyu("snapshots", "--json")
    assert said.status == 1
    assert [item["id"] for item in said.json["snapshots"]] == [whole]
    assert first in said.json["findings"][0]["message"]


@pytest.mark.parametrize("how", ["latest", "prefix", "upper", "whole id", "date", "far date"])
def test_a_snapshot_is_found_by(how: str, backed_up: Path, shenyu: Shenyu) -> None:
    newest = shenyu("backup", "--json").json["id"]
    wanted = {
        "latest": "latest",
        "prefix": newest[:10],
        "upper": newest[:10].upper(),
        "whole id": newest,
        "date": datetime.now().strftime("%Y-%m-%d"),
        "far date": "2999-12-31T23:59:59",
    }[how]
    said = shenyu("show", wanted, "--json")
    assert said.status == 0
    assert said.json["snapshot"]["id"] == newest


@pytest.mark.parametrize(
    "wanted", ["nonsense", "2001-01-01", "0001-01-01", "ffffffffffffffffffffffffffffffff", "\x1b"]
)
def test_what_names_no_snapshot_is_a_usage_error(
    wanted: str, backed_up: Path, shenyu: Shenyu
) -> None:
    for verb in (["show", wanted], ["restore", wanted, "--to", "target"]):
        said = shenyu(*verb, "--json")
        assert said.status == 2
        assert said.json["error"]["code"] == "snapshot-not-found"
        assert "shenyu-data snapshots" in said.json["error"]["hint"]
        assert "\x1b" not in said.err
    assert not (backed_up / "target").exists()


def test_an_ambiguous_prefix_is_refused(place: Path, shenyu: Shenyu) -> None:
    seen: set[str] = set()
    while True:  # 17 snapshots at most: two ids then begin alike
        new = shenyu("backup", "--json").json["id"]
        if new[0] in {one[0] for one in seen}:
            break
        seen.add(new)
    said = shenyu("show", new[0])
    assert said.status == 2
    assert "Give more of the id" in said.err


def test_the_last_day_of_the_calendar_is_a_date_like_any_other(
    backed_up: Path, shenyu: Shenyu
) -> None:
    assert shenyu("show", "9999-12-31").status in (0, 2)


def test_show_tells_what_a_snapshot_holds(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("show", "latest")
    assert said.status == 0
    assert "2 users, 2 histories, 4 chats, 7 messages; 4 documents" in said.out
    assert shenyu("show", "latest", "--json").json.keys() == {
        "snapshot",
        "user",
        "documents",
        "findings",
    }


def test_show_lists_a_users_documents(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("show", "latest", "--user", "ben", "--json").json
    assert said["user"] == "ben"
    by_path = {item["path"]: item for item in said["documents"]}
    assert by_path.keys() == {"users/ben.json", "histories/ben/chat-history.json"}
    assert by_path["histories/ben/chat-history.json"] == {
        "path": "histories/ben/chat-history.json",
        "kind": "history",
        "state": "whole",
        "size_bytes": (backed_up / "data/histories/ben/chat-history.json").stat().st_size,
        "mtime": "2023-11-14T22:13:20Z",
        "chats": 3,
        "messages": 6,
        "good_from": None,
    }
    assert "histories/ben/chat-history.json" in shenyu("show", "latest", "--user", "ben").out


def test_show_of_a_degraded_snapshot_names_what_is_torn(degraded: Path, shenyu: Shenyu) -> None:
    first = shenyu("snapshots", "--json").json["snapshots"][0]["id"]
    said = shenyu("show", "latest", "--json")
    assert said.status == 1
    (torn,) = said.json["documents"]
    assert (torn["state"], torn["good_from"]) == ("torn", first)
    assert f"last good in {first[:8]}" in shenyu("show", "latest").out
    assert shenyu("show", "latest", "--user", "anna").status == 0
    assert shenyu("show", "latest", "--user", "ben").status == 1
    assert shenyu("show", first).status == 0


@pytest.mark.parametrize("user", ["nobody", "..", "", "a/b", "\udcff\x1b[31m", "x" * 300])
def test_a_user_who_is_not_there_is_a_usage_error(
    user: str, backed_up: Path, shenyu: Shenyu
) -> None:
    for verb in (["show", "latest"], ["restore", "latest", "--to", "target"]):
        said = shenyu(*verb, "--user", user, "--json")
        assert said.status == 2
        assert said.json["error"]["code"] == "user-not-found"
        assert "\x1b" not in said.err
        assert "\x1b" not in said.out
