"""The program as a real process: start-up, pipes, a terminal, signals."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shenyu_data import __version__
from shenyu_data.repository.format import BUCKETS
from shenyu_data.repository.repository import open_repository
from shenyu_data.storage.local import LocalStorage
from tests.cli.conftest import PASSPHRASE, Shenyu

PROGRAM = [sys.executable, "-m", "shenyu_data.cli.main"]

PATIENCE_S = 240.0
"""A machine may be as busy as it likes: this only ends what would never end."""


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        **options,
    )


def on_a_terminal(*words: str, answers: str = "") -> tuple[int, str]:
    """Run the program on a terminal of its own; return its exit status and all that was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(PROGRAM[0], [*PROGRAM, *words])
    shown = b""
    waiting = answers.encode()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if waiting and shown.endswith(b": "):
            line, _, waiting = waiting.partition(b"\n")
            os.write(terminal, line + b"\n")
            shown += b"<answered>"
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 1 << 16)
            except OSError:  # how Linux says that the other side was closed
                break
            if not piece:
                break
            shown += piece
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_the_version_is_answered_without_loading_the_verbs() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--version']\n"
        "from shenyu_data.cli.main import main; main()\n"
        "heavy = {'rich', 'zstandard', 'cryptography', 'msgspec', 'blake3', 'multiprocessing'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"shenyu-data {__version__}\n"), done.stderr


def test_the_whole_way_through_real_processes(place: Path) -> None:
    (place / "shenyu-data.toml").unlink()
    environment = {**os.environ, "SHENYU_DATA_PASSPHRASE": PASSPHRASE}
    for words in (
        ["init", "--data", "data", "--repo", "new"],
        ["backup"],
        ["verify", "--read-data"],
        ["restore", "latest", "--to", "target"],
    ):
        done = run(*words, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), words
    listed = json.loads(run("snapshots", "--json", env=environment).stdout)
    assert len(listed["snapshots"]) == 1
    history = "histories/ben/chat-history.json"
    assert (place / "target" / history).read_bytes() == (place / "data" / history).read_bytes()


def test_several_processes_do_what_one_does(place: Path, shenyu: Shenyu) -> None:
    for number in range(500):  # more than are worth a process
        (place / f"data/users/u{number}.json").write_text("{}")
    done = run("backup", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"]["users"] == 502
    assert shenyu("verify", "--read-data").status == 0


def test_no_progress_is_shown_in_a_pipe(place: Path) -> None:
    done = run("backup", env={**os.environ, "FORCE_COLOR": "1"})
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_a_reader_that_goes_away_is_no_disaster(backed_up: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "snapshots", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert errors == b""
    assert process.returncode in (0, 1)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_backup_goes_on_when_nobody_hears_its_warnings_any_more(
    place: Path, log_format: str
) -> None:
    (place / "data/histories/ben/chat-history.json").write_text("[{")
    process = subprocess.Popen(
        [*PROGRAM, "backup"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "SHENYU_DATA_LOG_FORMAT": log_format},
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    with process.stdout:
        assert b"degraded" in process.stdout.read()
    assert process.wait(PATIENCE_S) == 1


def test_a_backup_goes_on_when_the_disk_with_its_log_is_full(place: Path) -> None:
    (place / "data/histories/ben/chat-history.json").write_text("[{")
    with open("/dev/full", "wb", buffering=0) as log:
        done = subprocess.run(
            [*PROGRAM, "backup"], stdout=subprocess.PIPE, stderr=log, timeout=PATIENCE_S
        )
    assert done.returncode == 1
    assert b"degraded" in done.stdout


def test_a_terminal_sees_progress_with_a_rate_and_the_time_left(place: Path) -> None:
    for number in range(300):
        (place / f"data/users/u{number}.json").write_text("{}")
    status, shown = on_a_terminal("backup", "--jobs", "1")
    assert status == 0
    assert "Backing up" in shown
    assert re.search(r"users/s", shown)
    assert re.search(r"\d+:\d\d|--:--", shown)
    assert "302 users" in shown


def test_no_progress_shows_none_on_a_terminal(place: Path) -> None:
    for flags in (["--no-progress"], ["--quiet"]):
        status, shown = on_a_terminal("backup", "--full", *flags)
        assert status == 0
        assert "Backing up" not in shown
        assert "\x1b" not in shown


def test_the_passphrase_is_asked_for_at_a_terminal_and_not_echoed(
    backed_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    status, shown = on_a_terminal("snapshots", answers=f"{PASSPHRASE}\n")
    assert status == 0
    assert "Passphrase: " in shown
    assert PASSPHRASE not in shown
    assert on_a_terminal("snapshots", answers="wrong\n")[0] == 4


def test_init_asks_for_the_passphrase_twice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    status, shown = on_a_terminal("init", "--repo", "new", answers="a secret\na secret\n")
    assert status == 0
    assert shown.count("<answered>") == 2
    assert "a secret" not in shown


def histories_that_take_45_seconds(place: Path) -> list[Path]:
    """Write what a backup waits for in vain, all in the bucket that it comes to last."""
    repository = open_repository(
        LocalStorage(str(place / "repo")), os.environ["SHENYU_DATA_PASSPHRASE"]
    )
    names = (f"writing{number}" for number in itertools.count())
    last = (name for name in names if repository.keys.user_bucket(name.encode()) == BUCKETS - 1)
    made = []
    recent = time.time() + 3600  # and so it stays, however slow the machine is
    for name in itertools.islice(last, 300):
        history = place / f"data/histories/{name}/chat-history.json"
        history.parent.mkdir()
        history.write_text("[")
        os.utime(history, (recent, recent))
        made.append(history)
    return made


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_control_c_exits_with_130_and_leaves_no_snapshot(
    jobs: str, place: Path, shenyu: Shenyu
) -> None:
    for number in range(500):  # more than half of all: the first task meets none of the others
        (place / f"data/users/u{number}.json").write_text("{}")
    endless = histories_that_take_45_seconds(place)
    process = subprocess.Popen(
        [*PROGRAM, "backup", "--jobs", jobs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (place / "repo/packs").exists():  # made when the first task is done
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert out == ""
    assert errors.strip().startswith("shenyu-data: interrupted")
    assert "Traceback" not in errors
    assert shenyu("snapshots", "--json").json["snapshots"] == []
    for history in endless:
        history.write_text("[]")
    assert shenyu("backup").status == 0
    assert shenyu("verify", "--read-data").status == 0
