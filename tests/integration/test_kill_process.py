"""``kill -9`` of real backups and restores at random moments: of the first process, or of all.

The moment is drawn from the time that the work takes; a run that came to its end before it was
killed was faster than that, and the next is killed sooner.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Taken,
    bring_back,
    check_whole,
    look,
    take,
)
from shenyu_data.testing.tree import read_tree

USERS = 500
KILLS = 6
GOING_S = 120.0
"""Within which workers follow a parent that was killed, however busy the machine is."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


class Program:
    """The command line, run as a process group of its own."""

    def __init__(self, repository: Repository, secret: str, data: Path) -> None:
        storage = repository.storage
        assert isinstance(storage, LocalStorage)
        self._flags = ["--repo", storage.folder, "--data", str(data), "--jobs", "2"]
        self._environment = {**os.environ, "SHENYU_DATA_PASSPHRASE": secret}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "shenyu_data.cli.main", *arguments, *self._flags],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> float:
        """Let it come to its end; return how long that took."""
        started = time.monotonic()
        assert self.start(*arguments).wait() == 0
        return time.monotonic() - started


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
                found.append(int(entry))
    return found


def kill(process: subprocess.Popen[bytes], after_s: float, everybody: bool) -> bool:
    """Kill the group, or its first process, and see all go. Return whether it was in time."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
        return False
    if everybody:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    killed = process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + GOING_S
    while members(process.pid):
        assert time.monotonic() < deadline, "a worker lives on without its parent"
        time.sleep(0.05)
    return killed


@pytest.fixture
def start(tmp_path: Path) -> tuple[Repository, Program, Application]:
    data = Application(tmp_path / "data")
    for number in range(USERS):
        data.add_user(f"{number:064x}", [chat(number * 10 + index) for index in range(3)])
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, recovery_key = create_repository(storage, PASSPHRASE)
    return repository, Program(repository, recovery_key, data.folder), data


def fresh(repository: Repository) -> Repository:
    """Return the repository without the files it holds open."""
    assert isinstance(repository.storage, LocalStorage)
    return Repository(LocalStorage(repository.storage.folder), repository.keys)


def test_killed_backups_harm_nothing(start: tuple[Repository, Program, Application]) -> None:
    repository, program, data = start
    chance = random.Random(os.urandom(8))
    whole = [take(repository, data)]
    seconds = program.run("backup", "--full")
    killed = 0
    for number in itertools.count():
        if killed == KILLS:
            break
        for user in chance.sample(range(USERS), 60):
            data.prepend_chat(f"{user:064x}", chat(100_000 + number * USERS + user))
        data.add_user(f"new{number}", [chat(number)])
        process = program.start("backup", *(["--full"] if number % 2 else []))
        after_s = seconds * chance.uniform(0.15, 1.0)
        if kill(process, after_s, everybody=number % 4 < 2):
            killed += 1
        else:
            seconds = after_s
        repository = fresh(repository)
        errors = look(repository, read=number % 4 == 3).errors
        assert all(name.endswith(".copy") for name in errors), errors
        assert len(errors) <= 1
    check_whole(repository, whole[0])
    taken = take(repository, data)
    assert {finding.code for finding in taken.findings} <= {"copy-mended"}
    check_whole(repository, taken)
    for snapshot in repository.snapshots()[1:]:  # also those whose end was not told
        restored = bring_back(repository, snapshot.id)
        assert (restored.error, restored.findings) == (None, [])
    assert not look(repository).errors


def test_a_killed_restore_can_be_done_again(
    start: tuple[Repository, Program, Application], tmp_path: Path
) -> None:
    repository, program, data = start
    chance = random.Random(os.urandom(8))
    taken: Taken = take(repository, data)
    target = tmp_path / "restored"
    seconds = program.run("restore", "latest", "--to", str(target))
    assert read_tree(target) == taken.tree
    killed = 0
    for number in itertools.count():
        if killed == 4:
            break
        again = tmp_path / f"restored{number}"
        process = program.start("restore", "latest", "--to", str(again), "--overwrite")
        after_s = seconds * chance.uniform(0.3, 0.95)
        if kill(process, after_s, everybody=bool(number % 2)):
            killed += 1
        else:
            seconds = after_s
        program.run("restore", "latest", "--to", str(again), "--overwrite")
        assert read_tree(again) == taken.tree
    assert not look(fresh(repository), read=False).errors
