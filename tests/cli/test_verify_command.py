"""``shenyu-data verify`` and ``validate``: what they print and what they exit with."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu

VERIFY_KEYS = {
    "verified",
    "snapshots",
    "objects",
    "object_bytes",
    "owners",
    "erased_records",
    "documents",
    "segments",
    "read_bytes",
    "unused_objects",
    "unused_bytes",
    "damaged_objects",
    "elapsed_s",
    "findings",
}


@pytest.mark.parametrize("flags", [[], ["--read-data"], ["--read-data=100%"], ["--read-data=0.5"]])
def test_a_sound_repository_is_verified(flags: list[str], backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("verify", "--json", *flags)
    assert said.status == 0
    assert said.json.keys() == VERIFY_KEYS
    assert said.json["verified"] is True
    assert (said.json["snapshots"], said.json["documents"]) == (1, 4)
    assert "Verified 1 snapshot" in shenyu("verify", *flags).out


def test_read_data_reads_every_document(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("verify", "--json").json["read_bytes"] == 0
    assert shenyu("verify", "--read-data", "--json").json["read_bytes"] > 0


def test_damage_that_only_reading_shows_exits_with_4(damaged: Path, shenyu: Shenyu) -> None:
    said = shenyu("verify", "--read-data", "--json")
    assert said.status == 4
    assert said.json["verified"] is False
    packs = {f"packs/{path.name}" for path in (damaged / "repo/packs").iterdir()}
    assert said.json["damaged_objects"] == len(packs)
    assert {finding["path"] for finding in said.json["findings"]} == packs
    for finding in said.json["findings"]:
        assert finding["code"] == "object-damaged"
        assert "affects" in finding["message"]
    text = shenyu("verify", "--read-data")
    assert text.out.startswith("DAMAGED: ")


def test_a_missing_pack_exits_with_4(backed_up: Path, shenyu: Shenyu) -> None:
    for pack in (backed_up / "repo/packs").iterdir():
        pack.unlink()
    said = shenyu("verify", "--json")
    assert said.status == 4
    assert said.json["findings"][0]["code"] == "object-missing"


@pytest.mark.parametrize("percent", ["0", "-1", "101", "nan", "half", "%"])
def test_a_share_that_is_none_is_a_usage_error(
    percent: str, backed_up: Path, shenyu: Shenyu
) -> None:
    assert shenyu("verify", f"--read-data={percent}").status == 2


def test_validate_needs_no_key_and_writes_nothing(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    said = shenyu("validate", "--json")
    assert said.status == 0
    assert said.json["errors"] == 0
    assert said.json["documents"] == 4


def test_validate_exits_with_1_and_names_what_is_torn(place: Path, shenyu: Shenyu) -> None:
    history = place / "data/histories/anna/chat1.json"
    history.write_bytes(history.read_bytes()[:-2])
    os.utime(history, (1, 1))
    said = shenyu("validate", "--json")
    assert said.status == 1
    assert [finding["code"] for finding in said.json["findings"]] == ["torn-json"]
    text = shenyu("validate")
    assert text.status == 1
    assert "1 error" in text.out
    assert "error: histories/anna/chat1.json" in text.err


def test_all_shows_what_is_merely_worth_knowing(place: Path, shenyu: Shenyu) -> None:
    (place / "data/users/cleo.json").write_bytes(
        b'{"id": "cleo", "created_at": "2025-02-10T03:28:00.000Z"}'
    )
    assert "info: " not in shenyu("validate").err
    said = shenyu("validate", "--all")
    assert said.status == 0
    assert "info: " in said.err


@pytest.mark.parametrize("name", ["..json", "...", "..x"])
def test_validate_takes_a_path_inside_whatever_its_name(
    name: str, place: Path, shenyu: Shenyu
) -> None:
    (place / "data" / name).write_text("[")
    said = shenyu("validate", str(place / "data" / name), "--json")
    assert said.status in (0, 1)
    assert said.json["path"] == name


def test_validate_takes_another_data_directory(place: Path, shenyu: Shenyu) -> None:
    (place / "elsewhere/users").mkdir(parents=True)
    (place / "elsewhere/histories").mkdir()
    said = shenyu("validate", "elsewhere", "--json")
    assert (said.status, said.json["documents"]) == (0, 0)
    assert shenyu("validate", "nowhere").status == 3
