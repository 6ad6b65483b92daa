"""``status``, and the alerts of rules: true with whatever is there, from what is kept alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.health.runs import begin_run, end_run
from shenyu_data.health.store import STORE_NAME, open_store
from shenyu_data.operations.places import state_folder, state_of
from tests.cli.conftest import Shenyu


def state(place: Path) -> Path:
    return Path(state_of(state_folder(os.environ), str(place / "data")))


def codes(document: Any) -> list[str]:
    return [item["code"] for item in document["alerts"]]


def test_a_new_directory_is_well_and_nothing_is_known(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("status", "--json")
    assert said.status == 0
    assert said.json["data"]["users"] is None
    assert said.json["backups"]["last"] is None
    assert said.json["alerts"] == []
    assert "not known until a backup was made" in shenyu("status").out


def test_it_needs_no_repository(place: Path, shenyu: Shenyu) -> None:
    shutil.rmtree(place / "repo")
    assert shenyu("status").status == 0
    (place / "shenyu-data.toml").write_text('data = "data"\n')
    assert "no repository is set" in shenyu("status").out


def test_it_needs_no_key_and_opens_nothing(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (backed_up / "repo").rename(backed_up / "elsewhere")
    said = shenyu("status", "--json").json
    assert said["data"] | {"known": None} == {
        "location": str(backed_up / "data"),
        "known": None,
        "users": 2,
        "histories": 2,
        "chats": 4,
        "messages": said["data"]["messages"],
        "documents": 4,
        "document_bytes": said["data"]["document_bytes"],
        "grown_bytes": None,
        "grown_in_s": None,
    }
    assert said["backups"]["snapshots_count"] == 1
    assert said["backups"]["last"] == said["backups"]["last_good"] is not None


def test_what_was_proven_is_told(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--read-data").status == 0
    assert shenyu("drill").status == 0
    said = shenyu("status", "--json").json
    proof = said["proof"]
    assert proof["verified"] and proof["all_read"] and proof["drilled"]
    assert (proof["users"], proof["proven_30d"], proof["never_proven"]) == (2, 2, 0)
    assert said["backups"]["size_bytes"] > 0


def test_a_degraded_backup_is_an_alert_until_a_good_one(degraded: Path, shenyu: Shenyu) -> None:
    said = shenyu("status", "--json")
    assert said.status == 1
    assert codes(said.json) == ["backup-degraded"]
    assert said.json["backups"]["degraded"] is True
    assert said.json["backups"]["last_good"] <= said.json["backups"]["last"]
    text = shenyu("status").out
    assert text.startswith("1 ALERT: somebody has to look.")
    assert "shenyu-data validate" in text
    history = degraded / "data/histories/ben/chat-history.json"
    history.write_text("[]")
    shenyu("backup")
    assert "backup-degraded" not in codes(shenyu("status", "--json").json)


def test_permissions_that_drifted_are_an_alert_until_they_are_mended(
    backed_up: Path, shenyu: Shenyu
) -> None:
    (backed_up / "data/users/ben.json").chmod(0o644)
    assert shenyu("permissions", "check").status == 1
    assert codes(shenyu("status", "--json").json) == ["permissions-drifted"]
    assert shenyu("permissions", "fix", "--yes").status == 0
    assert shenyu("status").status == 0
    (resolved,) = shenyu("alerts", "list", "--all", "--json").json["alerts"] or [None]
    assert resolved is None, "nobody noted it while it stood"


def test_invalid_documents_are_an_alert_by_a_validation_of_everything_alone(
    backed_up: Path, shenyu: Shenyu
) -> None:
    history = backed_up / "data/histories/ben/chat-history.json"
    history.write_text("[")
    assert shenyu("validate", str(history)).status == 1
    assert codes(shenyu("status", "--json").json) == []
    assert shenyu("validate").status == 1
    assert codes(shenyu("status", "--json").json) == ["documents-invalid"]


def test_a_run_of_a_job_raises_and_resolves_an_alert_and_tells_it(
    backed_up: Path, shenyu: Shenyu
) -> None:
    history = backed_up / "data/histories/ben/chat-history.json"
    before = history.read_text()
    for text in ("[", before):
        history.write_text(text)
        shenyu("schedule", "run", "validate", "--now")
    with open_store(str(state(backed_up))) as store, store.reading() as connection:
        told = connection.execute(
            "SELECT kind FROM outbox WHERE alert_key = 'documents-invalid' ORDER BY id"
        ).fetchall()
    assert told == [("alert-raised",), ("alert-resolved",)]
    shown = shenyu("alerts", "list", "--all", "--json").json["alerts"]
    assert [item["id"] for item in shown if item["resolved"]] == ["documents-invalid"]


def test_damage_is_an_alert_until_as_much_was_read_and_is_sound(
    damaged: Path, shenyu: Shenyu
) -> None:
    assert shenyu("verify", "--read-data").status == 4
    assert codes(shenyu("status", "--json").json) == ["verify-failed"]
    shutil.rmtree(damaged / "repo/packs")
    (damaged / "repo/packs").mkdir()
    assert shenyu("verify").status == 4
    assert codes(shenyu("status", "--json").json) == ["verify-failed"]


def test_an_alert_is_silenced_and_acknowledged_by_its_name(degraded: Path, shenyu: Shenyu) -> None:
    assert shenyu("alerts", "list").status == 1
    assert shenyu("alerts", "silence", "backup-degraded", "--until", "3d").status == 0
    said = shenyu("status", "--json")
    assert said.status == 0
    assert said.json["alerts"][0]["silenced_until"]
    for until in ("1999-01-01", "soon", "3m", "0d", "99999-01-01"):
        assert shenyu("alerts", "silence", "backup-degraded", "--until", until).status == 2
    assert shenyu("alerts", "silence", "nosuch", "--until", "3d").status == 2
    done = shenyu("alerts", "ack", "backup-degraded", "--reason", "being mended", "--json")
    assert done.json["alerts"][0]["acknowledged"]["reason"] == "being mended"
    assert "being mended" in shenyu("alerts", "list").out
    assert shenyu("alerts", "ack", "job-failed").status == 2


def test_the_future_is_no_age(degraded: Path, shenyu: Shenyu) -> None:
    said = shenyu("alerts", "silence", "disk-free:data", "--until", "2999-12-24T08:00", "--json")
    assert said.json["until"].startswith("2999-12-2")
    assert said.json["alerts"] == []


@pytest.mark.parametrize("damage", ["garbage", "empty", "another program's", "a folder"])
def test_damaged_state_is_told_and_rebuilt_from_the_repository(
    degraded: Path, shenyu: Shenyu, damage: str
) -> None:
    before = shenyu("status", "--json").json
    kept = state(degraded) / STORE_NAME
    kept.unlink()
    if damage == "a folder":
        kept.mkdir()
    else:
        kept.write_bytes(
            {"garbage": b"\0garbage" * 999, "empty": b""}.get(damage, b"SQLite format 3")
        )
    said = shenyu("status", "--json")
    assert said.status == (0 if damage == "empty" else 1)
    assert said.json["backups"]["last"] is None
    lost = [item["code"] for item in said.json["findings"]]
    assert lost == ([] if damage == "empty" else ["state-lost"])
    if damage == "a folder":
        kept.rmdir()
    said = shenyu("status", "--refresh", "--json")
    assert codes(said.json) == codes(before) == ["backup-degraded"]
    for key in ("last_good", "snapshots_count", "held_bytes", "degraded"):
        assert said.json["backups"][key] == before["backups"][key]
    for key in ("users", "chats", "messages", "document_bytes"):
        assert said.json["data"][key] == before["data"][key]


def test_the_next_backup_rebuilds_what_was_lost(backed_up: Path, shenyu: Shenyu) -> None:
    oldest = shenyu("status", "--json").json["backups"]["oldest"]
    shutil.rmtree(state(backed_up))
    assert shenyu("backup").status == 0
    assert shenyu("status", "--json").json["backups"]["oldest"] == oldest


def test_a_clock_that_was_set_back_is_an_alert(backed_up: Path, shenyu: Shenyu) -> None:
    with open_store(str(state(backed_up))) as store:
        ahead_ms = 4_000_000_000_000
        end_run(store, begin_run(store, "verify", ahead_ms), ahead_ms, "good", exit_status=0)
    said = shenyu("status", "--json")
    assert codes(said.json) == ["clock-wrong"]
    assert said.json["proof"]["verified"] is None, "what lies ahead says nothing"


def test_hostile_names_stay_on_their_line(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = place / "da\x1b[2Jta\n"
    (place / "data").rename(hostile)
    said = shenyu("status", "--data", str(hostile))
    assert "\x1b" not in said.out
    assert "data" in said.out or "da" in said.out
