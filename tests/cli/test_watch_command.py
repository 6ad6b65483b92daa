"""``watch`` as a real process: stopped, killed, started twice, kept by ``serve``."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shenyu_data.health.runs import birth_of
from shenyu_data.health.store import open_store
from shenyu_data.health.watch_notes import audit_noticed, recall_beat
from shenyu_data.model.watch_terms import Noticed
from shenyu_data.operations.places import state_folder, state_of

from .conftest import Shenyu
from .test_serve_command import PATIENCE_S, PROGRAM, Serve, wait_until

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "examples/shenyu-data-watch.service"


class Watch:
    """A watch, and the lines that it prints."""

    def __init__(self, *words: str, **environment: str) -> None:
        number = len(list(Path().glob("watch*.out")))
        self.out, self.err = Path(f"watch{number}.out"), Path(f"watch{number}.err")
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, "watch", *words],
                env={**os.environ, **environment},
                stdout=out,
                stderr=err,
            )
        if "--json" not in words:
            wait_until(lambda: "watching" in self.out.read_text() + self.err.read_text())

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def watched(place: Path, interruptible: None) -> Iterator[Path]:
    """Thirty users more, and limits that they exceed."""
    for number in range(30):
        folder = place / f"data/histories/u{number}"
        folder.mkdir()
        (folder / "chat-history.json").write_text("[]")
    with (place / "shenyu-data.toml").open("a") as file:
        file.write("[watch]\nusers = 20\n")
    yield place
    for watch in place.glob("watch*.pid"):
        os.kill(int(watch.read_text()), signal.SIGKILL)


def read_all(place: Path) -> None:
    subprocess.run(["sh", "-c", "cat data/histories/*/*.json > /dev/null"], cwd=place, check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_is_stopped_by_signals(number: int, watched: Path, shenyu: Shenyu) -> None:
    watch = Watch()
    assert watch.end(number) == 0
    assert "stopped after 0 accesses" in watch.out.read_text()
    kinds = [line["kind"] for line in shenyu("audit", "show", "--json").json["entries"]]
    assert kinds == ["ended", "begun", "log"]


@pytest.mark.parametrize("mechanism", ["auto", "inotify"])
def test_what_it_noticed_is_told_and_its_exit_status(mechanism: str, watched: Path) -> None:
    watch = Watch("--mechanism", mechanism)
    read_all(watched)
    wait_until(lambda: "[access-bulk]" in watch.err.read_text())
    assert watch.end(signal.SIGTERM) == 1


def test_a_backup_is_none_of_the_findings_and_an_export_is(watched: Path, shenyu: Shenyu) -> None:
    """What somebody would use who takes everything along is noted nowhere else."""
    fanotify = ("--mechanism", "fanotify")
    if shenyu("watch", "--check", *fanotify).status == 3:
        pytest.skip("the kernel gives no fanotify here")
    watch = Watch(*fanotify)
    subprocess.run([*PROGRAM, "backup"], stdout=subprocess.DEVNULL, check=True)
    begun_ms = time.time_ns() // 1_000_000
    subprocess.run([*PROGRAM, "export", "taken.jsonl"], stdout=subprocess.DEVNULL, check=True)
    wait_until(lambda: "[access-bulk]" in watch.err.read_text())
    assert watch.end(signal.SIGTERM) == 1
    noticed = [
        entry
        for entry in shenyu("audit", "show", "--json").json["entries"]
        if entry["kind"] == "noticed"
    ]
    assert [entry["code"] for entry in noticed] == ["bulk-read"]
    assert noticed[0]["figures"]["first_ms"] >= begun_ms


def test_json_is_one_document_of_what_was_noticed(watched: Path, shenyu: Shenyu) -> None:
    watch = Watch("--json", "--mechanism", "inotify")
    state = state_of(state_folder(os.environ), str(watched / "data"))
    wait_until(lambda: os.path.exists(os.path.join(state, "health.sqlite")))

    def beats() -> bool:
        with open_store(state) as store:
            return recall_beat(store) is not None

    wait_until(beats)
    read_all(watched)
    wait_until(lambda: "bulk-read" in shenyu("audit", "show").out)
    assert watch.end(signal.SIGTERM) == 1
    document = json.loads(watch.out.read_text())
    assert document["mechanism"] == "inotify"
    assert document["process_known"] is False
    (item,) = document["noticed"]
    assert (item["cause"], item["who"]) == ("bulk-read", "unseen")
    assert [finding["code"] for finding in document["findings"]] == ["access-bulk"]
    assert shenyu("status").status == 1
    assert "Somebody opened or wrote documents of" in shenyu("status").out


def test_the_audit_log_says_at_a_glance_who_it_was_and_how_much(
    watched: Path, shenyu: Shenyu
) -> None:
    state = state_of(state_folder(os.environ), str(watched / "data"))
    gone = Noticed(cause="bulk-read", who="gone", first_ms=1, last_ms=2, accesses=7, users=6)
    person = replace(gone, who="account-1001", account=1001, programs=["/bin/x"])
    writer = replace(gone, cause="writer", who="account-0:/bin/y", account=0, login=9, users=0)
    for item in (person, writer, gone):
        audit_noticed(state, item, 3)
    lines = shenyu("audit", "show").out.splitlines()
    assert re.search(r"noticed +watch +gone +bulk-read: users 6, accesses 7$", lines[1])
    assert re.search(r"account 0 \(logged in as 9\) +writer: accesses 7$", lines[2])
    assert re.search(r"account 1001, /bin/x +bulk-read: users 6, accesses 7$", lines[3])


def test_only_one_watches(watched: Path, shenyu: Shenyu) -> None:
    watch = Watch()
    said = shenyu("watch", "--check", "--json")
    assert said.status == 3
    assert said.json["error"]["code"] == "already-serving"
    assert f"process {watch.process.pid}, watches" in said.json["error"]["message"]
    assert watch.end(signal.SIGTERM) == 0
    assert shenyu("watch", "--check").status == 0


def test_one_that_was_killed_is_noticed_by_the_next_and_by_the_audit_log(
    watched: Path, shenyu: Shenyu
) -> None:
    watch = Watch()
    watch.end(signal.SIGKILL)
    said = shenyu("watch", "--check", "--json")
    assert said.status == 1
    assert [item["cause"] for item in said.json["noticed"]] == ["killed"]
    said = shenyu("audit", "verify", "--json")
    assert [finding["code"] for finding in said.json["findings"]] == ["audit-unfinished"]
    assert "watch-missed" in shenyu("status", "--json").out


def test_it_watches_for_so_long(watched: Path, shenyu: Shenyu) -> None:
    assert shenyu("watch", "--for", "0min").status == 0
    assert shenyu("watch", "--for", "0min", "--check").status == 2
    assert shenyu("watch", "--for", "soon").status == 2


def test_events_are_shown_with_their_paths_to_who_looks_on(watched: Path) -> None:
    hostile = watched / "data/users/\x1b[31m\nroot.json"
    hostile.write_text("{}")
    watch = Watch("--events", "--log-format", "json")
    subprocess.run(["cat", str(hostile)], stdout=subprocess.DEVNULL, check=True)
    wait_until(lambda: "root.json" in watch.err.read_text())
    watch.end(signal.SIGTERM)
    lines = [json.loads(line) for line in watch.err.read_text().splitlines()]
    (line, *_) = [line for line in lines if line["event"] == "access"]
    assert line["path"] == "users/\\x1b[31m\\nroot.json"
    assert line["what"] == "opened"
    assert lines[-1]["event"] == "watch-ends"


def test_nothing_that_is_kept_names_a_user(watched: Path, shenyu: Shenyu) -> None:
    program = watched / "data/histories/u7/reader"
    shutil.copy("/bin/cat", program)
    copy = watched / "u7"
    shutil.copy("/bin/cat", copy)
    watch = Watch("--log-format", "json")
    for one in (program, copy):
        names = [str(path) for path in watched.glob("data/histories/*/*.json")]
        subprocess.run([str(one), *names, *names], stdout=subprocess.DEVNULL, check=True)
    wait_until(lambda: "access-bulk" in watch.err.read_text())
    watch.end(signal.SIGTERM)
    assert b"u7" not in watch.err.read_bytes()
    state = Path(state_of(state_folder(os.environ), str(watched / "data")))
    for path in state.rglob("*"):
        if path.is_file():
            assert b"u7" not in path.read_bytes(), path


def test_an_account_that_is_not_there_is_refused(watched: Path, shenyu: Shenyu) -> None:
    with (watched / "shenyu-data.toml").open("a") as file:
        file.write('accounts = ["nosuch-account"]\n')
    said = shenyu("watch", "--check")
    assert said.status == 2
    assert "nosuch-account" in said.err


def test_the_service_manager_is_told(watched: Path) -> None:
    name = str(watched / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        heard: list[str] = []

        def listen() -> None:
            while not heard or "STOPPING=1" not in heard:
                heard.extend(manager.recv(4096).decode().split("\n"))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        watch = Watch(NOTIFY_SOCKET=name, WATCHDOG_USEC="400000")
        wait_until(lambda: heard.count("WATCHDOG=1") > 2)
        assert heard[0] == "READY=1"
        assert watch.end(signal.SIGTERM) == 0
        listener.join(PATIENCE_S)
    assert "STOPPING=1" in heard


def test_serve_keeps_one_running_until_it_stops_itself(watched: Path) -> None:
    config = watched / "shenyu-data.toml"
    config.write_text(
        config.read_text() + 'enabled = true\naccounts = ["4000000000"]\n[schedule.jobs]\n'
    )
    state = state_of(state_folder(os.environ), str(watched / "data"))
    serve = Serve()

    def watcher() -> int:
        try:
            return int((Path(state) / "watch.lock").read_text() or "0")
        except (FileNotFoundError, ValueError):
            return 0

    wait_until(lambda: watcher() and birth_of(watcher()))
    pid = watcher()

    def beats() -> bool:
        with open_store(state) as store:
            beat = recall_beat(store)
        return beat is not None and not beat.ended

    wait_until(beats)
    read_all(watched)
    wait_until(lambda: "warning: " in serve.err.read_text())  # of an account, or that none is told
    assert serve.end(signal.SIGTERM) == 0
    assert birth_of(pid) is None
    with open_store(state) as store:
        beat = recall_beat(store)
    assert beat is not None
    assert beat.ended


def test_a_serve_that_reads_that_none_is_wanted_stops_it(watched: Path) -> None:
    config = watched / "shenyu-data.toml"
    text = config.read_text() + "[schedule.jobs]\n"
    config.write_text(text.replace("users = 20", "enabled = true"))
    serve = Serve()
    wait_until(lambda: "watch: begins" in serve.out.read_text())
    config.write_text(text)
    wait_until(lambda: recalled(watched))
    serve.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not recalled(watched))
    assert serve.end(signal.SIGTERM) == 0


def recalled(place: Path) -> bool:
    """Say whether a watch runs, by its signs of life."""
    with open_store(state_of(state_folder(os.environ), str(place / "data"))) as store:
        beat = recall_beat(store)
    return beat is not None and not beat.ended


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    path = tmp_path / UNIT.name
    program = "/usr/local/bin/shenyu-data"
    path.write_text(UNIT.read_text().replace(program, "/bin/true").replace("=shenyu\n", "=root\n"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    noise = [line for line in done.stderr.splitlines() if "shenyu-data" in line]
    assert (done.returncode, noise) == (0, [])
