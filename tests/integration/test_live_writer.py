"""Backups while real processes rewrite the documents in place, as the application does.

A snapshot must hold nothing torn silently: each document is one version that was written, whole,
or it is marked torn, the snapshot is degraded, and the last good version is at hand.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir.capture import TRIES
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.local import LocalStorage
from tests.cli.conftest import call_shenyu

WRITER = """
import json, os, random, sys, time
chance = random.Random(sys.argv[1])
pause, paths = float(sys.argv[2]), sys.argv[3:]
version = 0
while True:
    version += 1
    for path in paths:
        messages = [{"role": "user", "content": f"{version} " * chance.randrange(3000)}]
        chats = [{"id": version, "title": f"{sys.argv[1]} {version}", "messages": messages}]
        data = json.dumps(chats, ensure_ascii=False, indent=2).encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        time.sleep(chance.random() * pause)
        middle = chance.randrange(len(data))
        os.write(descriptor, data[:middle])
        time.sleep(chance.random() * pause)
        os.write(descriptor, data[middle:])
        os.close(descriptor)
        time.sleep(chance.random() * pause)
"""


@contextmanager
def writers(pause_s: float, *groups: list[Path]) -> Iterator[None]:
    """Let one process for each group of files rewrite them all the time."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"w{number}", str(pause_s), *map(str, group)]
        )
        for number, group in enumerate(groups)
    ]
    try:
        deadline = time.monotonic() + 120
        while not all(path.exists() for group in groups for path in group):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)  # in the middle of a write, as a crash would
            process.wait()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a data directory of ten quiet users, and a repository for it."""
    for number in range(10):
        write(tmp_path / f"data/users/quiet{number}.json", {"id": f"quiet{number}"})
        write(tmp_path / f"data/histories/quiet{number}/chat-history.json", [])
    storage = LocalStorage(str(tmp_path / "repo"))
    storage.create()
    _, recovery = create_repository(storage, "passphrase")
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", recovery)  # opens at once
    monkeypatch.setenv("SHENYU_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SHENYU_DATA_REPO", str(tmp_path / "repo"))
    return tmp_path


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def shenyu(*words: str) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "shenyu_data.cli.main", *words, "--json"],
        capture_output=True,
        timeout=240,
    )
    return done.returncode, json.loads(done.stdout)


def is_whole(path: Path) -> bool:
    """Say whether a restored history is one version: one chat whose parts agree."""
    try:
        (chat,) = json.loads(path.read_bytes())
    except ValueError:
        return False
    version = str(chat["id"])
    words = set(chat["messages"][0]["content"].split())
    return words <= {version} and chat["title"].split()[1] == version


def torn_paths(said: Any) -> set[str]:
    return {one["path"] for one in said["findings"] if one["code"] == "torn-document"}


def assert_snapshot_is_honest(
    base: Path, snapshot: str, torn: set[str], histories: set[str]
) -> None:
    target = base / f"target-{snapshot}"
    status, said = shenyu("restore", snapshot, "--to", str(target))
    assert status == (1 if torn else 0)
    assert said["torn"] == len(torn)
    for history in histories:
        path = target / history
        if history not in torn and path.exists():
            assert is_whole(path), history
    for number in range(10):
        assert (target / f"histories/quiet{number}/chat-history.json").read_text() == "[]"


@pytest.mark.parametrize("pause_s", [0.002, 0.03])
def test_no_snapshot_holds_a_torn_document_silently(pause_s: float, base: Path) -> None:
    groups = [
        [
            base / f"data/histories/busy{number}/{key}.json"
            for key in ("chat-history", "sn43-history")
        ]
        for number in range(3)
    ]
    for group in groups:
        group[0].parent.mkdir(parents=True)
    histories = {str(path.relative_to(base / "data")) for group in groups for path in group}
    taken = []
    with writers(pause_s, *groups):
        for number in range(4):
            status, said = shenyu("backup", *(["--full"] if number == 2 else []))
            torn = torn_paths(said)
            assert status == (1 if torn else 0)
            assert said["degraded"] == bool(torn)
            assert torn <= histories
            taken.append((said["id"], torn))
    for snapshot, torn in taken:
        assert_snapshot_is_honest(base, snapshot, torn, histories)
    listed = shenyu("snapshots")[1]["snapshots"]
    assert [(one["id"], one["degraded"]) for one in listed] == [
        (snapshot, bool(torn)) for snapshot, torn in taken
    ]
    assert shenyu("verify", "--read-data")[0] == 0


def test_several_writers_of_one_file_are_caught_too(base: Path) -> None:
    """What two writers leave may be no version at all: then it must not pass for one."""
    history = base / "data/histories/busy/chat-history.json"
    history.parent.mkdir(parents=True)
    taken = []
    with writers(0.01, [history], [history], [history]):
        for _ in range(4):
            status, said = shenyu("backup")
            assert status == (1 if said["degraded"] else 0)
            taken.append((said["id"], torn_paths(said)))
    for snapshot, torn in taken:
        target = base / snapshot
        shenyu("restore", snapshot, "--to", str(target), "--user", "busy")
        restored = target / "histories/busy/chat-history.json"
        if not torn:
            json.loads(restored.read_bytes())


def test_a_file_that_is_cut_off_for_good_is_degraded_until_it_is_good_again(base: Path) -> None:
    history = base / "data/histories/quiet3/chat-history.json"
    good = [{"id": 1, "messages": [{"role": "user", "content": "precious"}]}]
    write(history, good)
    status, first = shenyu("backup")
    assert (status, first["degraded"]) == (0, False)
    history.write_text(json.dumps(good)[:-4])
    os.utime(history, (1_700_000_000, 1_700_000_000))
    for flags in ([], [], ["--full"]):
        status, said = shenyu("backup", *flags)
        assert (status, said["degraded"]) == (1, True)
        assert torn_paths(said) == {"histories/quiet3/chat-history.json"}
        status, shown = shenyu("show", said["id"])
        assert status == 1
        assert [one["good_from"] for one in shown["documents"]] == [first["id"]]
        target = base / said["id"]
        assert shenyu("restore", said["id"], "--to", str(target), "--last-good")[0] == 1
        restored = target / "histories/quiet3/chat-history.json"
        assert json.loads(restored.read_text()) == good
    assert shenyu("restore", first["id"], "--to", str(base / "earlier"))[0] == 0
    restored = base / "earlier/histories/quiet3/chat-history.json"
    assert json.loads(restored.read_text()) == good
    write(history, [{"id": 2, "messages": []}, *good])
    status, said = shenyu("backup")
    assert (status, said["degraded"]) == (0, False)


def test_a_file_that_is_torn_when_it_is_first_met_is_kept_as_it_is(base: Path) -> None:
    history = base / "data/histories/new/chat-history.json"
    history.parent.mkdir()
    history.write_text('[{"id": 1, "messages": [{"ro')
    os.utime(history, (1_700_000_000, 1_700_000_000))
    status, said = shenyu("backup")
    assert (status, said["degraded"]) == (1, True)
    assert shenyu("restore", "latest", "--to", str(base / "target"), "--last-good")[0] == 1
    restored = base / "target/histories/new/chat-history.json"
    assert restored.read_text() == history.read_text()


@pytest.mark.parametrize("at_pause", range(TRIES - 1))
def test_a_short_pause_in_a_write_is_waited_out(
    at_pause: int, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application truncates, and writes a moment later: that alone is no reason to fail."""
    history = base / "data/histories/quiet0/chat-history.json"
    history.write_bytes(b"")
    recent = time.time() + 3600  # and so it stays, however slow the machine is
    os.utime(history, (recent, recent))
    pauses = itertools.count()

    def sleep(_: float) -> None:
        if next(pauses) == at_pause:
            history.write_text('[{"id": 1, "messages": []}]')

    monkeypatch.setattr(time, "sleep", sleep)
    said = call_shenyu(monkeypatch, "backup", "--jobs", "1", "--json")
    assert (said.status, said.json["degraded"]) == (0, False)
    assert next(pauses) == at_pause + 1
