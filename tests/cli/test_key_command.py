"""``shenyu-data key``: who can open the repository, and who no longer."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from shenyu_data.repository.keytext import parse_recovery_key
from tests.cli.conftest import PASSPHRASE, Shenyu


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a new passphrase, in the environment."""
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "ein neues passwort")
    return "ein neues passwort"


def test_the_slots_are_listed_with_kind_label_and_last_use(place: Path, shenyu: Shenyu) -> None:
    slots = {slot["label"]: slot for slot in shenyu("key", "list", "--json").json["slots"]}
    used = slots["recovery key shown at init"]
    other = slots["passphrase given at init"]
    assert (used["kind"], used["opens"], used["in_use"]) == ("recovery", True, True)
    assert (other["kind"], other["opens"], other["in_use"]) == ("passphrase", True, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", used["last_used"])
    assert other["last_used"] is None
    said = shenyu("key", "list")
    assert said.status == 0
    assert "never, seen from here" in said.out
    assert other["id"][:8] in said.out


def test_a_use_by_a_backup_elsewhere_is_known_from_its_snapshot(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", PASSPHRASE)
    slots = {slot["kind"]: slot for slot in shenyu("key", "list", "--json").json["slots"]}
    (snapshot,) = shenyu("snapshots", "--json").json["snapshots"]
    assert slots["recovery"]["last_used"] == snapshot["time"]


def test_a_use_is_noted_once_an_hour_and_never_stands_in_the_way(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    shenyu("snapshots")
    (note,) = Path(os.environ["XDG_STATE_HOME"]).glob("shenyu-data/*/slots/*")
    assert note.stat().st_mode & 0o077 == 0
    assert note.parent.stat().st_mode & 0o077 == 0
    for age_s, again in ((1800, False), (7200, True), (-7200, True)):
        then = note.stat().st_mtime_ns - age_s * 10**9
        os.utime(note, ns=(then, then))
        shenyu("snapshots")
        assert (note.stat().st_mtime_ns != then) == again
    (place / "file").write_text("")
    for useless in ("/proc/nowhere", str(place / "file"), "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", useless)
        assert shenyu("key", "list").status == 0
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    assert shenyu("snapshots").status == 0
    assert not (place / ".local").exists()


@pytest.mark.parametrize("way", ["environment", "file"])
def test_a_new_passphrase_opens_the_repository(
    way: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "new-passphrase").write_text("ein neues passwort\n")
    flags = ["--new-passphrase-file", "new-passphrase"] if way == "file" else []
    if way == "environment":
        monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "ein neues passwort")
    said = shenyu("key", "add", "--label", "anna", *flags, "--json")
    assert said.status == 0
    assert (said.json["slot"]["label"], said.json["slot"]["kind"]) == ("anna", "passphrase")
    assert "ein neues passwort" not in said.out + said.err
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "ein neues passwort")
    slots = shenyu("key", "list", "--json").json["slots"]
    assert [slot["label"] for slot in slots if slot["in_use"]] == ["anna"]


def test_a_recovery_key_is_made_and_shown_once(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shenyu("key", "add", "--recovery", "--label", "safe", "--json").json
    assert parse_recovery_key(" ".join(made["recovery_words"])) == parse_recovery_key(
        made["recovery_key"]
    )
    quiet = shenyu("key", "add", "--recovery", "--label", "safe 2", "--quiet")
    shown = shenyu("key", "add", "--recovery", "--label", "safe 3")
    third = re.search(r"SHENYU(-[A-Z2-7]{7}){8}", shown.out)
    assert third is not None
    for key in (made["recovery_key"], quiet.out.strip(), third[0]):
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", key)
        assert shenyu("snapshots").status == 0


@pytest.mark.parametrize("secret", ["", "   "])
def test_an_empty_passphrase_is_refused(
    secret: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", secret)
    said = shenyu("key", "add", "--label", "anna", "--json")
    assert said.status == 2
    assert len(list((place / "repo/slots").iterdir())) == 2


@pytest.mark.parametrize("label", ["", " ", "a\nb", "\x1b[31m", "x" * 101])
def test_a_label_that_is_no_name_is_refused(
    label: str, place: Path, shenyu: Shenyu, new: str
) -> None:
    assert shenyu("key", "add", "--label", label, "--json").json["error"]["code"] == "usage"


def test_a_passphrase_that_opens_a_slot_already_is_refused(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", PASSPHRASE)
    said = shenyu("key", "add", "--label", "anna", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "usage")
    assert "already" in said.json["error"]["message"]


@pytest.mark.parametrize("how", ["label", "id"])
def test_a_removed_slot_opens_no_more(
    how: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = shenyu("key", "list", "--json").json["slots"]
    slot = next(slot for slot in slots if slot["kind"] == "passphrase")
    name = slot["label"] if how == "label" else slot["id"][:9].upper()
    said = shenyu("key", "remove", name, "--yes")
    assert said.status == 0
    assert "key rotate" in said.out
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", PASSPHRASE)
    assert shenyu("snapshots").status == 4


def test_removing_is_asked_for_and_can_be_tried(place: Path, shenyu: Shenyu) -> None:
    before = sorted(path.name for path in (place / "repo/slots").iterdir())
    said = shenyu("key", "remove", "passphrase given at init")
    assert said.status == 2
    assert "--yes" in said.err
    said = shenyu("key", "remove", "passphrase given at init", "--dry-run", "--json")
    assert (said.status, said.json["dry_run"]) == (0, True)
    assert sorted(path.name for path in (place / "repo/slots").iterdir()) == before


def test_the_plan_says_what_is_special_about_a_slot(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("key", "remove", "recovery key shown at init", "--dry-run")
    assert "the one that you are using" in said.out
    assert "the last recovery key" in said.out
    said = shenyu("key", "remove", "passphrase given at init", "--dry-run")
    assert "you are using" not in said.out


def test_the_last_slot_is_not_removed(place: Path, shenyu: Shenyu) -> None:
    assert shenyu("key", "remove", "passphrase given at init", "--yes").status == 0
    said = shenyu("key", "remove", "recovery key shown at init", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "usage")
    assert shenyu("snapshots").status == 0


@pytest.mark.parametrize("name", ["", "nobody", "zz", "../repository"])
def test_what_names_no_slot_or_several_is_refused(
    name: str, place: Path, shenyu: Shenyu, new: str
) -> None:
    shenyu("key", "add", "--label", "nobody", "--recovery")
    shenyu("key", "add", "--label", "nobody", "--recovery")
    said = shenyu("key", "remove", name, "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "usage")
    assert len(list((place / "repo/slots").iterdir())) == 4


def test_a_damaged_slot_is_named_and_can_be_removed(place: Path, shenyu: Shenyu) -> None:
    slots = {slot["kind"]: slot["id"] for slot in shenyu("key", "list", "--json").json["slots"]}
    path = place / "repo/slots" / slots["passphrase"]
    path.write_bytes(path.read_bytes().replace(b'"sealed"', b'"seeled"'))
    said = shenyu("key", "list", "--json")
    assert said.status == 4
    assert [slot["kind"] for slot in said.json["slots"]] == ["recovery"]
    assert slots["passphrase"] in said.json["findings"][0]["message"]
    assert shenyu("key", "remove", slots["recovery"], "--yes").status == 2
    assert shenyu("key", "remove", slots["passphrase"], "--yes").status == 0
    assert shenyu("key", "list").status == 0


def test_a_rotation_is_planned_asked_for_and_done(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = sorted(path.name for path in (backed_up / "repo/slots").iterdir())
    planned = shenyu("key", "rotate", "--dry-run")
    assert planned.status == 0
    assert "passphrase given at init" in planned.out
    assert shenyu("key", "rotate").status == 2
    assert sorted(path.name for path in (backed_up / "repo/slots").iterdir()) == slots
    old = shenyu("key", "export", "--yes", "--quiet").out.strip()
    said = shenyu("key", "rotate", "--yes")
    assert said.status == 0
    shown = re.search(r"SHENYU(-[A-Z2-7]{7}){8}", said.out)
    assert shown is not None
    assert shenyu("restore", "latest", "--to", "again").status == 0
    listed = shenyu("key", "list", "--json").json["slots"]
    assert [slot["label"] for slot in listed if slot["in_use"]] == ["recovery key shown at init"]
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", shown[0])
    assert shenyu("verify", "--read-data").status == 0
    for gone in (PASSPHRASE, old):
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", gone)
        assert shenyu("snapshots").status == 4


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_rotation_can_change_the_passphrase(
    way: str, backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "file":
        flags = ["--new-passphrase-file", "new-passphrase"]
    else:
        flags = ["--new-passphrase"]
        assert shenyu("key", "rotate", "--yes", *flags).status == 2
        monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "another one")
    said = shenyu("key", "rotate", "--yes", "--json", *flags)
    assert (said.status, said.json["generation"]) == (0, 2)
    assert shenyu("snapshots").status == 4
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "another one")
    assert shenyu("snapshots").status == 0
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", " ".join(said.json["recovery_words"]))
    assert shenyu("snapshots").status == 0


def test_a_rotation_with_an_exported_key_needs_a_passphrase(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = shenyu("key", "export", "--yes", "--json").json["repository_key"]
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", key)
    assert shenyu("key", "rotate", "--yes").status == 2
    flags = ["--new-passphrase-file", "new-passphrase"]
    assert shenyu("key", "rotate", "--yes", *flags).status == 0
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "another one")
    assert shenyu("restore", "latest", "--to", "again").status == 0


def test_the_repository_key_goes_into_a_new_file_that_is_its_owners_alone(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shenyu("key", "export", "safe").status == 2
    said = shenyu("key", "export", "safe", "--yes", "--json")
    assert (said.status, said.json["file"], said.json["repository_key"]) == (0, "safe", None)
    assert (place / "safe").stat().st_mode & 0o777 == 0o600
    written = (place / "safe").read_text()
    assert shenyu("key", "export", "safe", "--yes").status == 2
    assert shenyu("key", "export", "nowhere/safe", "--yes").status == 3
    assert (place / "safe").read_text() == written
    for slot in (place / "repo/slots").iterdir():
        slot.unlink()
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    config = (place / "shenyu-data.toml").read_text()
    (place / "shenyu-data.toml").write_text(config + 'passphrase_file = "safe"\n')
    assert shenyu("backup").status == 0
    command = 'passphrase_command = ["cat", "safe"]\n'
    (place / "shenyu-data.toml").write_text(config + command)
    flags = ["--new-passphrase-file", "new-passphrase", "--label", "after the loss"]
    assert shenyu("key", "add", *flags).status == 0
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "another one")
    assert shenyu("verify").status == 0


def test_no_secret_is_told_where_it_was_not_asked_for(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every call but the ones that exist to show a key, with --verbose, right and wrong."""
    recovery = (backed_up / "recovery").read_text()
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "geheimes-passwort-7391")
    key = shenyu("key", "export", "--yes", "--quiet").out.strip()
    said = [
        shenyu("key", *words.split("|"), "--verbose")
        for words in (
            "list",
            "add|--label|anna",
            "add|--label|anna again",
            "remove|anna",
            "remove|anna|--dry-run",
            "remove|anna|--yes",
            "rotate|--dry-run",
            "rotate",
            "export",
            "export|file|--yes",
        )
    ]
    for wrong in (key[:-1] + "A", key.replace("KEY-", "KEY-B"), recovery[:-1] + "A"):
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", wrong)
        said.append(shenyu("key", "list", "--verbose"))
        assert wrong[30:60] not in said[-1].out + said[-1].err
    text = "".join(one.out + one.err for one in said)
    assert "geheimes" not in text
    for secret in (key, recovery):
        assert secret[25:40] not in text
    state = Path(os.environ["XDG_STATE_HOME"])
    for path in (*state.rglob("*"), *(backed_up / "repo").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        assert b"geheimes" not in content
        assert key[25:40].encode() not in content
