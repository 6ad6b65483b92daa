"""What ``serve`` and its jobs log as JSON: a line for each event, and no name of a user."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .conftest import Shenyu

CONFIG = """
data = "data"
repository = "repo"
[schedule]
jitter = "0min"
[schedule.jobs.nightly]
run = ["backup"]
at = "@yearly"
retries = 0
"""


def logged(place: Path, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run what is due; give the exit status, the events, and all that was printed."""
    (place / "shenyu-data.toml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "shenyu_data.cli.main", "serve", "--once", "--log-format", "json"],
        cwd=place,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    events = [json.loads(line) for line in done.stderr.splitlines()]
    return done.returncode, events, done.stdout + done.stderr


def test_each_event_is_a_line_with_its_fields(place: Path) -> None:
    status, events, _ = logged(place)
    assert (status, [event["event"] for event in events]) == (
        0,
        ["serve-begins", "run-begins", "run-ends", "serve-ends"],
    )
    begins, ends = events[1:3]
    assert {"job": "nightly", "verb": "backup", "attempt": 1}.items() <= begins.items()
    assert (ends["run"], ends["outcome"], ends["exit_status"]) == (begins["run"], "good", 0)
    assert events[3]["runs"] == 1
    for event in events:
        assert list(event)[:4] == ["time", "level", "event", "message"]
        assert event["time"].endswith("Z")
        assert event["level"] == "info"


def test_what_a_job_has_to_say_is_a_line_too(place: Path) -> None:
    status, events, _ = logged(place, SHENYU_DATA_PASSPHRASE="wrong horse")
    assert status == 1
    (error,) = [event for event in events if event["event"] == "error"]
    assert error["level"] == "error"
    assert "does not open the repository" in error["message"]
    assert events[-2]["outcome"] == "failed"


def test_no_name_of_a_user_is_logged(place: Path) -> None:
    (place / "data" / "users" / "carla-of-nowhere.json").write_text('{"id": ')
    status, events, text = logged(place)
    assert events[-2]["outcome"] == "findings"
    assert status == 0
    assert "carla" not in text


def test_a_finding_of_a_document_says_what_and_not_which(
    place: Path, shenyu: Shenyu, monkeypatch: Any
) -> None:
    (place / "data" / "users" / "carla-of-nowhere.json").write_text('{"id": ')
    monkeypatch.setenv("SHENYU_DATA_LOG_FORMAT", "json")
    said = shenyu("validate", "--quiet")
    (event,) = [json.loads(line) for line in said.err.splitlines()]
    assert (event["event"], event["level"], event["code"]) == ("finding", "error", "torn-json")
    assert "carla" not in said.err
