"""Where settings and the passphrase come from, and ``shenyu-data config``."""

import os
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.operations import configuration
from tests.cli.conftest import PASSPHRASE, Shenyu

SECRET = "hunter2-very-secret"


def settings(shenyu: Shenyu, *flags: str) -> dict[str, Any]:
    said = shenyu("config", "show", "--json", *flags)
    assert said.status == 0
    return {key: (one["value"], one["source"]) for key, one in said.json["settings"].items()}


def test_flags_beat_the_environment_which_beats_the_file(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings(shenyu)["data"] == (str(place / "data"), "file")
    assert settings(shenyu)["repository"] == (str(place / "repo"), "file")
    monkeypatch.setenv("SHENYU_DATA_DIR", "/from/environment")
    monkeypatch.setenv("SHENYU_DATA_REPO", "/other")
    assert settings(shenyu)["data"] == ("/from/environment", "environment")
    assert settings(shenyu)["repository"] == ("/other", "environment")
    found = settings(shenyu, "--data", "/from/flag", "--repo", "/flag/repo", "--jobs", "3")
    assert found["data"] == ("/from/flag", "flag")
    assert found["repository"] == ("/flag/repo", "flag")
    assert found["jobs"] == (3, "flag")
    assert settings(shenyu)["jobs"] == (1, "file")


def test_the_configuration_file_is_looked_for_in_order(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["XDG_CONFIG_HOME"], "shenyu-data/config.toml")
    home.parent.mkdir(parents=True)
    home.write_text('data = "/at/home"\n')
    named = place / "named.toml"
    named.write_text('data = "/named"\n')
    flag = place / "flag.toml"
    flag.write_text('data = "/flag"\n')
    assert settings(shenyu)["config_file"] == ("shenyu-data.toml", "default")
    (place / "shenyu-data.toml").unlink()
    assert settings(shenyu)["config_file"] == (str(home), "default")
    assert settings(shenyu)["data"] == ("/at/home", "file")
    monkeypatch.setenv("SHENYU_DATA_CONFIG", str(named))
    assert settings(shenyu)["config_file"] == (str(named), "environment")
    assert settings(shenyu, "--config", str(flag))["config_file"] == (str(flag), "flag")
    assert settings(shenyu, "--config", str(flag))["data"] == ("/flag", "file")


def test_the_retention_in_force_is_shown_with_where_it_comes_from(
    place: Path, shenyu: Shenyu
) -> None:
    rules, source = settings(shenyu)["retention"]
    assert (rules["keep_within"], rules["keep_daily"], source) == ("30d", 30, "default")
    with (place / "shenyu-data.toml").open("a") as file:
        file.write('[retention]\nkeep_last = 3\nkeep_tagged = ["release"]\n')
    assert settings(shenyu)["retention"] == ({"keep_last": 3, "keep_tagged": ["release"]}, "file")
    assert settings(shenyu)["grace"] == ("1d", "default")
    assert "keep_last 3, keep_tagged release" in shenyu("config", "show").out


def test_without_any_configuration_everything_can_be_given_by_flags(
    backed_up: Path, shenyu: Shenyu
) -> None:
    (backed_up / "shenyu-data.toml").unlink()
    assert settings(shenyu)["data"] == (None, "default")
    assert "(not set)" in shenyu("config", "show").out
    assert shenyu("backup", "--data", "data", "--repo", "repo").status == 0
    said = shenyu("backup", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "config")
    assert "--data" in said.json["error"]["hint"]


def test_relative_paths_in_the_file_count_from_its_folder(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert settings(shenyu, "--config", "../shenyu-data.toml")["data"][0].endswith("/data")
    assert shenyu("backup", "--config", "../shenyu-data.toml").status == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data = ", "is not TOML"),
        ("data = 3", "data"),
        ('dta = "x"', "dta"),
        ("jobs = 0", "jobs"),
        ("jobs = 65", "jobs"),
        ('passphrase_command = "pass show x"', "passphrase_command"),
        ('passphrase = "x"', "passphrase"),
    ],
)
def test_a_wrong_configuration_is_a_usage_error_that_names_the_file_and_the_key(
    text: str, says: str, place: Path, shenyu: Shenyu
) -> None:
    (place / "shenyu-data.toml").write_text(text + "\n")
    said = shenyu("backup", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "config")
    assert "shenyu-data.toml" in said.json["error"]["message"]
    assert says in said.json["error"]["message"]
    assert said.json["error"]["hint"]


def test_a_configuration_that_is_no_text_is_a_usage_error(place: Path, shenyu: Shenyu) -> None:
    (place / "shenyu-data.toml").write_bytes(b"\xff\xfe")
    assert shenyu("backup").status == 2
    (place / "shenyu-data.toml").unlink()
    (place / "shenyu-data.toml").mkdir()
    assert shenyu("backup").status == 2


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_a_configuration_that_was_named_must_be_there(
    way: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--config", "nowhere.toml"] if way == "flag" else []
    if way == "environment":
        monkeypatch.setenv("SHENYU_DATA_CONFIG", "nowhere.toml")
    said = shenyu("backup", *flags)
    assert said.status == 2
    assert "there is no configuration file nowhere.toml" in said.err


def with_config(place: Path, line: str) -> None:
    (place / "shenyu-data.toml").write_text(f'data = "data"\nrepository = "repo"\n{line}\n')


def test_a_passphrase_file_gives_its_first_line(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (place / "secret").write_text(f"{PASSPHRASE}\r\nnotes below\n")
    (place / "secret").chmod(0o600)
    with_config(place, 'passphrase_file = "secret"')
    assert shenyu("backup").status == 0


def test_a_passphrase_file_that_others_may_read_is_refused(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (place / "secret").write_text(f"{SECRET}\n")
    with_config(place, 'passphrase_file = "secret"')
    for mode in (0o644, 0o640, 0o604):
        (place / "secret").chmod(mode)
        said = shenyu("backup")
        assert said.status == 2
        assert "chmod 600" in said.err
        assert SECRET not in said.err


@pytest.mark.parametrize("text", ["", "\n", "  \nsecond line\n"])
def test_an_empty_passphrase_file_is_refused(
    text: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (place / "secret").write_text(text)
    (place / "secret").chmod(0o600)
    with_config(place, 'passphrase_file = "secret"')
    assert shenyu("backup").status == 2
    (place / "secret").unlink()
    assert shenyu("backup").status == 2


def test_a_passphrase_command_gives_its_first_line_and_no_shell_runs(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    with_config(place, f'passphrase_command = ["echo", "{PASSPHRASE}"]')
    assert shenyu("backup").status == 0
    with_config(place, f'passphrase_command = ["echo", "{PASSPHRASE}; touch oops"]')
    assert shenyu("backup").status == 4
    assert not (place / "oops").exists()


@pytest.mark.parametrize(
    "command", ['["false"]', '["/no/such/program"]', '["true"]', '["a\\u0000"]']
)
def test_a_passphrase_command_that_fails_is_a_usage_error(
    command: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    with_config(place, f"passphrase_command = {command}")
    said = shenyu("backup", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "config")


def test_a_passphrase_command_that_hangs_is_told_to_take_too_long(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    monkeypatch.setattr(configuration, "_COMMAND_TIMEOUT_S", 1)
    with_config(place, 'passphrase_command = ["sleep", "1000"]')
    said = shenyu("backup", "--json")
    assert said.status == 2
    assert "it took longer than" in said.json["error"]["message"]


def test_the_environment_beats_the_passphrase_file(place: Path, shenyu: Shenyu) -> None:
    with_config(place, 'passphrase_file = "nowhere"')
    assert shenyu("backup").status == 0


def test_the_recovery_key_opens_the_repository(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovery = (place / "recovery").read_text()
    for typed in (recovery, recovery.lower(), recovery.replace("-", " "), f" {recovery} "):
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", typed)
        assert shenyu("snapshots").status == 0


@pytest.mark.parametrize("wrong", [SECRET, "SHENYU-AAAAAAA", PASSPHRASE.upper()])
def test_a_wrong_passphrase_exits_with_4_and_one_clear_line(
    wrong: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", wrong)
    said = shenyu("snapshots")
    assert said.status == 4
    assert said.out == ""
    message, hint = said.err.splitlines()
    assert message.startswith("shenyu-data: the passphrase does not open the repository")
    assert hint.startswith("  ")
    assert wrong not in said.err
    assert shenyu("snapshots", "--json").json["error"]["code"] == "wrong-key"


def test_without_a_passphrase_and_a_terminal_nothing_is_asked(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    said = shenyu("snapshots")
    assert said.status == 2
    assert "no passphrase is set" in said.err
    assert "Passphrase:" not in said.out + said.err


@pytest.mark.parametrize("way", ["environment", "file", "command"])
def test_config_show_never_shows_a_secret(
    way: str, place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    (place / "secret").write_text(SECRET + "\n")
    (place / "secret").chmod(0o600)
    if way == "environment":
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", SECRET)
    elif way == "file":
        with_config(place, 'passphrase_file = "secret"')
    else:
        with_config(place, f'passphrase_command = ["echo", "{SECRET}"]')
    for flags in ([], ["--json"], ["--verbose"]):
        said = shenyu("config", "show", *flags)
        assert said.status == 0
        assert SECRET not in said.out + said.err
    for flags in ([], ["--json"], ["--verbose"]):
        said = shenyu("snapshots", *flags)
        assert said.status == 4
        assert SECRET not in said.out + said.err


def test_config_check_says_that_all_is_right(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("config", "check", "--json")
    assert said.status == 0
    assert said.json.keys() == {"settings", "snapshots_count", "findings"}
    assert said.json["snapshots_count"] == 1
    assert "1 snapshot" in shenyu("config", "check").out


def test_config_check_finds_what_is_wrong(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shenyu("config", "check", "--data", "nowhere").status == 3
    assert shenyu("config", "check", "--repo", "data").status == 4
    assert shenyu("config", "check", "--repo", "nowhere").status in (3, 4)
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "wrong")
    assert shenyu("config", "check").status == 4


def test_config_check_tells_of_snapshots_that_cannot_be_read(
    backed_up: Path, shenyu: Shenyu
) -> None:
    for copy in (backed_up / "repo/snapshots").iterdir():
        copy.write_bytes(b"not a snapshot")
    said = shenyu("config", "check", "--json")
    assert (said.status, said.json["snapshots_count"]) == (1, 0)
    assert [item["code"] for item in said.json["findings"]] == ["object-damaged"]


def test_the_commands_of_the_service_are_shown_and_their_programs_checked(
    backed_up: Path, shenyu: Shenyu
) -> None:
    with_config(backed_up, '[service]\nstop = ["true"]\nstart = ["sh", "-c", "a b"]')
    value, source = settings(shenyu)["service"]
    assert source == "file"
    assert (value["stop"], value["start"], value["stop_timeout_s"]) == ("true", "sh -c 'a b'", 120)
    assert shenyu("config", "check").status == 0
    with_config(backed_up, '[service]\nstop = ["true"]\nstart = ["/no/such"]')
    said = shenyu("config", "check")
    assert said.status == 2
    assert "/no/such" in said.err


LATER = {
    "no passphrase file": ('passphrase_file = "nowhere"', "secret-unusable"),
    "others may read it": ('passphrase_file = "open"', "secret-unusable"),
    "no passphrase command": ('passphrase_command = ["/no/such"]', "program-missing"),
    "no webhook file": ('[notifications.webhooks.a]\nurl_file = "nowhere"', "secret-unusable"),
    "no URL in it": ('[notifications.webhooks.a]\nurl_file = "new-passphrase"', "secret-unusable"),
    "no secret": (
        '[notifications.webhooks.a]\nurl_file = "url"\nsecret_file = "nowhere"',
        "secret-unusable",
    ),
    "others may read the password": (
        '[notifications.mail.a]\nhost = "x"\nto = ["a@b"]\nfrom = "a@b"\nuser = "a"\n'
        'password_file = "open"',
        "secret-unusable",
    ),
    "no file of URLs": ('[notifications]\nurls_file = "nowhere"', "secret-unusable"),
    "no command of URLs": ('[notifications]\nurls_command = ["/no/such"]', "program-missing"),
    "no ping file": (
        '[schedule.jobs.a]\nrun = ["backup"]\nat = "@daily"\nping_file = "nowhere"',
        "secret-unusable",
    ),
    "metrics in the data": ('[metrics]\ntextfile = "data/a.prom"', "metrics-unusable"),
    "no folder for metrics": ('[metrics]\ntextfile = "nowhere/a.prom"', "metrics-unusable"),
    "a flag that is none": (
        '[schedule.jobs.a]\nrun = ["verify", "--read-everything"]\nat = "@daily"',
        "job-wrong",
    ),
    "a value that is none": (
        '[schedule.jobs.a]\nrun = ["verify", "--read-data=lots"]\nat = "@daily"',
        "job-wrong",
    ),
    "help": ('[schedule.jobs.a]\nrun = ["verify", "--help"]\nat = "@daily"', "job-wrong"),
    "no rule": ('[schedule.jobs.a]\nrun = ["cleanup"]\nat = "@daily"', "job-wrong"),
}


@pytest.mark.parametrize("what", LATER)
def test_config_check_finds_what_would_fail_at_night(
    what: str, backed_up: Path, shenyu: Shenyu
) -> None:
    text, code = LATER[what]
    with_config(backed_up, text)
    (backed_up / "open").write_text(f"{SECRET}\n")
    (backed_up / "open").chmod(0o644)
    (backed_up / "url").write_text(f"https://example.org/{SECRET}\n")
    (backed_up / "url").chmod(0o600)
    said = shenyu("config", "check", "--json")
    assert said.status == 1
    assert [item["code"] for item in said.json["findings"]] == [code]
    assert SECRET not in said.out + said.err


def test_config_check_is_content_with_what_will_work(backed_up: Path, shenyu: Shenyu) -> None:
    (backed_up / "url").write_text(f"https://example.org/{SECRET}\n")
    (backed_up / "url").chmod(0o600)
    with_config(
        backed_up,
        """
[metrics]
textfile = "a.prom"
[notifications.webhooks.a]
url_file = "url"
secret_file = "url"
[schedule.jobs.a]
run = ["cleanup", "--older-than", "90d"]
at = "0 0 29 2 *"
ping_file = "url"
[schedule.jobs.b]
run = ["permissions", "check", "--file-mode", "640"]
at = "@daily"
[schedule.jobs.c]
run = ["verify", "--read-every", "30d"]
at = "@daily"
""",
    )
    said = shenyu("config", "check", "--json")
    assert (said.status, said.json["findings"]) == (0, [])
    assert not (backed_up / "a.prom").exists()


def test_a_verb_whose_flags_were_checked_still_knows_both_of_its_help_flags(
    place: Path, shenyu: Shenyu
) -> None:
    from shenyu_data.cli.config import _parsed
    from shenyu_data.cli.prune import prune_command

    prune_command._help_option = None  # as if it had not been called yet
    _parsed(("prune", "--jobs", "1"))
    assert shenyu("prune", "-h").status == 0
