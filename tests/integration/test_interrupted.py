"""Whole programs, interrupted while workers are in the midst of writing: nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest

from shenyu_data.model.layout import is_passing
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Wish
from shenyu_data.operations.export import ExportOptions, export
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.tree import read_tree

PATIENCE_S = 240.0
"""Longer than a machine may be busy; this only ends what would never end."""

USERS = 80

CODE = """
import os, sys, time
from pathlib import Path
from shenyu_data.datadir import aside
from shenyu_data.exchange import native_reader
from shenyu_data.operations import compress, compress_task

folder = sys.argv[1]

def hangs(real):
    count = 0
    def call(*words, **more):
        nonlocal count
        count += 1
        if count > 15:
            Path(folder, str(os.getpid())).touch()
            time.sleep(1000)
        return real(*words, **more)
    return call

compress._TASK_OWNERS = 40
native_reader._BLOCK_BYTES = 1 << 14
compress_task.read_live = hangs(compress_task.read_live)
aside.set_attributes = hangs(aside.set_attributes)
sys.argv = ["shenyu-data", *sys.argv[2:]]
from shenyu_data.cli.main import main
main()
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = Application(tmp_path / "data")
    for number in range(USERS):
        made.add_user(f"user{number}", [chat(number)])
    (tmp_path / "at work").mkdir()
    return tmp_path


def prepare(base: Path, verb: str) -> list[str]:
    """Give the words of a verb, and the directory it works in what that needs."""
    data = base / "data"
    if verb == "compress":
        return ["compress", "--offline"]
    if verb == "decompress":
        options = CompressOptions(
            wish=Wish(way="compress", offline=True), state=str(base / "other state")
        )
        compress(str(data), options, SilentMonitor())
        return ["decompress"]
    export(str(data), str(base / "export"), BytesIO(), ExportOptions(), SilentMonitor())
    data.rename(base / "before")
    for name in ("data", "data/users", "data/histories"):
        (base / name).mkdir()
    return ["import", str(base / "export")]


def begun(base: Path, words: list[str], jobs: int) -> subprocess.Popen[str]:
    """Begin a verb; return when all its processes hang in the midst of it."""
    place = ["--data", str(base / "data"), "--jobs", str(jobs), "--yes"]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(base / "at work"), *words, *place],
        env={**os.environ, "XDG_STATE_HOME": str(base / "state"), "HOME": str(base)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while len(list((base / "at work").iterdir())) < jobs:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", ["compress", "decompress", "import"])
def test_an_interrupted_verb_leaves_nothing_of_its_own(
    base: Path, verb: str, number: signal.Signals, jobs: int
) -> None:
    words = prepare(base, verb)
    before = contents(base / "data")
    process = begun(base, words, jobs)
    assert passing(base / "data"), "it is in the midst of it"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert passing(base / "data") == []
    assert before.items() <= contents(base / "data").items()


@pytest.mark.usefixtures("interruptible")
def test_workers_whose_program_was_killed_remove_what_they_wrote(base: Path) -> None:
    words = prepare(base, "compress")
    process = begun(base, words, 2)
    deadline = time.monotonic() + PATIENCE_S
    process.kill()
    process.communicate()
    while passing(base / "data"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def passing(data: Path) -> list[Path]:
    """Give what has a name that nobody reads."""
    return [path for path in data.rglob("*") if is_passing(os.fsencode(path.name))]


def contents(data: Path) -> dict[bytes, bytes]:
    return {
        path: node.content for path, node in read_tree(data).nodes.items() if node.kind == "file"
    }
