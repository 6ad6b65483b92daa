"""Who a process is goes by what it cannot choose; and a watch is kept running, without haste."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from shenyu_data.health import watch_processes
from shenyu_data.health.jobs import Program
from shenyu_data.health.runs import birth_of
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.scheduler import Work
from shenyu_data.health.watch_keeper import FIRST_PAUSE_MS, MOST_PAUSE_MS, WatchKeeper
from shenyu_data.health.watch_processes import BELIEVED_MS, GONE, Processes, look_at
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.configuration import load_settings

NOW = 1_780_000_000_000
PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.communicate(b"\n")


def processes(
    tmp_path: Path, table: WatchTable | None = None, runs: frozenset[tuple[int, str]] = frozenset()
) -> Processes:
    return Processes(table or WatchTable(), lambda: runs, str(tmp_path))


def test_a_process_is_its_account_and_the_file_that_runs(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    actor = processes(tmp_path).actor_of(sleeping.pid, NOW, gone=False)
    assert (actor.standing, actor.account, actor.program) == ("other", os.geteuid(), PYTHON)


@pytest.mark.parametrize(
    ("table", "standing"),
    [
        (WatchTable(application=[PYTHON]), "application"),
        (WatchTable(application=["/usr/bin/node"], programs=[PYTHON]), "allowed"),
        (WatchTable(application=["/usr/bin/node"], programs=["/usr/bin/cat"]), "other"),
    ],
)
def test_lists_say_how_it_stands(
    table: WatchTable, standing: str, sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert processes(tmp_path, table).actor_of(sleeping.pid, NOW, gone=False).standing == standing


def test_a_run_of_ours_is_known_by_number_and_birth(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    born = birth_of(sleeping.pid)
    assert born is not None
    runs = frozenset({(sleeping.pid, born)})
    assert processes(tmp_path, runs=runs).actor_of(sleeping.pid, NOW, gone=False).standing == "own"
    another = frozenset({(sleeping.pid, born + "1"), (sleeping.pid + 1, born)})
    found = processes(tmp_path, runs=another).actor_of(sleeping.pid, NOW, gone=False)
    assert found.standing == "other"


def test_what_descends_from_a_run_of_ours_is_ours(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    born = birth_of(os.getpid())
    assert born is not None
    runs = frozenset({(os.getpid(), born)})
    assert processes(tmp_path, runs=runs).actor_of(sleeping.pid, NOW, gone=False).standing == "own"


def test_one_that_is_gone_is_what_its_number_was_a_moment_ago(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    known = processes(tmp_path)
    assert known.actor_of(sleeping.pid, NOW, gone=True) is GONE
    actor = known.actor_of(sleeping.pid, NOW, gone=False)
    assert known.actor_of(sleeping.pid, NOW + BELIEVED_MS - 1, gone=True) is actor
    assert known.actor_of(sleeping.pid, NOW + BELIEVED_MS, gone=True) is GONE


def test_a_number_that_another_process_has_now_is_looked_at_again(tmp_path: Path) -> None:
    known = processes(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert known.actor_of(process.pid, NOW, gone=False).program.endswith("cat")
        process.communicate(b"")
        assert known.actor_of(process.pid, NOW + 2000, gone=False).program.endswith("cat")
        assert known.actor_of(process.pid, NOW + BELIEVED_MS, gone=False) is GONE


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = look_at(os.getpid())
    monkeypatch.setattr(watch_processes, "look_at", lambda pid: seen)
    known = processes(tmp_path)
    for pid in range(1, 6000):
        known.actor_of(pid, NOW, gone=False)
    assert len(known._known) == watch_processes.MOST_KNOWN


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/shenyu.service\n", "shenyu.service"),
        ("0::/system.slice/shenyu.service/worker\n", "shenyu.service"),
        ("0::/system.slice/docker-3f27.scope\n", "docker-3f27.scope"),
        ("0::/user.slice/user-1001.slice/user@1001.service/app.slice/shenyu.service\n", ""),
        ("0::/user.slice/user-1001.slice/session-3.scope\n", ""),
        ("1:name=systemd:/system.slice/shenyu.service\n0::/\n", "shenyu.service"),
        ("12:cpu:/system.slice/shenyu.service\n0::/\n", ""),
        ("nonsense\n", ""),
        ("", ""),
    ],
)
def test_a_unit_is_what_the_manager_of_the_system_says(
    text: str, unit: str, tmp_path: Path
) -> None:
    (tmp_path / "cgroup").write_text(text)
    assert watch_processes._unit(str(tmp_path)) == unit


def test_a_program_at_the_path_of_another_is_not_that_program(tmp_path: Path) -> None:
    """As somebody sees to it who mounts their own at that path, where nobody else sees it."""
    (tmp_path / "own").write_text("")
    folder = tmp_path / "proc"
    (folder / "ns").mkdir(parents=True)
    (folder / "exe").symlink_to("/usr/bin/env")
    (folder / "ns/mnt").symlink_to("/proc/self/ns/mnt")
    assert watch_processes._program(str(folder)) == ("/usr/bin/env", True)
    assert not watch_processes._same(str(tmp_path / "own"), "/usr/bin/env")
    (folder / "exe").unlink()
    (folder / "exe").symlink_to("/usr/bin/env (deleted)")
    assert watch_processes._program(str(folder)) == ("/usr/bin/env", True)
    (folder / "ns/mnt").unlink()
    assert watch_processes._program(str(folder)) == ("/usr/bin/env", False)


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("/usr/bin/cat", "/usr/bin/cat"),
        ("/tools/anna/cat", "/tools/…/cat"),
        ("/anna", "/…"),
        ("/tools/copy of anna", "/tools/copy of …"),
        ("/tools/anna.cat", "/tools/….cat"),
        ("/anna-anna/cat_9", "/…-…/cat_9"),
        ("/tools/for-b_b.c/x", "/tools/for-…/x"),
        ("/tools/hannah/...", "/tools/hannah/..."),
        ("/" + "a." * 20, "/…"),
        ("{data}/histories/ben/cat", "a program within the data directory"),
    ],
)
def test_no_program_names_a_user(program: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/anna.json").write_text("{}")
    (tmp_path / "users/b_b.c.json").write_text("{}")
    known = processes(tmp_path)
    assert known._without_users(program.format(data=tmp_path)) == shown


class Fake:
    """A process whose end is told."""

    def __init__(self) -> None:
        self.pid = 1 << 30  # of no process
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def wait(self) -> int:
        assert self.status is not None
        return self.status

    def send_signal(self, sig: int) -> None:
        self.status = 0


class Kept:
    """A keeper, and what it begins."""

    def __init__(self, tmp_path: Path) -> None:
        self.begun: list[Fake] = []
        self.refuses = False
        self.monitor = CollectingMonitor()
        self.keeper = WatchKeeper(self.monitor, lambda *_, **__: None, start=self.start)
        settings = load_settings(
            config_file=None, data=str(tmp_path), repository=None, jobs=None, environment={}
        )
        self.work = Work(
            settings=msgspec.structs.replace(settings, watch=WatchTable(enabled=True)),
            schedule=open_schedule(None, str(tmp_path), {}),
            program=Program(words=["shenyu-data"], flags=["--data", "x"]),
        )

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Fake:
        if self.refuses:
            raise PermissionError(13, "Permission denied")
        assert command == ["shenyu-data", "watch", "--data", "x"]
        assert "NOTIFY_SOCKET" not in environment
        self.begun.append(Fake())
        return self.begun[-1]

    def tick(self, now_ms: int) -> None:
        self.keeper.tick(now_ms, self.work)


def test_a_watch_that_ends_is_begun_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    times = []
    for second in range(4 * 3600):
        count = len(kept.begun)
        kept.tick(NOW + second * 1000)
        if len(kept.begun) > count:
            times.append(second * 1000)
            kept.begun[-1].status = 3
    pauses = [later - earlier for earlier, later in pairwise(times)]
    # Its end is seen by the next tick.
    assert pauses[0] == FIRST_PAUSE_MS + 1000
    assert pauses[-1] == MOST_PAUSE_MS + 1000
    assert [finding.code for finding in kept.monitor.findings] == ["watch-ended"]
    # Another one may watch, which is why this one ended.
    assert kept.monitor.findings[0].message.startswith("the watch that serve keeps does not run")


def test_one_that_cannot_be_begun_is_told_once_and_tried_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.refuses = True
    for second in range(0, 3600, 10):
        kept.tick(NOW + second * 1000)
    assert len(kept.monitor.findings) == 1
    kept.refuses = False
    kept.tick(NOW + 2 * 3_600_000)
    assert len(kept.begun) == 1


def test_a_watch_that_noticed_something_and_was_stopped_is_no_failure(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.tick(NOW)
    kept.begun[-1].status = 1
    kept.tick(NOW + 1000)
    assert kept.monitor.findings == []
    kept.tick(NOW + 1000 + FIRST_PAUSE_MS)
    assert len(kept.begun) == 2


def test_a_clock_that_is_set_back_keeps_nobody_from_watching(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.tick(NOW)
    kept.begun[-1].status = 3
    kept.tick(NOW + 1000)
    kept.tick(NOW - 86_400_000)
    assert len(kept.begun) == 2


def test_one_that_is_wanted_no_more_is_stopped(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.tick(NOW)
    settings = msgspec.structs.replace(kept.work.settings, watch=WatchTable())
    kept.work = msgspec.structs.replace(kept.work, settings=settings)
    kept.tick(NOW + 1000)
    assert kept.begun[-1].status == 0
    assert kept.monitor.findings == []


def test_one_that_is_to_notice_something_else_is_begun_anew(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.tick(NOW)
    table = WatchTable(enabled=True, users=50)
    kept.work = msgspec.structs.replace(
        kept.work, settings=msgspec.structs.replace(kept.work.settings, watch=table)
    )
    kept.tick(NOW + 1000)
    assert kept.begun[0].status == 0
    kept.tick(NOW + 2000)
    assert len(kept.begun) == 2


def test_it_is_begun_only_where_it_is_wanted(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    settings = msgspec.structs.replace(kept.work.settings, watch=WatchTable())
    kept.work = msgspec.structs.replace(kept.work, settings=settings)
    kept.tick(NOW)
    assert kept.begun == []
