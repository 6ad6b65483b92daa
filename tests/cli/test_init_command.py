"""``shenyu-data init``: what it makes, what it refuses, and that the recovery key is never lost."""

import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shenyu_data.repository.keytext import parse_recovery_key
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
        "recovery_words",
        "findings",
    }
    assert said.json["config_written"] is True
    assert KEY.fullmatch(said.json["recovery_key"])
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", said.json["recovery_key"].lower())
    assert shenyu("backup").status == 0


def test_the_words_open_the_repository_and_a_mistyped_one_is_named(
    bare: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = init(shenyu, "--json").json["recovery_words"]
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", " ".join(words))
    assert shenyu("backup").status == 0
    for jobs in ("1", "2"):
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", " ".join([*words[:6], "xyzzy", *words[7:]]))
        said = shenyu("verify", "--json", "--jobs", jobs)
        assert (said.status, said.json["error"]["code"]) == (4, "wrong-key")
        assert said.json["error"]["hint"].startswith("Word 7 of the recovery key is not one")
        assert "xyzzy" not in said.out + said.err


def test_the_text_holds_the_words_with_their_numbers_above_the_letters(
    bare: Path, shenyu: Shenyu
) -> None:
    said = init(shenyu)
    numbered = dict(re.findall(r"(\d+) ([a-z]+)", said.out.partition(":\n\n")[2]))
    assert list(map(int, numbered)) == [n + 6 * m for n in range(1, 7) for m in range(4)]
    words = " ".join(numbered[str(number)] for number in range(1, 25))
    letters = KEY.search(said.out)
    assert letters is not None
    assert parse_recovery_key(words) == parse_recovery_key(letters[0])


def test_at_a_terminal_with_room_there_is_a_qr_code_of_the_letters(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = at_terminal(["init", "--data", "data", "--repo", "repo"], columns=80)
    letters = KEY.search(said)
    assert letters is not None
    lines = [line for line in said.splitlines() if set(line) & set("▀▄█")]
    import segno

    drawn = []
    for line in lines:
        cells = re.sub(r"\x1b\[[0-9;]*m", "", line)
        drawn.append([int(cell in "▀█") for cell in cells])
        drawn.append([int(cell in "▄█") for cell in cells])
    code = segno.make(letters[0], error="m", micro=False)
    expected = [list(row) for row in code.matrix_iter(border=2) if any(row)]
    assert [row for row in drawn if any(row)] == expected
    narrow = at_terminal(["init", "--data", "data", "--repo", "other"], columns=30)
    assert KEY.search(narrow)
    assert "▀" not in narrow


def at_terminal(words: list[str], columns: int) -> str:
    """Call the program at a terminal of its own; return what it showed."""
    controller, terminal = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "shenyu_data.cli.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": str(columns), "PYTHONUTF8": "1"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # the last writer closed it
            break
        if not part:
            break
        shown += part
    os.close(controller)
    _, errors = done.communicate()
    assert done.returncode == 0, errors
    return shown.decode()


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


def test_a_configuration_in_force_elsewhere_that_names_both_folders_is_not_hidden_by_a_new_one(
    bare: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(bare / "etc"))
    elsewhere = bare / "etc/shenyu-data/config.toml"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text(f'data = "{bare / "data"}"\nrepository = "{bare / "repo"}"\njobs = 1\n')
    said = shenyu("init", "--json")
    assert (said.status, said.json["config_written"]) == (0, False)
    assert said.json["config_file"] == str(elsewhere)
    assert not (bare / "shenyu-data.toml").exists()


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
