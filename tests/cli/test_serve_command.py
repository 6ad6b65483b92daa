"""``serve`` as a real process: stopped, killed, started twice, told to reload, beside others."""

import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from shenyu_data.cli.common import Call
from shenyu_data.cli.own_program import own_program
from shenyu_data.health import overdue
from shenyu_data.health.jobs import Program, Running, launch
from shenyu_data.health.runs import Run, age_s, begin_run, birth_of, end_run, run_with_id, runs
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.scheduler import Scheduler, Work
from shenyu_data.health.serve import health_page
from shenyu_data.health.store import open_store
from shenyu_data.model.config_schedule import JobTable, ScheduleTable
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.configuration import load_settings
from shenyu_data.operations.places import state_folder, state_of

from .conftest import Shenyu

PATIENCE_S = 240.0
PROGRAM = [sys.executable, "-m", "shenyu_data.cli.main"]

CONFIG = """
data = "data"
repository = "repo"
jobs = 1
passphrase_command = ["{place}/passphrase"]
[schedule]
jitter = "0min"
[schedule.jobs.nightly]
run = ["backup"]
at = "@yearly"
"""

PASSPHRASE = """#!/bin/sh
touch started
while [ ! -e go ]; do sleep 0.05; done
cat recovery
"""
"""A backup waits for its passphrase until the test lets it go on."""


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


class Serve:
    """A serve, and the lines that it prints."""

    def __init__(self, *words: str, **environment: str) -> None:
        names = {key: value for key, value in os.environ.items() if "PASSPHRASE" not in key}
        number = len(list(Path().glob("serve*.out")))
        self.out, self.err = Path(f"serve{number}.out"), Path(f"serve{number}.err")
        # Files, and no pipes: the job holds them too, and may outlive it.
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve", "--port", "0", *words],
                env={**names, **environment},
                stdout=out,
                stderr=err,
            )
        wait_until(lambda: "\n" in self.out.read_text())
        self.address = self.out.read_text().splitlines()[0].split(" at ")[-1]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def served(place: Path, interruptible: None) -> Iterator[Path]:
    """A configuration with one job, a backup that is due at once, as there is no snapshot."""
    (place / "shenyu-data.toml").write_text(CONFIG.format(place=place))
    (place / "passphrase").write_text(PASSPHRASE)
    (place / "passphrase").chmod(0o700)
    yield place
    for run in noted(place):
        if run.outcome == "running" and birth_of(run.pid) == run.born:
            os.killpg(run.pid, signal.SIGKILL)


def noted(place: Path) -> list[Run]:
    with open_store(state_of(state_folder(os.environ), str(place / "data"))) as store:
        return runs(store)


def outcomes(place: Path) -> list[tuple[int, str]]:
    return sorted((run.attempt, run.outcome) for run in noted(place))


def test_a_job_that_is_due_is_run_and_noted(served: Path) -> None:
    (served / "go").touch()
    serve = Serve()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    assert serve.end(signal.SIGTERM) == 0
    (run,) = noted(served)
    assert run.job == "nightly"
    assert run.figures["totals"]["users"] == 2


def test_a_stop_interrupts_the_job_and_the_next_start_begins_it_again(served: Path) -> None:
    serve = Serve()
    wait_until((served / "started").exists)
    assert serve.end(signal.SIGTERM) == 0
    assert outcomes(served) == [(1, "interrupted")]
    (served / "go").touch()
    again = Serve()
    wait_until(lambda: outcomes(served) == [(1, "interrupted"), (2, "good")])
    assert again.end(signal.SIGINT) == 0


def test_a_job_outlives_a_serve_that_is_killed_and_is_not_begun_twice(served: Path) -> None:
    serve = Serve()
    wait_until((served / "started").exists)
    assert serve.end(signal.SIGKILL) == -signal.SIGKILL
    again = Serve()
    wait_until(lambda: ask(again, "/healthz")["last_tick"])
    assert ask(again, "/healthz")["running"] is None
    assert outcomes(served) == [(1, "running")]
    (served / "go").touch()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    assert again.end(signal.SIGTERM) == 0
    assert outcomes(served) == [(1, "good")]


def test_a_job_that_was_killed_is_seen_and_waits_to_be_tried_again(
    served: Path, shenyu: Shenyu
) -> None:
    serve = Serve()
    wait_until((served / "started").exists)
    serve.end(signal.SIGKILL)
    (run,) = noted(served)
    os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: birth_of(run.pid) != run.born)
    again = Serve()
    wait_until(lambda: outcomes(served) == [(1, "killed")])
    assert again.end(signal.SIGTERM) == 0
    (job,) = shenyu("schedule", "show", "--json").json["jobs"]
    assert (job["state"], job["last"]["outcome"]) == ("retry", "killed")


def test_a_second_serve_says_that_there_is_one(served: Path, shenyu: Shenyu) -> None:
    (served / "go").touch()
    serve = Serve()
    said = shenyu("serve", "--port", "0", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "already-serving")
    assert f"another shenyu-data serve, process {serve.process.pid}, runs" in str(said.json)
    assert serve.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("flags", [(), ("--now",)])
def test_whoever_calls_a_job_that_serve_runs_is_told(
    flags: tuple[str, ...], served: Path, shenyu: Shenyu
) -> None:
    serve = Serve()
    wait_until((served / "started").exists)
    said = shenyu("schedule", "run", "nightly", *flags, "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "already-run")
    (served / "go").touch()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    assert serve.end(signal.SIGTERM) == 0


def test_two_that_have_no_lock_still_make_each_run_once(served: Path, shenyu: Shenyu) -> None:
    """The lock file is removed under the first one, as by somebody who tidies up."""
    (served / "go").touch()
    first = Serve()
    os.unlink(Path(state_of(state_folder(os.environ), str(served / "data"))) / "serve.lock")
    second = Serve()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    assert first.end(signal.SIGTERM) == 0
    assert second.end(signal.SIGTERM) == 0
    assert outcomes(served) == [(1, "good")]


def ask(serve: Serve, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{serve.address}{path}", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        found: dict[str, object] = json.loads(answer.read())
    return found


def test_it_tells_that_it_lives_and_nothing_else(served: Path) -> None:
    serve = Serve()
    wait_until(lambda: ask(serve, "/healthz")["running"] == "nightly")
    assert ask(serve, "/healthz")["ok"] is True
    connection = http.client.HTTPConnection(serve.address.removeprefix("http://"))
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/healthz/../../etc/passwd", 404),
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 501),
    ):
        connection.request(method, path)
        answer = connection.getresponse()
        assert (path, answer.status) == (path, status)
        answer.read()
    connection.close()
    assert serve.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "256.1.1.1", "nosuch.invalid"])
def test_a_place_where_it_cannot_listen_is_named(host: str, served: Path, shenyu: Shenyu) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = shenyu("serve", "--host", host, "--port", str(port), "--json")
    assert said.status == 3
    assert f"cannot listen at {host}, port {port}" in said.json["error"]["message"]


def test_the_configuration_is_read_again(served: Path) -> None:
    (served / "go").touch()
    serve = Serve()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    text = (served / "shenyu-data.toml").read_text()
    (served / "shenyu-data.toml").write_text("nonsense = 1\n")
    serve.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "nonsense" in serve.err.read_text())
    assert "may fail until it is mended" in serve.err.read_text()
    more = text + '[schedule.jobs.more]\nrun = ["validate"]\nat = "@yearly"\n'
    (served / "shenyu-data.toml").write_text(more)
    serve.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "serving 2 jobs: read again" in serve.out.read_text())
    assert serve.end(signal.SIGTERM) == 0


def test_a_data_directory_that_changes_is_refused_and_jobs_go_on_with_the_old_one(
    served: Path,
) -> None:
    (served / "go").touch()
    serve = Serve()
    wait_until(lambda: outcomes(served) == [(1, "good")])
    text = (served / "shenyu-data.toml").read_text().replace('"data"', '"elsewhere"')
    (served / "elsewhere").mkdir()
    (served / "shenyu-data.toml").write_text(text)
    serve.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "`data` has changed" in serve.err.read_text())
    assert f"goes on with {served / 'data'}" in serve.err.read_text()
    assert serve.end(signal.SIGTERM) == 0


def test_a_job_works_on_what_serve_was_started_for_though_the_configuration_is_edited(
    served: Path,
) -> None:
    call = Call(
        config=None,
        data=None,
        repo=None,
        as_json=False,
        quiet=False,
        verbose=False,
        no_progress=False,
        jobs=None,
    )
    command = own_program(call).command(["validate"])
    (served / "elsewhere").mkdir()
    text = CONFIG.format(place=served).replace('"data"', '"elsewhere"').replace('repo"', 'no"')
    (served / "shenyu-data.toml").write_text(text)
    done = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert json.loads(done.stdout)["documents"] == 4
    assert f"--repo {served / 'repo'}" in " ".join(command)


def test_a_clock_that_is_set_makes_nobody_believe_that_it_hangs(tmp_path: Path) -> None:
    clock = [0.0]
    settings = load_settings(
        config_file=None, data=str(tmp_path), repository=None, jobs=None, environment={}
    )
    schedule = open_schedule(ScheduleTable(jobs={}), str(tmp_path), {})
    work = Work(settings=settings, schedule=schedule, program=Program(words=[], flags=[]))
    scheduler = Scheduler(
        str(tmp_path / "state"),
        work,
        CollectingMonitor(),
        lambda: False,
        lambda line, event, /, **fields: None,
        started_ms=0,
        hooks=(),
        elapsed_s=lambda: clock[0],
    )
    assert health_page(scheduler).status == 200
    for now_ms in (1, 10**12, 5):
        scheduler.tick(now_ms)
        clock[0] += 60
        assert health_page(scheduler).status == 200
    clock[0] += 300
    assert health_page(scheduler).status == 503
    scheduler.close()


HANGS = """#!/bin/sh
touch started
sleep 100000
"""


def make_it_hang(place: Path, timeout: str) -> None:
    """Have the command for the passphrase never come back."""
    (place / "passphrase").write_text(HANGS)
    text = CONFIG.format(place=place) + f'timeout = "{timeout}"\nretries = 0\n'
    (place / "shenyu-data.toml").write_text(text)


def test_a_job_that_hangs_is_ended_after_its_timeout(served: Path) -> None:
    make_it_hang(served, "2s")
    serve = Serve()
    wait_until(lambda: outcomes(served) == [(1, "timed-out")])
    (run,) = noted(served)
    assert run.error == "it took longer than its timeout of 2s"
    assert run.ended_ms is not None
    assert run.ended_ms - run.started_ms >= 2000
    wait_until(lambda: "nightly: timed-out" in serve.out.read_text())
    assert serve.end(signal.SIGTERM) == 1


def test_a_job_that_hangs_and_outlived_its_serve_is_ended_by_the_next(served: Path) -> None:
    make_it_hang(served, "9999d")
    serve = Serve()
    wait_until((served / "started").exists)
    serve.end(signal.SIGKILL)
    make_it_hang(served, "1s")
    wait_until(lambda: age_s(noted(served)[0]) > 1)
    again = Serve()
    (run,) = noted(served)
    wait_until(lambda: birth_of(run.pid) != run.born)
    again.process.send_signal(signal.SIGHUP)  # it looks again
    wait_until(lambda: outcomes(served) == [(1, "timed-out")])
    assert again.end(signal.SIGTERM) == 0


def test_a_run_that_ends_while_it_is_looked_at_for_its_timeout_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        config_file=None, data=str(tmp_path), repository=None, jobs=None, environment={}
    )
    job = JobTable(run=["backup"], at="@yearly", timeout="1s", retries=0)
    schedule = open_schedule(ScheduleTable(jobs={"nightly": job}), str(tmp_path), {})
    state = str(tmp_path / "state")
    begun: list[object] = []

    def start(words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        begun.append(words)
        raise OSError(errno.ENOENT, "nothing is started here")

    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; touch deaf; exec sleep 100000"], start_new_session=True
    )
    try:
        wait_until(Path("deaf").exists)
        with open_store(state) as store:
            due_ms = 1_800_000_000_000
            run_id = begin_run(
                store, "backup", due_ms, job="nightly", due_ms=due_ms, pid=process.pid
            )
            run = run_with_id(store, run_id)
            assert run is not None
            wait_until(lambda: age_s(run) > 1)
            scheduler = Scheduler(
                state,
                Work(settings=settings, schedule=schedule, program=Program(words=[], flags=[])),
                CollectingMonitor(),
                lambda: False,
                lambda line, event, /, **fields: None,
                started_ms=due_ms,
                start=start,
                hooks=(),
            )
            scheduler.tick(due_ms + 1000)  # has it stop, which it heeds late
            with monkeypatch.context() as late:
                late.setattr(overdue, "lives", lambda run: True)  # it was there a moment ago
                process.kill()
                process.wait()
                end_run(store, run_id, due_ms + 2001, "interrupted")
                scheduler.tick(due_ms + 2000)
            scheduler.tick(due_ms + 3000)
            scheduler.close()
            found = run_with_id(store, run_id)
            assert found is not None
            assert (found.outcome, begun) == ("timed-out", [])
    finally:
        process.kill()
        process.wait()


def test_a_job_that_hangs_is_ended_where_cron_calls_it(
    served: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    make_it_hang(served, "1s")
    said = shenyu("schedule", "run", "nightly", "--json")
    assert said.json["outcome"] == "timed-out"
    assert said.status == 130
    assert outcomes(served) == [(1, "timed-out")]
    shown = shenyu("schedule", "show")
    assert "TIMED OUT" in shown.out
    assert shown.status == 1


def test_what_heeds_no_interrupt_is_killed_in_the_end(tmp_path: Path) -> None:
    """By a clock that is played."""
    clock = [0.0]
    started = tmp_path / "started"
    deaf = ["sh", "-c", f"trap '' INT TERM; touch {started}; while :; do sleep 0.05; done"]
    process = launch(deaf, os.environ)
    wait_until(started.exists)
    job = JobTable(run=["verify"], at="@daily", timeout="1h").job("x")
    running = Running(job, 0, 1, None, process, lambda: clock[0])
    assert running.keep_time() == 3600
    for later_s in (3601, 3602, 3662, 3663, 3673):
        assert not running.ended()
        clock[0] = later_s
        running.keep_time()
    assert process.wait() == -signal.SIGKILL
    assert running.outcome == "timed-out"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(abstract: bool, served: Path) -> None:
    (served / "go").touch()
    name = f"@shenyu-test-{os.getpid()}" if abstract else str(served / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        heard: list[str] = []

        def listen() -> None:
            while not heard or "STOPPING=1" not in heard[-1]:
                heard.extend(manager.recv(4096).decode().split("\n"))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        serve = Serve(NOTIFY_SOCKET=name, WATCHDOG_USEC="200000")
        wait_until(lambda: heard.count("WATCHDOG=1") > 3)
        assert heard[0] == "READY=1"
        assert serve.end(signal.SIGTERM) == 0
        listener.join(PATIENCE_S)
    assert "STOPPING=1" in heard


def test_once_runs_what_is_due_and_ends(served: Path, shenyu: Shenyu) -> None:
    (served / "go").touch()
    said = shenyu("serve", "--once", "--json")
    assert (said.status, said.json["runs"], said.json["failed_runs"]) == (0, 1, 0)
    assert outcomes(served) == [(1, "good")]
    assert shenyu("serve", "--once", "--json").json["runs"] == 0


def test_it_runs_on_when_the_disk_with_its_log_is_full(served: Path) -> None:
    (served / "go").touch()
    with open("/dev/full", "wb", buffering=0) as log:
        done = subprocess.run(
            [*PROGRAM, "serve", "--once"], stdout=log, stderr=log, timeout=PATIENCE_S
        )
    assert done.returncode == 0
    assert outcomes(served) == [(1, "good")]


def test_jobs_run_though_nothing_can_be_noted(served: Path, shenyu: Shenyu) -> None:
    (served / "go").touch()
    state = Path(state_of(state_folder(os.environ), str(served / "data")))
    (state / "health.sqlite").mkdir(parents=True)
    said = shenyu("serve", "--once", "--json")
    (state / "health.sqlite").rmdir()
    assert (said.status, said.json["runs"]) == (0, 1)
    assert [item["code"] for item in said.json["findings"]] == ["run-not-noted"]
    assert len(list((served / "repo/snapshots").iterdir())) == 2  # one, stored twice


def test_once_runs_each_job_as_long_as_nothing_can_be_known_of_them(
    served: Path, shenyu: Shenyu
) -> None:
    (served / "go").touch()
    assert shenyu("serve", "--once", "--json").json["runs"] == 1
    state = Path(state_of(state_folder(os.environ), str(served / "data")))
    shutil.rmtree(state)
    (state / "health.sqlite").mkdir(parents=True)
    for _ in range(2):  # there is a snapshot, and no call knows when its job ran
        said = shenyu("serve", "--once", "--json")
        assert (said.status, said.json["runs"], said.json["failed_runs"]) == (0, 1, 0)
    (state / "health.sqlite").rmdir()
