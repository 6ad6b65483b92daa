"""``copy`` on the command line."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu


def test_all_snapshots_are_copied_and_restore_from_there(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shenyu("copy", "--all", "--to-repo", "other")
    assert said.status == 0
    assert said.out.startswith("Copied 1 snapshot in ")
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", (backed_up / "other-recovery").read_text())
    assert shenyu("restore", "latest", "--repo", "other", "--to", "target").status == 0
    assert (backed_up / "target/users/anna.json").read_bytes() == (
        backed_up / "data/users/anna.json"
    ).read_bytes()


def test_a_second_time_there_is_nothing_to_do(backed_up: Path, shenyu: Shenyu) -> None:
    first = shenyu("copy", "latest", "--to-repo", "other", "--json").json
    assert [item["state"] for item in first["snapshots"]] == ["copied"]
    assert first["documents"] == 4
    again = shenyu("copy", "latest", "--to-repo", "other", "--json").json
    assert [item["state"] for item in again["snapshots"]] == ["present"]
    assert (again["documents"], again["stored_bytes"]) == (0, 0)


def test_a_dry_run_says_what_would_be_copied_and_copies_nothing(
    backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("copy", "--all", "--to-repo", "other", "--dry-run")
    assert said.status == 0
    assert "Would copy 1 snapshot" in said.out
    assert not (backed_up / "other/snapshots").exists()
    planned = shenyu("copy", "--all", "--to-repo", "other", "--dry-run", "--json").json
    assert [item["state"] for item in planned["snapshots"]] == ["planned"]


def test_the_passphrase_may_come_from_a_file_that_others_may_not_read(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_TO_PASSPHRASE")
    words = ("copy", "--all", "--to-repo", "other", "--to-passphrase-file", "other-recovery")
    secret = backed_up / "other-recovery"
    secret.chmod(0o644)
    assert shenyu(*words).status == 2
    secret.chmod(0o600)
    assert shenyu(*words).status == 0


@pytest.mark.parametrize("words", [(), ("latest", "--all")])
def test_what_to_copy_must_be_said_once(
    backed_up: Path, shenyu: Shenyu, words: tuple[str, ...]
) -> None:
    said = shenyu("copy", *words, "--to-repo", "other")
    assert said.status == 2
    assert "--all" in said.err


def test_without_a_passphrase_for_the_destination_it_says_where_to_set_one(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_TO_PASSPHRASE")
    said = shenyu("copy", "--all", "--to-repo", "other")
    assert said.status == 2
    assert "SHENYU_DATA_TO_PASSPHRASE" in said.err


def test_a_wrong_passphrase_of_the_destination_is_told_as_such(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_TO_PASSPHRASE", "no horse")
    said = shenyu("copy", "--all", "--to-repo", "other")
    assert said.status == 4
    assert "SHENYU_DATA_TO_PASSPHRASE" in said.err
    assert "no horse" not in said.err


def test_a_destination_that_is_not_there_is_to_be_made_first(
    backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu("copy", "--all", "--to-repo", "nowhere")
    assert said.status in (3, 4)
    assert "init --repo nowhere" in said.err


def test_a_damaged_snapshot_is_not_copied_unless_told_to(damaged: Path, shenyu: Shenyu) -> None:
    said = shenyu("copy", "--all", "--to-repo", "other", "--json")
    assert said.status == 4
    assert [item["state"] for item in said.json["snapshots"]] == ["damaged"]
    said = shenyu("copy", "--all", "--to-repo", "other", "--damaged-too")
    assert said.status == 1
    assert "Copied 1 snapshot" in said.out
