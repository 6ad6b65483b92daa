"""The configuration file: what it may say, and that what ``init`` writes reads back."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.config import (
    CLEANUP_DESCRIPTIONS,
    DESCRIPTIONS,
    PERMISSIONS_DESCRIPTIONS,
    RETENTION_DESCRIPTIONS,
    SERVICE_DESCRIPTIONS,
    Config,
    RetentionTable,
    ServiceTable,
    parse_config,
    sample,
)
from shenyu_data.model.config_alerts import ALERTS_DESCRIPTIONS
from shenyu_data.model.config_metrics import METRICS_DESCRIPTIONS
from shenyu_data.model.config_notifications import NOTIFICATIONS_DESCRIPTIONS
from shenyu_data.model.config_schedule import SCHEDULE_DESCRIPTIONS
from shenyu_data.model.config_tripwires import TRIPWIRES_DESCRIPTIONS
from shenyu_data.model.config_watch import WATCH_DESCRIPTIONS
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.retention import Retention

TABLES = {
    "retention": RETENTION_DESCRIPTIONS,
    "permissions": PERMISSIONS_DESCRIPTIONS,
    "cleanup": CLEANUP_DESCRIPTIONS,
    "service": SERVICE_DESCRIPTIONS,
    "schedule": SCHEDULE_DESCRIPTIONS,
    "tripwires": TRIPWIRES_DESCRIPTIONS,
    "metrics": METRICS_DESCRIPTIONS,
    "notifications": NOTIFICATIONS_DESCRIPTIONS,
    "alerts": ALERTS_DESCRIPTIONS,
    "watch": WATCH_DESCRIPTIONS,
}


def test_every_key_is_described_and_every_described_key_exists() -> None:
    assert set(DESCRIPTIONS) == set(Config.__struct_fields__)


def test_an_empty_file_says_nothing() -> None:
    assert parse_config("", "x.toml") == Config()


def test_every_key_is_read() -> None:
    text = """
        data = "/data"
        repository = "/repo"
        passphrase_file = "/secret"
        passphrase_command = ["pass", "show", "x"]
        jobs = 3
        cache = "/cache"
        upload_limit = "2MB"
        download_limit = "500 kB/s"
        [retention]
        keep_daily = 7
    """
    assert parse_config(text, "x.toml") == Config(
        data="/data",
        repository="/repo",
        passphrase_file="/secret",
        passphrase_command=["pass", "show", "x"],
        jobs=3,
        cache="/cache",
        upload_limit="2MB",
        download_limit="500 kB/s",
        retention=RetentionTable(keep_daily=7),
    )


def test_the_retention_table_gives_a_policy_and_a_grace() -> None:
    text = """
        [retention]
        keep_last = 1
        keep_hourly = 2
        keep_daily = 3
        keep_weekly = 4
        keep_monthly = 5
        keep_yearly = 6
        keep_within = "30d"
        keep_tagged = ["release"]
        keep_verified = 7
        grace = "12h"
    """
    table = parse_config(text, "x.toml").retention
    assert table is not None
    assert table.policy() == Retention(
        keep_last=1,
        keep_hourly=2,
        keep_daily=3,
        keep_weekly=4,
        keep_monthly=5,
        keep_yearly=6,
        keep_within=30 * 86_400,
        keep_tagged=["release"],
        keep_verified=7,
    )
    assert table.grace_s() == 12 * 3600


def test_a_grace_alone_is_no_policy() -> None:
    table = parse_config('[retention]\ngrace = "2d"', "x.toml").retention
    assert table is not None
    assert table.policy() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data = 1", "data"),
        ("unheard_of = 1", "unheard_of"),
        ("[data]", "data"),
        ("data = ''", "data"),
        ("jobs = 0", "jobs"),
        ("cache = ''", "cache"),
        ("upload_limit = 5", "upload_limit"),
        ("upload_limit = 'fast'", "fast is not a rate"),
        ("download_limit = '0MB'", "0MB is not a rate"),
        ("jobs = 2.5", "jobs"),
        ("jobs = true", "jobs"),
        ("passphrase_command = 'x'", "passphrase_command"),
        ("passphrase_command = [1]", "passphrase_command"),
        ("data = 'a'\ndata = 'b'", "TOML"),
        ("data", "TOML"),
        ("retention = 3", "retention"),
        ("[retention]\nkeep_dayly = 3", "keep_dayly"),
        ("[retention]\nkeep_daily = -1", "keep_daily"),
        ("[retention]\nkeep_daily = '3'", "keep_daily"),
        ("[retention]\nkeep_within = 30", "keep_within"),
        ("[retention]\nkeep_within = '30'", "30 is not an age"),
        ("[retention]\ngrace = 'soon'", "soon is not an age"),
        ("[retention]\nkeep_tagged = '*'", "keep_tagged"),
        ("data = '\0'", "TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml") as caught:
        parse_config(text, "x.toml")
    assert says in caught.value.message
    assert caught.value.hint


TEXT = st.text(st.characters(codec="utf-8"))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "data": TEXT.filter(bool),
            "repository": TEXT.filter(bool),
            "passphrase_file": TEXT.filter(bool),
            "passphrase_command": st.lists(TEXT),
            "jobs": st.integers(1, 64),
            "cache": TEXT.filter(bool),
            "upload_limit": st.sampled_from(["1kB", "2.5 MiB/s", "10gb"]),
        },
    )
)
def test_what_is_written_reads_back_whatever_the_names(values: dict[str, object]) -> None:
    text = sample(values)
    assert tomllib.loads(text) == values
    assert parse_config(text, "x.toml") == Config(**values)  # type: ignore[arg-type]


def test_the_sample_explains_every_key() -> None:
    text = sample({"jobs": 2})
    for name, about in (DESCRIPTIONS | RETENTION_DESCRIPTIONS).items():
        assert f"# {about}\n" in text
        assert f"# {name} =\n" in text or name in ("jobs", *TABLES)


def test_nothing_but_the_tables_follows_the_tables_in_the_sample() -> None:
    parts = re.split(r"^# \[(\w+)\]\n", sample({"jobs": 2}), flags=re.MULTILINE)
    assert parts[1::2] == list(TABLES)
    for name, after in zip(parts[1::2], parts[2::2], strict=True):
        assert all(line.startswith("#") for line in after.splitlines())
        keys = re.findall(r"^# (\w+) =$|^# \[\w+\.(\w+)\.KEY\]$", after, re.MULTILINE)
        assert [key or table for key, table in keys] == list(TABLES[name])


def test_the_sample_shows_a_number_of_the_tripwires_as_no_table() -> None:
    text = sample({})
    assert "# [cleanup.histories.KEY]\n" in text
    assert f"# {TRIPWIRES_DESCRIPTIONS['histories']}\n# histories =\n" in text


def test_the_cleanup_table_gives_a_policy_with_rules_for_single_histories() -> None:
    text = """
        [cleanup]
        older_than = "1y"
        keep_newest = 100
        max_size = "50MB"
        idle_users = "2y"
        empty = true
        orphans = true
        [cleanup.histories.sn43-history]
        older_than = "90d"
    """
    table = parse_config(text, "x.toml").cleanup
    assert table is not None
    assert table.policy() == Policy(
        rule=Rule(older_than_s=365 * 86_400, keep_newest=100, max_bytes=50_000_000),
        histories={"sn43-history": Rule(older_than_s=90 * 86_400)},
        idle_users_s=730 * 86_400,
        empty=True,
        orphans=True,
    )


@pytest.mark.parametrize(
    "line", ['older_than = "6m"', 'max_size = "many"', "keep_newest = -1", 'idle_users = ""']
)
def test_a_wrong_rule_of_cleanup_is_named(line: str) -> None:
    for table in ("[cleanup]", "[cleanup.histories.x]"):
        with pytest.raises(ConfigError):
            parse_config(f"{table}\n{line}", "x.toml")


def test_the_service_table_gives_commands_and_time_outs() -> None:
    text = """
        [service]
        stop = ["systemctl", "stop", "shenyu"]
        start = ["/bin/sh", "-c", ""]
        stop_timeout_s = 5
    """
    assert parse_config(text, "x.toml").service == ServiceTable(
        stop=["systemctl", "stop", "shenyu"], start=["/bin/sh", "-c", ""], stop_timeout_s=5
    )
    assert list(SERVICE_DESCRIPTIONS) == list(ServiceTable.__struct_fields__)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('stop = ["a"]', "start"),
        ('start = ["a"]', "stop"),
        ('start = "a"\nstop = ["a"]', "start"),
        ('start = []\nstop = ["a"]', "`start` is not a command"),
        ('start = ["a"]\nstop = [""]', "`stop` is not a command"),
        ('start = ["a"]\nstop = ["a"]\nstatus = ["a\\u0000"]', "`status` is not a command"),
        ('start = ["a"]\nstop = ["a"]\nstop_timeout_s = 0', "stop_timeout_s"),
        ('start = ["a"]\nstop = ["a"]\nstart_timeout_s = 90000', "start_timeout_s"),
        ('start = ["a"]\nstop = ["a"]\nrestart = ["a"]', "restart"),
    ],
)
def test_a_wrong_key_of_the_service_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(f"[service]\n{text}", "x.toml")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["jobs = " + "9" * 5000, "jobs = " + "[" * 5000],
    ids=["digits", "brackets"],
)
def test_what_no_parser_follows_is_an_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^the\.toml is not TOML"):
        parse_config(text, "the.toml")
