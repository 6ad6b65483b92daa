"""In-place restores beside an application that rewrites its files in place, without a lock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shenyu_data.datadir import exchange as exchange_module
from shenyu_data.datadir import replace
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import live_watch
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.live_document import QUIET_S
from shenyu_data.operations.restore_live import (
    LiveOptions,
    LiveStats,
    plan_in_place,
    restore_in_place,
)
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import PASSPHRASE, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
T0 = 1_700_000_000_000

# What the application does: read, parse, put a chat in front, truncate, write. With a lock among
# the writers themselves, so that whatever is lost was lost by us.
WRITER = """
import fcntl, json, os, random, sys, time
path, lock, told, base, pause = sys.argv[1:6]
chance = random.Random(base)
number = 0
with open(told, "a") as log, open(lock, "w") as gate:
    while True:
        number += 1
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            with open(path, "rb") as file:
                chats = json.load(file)
        except ValueError:
            chats = []  # as the application does
            log.write("LOST\\n")
        if chance.random() < 0.3:
            time.sleep(chance.random() * float(pause) / 10)
        new = int(base) + number
        if number % 3 and chats:  # most often a conversation goes on
            chats[0]["messages"].append({"role": "user", "content": f"more {new} 风雨"})
            log.write(f"m{new}\\n")
        else:
            chats.insert(0, {"id": new, "title": f"new {new}", "messages": []})
            log.write(f"{new}\\n")
        data = json.dumps(chats[:900], ensure_ascii=False, indent=2).encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        middle = chance.randrange(len(data))
        os.write(descriptor, data[:middle])
        if chance.random() < 0.2:
            time.sleep(chance.random() * float(pause) / 10)
        os.write(descriptor, data[middle:])
        os.close(descriptor)
        log.write("w\\n")
        log.flush()
        fcntl.flock(gate, fcntl.LOCK_UN)
        time.sleep((0.5 + chance.random()) * float(pause))
"""


class Place(NamedTuple):
    """A data directory with a history of 500 chats, backed up, and where journals go."""

    repository: Repository
    data: Application
    snapshot: bytes
    state: str

    def options(self, **more: Any) -> LiveOptions:
        return LiveOptions(**{"user": USER.encode(), "quiet_s": 0.3, "state": self.state, **more})

    def restore(self, **more: Any) -> tuple[LiveStats, list[str]]:
        monitor = CollectingMonitor()
        root = self.repository.root(self.snapshot)
        data = str(self.data.folder)
        stats = restore_in_place(self.repository, root, data, self.options(**more), monitor)
        return stats, [finding.code for finding in monitor.findings]

    def undo(self, **more: Any) -> tuple[LiveStats, list[str]]:
        monitor = CollectingMonitor()
        options = self.options(**more)
        stats = undo(self.repository, str(self.data.folder), options, monitor)
        return stats, [finding.code for finding in monitor.findings]

    def live(self) -> list[int]:
        return [item["id"] - T0 for item in self.data.chats(USER)]

    def passing(self) -> list[str]:
        found = []
        for _, _, names in os.walk(self.data.folder):
            found += [name for name in names if name.startswith(".shenyu-data")]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(tmp_path / "data")
    data.add_user(USER, [chat(number, messages=2) for number in range(500, 0, -1)])
    data.add_user("other", [chat(7)])
    taken = take(repository, data)
    return Place(repository, data, taken.snapshot, str(tmp_path / "state"))


@contextmanager
def writers(
    place: Place, tmp_path: Path, count: int, *, pause: float = 0.15
) -> Iterator[list[Path]]:
    lock = str(tmp_path / "gate")
    logs = [tmp_path / f"told{number}" for number in range(count)]
    path = str(place.data.folder / PATH)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", WRITER, path, lock, log),
                *(str(T0 + 10_000_000 * (number + 1)), str(pause)),
            ]
        )
        for number, log in enumerate(logs)
    ]
    try:
        yield logs
    finally:
        with open(lock, "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # so that none is in the middle of a write
            for process in processes:
                process.kill()
                process.wait()


def delete_chat(place: Place, number: int) -> None:
    chats = [item for item in place.data.chats(USER) if item["id"] != T0 + number]
    place.data.write(PATH, chats)


@pytest.mark.slow
def test_a_chat_returns_while_writers_rewrite_the_history_and_nothing_is_lost(
    place: Place, tmp_path: Path
) -> None:
    lost = [17, 499, 250, 3, 123, 44, 371, 90]
    for number in lost:
        delete_chat(place, number)
    restored: set[int] = set()
    until = time.monotonic() + 8
    with writers(place, tmp_path, 2) as logs:
        time.sleep(0.3)
        while len(restored) < 2 or (time.monotonic() < until and len(restored) < len(lost)):
            number = lost[len(restored)]
            # As shipped: a machine under load stops a writer for longer than other tests wait.
            _, codes = place.restore(chat=str(T0 + number), quiet_s=QUIET_S)
            # On a machine with no time for it, it gives up, keeps what is left, and is told again.
            assert set(codes) <= {"live-busy", "displaced-kept", "torn-document"}
            assert "displaced-kept" not in codes or "live-busy" in codes
            if not {"live-busy", "displaced-kept"} & set(codes):
                restored.add(number)
    lines = [line for log in logs for line in log.read_text().split()]
    assert "LOST" not in lines, "a writer met a torn file: one of ours"
    assert lines.count("w") > 10
    live = place.live()
    gone = set(range(1, 501)) - set(lost) | restored
    assert gone - set(live) == set(), "a restored chat or a sibling is gone"
    written = {int(line) - T0 for line in lines if line.isdecimal()}
    kept = [path.read_text() for path in (place.data.folder / PATH).parent.glob(".shenyu-data*")]
    text = "".join([(place.data.folder / PATH).read_text(), *kept])
    assert [number for number in written if str(T0 + number) not in text] == []
    messages = [line[1:] for line in lines if line[0] == "m"]
    assert [line for line in messages if f"more {line} " not in text] == []
    assert len(live) == len(set(live))
    old = [item for item in live if item <= 500]
    assert old == sorted(old, reverse=True), "a chat is not in its place"
    assert all(name.startswith(".shenyu-data-kept-") for name in place.passing())


@pytest.mark.slow
def test_undo_takes_the_chat_out_beside_writers_and_leaves_what_they_wrote(
    place: Place, tmp_path: Path
) -> None:
    delete_chat(place, 250)
    with writers(place, tmp_path, 2) as logs:
        place.restore(chat=str(T0 + 250))
        stats, codes = place.undo()
        assert (stats.changed, codes) == (1, [])
    lines = [line for log in logs for line in log.read_text().split()]
    live = place.live()
    assert {int(line) - T0 for line in lines if line.isdecimal()} - set(live) == set()
    assert 250 not in live
    assert set(range(1, 501)) - {250} - set(live) == set()


def test_only_the_bytes_of_the_one_chat_change(place: Place) -> None:
    before = (place.data.folder / PATH).read_bytes()
    os.chmod(place.data.folder / PATH, 0o640)
    delete_chat(place, 250)
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.changed, codes) == (1, [])
    assert (place.data.folder / PATH).read_bytes() == before
    assert (place.data.folder / PATH).stat().st_mode & 0o777 == 0o640
    assert place.passing() == []
    safety = place.repository.root(stats.safety or b"")
    assert (safety.partial, safety.safety, safety.tag) == (True, True, "before-restore")


def test_a_chat_that_changed_since_is_left_alone_unless_told(place: Place) -> None:
    chats = place.data.chats(USER)
    chats[250]["messages"].append({"role": "user", "content": "new"})
    place.data.write(PATH, chats)
    number = chats[250]["id"]
    stats, codes = place.restore(chat=str(number))
    assert (stats.changed, stats.refused, codes) == (0, 1, ["changed-since"])
    assert place.data.chats(USER) == chats
    stats, codes = place.restore(chat=str(number), overwrite=True)
    assert (stats.changed, codes) == (1, [])
    assert len(place.data.chats(USER)[250]["messages"]) == 2
    place.undo()
    assert place.data.chats(USER) == chats


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_restored_before_a_rotation_of_the_key_is_taken_back(
    place: Place, whole: bool
) -> None:
    chats = place.data.chats(USER)
    number = chats.pop(250)["id"]
    place.data.write(PATH, chats)
    wanted = {"history": b"chat-history"} if whole else {"chat": str(number)}
    assert place.restore(**wanted)[0].changed == 1
    begun = begin_rotation(place.repository, plan_rotation(place.repository), "another", "new")
    finish_rotation(begun.repository, CollectingMonitor())
    stats, codes = place._replace(repository=begun.repository).undo()
    assert (stats.changed, stats.refused, codes) == (1, 0, [])
    assert place.data.chats(USER) == chats


def test_a_torn_history_takes_no_chat_but_is_restored_whole(place: Place) -> None:
    path = place.data.folder / PATH
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    os.utime(path, (1, 1))
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.refused, codes[-1]) == (1, "live-torn")
    assert path.read_bytes() == whole[:-9]
    stats, _ = place.restore(history=b"chat-history")
    assert (stats.changed, stats.refused) == (1, 0)
    assert path.read_bytes() == whole
    place.undo()
    assert path.read_bytes() == whole[:-9]


def test_an_empty_history_gets_the_chat_alone_and_a_missing_one_too(place: Place) -> None:
    path = place.data.folder / PATH
    for prepare in (lambda: path.write_bytes(b""), path.unlink):
        prepare()
        stats, _ = place.restore(chat=str(T0 + 250))
        assert stats.changed == 1
        assert place.live() == [250]


def test_a_deleted_user_comes_back_whole_and_undo_removes_it_again(place: Place) -> None:
    folder = place.data.folder
    before = {path: (folder / path).read_bytes() for path in (PATH, f"users/{USER}.json")}
    (folder / PATH).unlink()
    (folder / PATH).parent.rmdir()
    (folder / f"users/{USER}.json").unlink()
    root = place.repository.root(place.snapshot)
    plan = plan_in_place(place.repository, root, str(folder), place.options(), CollectingMonitor())
    assert [item.action for item in plan.items] == ["create", "create"]
    assert all(item.user_deleted for item in plan.items)
    stats, codes = place.restore()
    assert (stats.changed, codes) == (2, [])
    assert {path: (folder / path).read_bytes() for path in before} == before
    stats, codes = place.undo()
    assert (stats.removed, codes) == (2, [])
    assert not (folder / PATH).parent.exists()
    assert not (folder / f"users/{USER}.json").exists()


def test_undo_of_a_whole_history_keeps_what_came_since(place: Place) -> None:
    delete_chat(place, 250)
    place.data.prepend_chat(USER, chat(600))
    place.restore(history=b"chat-history")
    assert place.live() == list(range(500, 0, -1))
    place.data.prepend_chat(USER, chat(601))
    stats, codes = place.undo()
    assert (stats.changed, codes) == (1, [])
    assert sorted(place.live()) == sorted([601, 600, *(n for n in range(1, 501) if n != 250)])


def test_everything_is_restored_and_what_the_snapshot_does_not_have_stays(place: Place) -> None:
    data = place.data
    before = (data.folder / PATH).read_bytes()
    data.remove(PATH)
    data.prepend_chat("other", chat(8))
    data.add_user("new", [chat(1)])
    settle(data.folder)
    stats, codes = place.restore(user=None)
    assert (stats.changed, codes) == (2, [])
    assert (data.folder / PATH).read_bytes() == before
    assert [item["id"] for item in data.chats("other")] == [T0 + 7]
    assert len(data.chats("new")) == 1
    assert not place.repository.root(stats.safety or b"").partial
    stats, codes = place.undo()
    assert (stats.changed, stats.removed, codes) == (1, 1, [])
    assert len(data.chats("other")) == 2


@pytest.mark.parametrize("what", ["link", "folder-link", "fifo", "folder"])
def test_what_stands_in_the_way_is_never_followed_nor_replaced(
    place: Place, tmp_path: Path, what: str
) -> None:
    path = place.data.folder / PATH
    path.unlink()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "chat-history.json").write_bytes(b"[]")
    if what == "link":
        path.symlink_to(outside / "chat-history.json")
    elif what == "folder-link":
        path.parent.rmdir()
        path.parent.symlink_to(outside)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    stats, codes = place.restore(history=b"chat-history")
    assert (stats.changed, stats.refused) == (0, 1)
    assert "in-the-way" in codes
    assert (outside / "chat-history.json").read_bytes() == b"[]"
    assert os.listdir(outside) == ["chat-history.json"]
    stats, codes = place.restore(chat=str(T0 + 5))
    assert (stats.changed, stats.refused) == (0, 1)


def held_open(patches: pytest.MonkeyPatch, path: Path) -> list[int]:
    """Let the application open the file right before it is exchanged; return a list that gets the
    descriptor then.
    """
    descriptors: list[int] = []
    exchange = exchange_module.exchange

    def hold_and_exchange(folder: int, one: bytes, other: bytes) -> bool:
        if not descriptors:
            descriptors.append(os.open(path, os.O_WRONLY))
        return exchange(folder, one, other)

    patches.setattr(replace, "exchange", hold_and_exchange)
    return descriptors


def test_what_is_written_into_the_displaced_file_is_merged_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application has the file open across the exchange and writes afterwards."""
    delete_chat(place, 250)
    path = place.data.folder / PATH
    chats = [chat(777), *place.data.chats(USER)]
    descriptors = held_open(monkeypatch, path)
    looked = exchange_module.is_open_for_writing
    looks: list[bool | None] = []

    def write_late(descriptor: int) -> bool | None:
        looks.append(looked(descriptor))
        if len(looks) == 3:
            os.ftruncate(descriptors[0], 0)
            os.write(descriptors[0], json.dumps(chats, ensure_ascii=False, indent=2).encode())
            os.close(descriptors[0])
        return looks[-1]

    monkeypatch.setattr(replace, "is_open_for_writing", write_late)
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.changed, codes) == (1, [])
    assert looks[:2] == [True, True]
    assert place.live() == [777, *range(500, 0, -1)]
    assert place.passing() == []


def test_what_cannot_be_merged_back_is_kept_and_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_chat(place, 250)
    path = place.data.folder / PATH
    exchange = exchange_module.exchange
    done: list[bool] = []

    def exchange_and_tear(folder: int, one: bytes, other: bytes) -> bool:
        descriptor = os.open(path, os.O_WRONLY)
        answer = exchange(folder, one, other)
        if not done:
            done.append(answer)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b'[{"id": 5, "title": "cut o')
        os.close(descriptor)
        return answer

    monkeypatch.setattr(replace, "exchange", exchange_and_tear)
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.changed, stats.refused, codes) == (1, 1, ["displaced-kept"])
    assert place.live() == list(range(500, 0, -1))
    (kept,) = place.passing()
    assert kept.startswith(".shenyu-data-kept-")
    assert (path.parent / kept).read_bytes() == b'[{"id": 5, "title": "cut o'


def test_without_an_exchange_in_one_step_it_works_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "exchange", lambda *_: False)
    monkeypatch.setattr(replace, "is_open_for_writing", lambda _: None)
    before = (place.data.folder / PATH).read_bytes()
    delete_chat(place, 250)
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.changed, codes) == (1, [])
    assert (place.data.folder / PATH).read_bytes() == before
    assert place.passing() == []


@pytest.mark.parametrize("user_is_there", [True, False], ids=["replaced", "made"])
def test_killed_at_any_step_a_document_is_old_or_new_and_the_next_call_tidies_up(
    place: Place, user_is_there: bool
) -> None:
    path = place.data.folder / PATH
    new = path.read_bytes()
    delete_chat(place, 250)
    old = path.read_bytes()
    restore = partial(place.restore, history=b"chat-history", quiet_s=0.02)
    number = 0
    while True:
        if not user_is_there:
            path.unlink(missing_ok=True)
            if path.parent.exists():
                path.parent.rmdir()
        else:
            path.write_bytes(old)
        os.utime(path, (1, 1)) if user_is_there else None
        killed = dies_at(number, restore)
        if user_is_there or path.exists():
            assert path.read_bytes() in (old, new), number
        if not killed:
            break
        stats, codes = restore()
        assert (stats.refused, codes) == (0, []), number
        assert path.read_bytes() == new
        assert place.passing() == [], number
        number += 1
    assert number > 8


def test_a_full_disk_leaves_the_document_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.data.folder / PATH
    delete_chat(place, 250)
    before = path.read_bytes()

    def full(descriptor: int, chunks: Any) -> int:
        os.write(descriptor, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replace, "write_all", full)
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.changed, stats.failed, codes) == (0, 1, ["not-written"])
    assert path.read_bytes() == before
    assert place.passing() == []


def test_what_a_killed_restore_left_with_something_new_in_it_is_kept_and_named(
    place: Place,
) -> None:
    delete_chat(place, 250)
    path = place.data.folder / PATH
    restore = partial(place.restore, chat=str(T0 + 250))
    number = next(n for n in range(100) if dies_at(n, restore) and _left(place))
    (left,) = _left(place)
    (path.parent / left).write_bytes(b'[{"id": 1, "messages": ["late"]}]')
    stats, codes = place.restore(chat=str(T0 + 250))
    assert (stats.busy, stats.failed, codes) == (0, 0, ["displaced-kept"]), number
    assert place.live() == list(range(500, 0, -1))
    (kept,) = place.passing()
    assert (path.parent / kept).read_bytes() == b'[{"id": 1, "messages": ["late"]}]'


def _left(place: Place) -> list[str]:
    return [name for name in place.passing() if name.startswith(".shenyu-data-displaced")]


def test_a_displaced_file_that_is_still_written_to_is_not_removed_however_late_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_chat(place, 250)
    path = place.data.folder / PATH
    descriptors = held_open(monkeypatch, path)
    monkeypatch.setattr(live_watch, "_MOST_S", -1.0)
    _, codes = place.restore(chat=str(T0 + 250), quiet_s=0.0)
    assert codes == ["live-busy", "displaced-kept"]
    os.ftruncate(descriptors[0], 0)
    os.write(descriptors[0], b'[{"id": 5, "title": "late", "messages": []}]')
    os.close(descriptors[0])
    (kept,) = place.passing()
    assert b"late" in (path.parent / kept).read_bytes()
