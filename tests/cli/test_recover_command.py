"""``shenyu-data recover``: plan, confirmation, what it prints and exits with, signals, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.tree import read_tree
from tests.cli.conftest import Shenyu

PROGRAM = [sys.executable, "-m", "shenyu_data.cli.main"]
PATIENCE_S = 240.0
"""A machine may be as busy as it likes: this only ends what would never end."""

HISTORY = "data/histories/ben/chat-history.json"


class Served(NamedTuple):
    """A place with a service whose commands are scripts, which a test may write anew."""

    place: Path
    whole: bytes

    def script(self, name: str, text: str) -> None:
        path = self.place / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)

    @property
    def up(self) -> bool:
        return (self.place / "up").exists()

    @property
    def history(self) -> bytes:
        return (self.place / HISTORY).read_bytes()


SERVICE = """
[service]
stop = ["./stop.sh"]
start = ["./start.sh"]
status = ["./status.sh"]
"""


@pytest.fixture
def served(backed_up: Path) -> Served:
    """Give a torn history, and a service that runs."""
    with (backed_up / "shenyu-data.toml").open("a") as file:
        file.write(SERVICE)
    history = backed_up / HISTORY
    served = Served(backed_up, history.read_bytes())
    served.script("stop", "echo stopping; rm -f up")
    served.script("start", "echo starting; : > up")
    served.script("status", "test -e up")
    (backed_up / "up").touch()
    history.write_bytes(served.whole[:-40])
    os.utime(history, (1, 1))
    return served


def test_the_six_steps_are_taken_and_told(served: Served, shenyu: Shenyu) -> None:
    said = shenyu("recover", "--yes")
    assert (said.status, said.err) == (0, ""), said.err
    for words in ("stop the service   done", "start the service  done", "restore --undo"):
        assert words in said.out
    assert "stopping" not in said.out
    assert served.history == served.whole
    assert served.up
    assert shenyu("restore", "--undo", "--yes").status == 0
    assert served.history == served.whole[:-40]


def test_what_the_commands_printed_is_shown_if_asked_for(served: Served, shenyu: Shenyu) -> None:
    assert "| stopping" in shenyu("recover", "--yes", "--verbose").out


def test_without_a_service_it_says_what_to_set(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("recover", "--yes")
    assert (said.status, said.out) == (2, "")
    assert "[service]" in said.err
    assert "--no-service" in said.err


def test_without_a_repository_nothing_is_done(served: Served, shenyu: Shenyu) -> None:
    (served.place / "shenyu-data.toml").write_text('data = "data"\n' + SERVICE)
    assert shenyu("recover", "--yes").status == 2
    assert served.up
    assert served.history == served.whole[:-40]


def test_a_dry_run_shows_the_plan_and_changes_nothing(served: Served, shenyu: Shenyu) -> None:
    shenyu("repair", "--dry-run")  # remembers when the key was last used
    state = Path(os.environ["XDG_STATE_HOME"])
    before = [read_tree(folder) for folder in (served.place, state)]
    said = shenyu("recover", "--dry-run")
    assert (said.status, said.err) == (0, "")
    for words in ("./stop.sh", "./start.sh", "1 error,", "histories/ben/chat-history.json"):
        assert words in said.out
    document = shenyu("recover", "--dry-run", "--json").json
    assert document["dry_run"] is True
    assert [step["command"] for step in document["steps"]] == [
        *("./stop.sh", None, None, None, None, "./start.sh")
    ]
    assert (document["changes"], document["before"]["errors"]) == (1, 1)
    assert [read_tree(folder) for folder in (served.place, state)] == before


def test_without_a_yes_and_nobody_to_ask_nothing_is_done(served: Served, shenyu: Shenyu) -> None:
    served.script("stop", "touch stopped")
    said = shenyu("recover")
    assert said.status == 2
    assert "./stop.sh" in said.out  # the plan was shown
    assert not (served.place / "stopped").exists()
    assert served.history == served.whole[:-40]


def test_for_a_sound_directory_nothing_is_stopped(served: Served, shenyu: Shenyu) -> None:
    (served.place / HISTORY).write_bytes(served.whole)
    served.script("stop", "touch stopped")
    said = shenyu("recover", "--yes")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Nothing to recover")
    assert not (served.place / "stopped").exists()


def test_what_remains_wrong_is_named(served: Served, shenyu: Shenyu) -> None:
    (served.place / "data/users/cid.json").write_bytes(b'{"name": "no id"}')
    said = shenyu("recover", "--yes")
    assert said.status == 1
    assert "users/cid.json" in said.err
    assert "as far as it can be" in said.out
    assert served.history == served.whole
    again = shenyu("recover", "--yes")  # nothing is stopped for what cannot be mended
    assert again.status == 1
    assert again.out.startswith("Nothing to recover")


def test_a_service_that_does_not_start_is_told_loudly_until_it_runs(
    served: Served, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.script("start", "echo no licence; exit 7")
    said = shenyu("recover", "--yes")
    assert said.status == 3
    assert "exited with 7" in said.err
    assert said.err.endswith("shenyu-data: THE SERVICE IS DOWN; start it: ./start.sh\n")
    assert served.history == served.whole
    checked = shenyu("config", "check")
    assert checked.status == 1
    assert "THE SERVICE IS DOWN" in checked.err
    with monkeypatch.context() as patch:
        patch.setenv("SHENYU_DATA_PASSPHRASE", "wrong")
        wrong = shenyu("recover", "--yes")
        assert wrong.status == 4
        assert "THE SERVICE IS DOWN" in wrong.err
    alone = shenyu("recover", "--yes", "--no-service")
    assert alone.status == 1
    assert "THE SERVICE IS DOWN" in alone.err
    document = shenyu("recover", "--yes", "--json").json
    assert (document["service"], document["failure"]["step"]) == ("down", "start")
    assert [finding["code"] for finding in document["findings"]] == ["service-down"]
    assert document["steps"][-1]["output"] == "no licence"
    served.script("start", ": > up")
    assert shenyu("recover", "--yes").status == 0
    assert served.up
    assert shenyu("config", "check").status == 0


def test_a_step_that_fails_is_told_with_what_to_do(served: Served, shenyu: Shenyu) -> None:
    served.script("stop", "exit 5")
    said = shenyu("recover", "--yes")
    assert said.status == 3
    assert "DID NOT RECOVER" in said.out
    assert said.err.splitlines() == [
        "shenyu-data: stop the service: the command that stops the service exited with 5",
        "  Run it by hand: ./stop.sh",
    ]
    quiet = shenyu("recover", "--yes", "--quiet")
    assert (quiet.status, quiet.out) == (3, "")
    assert "exited with 5" in quiet.err
    document = shenyu("recover", "--yes", "--json").json
    assert document["failure"]["error"] == "service"
    assert served.history == served.whole[:-40]


def test_a_damaged_repository_exits_with_4_and_the_service_runs(
    served: Served, shenyu: Shenyu
) -> None:
    for pack in (served.place / "repo/packs").iterdir():
        data = pack.read_bytes()
        pack.write_bytes(data[:8] + bytes(len(data) - 8))
    assert shenyu("recover", "--yes").status == 4
    assert served.up


def test_no_passphrase_reaches_the_commands_or_the_report(
    served: Served, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.script("stop", "env; rm -f up")
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "hunter2")
    said = shenyu("recover", "--yes", "--verbose", "--report", "said.json")
    assert said.status == 0
    texts = [said.out, said.err, *((served.place / f"said.{end}").read_text() for end in ENDS)]
    for text in texts:
        assert "hunter2" not in text
        assert os.environ["SHENYU_DATA_PASSPHRASE"] not in text
    assert "| HOME=" in said.out


ENDS = ("json", "txt")


def start(*words: str) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    return subprocess.Popen(
        [*PROGRAM, "recover", "--yes", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_is_stopped_ends_that_and_the_service_is_started(
    number: signal.Signals, served: Served, interruptible: None
) -> None:
    """Also when the terminal goes away or the system is shut down."""
    served.script("stop", "rm -f up; touch stopping; sleep 1000")
    process = start()
    wait_for((served.place / "stopping").exists)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "stop the service: interrupted" in err
    assert served.up
    assert served.history == served.whole[:-40]


def test_a_run_that_is_killed_holds_the_lock_no_more_and_the_next_one_goes_on(
    served: Served, shenyu: Shenyu
) -> None:
    served.script("stop", "rm -f up; touch stopping; while test -e stopping; do sleep 0.01; done")
    process = start()
    wait_for((served.place / "stopping").exists)
    second = shenyu("recover", "--yes", "--json")
    assert (second.status, second.json["error"]["code"]) == (2, "usage")
    assert "another recovery" in second.json["error"]["message"]
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    (served.place / "stopping").unlink()
    assert "cut off" in shenyu("recover", "--dry-run").out
    document = shenyu("recover", "--yes", "--json").json
    assert (document["runs"], document["service"], document["failure"]) == (2, "running", None)
    assert served.history == served.whole
    assert served.up


def test_beside_a_recovery_nobody_is_told_to_start_the_service(
    served: Served, shenyu: Shenyu
) -> None:
    served.script("stop", "rm -f up; touch stopping; while test -e stopping; do sleep 0.01; done")
    process = start()
    wait_for((served.place / "stopping").exists)
    for status, verb, word in (
        (2, "recover", "--yes"),
        (2, "recover", "--dry-run"),
        (1, "config", "check"),
    ):
        said = shenyu(verb, word)
        assert said.status == status
        assert "start.sh" not in said.out + said.err
        assert "do not start it meanwhile" in said.err
    (served.place / "stopping").unlink()
    assert process.communicate(timeout=PATIENCE_S)[1] == ""
    assert process.returncode == 0
    assert served.up


APPLICATION = """
import json, os, sys, time
number = 0
while os.path.exists("go"):
    with open(sys.argv[1], encoding="utf-8") as file:
        chats = json.load(file)
    number += 1
    chats.insert(0, {"id": f"{os.getpid()}-{number}", "title": "t", "messages": []})
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(chats, file)
    time.sleep(0.01)
os.unlink("running")
"""


def test_after_a_recovery_a_real_application_sees_every_chat(
    served: Served, shenyu: Shenyu
) -> None:
    """It writes one history all the while, is really stopped, and goes on with all it wrote. Others
    are torn, empty, and overwritten with what came after a tear.
    """
    data = Application(served.place / "data")
    for user, count in (("mia", 4), ("noa", 5), ("ida", 6), ("own", 1)):
        data.write(f"users/{user}.json", {"id": user, "created_at": "2025-02-10"})
        data.write(f"histories/{user}/chat-history.json", [chat(one) for one in range(count)])
    assert shenyu("backup").status == 1  # of what is torn already
    (served.place / "application.py").write_text(APPLICATION)
    own = served.place / "data/histories/own/chat-history.json"
    program = f"{sys.executable} application.py {own} > /dev/null 2>&1 &"
    served.script("start", f": > go; : > running; {program}")
    served.script("stop", "rm -f go; while test -e running; do sleep 0.01; done")
    served.script("status", "test -e running")
    subprocess.run(["./start.sh"], check=True)
    try:
        wait_for(lambda: chats_seen(own) > 3)
        for user, text in (("mia", b""), ("noa", b'[{"id": 7, "title": "cut of')):
            path = served.place / f"data/histories/{user}/chat-history.json"
            path.write_bytes(text)
            os.utime(path, (1, 1))
        data.write("histories/ida/chat-history.json", [chat(99)])
        said = shenyu("recover", "--yes", "--json")
        assert said.status == 0, said.out
        assert (said.json["service"], said.json["failure"]) == ("running", None)
        written = chats_seen(own)
        wait_for(lambda: chats_seen(own) > written + 3)
    finally:
        subprocess.run(["./stop.sh"], check=True)
    assert [len(data.chats(user)) for user in ("mia", "noa", "ida")] == [4, 5, 7]
    assert served.history == served.whole
    found = [str(one["id"]) for one in data.chats("own")]
    processes = [one.split("-")[0] for one in found[:-1]]
    assert len(set(found)) == len(found)
    assert len(set(processes)) == 2  # what the one wrote before it was stopped is there
    assert found[-1] == str(chat(0)["id"])


def chats_seen(path: Path) -> int:
    """Return how many chats a history holds that is being rewritten; 0 if it was caught at that."""
    try:
        return len(json.loads(path.read_bytes()))
    except ValueError:
        return 0
