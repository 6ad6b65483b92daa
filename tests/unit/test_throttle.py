"""The bandwidth limit: one for all who share it. The clock is the test's own."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from shenyu_data.storage.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return clock


def test_the_average_stays_below_the_limit(clock: Clock) -> None:
    throttle = Throttle(1_000_000)
    for _ in range(100):
        throttle.take(200_000)
    assert clock.now - 1000 == pytest.approx(20, abs=0.3)


def test_a_pause_does_not_save_up_for_a_burst(clock: Clock) -> None:
    throttle = Throttle(1_000_000)
    throttle.take(1_000_000)
    clock.now += 3600
    started = clock.now
    throttle.take(5_000_000)
    assert clock.now - started == pytest.approx(5, abs=0.3)


def test_copies_in_other_processes_share_the_line(clock: Clock) -> None:
    throttle = Throttle(1_000_000)
    copies: list[Throttle] = [pickle.loads(pickle.dumps(throttle)) for _ in range(4)]
    for copy in copies * 5:
        copy.take(1_000_000)
    assert clock.now - 1000 == pytest.approx(20, abs=0.3)


def test_elsewhere_than_on_linux_its_file_goes_with_it_and_may_be_lost(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    throttle = Throttle(1_000_000)
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    os.unlink(file)
    throttle.take(2_000_000)
    assert clock.now - 1000 == pytest.approx(2, abs=0.3)
    second = Throttle(1000)
    assert len(list(tmp_path.iterdir())) == 1
    del second
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import os, signal; from shenyu_data.storage.throttle import Throttle\n"
        "throttle = Throttle(1_000_000); throttle.take(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_not_forked_shares_the_line() -> None:
    throttle = Throttle(1)
    booked = throttle._book(time.monotonic(), 1e6)
    code = (
        "import pickle, sys, time\n"
        "print(pickle.load(sys.stdin.buffer)._book(time.monotonic(), 1.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(throttle), stdout=subprocess.PIPE
    )
    assert float(done.stdout) == pytest.approx(booked + 1.0)


def test_its_descriptor_goes_with_it() -> None:
    throttle = Throttle(1)
    path = throttle._path
    assert os.path.exists(path)
    del throttle
    assert not os.path.exists(path)
