"""``shenyu-data init``: what it makes, what it refuses, and that the recovery key is never lost."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Said, Shenyu

KEY = re.compile(r"SHENYU-[A-Z2-7]{7}(-[A-Z2-7]{7}){7}")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a data directory, a passphrase, and nothing else."""
    (tmp_path / "data/users").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "correct horse")
    return tmp_path


def init(shenyu: Shenyu, *flags: str) -> Said:
    return shenyu("init", "--data", "data", "--repo", "repo", *flags)


def test_it_makes_a_repository_and_a_configuration_that_name_each_other(
    bare: Path, shenyu: Shenyu
) -> None:
    said = init(shenyu)
    assert said.status == 0
    assert KEY.search(said.out)
    config = tomllib.loads((bare / "shenyu-data.toml").read_text())
    assert config == {"data": str(bare / "data"), "repository": str(bare / "repo")}
    assert shenyu("backup").status == 0


def test_the_json_holds_the_recovery_key_which_opens_the_repository(
    bare: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = init(shenyu, "--json")
    assert said.json.keys() == {
        "repository",
        "repository_id",
        "config_file",
        "config_written",
        "recovery_key",
        "findings",
    }
    assert said.json["config_written"] is True
    assert KEY.fullmatch(said.json["recovery_key"])
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", said.json["recovery_key"].lower())
    assert shenyu("backup").status == 0


def test_quiet_prints_the_recovery_key_alone_for_it_is_shown_only_once(
    bare: Path, shenyu: Shenyu
) -> None:
    said = init(shenyu, "--quiet")
    assert KEY.fullmatch(said.out.removesuffix("\n"))
    assert said.err == ""


def test_a_configuration_that_is_there_is_left_as_it_is(bare: Path, shenyu: Shenyu) -> None:
    (bare / "shenyu-data.toml").write_text("jobs = 1\n")
    said = init(shenyu, "--json")
    assert (said.status, said.json["config_written"]) == (0, False)
    assert (bare / "shenyu-data.toml").read_text() == "jobs = 1\n"


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_the_configuration_goes_where_it_is_said(
    way: str, bare: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "flag":
        assert init(shenyu, "--config", "etc/my.toml").status == 0
    else:
        monkeypatch.setenv("SHENYU_DATA_CONFIG", "etc/my.toml")
        assert init(shenyu).status == 0
    assert "repository" in (bare / "etc/my.toml").read_text()
    assert not (bare / "shenyu-data.toml").exists()


def test_if_the_configuration_cannot_be_written_the_recovery_key_is_shown_all_the_same(
    bare: Path, shenyu: Shenyu
) -> None:
    (bare / "file").write_text("")
    said = init(shenyu, "--config", "file/config.toml", "--json")
    assert said.status == 1
    assert said.json["config_written"] is False
    assert [finding["code"] for finding in said.json["findings"]] == ["config-not-written"]
    assert KEY.fullmatch(said.json["recovery_key"])


def test_a_data_directory_whose_name_is_no_text_can_be_used_but_not_written_down(
    bare: Path, shenyu: Shenyu
) -> None:
    name = os.fsdecode(b"d\xff")
    (bare / "data").rename(bare / name)
    said = shenyu("init", "--data", name, "--repo", "repo")
    assert said.status == 1
    assert KEY.search(said.out)
    assert "Could not write shenyu-data.toml" in said.out
    assert not (bare / "shenyu-data.toml").exists()
    assert shenyu("backup", "--data", name, "--repo", "repo", "--json").status == 0
    assert shenyu("config", "show", "--data", name, "--json").status == 0


def test_a_repository_in_the_data_directory_is_refused(bare: Path, shenyu: Shenyu) -> None:
    for place in ("data/repo", "data", "data/users/../repo"):
        said = shenyu("init", "--data", "data", "--repo", place, "--json")
        assert said.status == 2
        assert said.json["error"]["code"] == "usage"
    (bare / "way").symlink_to("data")
    assert shenyu("init", "--data", "data", "--repo", "way/repo").status == 2
    assert os.listdir(bare / "data") == ["users"]


def test_a_second_init_is_refused_and_harms_nothing(bare: Path, shenyu: Shenyu) -> None:
    init(shenyu)
    before = sorted(path.name for path in (bare / "repo").rglob("*"))
    said = init(shenyu, "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "usage")
    assert sorted(path.name for path in (bare / "repo").rglob("*")) == before


def test_without_a_data_directory_nothing_is_made(bare: Path, shenyu: Shenyu) -> None:
    said = shenyu("init", "--data", "nowhere", "--repo", "repo", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "data-directory")
    assert not (bare / "repo").exists()
    assert not (bare / "shenyu-data.toml").exists()


def test_a_folder_without_users_is_worth_a_warning(bare: Path, shenyu: Shenyu) -> None:
    (bare / "data/users").rmdir()
    said = init(shenyu)
    assert said.status == 0
    assert "[no-users]" in said.err


def test_without_a_passphrase_it_is_a_usage_error(
    bare: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    said = init(shenyu, "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "config")
    assert "SHENYU_DATA_PASSPHRASE" in said.json["error"]["hint"]
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "   ")
    assert init(shenyu).status == 2


def test_the_repository_is_closed_to_others(bare: Path, shenyu: Shenyu) -> None:
    init(shenyu)
    shenyu("backup")
    for path in [bare / "repo", *(bare / "repo").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
