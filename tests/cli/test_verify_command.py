"""``shenyu-data verify`` and ``validate``: what they print and what they exit with."""

import os
import shutil
from pathlib import Path

import pytest

from shenyu_data.health.store import STORE_NAME, open_store
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.repository import open_repository
from shenyu_data.storage.local import LocalStorage
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
    "read_parts",
    "stalest_read_s",
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


def a_day_passes(place: Path) -> None:
    state = state_of(state_folder(os.environ), str(place / "data"))
    with open_store(state) as store, store.writing() as connection:
        connection.execute("UPDATE verify_parts SET read_ms = read_ms - 86400000")


def test_regular_runs_read_everything(backed_up: Path, shenyu: Shenyu) -> None:
    everything = shenyu("verify", "--read-data", "--json").json["read_bytes"]
    first = shenyu("verify", "--read-every", "2d", "--json").json
    assert (first["read_parts"], first["stalest_read_s"]) == (128, None)
    a_day_passes(backed_up)
    second = shenyu("verify", "--read-every", "2d", "--json").json
    assert second["read_parts"] in (128, 129)  # a little more than a day
    assert 86_400 <= second["stalest_read_s"] < 2 * 86_400
    assert first["read_bytes"] + second["read_bytes"] >= everything
    assert "all were within 1.0 days" in shenyu("verify", "--read-every", "2d").out


def test_damage_in_a_part_is_found_when_it_is_read_and_again_until_it_is_mended(
    damaged: Path, shenyu: Shenyu
) -> None:
    for _ in range(2):
        said = shenyu("verify", "--read-every", "1d", "--json")
        assert (said.status, said.json["read_parts"]) == (4, 256)
        assert said.json["stalest_read_s"] is None
        a_day_passes(damaged)


def test_parts_are_read_though_none_can_be_remembered(backed_up: Path, shenyu: Shenyu) -> None:
    folder = Path(state_of(state_folder(os.environ), str(backed_up / "data")))
    shutil.rmtree(folder)
    (folder / STORE_NAME).mkdir(parents=True)
    said = shenyu("verify", "--read-every", "1d", "--json")
    assert said.json["read_bytes"] > 0
    assert {item["code"] for item in said.json["findings"]} == {"run-not-noted", "parts-not-kept"}


@pytest.mark.parametrize(
    "flags", [["--read-every", "0d"], ["--read-every", "x"], ["--read-every", "1d", "--read-data"]]
)
def test_a_rotation_that_makes_no_sense_is_refused(
    flags: list[str], backed_up: Path, shenyu: Shenyu
) -> None:
    assert shenyu("verify", *flags).status == 2


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


def test_damage_is_found_by_reading_the_part_it_lies_in_and_no_other(
    backed_up: Path, shenyu: Shenyu
) -> None:
    """Also in a document whose pieces lie in several parts, of which one is read."""
    history = backed_up / "data/histories/ben/chat-history.json"
    text = history.read_bytes()
    history.write_bytes(text[:-1] + b", " + text[1:])
    before = set((backed_up / "repo/packs").iterdir())
    assert shenyu("backup").status == 0
    after = set((backed_up / "repo/packs").iterdir())
    assert after - before
    broken = sorted(before)
    for pack in broken:
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
    repository = open_repository(
        LocalStorage(str(backed_up / "repo")), (backed_up / "recovery").read_text()
    )
    packs = {pack.name: int(pack.name[:2], 16) for pack in after}
    for part in sorted({*packs.values(), (max(packs.values()) + 1) % 256}):
        options = VerifyOptions(read_parts=frozenset({part}))
        found = verify(repository, options, SilentMonitor())
        hit = {name for name, lies_in in packs.items() if lies_in == part}
        assert found.damaged_objects == len(hit & {pack.name for pack in broken})
        assert found.damaged_parts == ({part} if found.damaged_objects else set())
