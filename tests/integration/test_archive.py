"""Cold chats leave live histories for a compressed archive, and come back into their places."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shenyu_data.model.archive_document import add_chats, goes_on, put_back
from shenyu_data.model.chats import read_history
from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import archive as archive_module
from shenyu_data.operations import live_document, live_watch, live_writer
from shenyu_data.operations.archive import ArchiveStats, archive, plan_archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.live_document import QUIET_S
from shenyu_data.repository.repository import create_repository, open_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import Interleaving
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import PASSPHRASE
from tests.integration.test_full_disk import fill, small_disk

__all__ = ["small_disk"]  # a fixture

T0 = 1_700_000_000_000
CHATS = 12
COLD = range(1, 6)
USER = "ab" * 32
BEFORE_MS = T0 + 6
# What changes what can be seen; the rest are steps of the snapshot that comes first.
STEPS = ("fchmod", "link", "rename", "unlink", "utime", "writev")
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "30"))
# Of these the writer once wrote what it had read before the chats came back.
FIXED_SEEDS = (67, 167, 179, 239, 373, 395, 419, 445, 917, 985, 987)


class Place:
    """One user with twelve chats, newest first; those up to number 5 are cold."""

    def __init__(self, base: Path) -> None:
        storage = LocalStorage(str(base / "repository"))
        storage.create()
        self.repository, self.secret = create_repository(storage, PASSPHRASE)
        self.data = Application(base / "data")
        self.data.add_user(USER, [chat(number, messages=2) for number in range(CHATS, 0, -1)])
        self.live = base / f"data/histories/{USER}/chat-history.json"
        self.archived = self.live.with_name("chat-history.archive.json.gz")
        os.utime(self.live, ns=(T0 * 10**6, T0 * 10**6))
        self.state = str(base / "state")
        self.monitor = CollectingMonitor()
        self.quiet_s = 0.05
        self.jobs = 1

    def add_users(self, count: int) -> list[Path]:
        """Add more of them; return where their histories are."""
        users = [f"{number:064x}" for number in range(count)]
        for user in users:
            self.data.add_user(user, [chat(number) for number in range(CHATS, 0, -1)])
        return [self.live.parent.parent / user / self.live.name for user in users]

    def options(self, before_ms: int | None) -> ArchiveOptions:
        now_ms = T0 + 10**9
        return ArchiveOptions(
            before_ms=before_ms,
            now_ms=now_ms,
            state=self.state,
            quiet_s=self.quiet_s,
            jobs=self.jobs,
        )

    def run(self, before_ms: int | None = BEFORE_MS) -> ArchiveStats:
        folder = str(self.data.folder)
        return archive(self.repository, folder, self.options(before_ms), self.monitor)

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.monitor.findings]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def numbers(data: bytes) -> list[int]:
    return [item["id"] - T0 for item in json.loads(data)]


def in_archive(place: Place) -> list[int]:
    if not place.archived.exists():
        return []
    return numbers(gzip.decompress(place.archived.read_bytes()))


def test_cold_chats_move_and_come_back_to_the_byte(place: Place) -> None:
    before, stat = place.live.read_bytes(), place.live.stat()
    plan = plan_archive(str(place.data.folder), place.options(BEFORE_MS))
    stats = place.run()
    assert (plan.chats, plan.size_bytes) == (stats.chats, stats.size_bytes)
    assert (stats.histories, stats.chats, stats.refused, stats.failed) == (1, 5, 0, 0)
    assert stats.safety is not None
    assert numbers(place.live.read_bytes()) == list(range(CHATS, 5, -1))
    assert in_archive(place) == [5, 4, 3, 2, 1]
    assert place.archived.stat().st_mode == stat.st_mode
    assert place.run().chats == 0
    assert place.run(None).chats == 5
    assert place.live.read_bytes() == before
    assert place.live.stat().st_mtime_ns == stat.st_mtime_ns
    assert not place.archived.exists()
    assert place.codes == []


def test_later_ones_join_those_that_are_there(place: Place) -> None:
    before = place.live.read_bytes()
    place.run(T0 + 3)
    place.run(T0 + 8)
    assert in_archive(place) == [7, 6, 5, 4, 3, 2, 1]
    place.run(None)
    assert place.live.read_bytes() == before


def test_all_of_a_history_may_go_and_come_back(place: Place) -> None:
    before = place.live.read_bytes()
    place.run(T0 + 100)
    assert json.loads(place.live.read_bytes()) == []
    place.run(None)
    assert place.live.read_bytes() == before


def test_chats_come_back_among_those_that_came_since(place: Place) -> None:
    place.run()
    place.data.prepend_chat(USER, chat(40))
    place.run(None)
    assert numbers(place.live.read_bytes()) == [40, *range(CHATS, 0, -1)]


def test_a_missing_history_is_made_again(place: Place) -> None:
    place.run()
    place.live.unlink()
    place.run(None)
    assert numbers(place.live.read_bytes()) == [5, 4, 3, 2, 1]
    assert not place.archived.exists()


def test_chats_of_one_id_are_left_and_single_chats_too(place: Place) -> None:
    place.data.write(f"histories/{USER}/chat-history.json", [chat(1), chat(1, messages=9)])
    place.data.write(f"histories/{USER}/one.json", chat(1))
    assert place.run().chats == 0
    assert not place.archived.exists()


def test_a_chat_that_went_on_replaces_what_was_archived_of_it(place: Place) -> None:
    place.run()
    place.data.prepend_chat(USER, chat(3, messages=6))
    place.run()
    assert in_archive(place) == [5, 4, 3, 2, 1]
    archived = json.loads(gzip.decompress(place.archived.read_bytes()))
    assert len(archived[2]["messages"]) == 6


def test_another_chat_of_the_same_id_keeps_both(place: Place) -> None:
    place.run()
    place.data.prepend_chat(USER, chat(3, about="another"))
    assert place.run().chats == 0
    stats = place.run(None)
    assert stats.refused == 1
    assert place.codes == ["changed-since"]
    assert in_archive(place) == [5, 4, 3, 2, 1]
    assert "another" in place.live.read_text()


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b cut", b"[]"])
def test_a_damaged_archive_is_never_replaced(place: Place, damage: bytes) -> None:
    before = place.live.read_bytes()
    place.archived.write_bytes(damage)
    os.utime(place.archived, ns=(T0 * 10**6, T0 * 10**6))
    assert place.run().chats == 0
    assert "live-torn" in place.codes
    assert place.live.read_bytes() == before
    assert place.archived.read_bytes() == damage


@pytest.mark.parametrize("before_ms", [BEFORE_MS, None])
def test_killed_at_every_write_no_chat_is_lost_and_the_next_run_finishes(
    tmp_path: Path, before_ms: int | None
) -> None:
    begun = Place(tmp_path / "begun")
    if before_ms is None:
        begun.run()
    killed = True
    for at in range(1000):
        shutil.copytree(tmp_path / "begun", tmp_path / "again", symlinks=True)
        place = again(begun, tmp_path / "again")
        killed = dies_at(at, partial(place.run, before_ms), steps=STEPS)
        live = place.live.read_bytes() if place.live.exists() else b"[]"
        assert {*numbers(live), *in_archive(place)} == set(range(1, CHATS + 1)), at
        place.run(before_ms)
        wanted = list(range(CHATS, 0 if before_ms is None else 5, -1))
        assert numbers(place.live.read_bytes()) == wanted
        assert in_archive(place) == ([] if before_ms is None else [5, 4, 3, 2, 1])
        left = [path.name for path in place.live.parent.iterdir() if path.name.startswith(".")]
        assert left == []
        shutil.rmtree(tmp_path / "again")
        if not killed:
            break
    assert not killed
    assert at > 20


@pytest.fixture
def workers(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let workers do it, a user at a time; give all histories."""
    monkeypatch.setattr(archive_module, "_TASK_OWNERS", 1)
    place.jobs = 2
    return [place.live, *place.add_users(5)]


def all_in(live: Path) -> tuple[list[int], list[int]]:
    """Return the chats in a history, and in its archive."""
    archived = live.with_name("chat-history.archive.json.gz")
    return (
        numbers(live.read_bytes()) if live.exists() else [],
        numbers(gzip.decompress(archived.read_bytes())) if archived.exists() else [],
    )


def test_workers_move_what_one_process_would(place: Place, workers: list[Path]) -> None:
    before = [path.read_bytes() for path in workers]
    plan = plan_archive(str(place.data.folder), place.options(BEFORE_MS))
    assert (plan.histories, plan.chats) == (6, 30)
    assert [item.path for item in plan.items] == sorted(item.path for item in plan.items)
    stats = place.run()
    assert (stats.histories, stats.chats, stats.size_bytes) == (6, 30, plan.size_bytes)
    for path in workers:
        assert all_in(path) == (list(range(CHATS, 5, -1)), [5, 4, 3, 2, 1])
    stats = place.run(None)
    assert (stats.histories, stats.chats, stats.size_bytes) == (6, 30, plan.size_bytes)
    assert [path.read_bytes() for path in workers] == before
    assert not list(place.data.folder.rglob("*.gz"))
    assert place.codes == []


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("cold", [0, 1])
def test_users_who_have_nothing_to_move_are_passed_over_once(
    place: Place, workers: list[Path], jobs: int, cold: int
) -> None:
    place.jobs = jobs
    torn, *others = workers
    torn.write_bytes(b"[")
    os.utime(torn, (1_600_000_000, 1_600_000_000))
    for path in others[cold:]:
        path.write_text(json.dumps([chat(number) for number in range(CHATS, 5, -1)]))
    stats = place.run()
    assert (stats.histories, stats.chats) == (cold, 5 * cold)
    assert (stats.safety is not None) == bool(cold)
    assert sorted(place.codes) == ["live-torn"] + ["torn-document"] * cold


@pytest.mark.parametrize("before_ms", [BEFORE_MS, None])
def test_a_worker_killed_at_any_write_loses_no_chat_and_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_ms: int | None
) -> None:
    monkeypatch.setattr(archive_module, "_TASK_OWNERS", 1)
    # Workers that are forked die where this process would; once it is imported, they are spawned.
    monkeypatch.delitem(sys.modules, "obstore", raising=False)
    begun = Place(tmp_path / "begun")
    begun.jobs = 2
    begun.add_users(2)
    if before_ms is None:
        begun.run()
    whole, cut = False, 0
    for at in range(0, 1000, 5):
        shutil.copytree(tmp_path / "begun", tmp_path / "again", symlinks=True)
        place = again(begun, tmp_path / "again")
        marker = tmp_path / "again/whole"
        dies_at(at, partial(run_whole, place, before_ms, marker), steps=STEPS, after=SAVED)
        whole = marker.exists()
        histories = list((place.data.folder / "histories").iterdir())
        assert len(histories) == 3
        for folder in histories:
            live, archived = all_in(folder / "chat-history.json")
            assert {*live, *archived} == set(range(1, CHATS + 1)), at
        place.run(before_ms)
        for folder in histories:
            live, archived = all_in(folder / "chat-history.json")
            assert live == list(range(CHATS, 0 if before_ms is None else 5, -1))
            assert archived == ([] if before_ms is None else [5, 4, 3, 2, 1])
            assert not list(folder.glob(".*"))
        assert place.codes == []
        shutil.rmtree(tmp_path / "again")
        cut += not whole
        if whole and at > 15:  # which worker takes how much is a matter of chance
            break
    assert whole
    assert cut > 1


SAVED = (archive_module, "save_first")


def run_whole(place: Place, before_ms: int | None, marker: Path) -> None:
    place.run(before_ms)
    marker.touch()


@pytest.mark.parametrize("way", ["out", "back"])
def test_on_a_full_disk_no_chat_is_lost(
    small_disk: Path, place: Place, workers: list[Path], way: str
) -> None:
    before_ms = BEFORE_MS if way == "out" else None
    if way == "back":
        place.run()
    shutil.move(place.data.folder, small_disk / "data")
    place.data.folder.symlink_to(small_disk / "data")
    ballast = fill(small_disk)
    stats = place.run(before_ms)
    assert stats.failed
    assert set(place.codes) == {"not-written"}
    for path in workers:
        live, archived = all_in(path)
        assert {*live, *archived} == set(range(1, CHATS + 1))
        assert not list(path.parent.glob(".*"))
    ballast.unlink()
    assert place.run(before_ms).failed == 0
    wanted = list(range(CHATS, 5, -1)), [5, 4, 3, 2, 1]
    for path in workers:
        assert all_in(path) == (wanted if way == "out" else (list(range(CHATS, 0, -1)), []))


def again(place: Place, base: Path) -> Place:
    """Return the same place in another folder, to which it was copied."""
    copy = object.__new__(Place)
    copy.__dict__.update(place.__dict__)
    copy.data = Application(base / "data")
    copy.live = base / place.live.relative_to(place.data.folder.parent)
    copy.archived = copy.live.with_name(place.archived.name)
    copy.state = str(base / "state")
    copy.repository = open_repository(LocalStorage(str(base / "repository")), place.secret)
    return copy


def test_only_one_who_knows_the_repository_may(place: Place) -> None:
    place.state = str(place.live)  # no folder
    with pytest.raises(ShenyuDataError):
        place.run()
    assert not place.archived.exists()


def test_a_chat_goes_on_with_another_only_if_it_begins_with_it() -> None:
    def one(*words: str, **more: Any) -> Any:
        value = {"id": 1, "messages": [{"role": "user", "content": word} for word in words], **more}
        return read_history(json.dumps([value]).encode()).chats[0]

    assert goes_on(one("a"), one("a", "b"))
    assert goes_on(one("a"), one("a"))
    assert not goes_on(one("a", "b"), one("a"))
    assert not goes_on(one("a"), one("b", "a"))


def test_nothing_of_a_source_is_lost_on_the_way_through_an_archive() -> None:
    text = b'[ {"id":2,"x":1e400} ,{"id":"b\\ud800"},\n\t{"messages":[]} ]'
    source = read_history(text)
    archived = read_history(add_chats(None, source, [1]).data)
    rest = read_history(b'[ {"id":2,"x":1e400} ,{"messages":[]} ]')
    assert [rest.text(0), archived.text(0)] == [b'{"id":2,"x":1e400}', b'{"id":"b\\ud800"}']
    assert len(read_history(put_back(archived, rest).data).chats) == 3


@pytest.mark.parametrize("seed", sorted({*range(SEEDS), *FIXED_SEEDS}))
def test_nothing_that_the_application_writes_meanwhile_is_lost(tmp_path: Path, seed: int) -> None:
    place = Place(tmp_path)
    place.add_users(seed % 3)  # who are worked on while the first one is watched
    place.quiet_s = QUIET_S
    chance = random.Random(seed)
    interleaving = Interleaving(place.live, chance)
    writer = interleaving.writer
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            for before_ms in (T0 + 4, BEFORE_MS, None) if seed % 2 else (BEFORE_MS,):
                place.run(before_ms)
    assert writer.met_torn == 0, "the writer met a torn file: one of ours"
    aside = [path for path in place.live.parent.iterdir() if path.name.startswith(".shenyu")]
    archived = gzip.decompress(place.archived.read_bytes()) if place.archived.exists() else b"[]"
    live = place.live.read_bytes()
    everything = (live + archived).decode() + "".join(path.read_text() for path in aside)
    assert {*range(1, CHATS + 1)} <= {*numbers(live), *numbers(archived)}, place.codes
    assert [text for text in writer.messages if text not in everything] == [], place.codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], place.codes
    found = numbers(live)
    assert len(found) == len(set(found))
    assert not aside or {"displaced-kept", "live-busy"} & set(place.codes)


class SlowWriter:
    """An application that read a history before chats came back, and writes it ``after_s``
    seconds after its first look that found them there. It plays the clock of who watches.
    """

    def __init__(self, place: Place, after_s: float) -> None:
        self._place = place
        self._read = self._look()
        self._after_s = after_s
        self._now_s = 1000.0
        self._came_back_s: float | None = None
        self.wrote = False

    def _look(self) -> bytes:
        return self._place.live.read_bytes() if self._place.live.exists() else b"[]"

    def sleep(self, seconds: float) -> None:
        end_s = self._now_s + seconds
        while self._now_s < end_s:
            self._now_s = min(end_s, self._now_s + 0.01)
            if self._came_back_s is None and self._look() != self._read:
                self._came_back_s = self._now_s
            since_s = self._now_s - (self._came_back_s or self._now_s)
            if not self.wrote and since_s >= self._after_s:
                self.write()

    def write(self) -> None:
        chats = json.loads(self._read)
        chats.insert(0, chat(40))
        self._place.live.write_text(json.dumps(chats))
        self.wrote = True

    def play(self, patches: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(
            monotonic=lambda: self._now_s,
            sleep=self.sleep,
            time=time.time,
            time_ns=time.time_ns,
        )
        for module in (live_document, live_watch, live_writer):
            patches.setattr(module, "time", clock)


@pytest.mark.parametrize("after_s", [0.02, 0.1, 1.0, 1.9])
@pytest.mark.parametrize("put_earlier", [False, True])
def test_who_read_a_history_long_untouched_may_write_it_after_its_chats_came_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, put_earlier: bool, after_s: float
) -> None:
    whole = place.live.read_bytes()
    place.run()
    place.quiet_s = QUIET_S
    writer = SlowWriter(place, after_s)
    if put_earlier:  # by a run that was killed right after
        place.live.write_bytes(whole)
        os.utime(place.live, ns=(T0 * 10**6, T0 * 10**6))
    writer.play(monkeypatch)
    stats = place.run(None)
    if not writer.wrote:
        writer.write()
    found = numbers(place.live.read_bytes())
    assert {40, *range(1, CHATS + 1)} <= {*found, *in_archive(place)}
    if put_earlier:
        assert place.codes == ["changed-since"]
        assert (stats.chats, stats.refused) == (0, 1)
        place.run(None)
    assert numbers(place.live.read_bytes()) == [40, *range(CHATS, 0, -1)]
    assert not place.archived.exists()


def test_who_found_no_history_may_write_one_after_its_chats_came_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run()
    place.live.unlink()
    place.quiet_s = QUIET_S
    writer = SlowWriter(place, after_s=1.0)
    writer.play(monkeypatch)
    place.run(None)
    if not writer.wrote:
        writer.write()
    found = numbers(place.live.read_bytes())
    assert {40, *COLD} <= {*found, *in_archive(place)}


def test_an_archive_stays_if_its_history_does_not_become_quiet(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run()
    monkeypatch.setattr(live_watch, "_MOST_S", -1.0)
    before = in_archive(place)
    stats = place.run(None)
    assert (stats.chats, stats.busy) == (0, 2)
    assert place.codes == ["live-busy", "live-busy"]
    assert in_archive(place) == before == [5, 4, 3, 2, 1]
    monkeypatch.undo()
    assert place.run(None).chats == 5
    assert not place.archived.exists()


@pytest.mark.parametrize("way", ["out", "back"])
def test_what_cannot_be_looked_into_is_told_in_the_plan_and_after(place: Place, way: str) -> None:
    before_ms = BEFORE_MS if way == "out" else None
    if way == "back":
        place.run()
    spoilt = place.live if way == "out" else place.archived
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    os.utime(spoilt, (1_600_000_000, 1_600_000_000))
    plan = plan_archive(str(place.data.folder), place.options(before_ms))
    assert [(finding.code, finding.severity) for finding in plan.left] == [("live-torn", "error")]
    place.monitor.findings.clear()
    assert place.run(before_ms).chats == 0
    assert place.codes == ["live-torn"]


def test_a_name_without_room_for_the_suffix_of_archives_is_left(place: Place) -> None:
    long = place.live.with_name("x" * 245 + ".json")
    place.live.rename(long)
    before = long.read_bytes()
    plan = plan_archive(str(place.data.folder), place.options(BEFORE_MS))
    assert [finding.code for finding in plan.left] == ["hostile-name"]
    stats = place.run()
    assert (stats.chats, stats.failed, stats.safety) == (0, 0, None)
    assert place.codes == ["hostile-name"]
    assert long.read_bytes() == before
