"""``shenyu-data backup``: what it prints and what it exits with."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Shenyu

KEYS: dict[str, Any] = {
    "id": str,
    "time": str,
    "kind": str,
    "parent": (str, type(None)),
    "tag": (str, type(None)),
    "degraded": bool,
    "totals": dict,
    "changes": dict,
    "read_documents": int,
    "read_bytes": int,
    "stored_bytes": int,
    "elapsed_s": float,
    "tripwires": list,
    "pinned": list,
    "alarms": list,
    "findings": list,
}


def test_the_first_backup_is_full_and_the_next_is_incremental(place: Path, shenyu: Shenyu) -> None:
    first, second = shenyu("backup", "--json"), shenyu("backup", "--json")
    assert (first.status, second.status) == (0, 0)
    assert (first.json["kind"], second.json["kind"]) == ("full", "incremental")
    assert first.json["parent"] is None
    assert second.json["parent"] == first.json["id"]
    assert second.json["changes"] == {"new": 0, "changed": 0, "gone": 0}


def test_the_json_has_the_documented_keys_and_types(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("backup", "--json").json
    assert said.keys() == KEYS.keys()
    for key, kind in KEYS.items():
        assert isinstance(said[key], kind), key
    assert said["totals"] == {
        "users": 2,
        "histories": 2,
        "chats": 4,
        "messages": 7,
        "documents": 4,
        "document_bytes": sum(p.stat().st_size for p in place.glob("data/*s/**/*.json")),
        "torn": 0,
        "unreadable": 0,
    }


def test_full_reads_every_document_again(place: Path, shenyu: Shenyu) -> None:
    shenyu("backup")
    said = shenyu("backup", "--full", "--json").json
    assert (said["kind"], said["read_documents"]) == ("full", 4)


def test_a_tag_stands_in_the_list(place: Path, shenyu: Shenyu) -> None:
    assert shenyu("backup", "--tag", "before-upgrade").status == 0
    assert shenyu("snapshots", "--json").json["snapshots"][0]["tag"] == "before-upgrade"
    assert "before-upgrade" in shenyu("snapshots").out


@pytest.mark.parametrize("tag", ["", " ", "a\nb", "\x1b[31m", "\udcff", "\u202e"])
def test_a_tag_that_cannot_be_printed_is_refused(tag: str, place: Path, shenyu: Shenyu) -> None:
    said = shenyu("backup", "--tag", tag, "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "usage"
    assert shenyu("snapshots", "--json").json["snapshots"] == []


def test_the_text_says_what_the_snapshot_holds_and_what_changed(
    place: Path, shenyu: Shenyu
) -> None:
    said = shenyu("backup")
    assert "2 users, 2 histories, 4 chats, 7 messages; 4 documents" in said.out
    assert "4 new, 0 changed, 0 gone documents; +4 chats, +7 messages" in said.out
    assert said.err == ""


def test_a_torn_document_makes_the_snapshot_degraded(backed_up: Path, shenyu: Shenyu) -> None:
    history = backed_up / "data/histories/ben/chat-history.json"
    history.write_bytes(history.read_bytes()[:-3])
    os.utime(history, (1, 1))
    said = shenyu("backup", "--json")
    assert said.status == 1
    assert said.json["degraded"] is True
    assert said.json["totals"]["torn"] == 1
    (finding,) = said.json["findings"]
    assert finding["code"] == "torn-document"
    assert finding["path"] == "histories/ben/chat-history.json"
    text = shenyu("backup")
    assert text.status == 1
    assert "DEGRADED" in text.out
    assert "error: histories/ben/chat-history.json: " in text.err
    assert "[torn-document]" in text.err


def test_verbose_adds_the_hint_to_each_finding(degraded: Path, shenyu: Shenyu) -> None:
    assert "  The snapshot holds it" in shenyu("backup", "--verbose").err
    assert "  The snapshot holds it" not in shenyu("backup").err


def test_a_fifo_is_left_out_with_a_warning_and_is_no_failure(place: Path, shenyu: Shenyu) -> None:
    os.mkfifo(place / "data/histories/anna/pipe.json")
    said = shenyu("backup")
    assert said.status == 0
    assert "warning: histories/anna/pipe.json: a FIFO" in said.err


def test_without_a_data_directory_nothing_is_stored(place: Path, shenyu: Shenyu) -> None:
    (place / "data").rename(place / "elsewhere")
    said = shenyu("backup", "--json")
    assert said.status == 3
    assert said.json["error"]["code"] == "data-directory"
    assert shenyu("snapshots", "--json").json["snapshots"] == []


def test_a_repository_inside_the_data_directory_is_refused(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("backup", "--data", str(place))
    assert said.status == 2
    assert "inside the data directory" in said.err
    assert shenyu("snapshots", "--json").json["snapshots"] == []


def test_jobs_may_be_given(place: Path, shenyu: Shenyu) -> None:
    assert shenyu("backup", "--jobs", "2").status == 0
    for wrong in ("0", "65", "many"):
        assert shenyu("backup", "--jobs", wrong).status == 2
