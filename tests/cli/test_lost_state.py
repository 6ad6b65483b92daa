"""The state folder is lost: what the repository tells is known again, and the rest is due."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.health.runs import runs
from shenyu_data.health.store import open_store
from shenyu_data.operations.places import state_folder, state_of

from .conftest import Shenyu

JOBS = """
[schedule]
timezone = "UTC"
jitter = "0min"
jobs.backup = { run = ["backup"], at = "@yearly" }
jobs.full = { run = ["backup", "--full"], at = "@yearly" }
jobs.verify = { run = ["verify", "--read-every", "30d"], at = "@yearly" }
jobs.validate = { run = ["validate"], at = "@yearly" }
"""


@pytest.fixture
def watched(backed_up: Path, interruptible: None) -> Path:
    with open(backed_up / "shenyu-data.toml", "a") as file:
        file.write(JOBS)
    return backed_up


def state(place: Path) -> Path:
    return Path(state_of(state_folder(os.environ), str(place / "data")))


def lose_state(place: Path) -> None:
    shutil.rmtree(state(place))


def jobs_run(place: Path) -> list[str]:
    with open_store(str(state(place))) as store:
        return sorted(run.job or f"by hand: {run.verb}" for run in runs(store))


def findings(document: Any) -> dict[str, str]:
    return {item["code"]: item["message"] for item in document["findings"]}


def test_what_the_repository_tells_is_not_done_again_and_the_rest_is_due(
    watched: Path, shenyu: Shenyu
) -> None:
    assert shenyu("verify", "--read-data").status == 0
    lose_state(watched)
    said = shenyu("serve", "--once", "--json")
    assert (said.status, said.json["failed_runs"]) == (0, 0)
    assert jobs_run(watched) == ["validate"]
    told = findings(said.json)["state-rebuilt"]
    assert "backup 20" in told
    assert "verify 20" in told
    assert shenyu("serve", "--once", "--json").json["runs"] == 0


def test_a_backup_by_hand_does_not_hide_that_state_was_lost(watched: Path, shenyu: Shenyu) -> None:
    lose_state(watched)
    assert shenyu("backup").status == 0
    assert shenyu("alerts", "list").status in (0, 1)
    jobs = shenyu("schedule", "show", "--json").json["jobs"]
    states = {item["name"]: item["state"] for item in jobs}
    assert states == {"backup": "waiting", "full": "waiting", "verify": "due", "validate": "due"}


def test_jobs_that_are_new_beside_what_is_known_wait_for_their_time(
    watched: Path, shenyu: Shenyu
) -> None:
    said = shenyu("serve", "--once", "--json")
    assert (said.status, said.json["runs"], said.json["findings"]) == (0, 0, [])


@pytest.mark.parametrize("cause", ["no key", "unreachable"])
def test_a_repository_that_cannot_be_asked_is_said_and_makes_no_job_new(
    cause: str, watched: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_state(watched)
    text = (watched / "shenyu-data.toml").read_text()
    kept = [line for line in text.splitlines() if "jobs.full" not in line and "verify" not in line]
    (watched / "shenyu-data.toml").write_text("\n".join(kept) + "\n")
    if cause == "no key":
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "not this one")
    else:
        (watched / "repo").rename(watched / "elsewhere")
    said = shenyu("serve", "--once", "--json")
    assert (said.status, said.json["failed_runs"]) == (1, 1)
    assert "each job is due now" in findings(said.json)["state-not-rebuilt"]
    assert jobs_run(watched) == ["backup", "validate"]


def test_status_says_the_same_as_before_where_the_repository_tells(
    watched: Path, shenyu: Shenyu
) -> None:
    (watched / "data/histories/ben/chat-history.json").write_text("[")
    assert shenyu("backup").status == 1
    assert shenyu("verify", "--read-data").status == 0
    before = shenyu("status", "--refresh", "--json").json
    assert "backup-degraded" in told(before["alerts"])
    lose_state(watched)
    assert "Nothing is known here" in shenyu("status").out
    after = shenyu("status", "--refresh", "--json").json
    assert "nothing is known here" in shenyu("status").out
    for name in ("data", "backups", "proof", "alerts"):
        assert told(after[name]) == told(before[name])
    assert [item["last_good"] for item in after["jobs"]][:2] == [after["backups"]["last"]] * 2


def told(part: Any) -> Any:
    """Give what is told but for what depends on when one asks."""
    if isinstance(part, dict):
        return {key: value for key, value in part.items() if key not in UNLIKE}
    return [item["code"] for item in part]


UNLIKE = (
    "known",
    "grown_in_s",
    "last",
    "last_good",
    "last_age_s",
    "last_good_age_s",
    "verified",
    "all_read",
)
