"""Watching with the kernel's own events: each mechanism, what it is told, and when it is blind.

fanotify is tried where the kernel gives it to whoever runs the tests; inotify always.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path

import pytest

from shenyu_data.datadir import inotify as inotify_module
from shenyu_data.datadir.fanotify import Fanotify
from shenyu_data.datadir.inotify import Inotify
from shenyu_data.datadir.touches import CannotWatch, Touch, Watching
from shenyu_data.health.audit import append, entries
from shenyu_data.health.runs import begin_run, birth_of, end_run
from shenyu_data.health.store import open_store
from shenyu_data.health.watch_notes import noticed_since, recall_beat
from shenyu_data.health.watch_own import LATE_MS
from shenyu_data.health.watch_sight import MECHANISMS
from shenyu_data.health.watcher import IDLE_MS, Watcher
from shenyu_data.model.alerts import DAY_MS
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN, Actor
from shenyu_data.operations.configuration import load_settings

PATIENCE_S = 60.0
START = 1_780_056_000_000


def refused() -> str:
    """Say why the kernel gives no fanotify here; "" if it does."""
    try:
        Fanotify("/").close()
    except CannotWatch as error:
        return str(error)
    return ""


REFUSED = refused()
NEEDS_FANOTIFY = pytest.mark.skipif(bool(REFUSED), reason=f"no fanotify here: {REFUSED}")
BOTH = pytest.mark.parametrize(
    "kind", [pytest.param(Fanotify, marks=NEEDS_FANOTIFY), Inotify], ids=["fanotify", "inotify"]
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory of 30 users."""
    folder = tmp_path / "data"
    (folder / "users").mkdir(parents=True)
    for number in range(30):
        (folder / f"users/u{number}.json").write_text('{"id": "x"}')
        (folder / f"histories/u{number}").mkdir(parents=True)
        (folder / f"histories/u{number}/chat-history.json").write_text("[]")
    return folder


@pytest.fixture
def opened(data: Path) -> Iterator[Callable[[type], Watching]]:
    made: list[Watching] = []

    def watching(kind: type) -> Watching:
        one: Watching = kind(str(data))
        made.append(one)
        return one

    yield watching
    for one in made:
        one.close()


def told_until(watching: Watching, enough: Callable[[dict[bytes, int]], bool]) -> dict[bytes, int]:
    """Read what is told until it is enough: what was done to each path."""
    found: dict[bytes, int] = {}
    until = time.monotonic() + PATIENCE_S
    while not enough(found):
        assert time.monotonic() < until, found
        for touch in watching.read() or ():
            found[touch.path] = found.get(touch.path, 0) | touch.what
    return found


def shell(script: str, folder: Path) -> int:
    """Run a script in a folder, and return the number of its process."""
    process = subprocess.Popen(["sh", "-ec", script], cwd=folder)
    assert process.wait() == 0
    return process.pid


@BOTH
def test_openings_writings_and_removals_are_told(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    shell("cat users/u1.json", data)
    shell("echo '{}' > users/u2.json; rm users/u3.json", data)
    shell("mv users/u4.json ../elsewhere.json; mv ../elsewhere.json users/u5.json", data)
    shell("echo '[]' > histories/u6/t.tmp; mv histories/u6/t.tmp histories/u6/new.json", data)
    (data.parent / "beside.json").write_text("{}")
    found = told_until(watching, lambda seen: b"histories/u6/new.json" in seen)
    assert found[b"users/u1.json"] == OPENED
    assert found[b"users/u2.json"] & WRITTEN
    assert found[b"users/u3.json"] == REMOVED
    assert found[b"users/u4.json"] == REMOVED
    assert found[b"users/u5.json"] == WRITTEN
    assert found[b"histories/u6/new.json"] == WRITTEN
    assert not [path for path in found if b"elsewhere" in path or b"beside" in path]


@BOTH
def test_folders_that_come_later_and_what_stands_in_them_are_told(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    shell("mkdir -p ../made/deep; echo '[]' > ../made/deep/first.json", data)
    shell("mv ../made histories/new; mkdir -p histories/newer/deep; echo > histories/newer/x", data)
    told_until(watching, lambda seen: b"histories/newer" in seen and b"histories/new" in seen)
    for _ in range(3):
        watching.read()
    (data / "histories/new/deep/later.json").write_text("[]")
    (data / "histories/newer/deep/later.json").write_text("[]")
    if kind is Inotify:  # fanotify leaves out what this process itself does
        wanted = {b"histories/new/deep/later.json", b"histories/newer/deep/later.json"}
        told_until(watching, lambda seen: wanted <= seen.keys())
    shell("cat histories/new/deep/*.json histories/newer/deep/*.json", data)
    told_until(watching, lambda seen: b"histories/newer/deep/later.json" in seen)


@BOTH
def test_a_folder_that_went_is_told_and_what_happens_there_is_not(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    shell("mv histories/u1 ..; rm -r histories/u2", data)
    found = told_until(watching, lambda seen: b"histories/u2" in seen)
    assert found[b"histories/u1"] & REMOVED
    assert found[b"histories/u2"] & REMOVED
    shell("cat ../u1/chat-history.json; mv ../u1 histories/back; cat histories/back/*", data)
    found = told_until(watching, lambda seen: b"histories/back/chat-history.json" in seen)
    assert not [path for path in found if path.startswith(b"histories/u1/")]


@BOTH
def test_names_may_hold_anything(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    names = [b"new\nline.json", b"\x1b[31m.json", b"\xff\xfe.json", b"..json", b"x" * 250]
    names += ["用户.json".encode(), b"\\n .json ", b"a\xed\xb3\xbf.json"]
    script = "import os, sys\nfor n in eval(sys.argv[1]): os.close(os.open(n, os.O_CREAT))"
    process = subprocess.run([sys.executable, "-c", script, repr(names)], cwd=data / "users")
    assert process.returncode == 0
    wanted = {b"users/" + name for name in names}
    told_until(watching, lambda seen: wanted <= seen.keys())


@BOTH
def test_a_link_leads_nowhere(kind: type, data: Path, opened: Callable[[type], Watching]) -> None:
    outside = data.parent / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("{}")
    (data / "histories/link").symlink_to(outside)
    (data / "fifo").mkdir()
    os.mkfifo(data / "fifo/pipe")
    watching = opened(kind)
    shell("cat ../outside/secret.json histories/link/secret.json users/u1.json", data)
    found = told_until(watching, lambda seen: b"users/u1.json" in seen)
    assert not [path for path in found if b"secret" in path]


@BOTH
def test_a_data_directory_may_be_named_by_a_link(kind: type, data: Path) -> None:
    (data.parent / "link").symlink_to(data)
    watching: Watching = kind(str(data.parent / "link"))
    shell("cat users/u1.json", data)
    told_until(watching, lambda seen: b"users/u1.json" in seen)
    watching.close()


@BOTH
def test_its_own_opening_of_the_directory_is_told(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    watching.seen_root = False
    os.close(os.open(data, os.O_RDONLY))
    until = time.monotonic() + PATIENCE_S
    while not watching.seen_root:
        assert time.monotonic() < until
        watching.read()


def overfill(data: Path) -> None:
    """Do more than a queue holds, each thing another one: what is the same is told once."""
    most = max(
        int(Path(f"/proc/sys/fs/{name}/max_queued_events").read_text())
        for name in ("inotify", "fanotify")
    )
    script = (
        "import os, sys\n"
        "os.rename('users/u0.json', 'users/0')\n"
        "for n in range(int(sys.argv[1])):\n"
        "    os.rename('users/%d' % n, 'users/%d' % (n + 1))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(most)], cwd=data, check=True)


@BOTH
def test_what_the_kernel_drops_is_counted(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    overfill(data)
    until = time.monotonic() + PATIENCE_S
    while not watching.overflows:
        assert time.monotonic() < until
        watching.read()
    assert watching.overflows == 1


def test_after_a_full_queue_the_folders_are_looked_for_again(
    data: Path, opened: Callable[[type], Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify_module, "_RESCAN_S", 0.0)
    watching = opened(Inotify)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    script = (
        "import os, sys\n"
        "for n in range(int(sys.argv[1])):\n"
        "    os.close(os.open('users/u%d.json' % (n % 2), os.O_RDONLY))\n"
        "os.mkdir('histories/unseen')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(most)], cwd=data, check=True)
    assert watching.folders == 33
    until = time.monotonic() + PATIENCE_S
    while watching.folders != 34:
        assert time.monotonic() < until
        watching.read()
    shell("echo > histories/unseen/x.json", data)
    told_until(watching, lambda seen: b"histories/unseen/x.json" in seen)


def test_folders_that_find_no_watch_are_counted(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's limit is of all processes of an account; so the kernel's answer is played."""
    real = inotify_module._libc
    left = [20]

    class Limited:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def inotify_add_watch(self, queue: int, path: bytes, mask: int) -> int:
            left[0] -= 1
            if left[0] < 0:
                return int(real.inotify_add_watch(-2, path, mask | 0x1000))
            return int(real.inotify_add_watch(queue, path, mask))

    monkeypatch.setattr(inotify_module, "_libc", Limited())
    monkeypatch.setattr(inotify_module, "_FULL", (*inotify_module._FULL, 9, 22))
    watching = Inotify(str(data))
    assert (watching.folders, watching.unwatched) == (20, 13)
    watching.close()


@BOTH
@pytest.mark.parametrize("place", ["nowhere", "users/u1.json"])
def test_what_is_no_directory_cannot_be_watched(kind: type, place: str, data: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CannotWatch):
        kind(str(data / place))
    assert len(os.listdir("/proc/self/fd")) == len(before)


@NEEDS_FANOTIFY
def test_no_descriptor_is_left_open(data: Path, opened: Callable[[type], Watching]) -> None:
    """The kernel opens one for each event, of the process that made it."""
    watching = opened(Fanotify)
    before = len(os.listdir("/proc/self/fd"))
    shell("for n in 1 2 3 4 5 6 7 8 9; do cat users/*.json > /dev/null; done", data)
    told_until(watching, lambda seen: b"users/u9.json" in seen)
    while watching.read():
        pass
    assert len(os.listdir("/proc/self/fd")) == before


@NEEDS_FANOTIFY
def test_fanotify_names_the_process(data: Path, opened: Callable[[type], Watching]) -> None:
    watching = opened(Fanotify)
    with subprocess.Popen(
        [sys.executable, "-c", "open('users/u1.json').read(); input()"],
        cwd=data,
        stdin=subprocess.PIPE,
    ) as process:
        found: list[Touch] = []
        until = time.monotonic() + PATIENCE_S
        while not found:
            assert time.monotonic() < until
            found += [touch for touch in watching.read() or () if touch.path == b"users/u1.json"]
        assert found[0] == Touch(OPENED, b"users/u1.json", process.pid, gone=False)
        process.communicate(b"\n")
    pid = shell("exec cat users/u2.json", data)
    found = []
    while not found:
        assert time.monotonic() < until
        found += [touch for touch in watching.read() or () if touch.path == b"users/u2.json"]
    assert found[0] == Touch(OPENED, b"users/u2.json", pid, gone=True)


@BOTH
def test_folders_that_change_places_all_at_once_are_told_by_their_new_names(
    kind: type, data: Path, opened: Callable[[type], Watching]
) -> None:
    watching = opened(kind)
    script = (
        "import os\n"
        "for i in range(30):\n"
        "    os.mkdir(f'histories/u{i}/deep')\n"
        "    os.rename(f'histories/u{i}', f'../out{i}')\n"
        "for i in range(30): os.rename(f'../out{i}', f'histories/u{(i + 1) % 30}')\n"
        "open('users/first', 'w').close()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=data, check=True)
    told_until(watching, lambda seen: b"users/first" in seen)
    for _ in range(3):
        watching.read()
    shell("for f in histories/*; do echo > $f/deep/x; done; touch users/second", data)
    found = told_until(watching, lambda seen: b"users/second" in seen)
    assert {b"histories/u%d/deep/x" % number for number in range(30)} <= found.keys()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """At most some 80 descriptors more than are open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 80, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@NEEDS_FANOTIFY
@pytest.mark.usefixtures("few_descriptors")
def test_however_few_descriptors_there_are_nothing_is_left_out(
    data: Path, opened: Callable[[type], Watching]
) -> None:
    script = (
        "import os\n"
        "for i in range(300): os.mkdir(f'histories/n{i}')\n"
        "for i in range(300): os.close(os.open(f'histories/n{i}', os.O_RDONLY))\n"
        "print(flush=True); input()\n"
        "for i in range(300): open(f'histories/n{i}/t', 'w').close()\n"
        "print(flush=True); input()\n"
    )
    command = [sys.executable, "-c", script]
    watching = opened(Fanotify)
    with subprocess.Popen(
        command, cwd=data, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # as long as it lives the kernel opens a descriptor for each
        told_until(watching, lambda seen: b"histories/n299" in seen)
        process.stdin.write(b"\n")
        process.stdout.readline()
        wanted = {b"histories/n%d/t" % number for number in range(300)}
        told_until(watching, lambda seen: wanted <= seen.keys())
        process.stdin.write(b"\n")


class Place:
    """A watcher, its time, and what it says."""

    def __init__(self, data: Path, config: str, mechanism: str) -> None:
        self.data = data
        self.state = data.parent / "state"
        self.now_ms = START
        self.monitor = CollectingMonitor()
        self.lines: list[str] = []
        self.shown: list[tuple[Touch, Actor]] = []
        path = data.parent / "shenyu-data.toml"
        path.write_text(f'data = "{data}"\n[watch]\n{config}')
        self.settings = load_settings(
            config_file=str(path), data=None, repository=None, jobs=None, environment={}
        )
        accounts = self.settings.watch.accounts
        self.watcher = Watcher(
            *(str(data), str(self.state), self.settings, UTC),
            frozenset(map(int, accounts)) if accounts is not None else None,
            self.monitor,
            self.tell,
            mechanisms={mechanism: MECHANISMS[mechanism]},
            show=lambda touch, actor: self.shown.append((touch, actor)),
        )

    def tell(self, line: str, event: str, /, **fields: str | int | float | None) -> None:
        self.lines.append(line)

    def pass_until(self, true: Callable[[], object]) -> None:
        """Let it look, as its loop does, until something is so."""
        until = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < until, (self.causes(), self.monitor.findings)
            self.now_ms += min(self.watcher.step(self.now_ms), IDLE_MS) + 1

    def causes(self) -> list[tuple[str, str]]:
        return [(item.cause, item.who) for item in self.watcher.noticed]


@pytest.fixture
def place(data: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def begun(config: str = "", mechanism: str = "fanotify") -> Place:
        if mechanism == "fanotify" and REFUSED:
            pytest.skip(f"no fanotify here: {REFUSED}")
        one = Place(data, config, mechanism)
        made.append(one)
        one.watcher.begin(one.now_ms)
        return one

    yield begun
    for one in made:
        one.watcher.end(one.now_ms)


NAMES = pytest.mark.parametrize("mechanism", ["fanotify", "inotify"])


@NAMES
def test_a_bulk_read_is_noticed_noted_and_an_alert(
    mechanism: str, place: Callable[..., Place], data: Path
) -> None:
    watch = place("users = 20", mechanism)
    shell("for f in histories/*/*.json; do cat $f > /dev/null; done; cat users/*.json", data)
    watch.pass_until(lambda: "bulk-read" in [cause for cause, _ in watch.causes()])
    assert [finding.code for finding in watch.monitor.findings][:1] == ["access-bulk"]
    state = str(watch.state)
    lines = [entry for entry in entries(state) if entry is not None and entry.kind == "noticed"]
    assert lines[-1].code == "bulk-read"
    assert lines[-1].figures["users"] >= 20
    with open_store(state) as store:
        assert "access-bulk" in {
            row[0] for row in store.connection.execute("SELECT code FROM alerts").fetchall()
        }
        assert noticed_since(store, START - DAY_MS)
        beat = recall_beat(store)
        assert beat is not None
        assert (beat.mechanism, beat.ended) == (mechanism, False)
    for path in watch.state.rglob("*"):
        if path.is_file():
            assert b"u17" not in path.read_bytes(), path


def test_who_it_was_is_told(place: Callable[..., Place], data: Path) -> None:
    watch = place('accounts = ["4000000000"]\nprograms = ["/usr/bin/true"]')
    with subprocess.Popen(
        [sys.executable, "-c", "open('users/u1.json').read(); input()"],
        cwd=data,
        stdin=subprocess.PIPE,
    ) as process:
        watch.pass_until(lambda: len(watch.causes()) >= 2)
        process.communicate(b"\n")
    program = os.path.realpath(sys.executable)
    assert {item.cause for item in watch.watcher.noticed} == {"account", "program"}
    for item in watch.watcher.noticed:
        assert (item.account, item.programs) == (os.geteuid(), [program])


def test_a_program_is_the_file_that_runs_and_not_what_it_calls_itself(
    place: Callable[..., Place], data: Path
) -> None:
    """It has another name, in /proc, and another one in its arguments: with control characters."""
    watch = place('programs = ["/usr/bin/node"]')
    script = (
        "import ctypes\n"
        "ctypes.CDLL(None).prctl(15, b'\\x1b[31mnode\\n', 0, 0, 0)\n"
        "open('users/u1.json').read()\n"
        "input()\n"
    )
    with subprocess.Popen(
        ["/usr/bin/node", "-c", script],
        executable=sys.executable,
        cwd=data,
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONHOME": sys.base_prefix},
    ) as process:
        watch.pass_until(watch.causes)
        process.communicate(b"\n")
    (item,) = watch.watcher.noticed
    assert (item.cause, item.programs) == ("program", [os.path.realpath(sys.executable)])
    assert watch.monitor.findings[0].message.isprintable()


def test_the_application_may_do_what_others_may_not(
    place: Callable[..., Place], data: Path
) -> None:
    program = os.path.realpath(sys.executable)
    watch = place(f'application = ["{program}"]\nprograms = []\nusers = 5')
    script = (
        "import glob, time\n"
        "for f in glob.glob('histories/*/*'): open(f).read(); open(f, 'w').write('[]')\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=data, stdin=subprocess.PIPE
    ) as process:
        watch.pass_until(lambda: len({touch.path for touch, _ in watch.shown}) >= 30)
        assert {actor.standing for _, actor in watch.shown} == {"application"}
        process.communicate(b"\n")
    assert watch.causes() == []


@NAMES
def test_a_run_of_this_program_is_none_of_the_findings(
    mechanism: str, place: Callable[..., Place], data: Path
) -> None:
    """It is known by its row in the log, as are its workers."""
    watch = place("users = 5", mechanism)
    script = (
        "import subprocess, sys\n"
        "input()\n"
        "subprocess.run(['cat', *sys.argv[1:]], stdout=subprocess.DEVNULL)\n"
        "[open(name).read() for name in sys.argv[1:]]\n"
        "print('done', flush=True)\n"
        "input()\n"
    )
    names = [str(path) for path in data.glob("histories/*/*")]
    with (
        open_store(str(watch.state)) as store,
        subprocess.Popen(
            [sys.executable, "-c", script, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        run = begin_run(store, "backup", START, pid=process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        watch.pass_until(lambda: len({touch.path for touch, _ in watch.shown}) >= 30)
        assert process.stdout.readline() == b"done\n"
        for _ in range(5):
            watch.now_ms += watch.watcher.step(watch.now_ms) + 1
        assert watch.causes() == []
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.wait()
        end_run(store, run, START, "good")
    watch.now_ms += 10 * LATE_MS  # what it did is not told any more
    shell("cat histories/*/*.json", data)
    watch.pass_until(watch.causes)


def test_a_command_that_the_audit_log_has_is_known_too(
    place: Callable[..., Place], data: Path
) -> None:
    watch = place('application = ["/usr/bin/node"]')
    script = "input(); open('users/u1.json', 'w').write('{}'); print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=data, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        facts = {"run": "ab", "verb": "cleanup", "pid": process.pid}
        append(str(watch.state), START, "begun", **facts, born=birth_of(process.pid))
        process.stdin.write(b"\n")
        process.stdin.flush()
        watch.pass_until(lambda: [touch for touch, _ in watch.shown if touch.what & WRITTEN])
        assert watch.causes() == []
        process.stdin.write(b"\n")
        process.stdin.flush()
    shell("echo '{}' > users/u1.json", data)
    watch.pass_until(watch.causes)


@NAMES
def test_a_directory_that_is_replaced_is_noticed_and_watched_again(
    mechanism: str, place: Callable[..., Place], data: Path
) -> None:
    watch = place("users = 5", mechanism)
    watch.pass_until(lambda: watch.watcher.proven)
    os.rename(data, data.parent / "away")
    watch.pass_until(lambda: watch.monitor.findings)
    assert watch.monitor.findings[0].code == "watch-blind"
    for _ in range(5):
        watch.now_ms += watch.watcher.step(watch.now_ms) + 1
    assert len(watch.monitor.findings) == 1
    with open_store(str(watch.state)) as store:
        beat = recall_beat(store)
        assert beat is not None
        assert beat.blind_ms is not None
    shutil.copytree(data.parent / "away", data)
    watch.pass_until(lambda: ("blind", "system") in watch.causes())
    blind = watch.watcher.noticed[0]
    assert blind.blind_s >= IDLE_MS // 1000
    shell("cat histories/*/*.json", data)
    watch.pass_until(lambda: "bulk-read" in [cause for cause, _ in watch.causes()])


@NAMES
def test_what_is_dropped_is_noticed(
    mechanism: str, place: Callable[..., Place], data: Path
) -> None:
    watch = place("users = 1000000\nremoved = 1000000", mechanism)
    overfill(data)
    watch.pass_until(watch.causes)
    (item,) = watch.watcher.noticed
    assert (item.cause, item.dropped) == ("dropped", 1)
    assert watch.watcher.dropped == 1


def test_a_watch_that_was_killed_is_noticed_by_the_next(data: Path) -> None:
    first = Place(data, "", "inotify")
    first.watcher.begin(first.now_ms)
    second = Place(data, "", "inotify")  # the first is never ended, as after kill -9
    second.now_ms += 3_600_000
    second.watcher.begin(second.now_ms)
    (item,) = second.watcher.noticed
    assert (item.cause, item.blind_s) == ("killed", 3600)
    second.watcher.end(second.now_ms)
    third = Place(data, "", "inotify")
    third.watcher.begin(third.now_ms)
    assert third.watcher.noticed == []
    for one in (first, third):
        one.watcher.end(one.now_ms)


def test_what_cannot_be_noted_is_noted_when_there_is_room(
    place: Callable[..., Place], data: Path
) -> None:
    """The database and the folder of the audit log stand in each other's place."""
    watch = place("users = 5", "inotify")
    state = watch.state
    watch.watcher._notebook.close()
    os.rename(state / "health.sqlite", state / "kept")
    (state / "health.sqlite").mkdir()
    shutil.rmtree(state / "audit", ignore_errors=True)
    (state / "audit").write_text("in the way")
    shell("cat histories/*/*.json", data)
    watch.pass_until(watch.causes)
    codes = [finding.code for finding in watch.monitor.findings]
    assert sorted(codes) == ["access-bulk", "watch-not-noted"]
    (state / "health.sqlite").rmdir()
    os.rename(state / "kept", state / "health.sqlite")
    (state / "audit").unlink()
    for _ in range(3):
        watch.now_ms += watch.watcher.step(watch.now_ms) + 1
    assert next(one.code for one in entries(str(state)) if one is not None) == "bulk-read"
    with open_store(str(state)) as store:
        assert [item.cause for item in noticed_since(store, START)] == ["bulk-read"]


@NAMES
def test_looking_feeds_nothing_back(mechanism: str, place: Callable[..., Place]) -> None:
    """Nothing happens but what it does itself, for an hour of its time."""
    watch = place("users = 1\nremoved = 1\nprograms = []\naccounts = []", mechanism)
    for _ in range(400):
        watch.now_ms += max(watch.watcher.step(watch.now_ms), 1000)
    assert watch.shown == []
    assert watch.causes() == []
