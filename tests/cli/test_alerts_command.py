"""``shenyu-data alerts``: what a tripwire noticed, brought back by the command that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from shenyu_data.health.store import STORE_NAME
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.testing.application import Application, chat
from tests.cli.conftest import Said, Shenyu

USERS = [f"{number:064x}" for number in range(1, 7)]
VISIT = {
    "fingerprint": {"userAgent": "x"},
    "firstSeen": "2026-01-02T03:04:05.678Z",
    "lastSeen": "2026-01-02T03:04:05.678Z",
}
PATH = f"histories/{USERS[0]}/chat-history.json"


@pytest.fixture
def people(backed_up: Path, shenyu: Shenyu) -> Application:
    """Six people with four chats each, in the latest snapshot."""
    data = Application(backed_up / "data")
    for number, user in enumerate(USERS):
        data.add_user(user, [chat(number * 10 + one) for one in range(4)])
        data.write(f"users/{user}.json", {"id": user, **VISIT})
    rest(data)
    assert shenyu("backup").status == 0
    return data


def rest(data: Application) -> None:
    """Date everything long ago: nobody is at work."""
    for path in data.folder.rglob("*.json"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def overwrite(data: Application) -> list[int]:
    """Do what the application does to a history that it found torn; return whose chats were in it,
    and that is.
    """
    before = [one["id"] for one in data.chats(USERS[0])]
    data.write(PATH, [chat(77)])
    rest(data)
    return [chat(77)["id"], *before]


def ids(data: Application) -> list[int]:
    return [one["id"] for one in data.chats(USERS[0])]


def run(shenyu: Shenyu, command: str, *more: str) -> Said:
    program, *words = shlex.split(command)
    assert program == "shenyu-data"
    return shenyu(*words, *more)


def test_a_history_that_was_overwritten_comes_back_by_the_command_that_the_backup_prints(
    people: Application, shenyu: Shenyu
) -> None:
    good = shenyu("snapshots", "--json").json["snapshots"][-1]["id"]
    everything = overwrite(people)
    said = shenyu("backup")
    assert said.status == 1
    assert "shrunken-history" in said.err
    assert PATH in said.err
    assert f"snapshot {good[:8]} still holds them" in said.err
    assert f"snapshot {good[:8]} holds what was there before" in said.out
    (command,) = re.findall(r"shenyu-data repair\b(?:(?!  ).)*", said.out)
    assert run(shenyu, command, "--yes").status == 0
    assert ids(people) == everything


def test_the_finding_names_the_history_and_the_command_for_it_alone(
    people: Application, shenyu: Shenyu
) -> None:
    everything = overwrite(people)
    named, alarm = shenyu("backup", "--json").json["findings"]
    assert (named["code"], named["path"]) == ("shrunken-history", PATH)
    assert alarm["code"] == "history-overwritten"
    (command,) = re.findall(r"`(shenyu-data repair [^`]+)`", named["hint"])
    assert run(shenyu, command, "--yes").status == 0
    assert ids(people) == everything


def test_an_alarm_is_told_even_quietly(people: Application, shenyu: Shenyu) -> None:
    overwrite(people)
    assert "[history-overwritten]" in shenyu("backup", "--quiet").err


def test_it_comes_back_by_the_command_that_the_alert_prints(
    people: Application, shenyu: Shenyu
) -> None:
    good = shenyu("snapshots", "--json").json["snapshots"][-1]["id"]
    everything = overwrite(people)
    assert shenyu("backup").status == 1
    said = shenyu("alerts", "list")
    assert said.status == 1
    assert "1 history is whole and lost chats at once" in said.out
    assert good[:8] in said.out
    assert not any(user in said.out for user in USERS), "an alert names nobody"
    (alert,) = shenyu("alerts", "list", "--json").json["alerts"]
    assert alert["pinned"] == [{"id": good, "there": True}]
    repair = alert["commands"][0]["command"]
    assert repair in said.out
    assert run(shenyu, repair, "--yes").status == 0
    assert ids(people) == everything


def test_users_that_vanished_come_back_by_the_command_that_the_alert_prints(
    people: Application, shenyu: Shenyu
) -> None:
    before = {path: path.read_bytes() for path in people.folder.rglob("*.json")}
    for path in before:
        if path.name[:-5] in USERS or path.parent.name in USERS:
            path.unlink()
    said = shenyu("backup", "--json")
    assert said.status == 1
    assert {trip["rule"] for trip in said.json["tripwires"]} >= {"users-vanished"}
    (alert,) = shenyu("alerts", "list", "--json").json["alerts"]
    look, restore, acknowledge = (item["command"] for item in alert["commands"])
    assert run(shenyu, look).status == 0
    assert run(shenyu, restore, "--yes").status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert shenyu("prune", "--yes").status == 3
    assert run(shenyu, acknowledge).status == 0
    assert shenyu("prune", "--yes").status == 0
    assert shenyu("backup").status == 0, "what a restore put back is no alarm"


def test_nothing_is_pruned_before_it_is_acknowledged(people: Application, shenyu: Shenyu) -> None:
    overwrite(people)
    shenyu("backup")
    for words in (["prune", "--keep-last", "1", "--yes"], ["prune", "--dry-run"]):
        said = shenyu(*words, "--json")
        assert said.status == 3
        assert said.json["error"]["code"] == "prune-blocked"
        assert "alerts ack" in said.json["error"]["hint"]
    (alert,) = shenyu("alerts", "list", "--json").json["alerts"]
    done = shenyu("alerts", "ack", alert["id"][:6], "--reason", "tidied \u202e up", "--json")
    assert done.status == 2, "a reason must be printable"
    done = shenyu("alerts", "ack", alert["id"][:6], "--reason", "tidied up", "--json")
    assert done.status == 0
    assert done.json["standing"] == 0
    assert done.json["alerts"][0]["acknowledged"]["reason"] == "tidied up"
    assert shenyu("alerts", "list").out == "There are no alerts.\n"
    assert "tidied up" in shenyu("alerts", "list", "--all").out
    assert shenyu("prune", "--keep-last", "1", "--yes").status == 0


def test_beside_a_damaged_snapshot_alarms_are_listed_and_acknowledged(
    people: Application, shenyu: Shenyu, backed_up: Path
) -> None:
    first = shenyu("snapshots", "--json").json["snapshots"][0]["id"]
    overwrite(people)
    shenyu("backup")
    for copy in (backed_up / "repo" / "snapshots").glob(f"{first}*"):
        copy.chmod(0o600)
        copy.write_bytes(b"damaged")
    said = shenyu("alerts", "list")
    assert said.status == 4
    assert "cannot be told" in said.err
    assert "1 history is whole and lost chats at once" in said.out
    drop = ["prune", "--keep-last", "1", "--drop", first[:8], "--yes"]
    assert shenyu(*drop).status == 3
    assert shenyu("alerts", "ack", "--all").status == 0
    assert shenyu(*drop).status == 0
    assert shenyu("alerts", "list").status == 0


@pytest.mark.parametrize("words", [[], ["00", "--all"], ["zz"]])
def test_what_is_to_be_acknowledged_must_be_said(
    people: Application, shenyu: Shenyu, words: list[str]
) -> None:
    overwrite(people)
    shenyu("backup")
    assert shenyu("alerts", "ack", *words).status == 2
    assert shenyu("alerts", "list").status == 1


def test_the_limits_are_those_of_the_configuration(
    people: Application, shenyu: Shenyu, backed_up: Path
) -> None:
    (people.folder / "users" / f"{USERS[0]}.json").unlink()
    with (backed_up / "shenyu-data.toml").open("a") as file:
        file.write("[tripwires]\nusers = 1\npercent = 1\n")
    said = shenyu("backup", "--json")
    assert [trip["rule"] for trip in said.json["tripwires"]] == ["users-vanished"]


# What the program does itself


def quiet(shenyu: Shenyu) -> None:
    for words in (["backup"], ["backup", "--full"]):
        said = shenyu(*words, "--json")
        assert said.json["tripwires"] == said.json["alarms"] == []
    assert shenyu("alerts", "list").status == 0


def test_a_cleanup_is_no_alarm(people: Application, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--read-data").status == 0
    assert shenyu("cleanup", "--keep-newest", "1", "--yes").status == 0
    assert len(ids(people)) == 1
    quiet(shenyu)
    assert shenyu("restore", "--undo", "--yes").status == 0
    quiet(shenyu)


def test_a_cleanup_after_a_cleanup_is_no_alarm(people: Application, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--read-data").status == 0
    for left in ("2", "1"):
        assert shenyu("cleanup", "--keep-newest", left, "--yes").status == 0
    quiet(shenyu)
    for path in people.folder.glob("histories/*/chat-history.json"):
        path.unlink()
    assert shenyu("backup").status == 1, "what the program did before says nothing of today"


def test_a_restore_of_what_was_long_ago_is_no_alarm(people: Application, shenyu: Shenyu) -> None:
    old = shenyu("snapshots", "--json").json["snapshots"][-1]["id"]
    for user in USERS:
        for number in range(5):
            people.prepend_chat(user, chat(500 + number, messages=6))
    rest(people)
    assert shenyu("backup").status == 0
    assert shenyu("restore", old, "--in-place", "--yes").status == 0
    assert len(ids(people)) == 4
    quiet(shenyu)


def test_archives_and_compressed_histories_are_no_alarm(
    people: Application, shenyu: Shenyu
) -> None:
    assert shenyu("compress", "--archive", "--older-than", "30d", "--yes").status in (0, 1)
    quiet(shenyu)
    assert shenyu("compress", "--offline", "--yes").status in (0, 1)
    quiet(shenyu)
    assert shenyu("decompress", "--yes").status in (0, 1)
    quiet(shenyu)


def test_an_overwritten_history_counts_though_a_cleanup_changed_it(
    people: Application, shenyu: Shenyu
) -> None:
    assert shenyu("verify", "--read-data").status == 0
    assert shenyu("cleanup", "--keep-newest", "3", "--yes").status == 0
    overwrite(people)
    said = shenyu("backup", "--json")
    assert [trip["rule"] for trip in said.json["tripwires"]] == ["history-overwritten"]
    assert json.dumps(USERS[0]) not in json.dumps(said.json["tripwires"])


def test_an_alarm_about_somebody_who_is_erased_offers_no_repair_any_more(
    people: Application, shenyu: Shenyu
) -> None:
    overwrite(people)
    shenyu("backup")
    assert "shenyu-data repair" in shenyu("alerts", "list").out
    assert "tripwire" in {one["code"] for one in shenyu("status", "--json").json["alerts"]}
    assert shenyu("erase-user", USERS[0], "--yes", "--receipt", "r").status == 0
    listed = shenyu("alerts", "list", "--json").json
    assert "tripwire" not in {one["source"] for one in listed["alerts"]}
    assert "tripwire" not in {one["code"] for one in shenyu("status", "--json").json["alerts"]}
    everything = shenyu("alerts", "list", "--all").out
    assert "whose histories were overwritten was erased" in everything
    assert "shenyu-data repair" not in everything
    assert USERS[0] not in everything
    assert shenyu("prune", "--dry-run").status == 0


def test_after_an_erasure_nothing_that_is_remembered_names_the_user(
    people: Application, shenyu: Shenyu
) -> None:
    overwrite(people)
    shenyu("backup", "--tag", f"before-{USERS[0]}-left")
    shenyu("alerts", "silence", "backup-old", "--until", "3d")
    (people.folder / f"users/{USERS[1]}.json").write_text("[")
    shenyu("backup", "--tag", USERS[0])
    shenyu("alerts", "ack", "--all", "--reason", f"{USERS[0]} is known")
    shenyu("restore", "latest", "--user", USERS[0], "--to", "x")
    said = shenyu("erase-user", USERS[0], "--yes", "--receipt", "r", "--json")
    assert {one["code"] for one in said.json["findings"]} == {"tag-remains"}
    state = Path(state_of(state_folder(os.environ), str(people.folder)))
    names = [path for path in state.rglob("*") if path.is_file()]
    assert state / STORE_NAME in names
    for path in names:
        assert USERS[0].encode() not in path.read_bytes(), path.name


def test_an_alarm_that_was_acknowledged_before_is_not_acknowledged_again(
    people: Application, shenyu: Shenyu
) -> None:
    overwrite(people)
    alert = shenyu("backup", "--json").json["id"][:8]
    first = shenyu("alerts", "ack", alert, "--reason", "tidied up", "--json").json
    said = shenyu("alerts", "ack", alert, "--reason", "another one")
    assert said.status == 0
    assert f"Alert {alert} was acknowledged already on " in said.out
    assert "tidied up" in said.out
    assert "Acknowledged 0 alerts" in said.out
    again = shenyu("alerts", "ack", alert, "--json").json
    assert (first["acknowledged"], again["acknowledged"]) == (1, 0)
    assert again["alerts"] == first["alerts"]


def test_an_alert_of_a_rule_that_was_acknowledged_before_stays_as_it_was(
    people: Application, shenyu: Shenyu
) -> None:
    (people.folder / f"users/{USERS[1]}.json").write_text("[")
    assert shenyu("backup").status == 1
    first = shenyu("alerts", "ack", "backup-degraded", "--reason", "known", "--json").json
    assert first["acknowledged"] == 1
    said = shenyu("alerts", "ack", "backup-degraded", "--reason", "another one")
    assert "backup-degraded was acknowledged already on " in said.out
    assert ": known" in said.out
    again = shenyu("alerts", "ack", "backup-degraded", "--json").json
    assert again["alerts"][0]["acknowledged"] == first["alerts"][0]["acknowledged"]
