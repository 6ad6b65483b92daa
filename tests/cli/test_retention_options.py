"""The flags that say what to keep: they beat the file, which beats the defaults."""

from pathlib import Path
from typing import Any

import click
import pytest

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.retention_options import retention_options
from shenyu_data.model.errors import UsageError
from shenyu_data.model.retention import DEFAULT_GRACE_S, DEFAULT_RETENTION, Retention


def chosen(*words: str) -> tuple[Retention, int]:
    """Call a verb that has the flags, and give what it receives."""
    received: dict[str, Any] = {}

    @click.command()
    @common
    @retention_options
    def verb(call: Call, retention: Retention, grace_s: int) -> None:
        received.update(retention=retention, grace_s=grace_s)

    verb.main(list(words), standalone_mode=False)
    return received["retention"], received["grace_s"]


def test_without_flags_and_file_the_defaults_hold(place: Path) -> None:
    assert chosen() == (DEFAULT_RETENTION, DEFAULT_GRACE_S)


def test_the_file_replaces_the_whole_default(place: Path) -> None:
    with (place / "shenyu-data.toml").open("a") as file:
        file.write("[retention]\nkeep_daily = 5\n")
    assert chosen() == (Retention(keep_daily=5), DEFAULT_GRACE_S)


def test_any_keep_flag_replaces_the_whole_policy_of_the_file(place: Path) -> None:
    with (place / "shenyu-data.toml").open("a") as file:
        file.write('[retention]\nkeep_daily = 5\nkeep_tagged = ["release"]\ngrace = "2h"\n')
    assert chosen("--keep-last", "3") == (Retention(keep_last=3), 7200)
    assert chosen("--grace", "90min")[0].keep_daily == 5
    assert chosen("--grace", "90min")[1] == 5400


def test_every_flag_is_understood(place: Path) -> None:
    counts = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "verified")
    words = [word for n, name in enumerate(counts, 1) for word in (f"--keep-{name}", str(n))]
    words += ["--keep-within", "30d", "--keep-tagged", "a", "--keep-tagged", "*"]
    assert chosen(*words)[0] == Retention(
        keep_last=1,
        keep_hourly=2,
        keep_daily=3,
        keep_weekly=4,
        keep_monthly=5,
        keep_yearly=6,
        keep_verified=7,
        keep_within=30 * 86_400,
        keep_tagged=["a", "*"],
    )


@pytest.mark.parametrize("words", [("--keep-within", "soon"), ("--keep-last", "-1")])
def test_what_is_no_number_or_age_is_a_usage_error(place: Path, words: tuple[str, str]) -> None:
    with pytest.raises((UsageError, click.UsageError)):
        chosen(*words)
