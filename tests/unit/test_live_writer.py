"""Many live documents are watched at once, each for its own time, while others are changed."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from weakref import ref

import pytest

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import Kind
from shenyu_data.operations import live_document, live_watch, live_writer
from shenyu_data.operations.journal import Began, Digests, open_journals
from shenyu_data.operations.live_document import QUIET_S, Change, Edit
from shenyu_data.operations.live_writer import LiveWriter

WORK_S = 0.01


class Clock:
    """A clock that only goes on when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.at: list[tuple[float, Callable[[], object]]] = []

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        for due, act in list(self.at):
            if self.now_s >= due:
                self.at.remove((due, act))
                act()

    def patch(self, patches: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(
            monotonic=lambda: self.now_s, sleep=self.sleep, time=time.time, time_ns=time.time_ns
        )
        for module in (live_document, live_watch, live_writer):
            patches.setattr(module, "time", clock)


class Place:
    """Histories of many users, and a writer that changes them."""

    def __init__(self, folder: Path, writer: LiveWriter, clock: Clock, found: list[Finding]):
        self.folder = folder
        self.writer = writer
        self.clock = clock
        self.found = found

    def path(self, number: int) -> Path:
        return self.folder / f"histories/{number}/chat-history.json"

    def change(
        self, number: int, then: Callable[[bool], None] | None = None, kind: Kind = "history"
    ) -> None:
        """Change one document; that takes its time."""
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"[]")
        self.writer.apply(os.fsencode(path.relative_to(self.folder)), kind, self.edit, then=then)

    @property
    def edit(self) -> Edit:
        def edit(_: Live | None) -> Change:
            self.clock.sleep(WORK_S)
            return Change(b'[{"id":1,"messages":[]}]', Attributes(0o600, None, None), in_use=True)

        return edit


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    clock = Clock()
    clock.patch(monkeypatch)
    (tmp_path / "data").mkdir()
    with (
        open_journals(str(tmp_path / "state")) as journals,
        open_root(str(tmp_path / "data")) as root,
    ):
        began = Began(operation="repair", time_ms=1, repository=b"", data="d", snapshot=None)
        found: list[Finding] = []
        writer = LiveWriter(root, journals.begin(began), Digests(b"k" * 32), QUIET_S, found.append)
        yield Place(tmp_path / "data", writer, clock, found)


def test_many_are_watched_while_others_are_changed(place: Place) -> None:
    begun_s = place.clock.now_s
    for number in range(300):
        place.change(number)
    place.writer.drain()
    took_s = place.clock.now_s - begun_s
    assert took_s == pytest.approx(300 * WORK_S + QUIET_S, abs=0.1)
    assert place.writer.changed == 300
    assert place.found == []
    assert not list(place.folder.rglob(".*"))


def test_what_follows_a_document_happens_when_it_was_watched(place: Place) -> None:
    settled: list[tuple[bool, float]] = []

    def then(well: bool) -> None:
        settled.append((well, place.clock.now_s))
        if len(settled) == 2:
            place.change(3, then)  # what follows may change another one

    begun_s = place.clock.now_s
    place.change(1, then)
    place.change(2, then)
    place.writer.after(1.0, lambda well: settled.append((well, place.clock.now_s)))
    place.writer.drain()
    assert [well for well, _ in settled] == [True] * 4
    assert settled[0][1] == begun_s + 2 * WORK_S + 1.0
    first, second, third = [at - begun_s for _, at in settled[1:]]
    assert QUIET_S < first < second < QUIET_S + 0.1 < 2 * QUIET_S < third


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_after_an_error_nothing_of_what_was_watched_stays_open(place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def fails(_: Live | None) -> Change:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), place.writer:
        for number in range(3):
            place.change(number)
        assert len(os.listdir("/proc/self/fd")) > before
        place.writer.apply(b"histories/0/chat-history.json", "history", fails)
    assert len(os.listdir("/proc/self/fd")) == before
    place.writer.drain()  # there is nothing left to be watched


@pytest.mark.parametrize("most", [5, 40])
@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_no_more_are_watched_than_may_be_open(
    place: Place, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(place.writer, "_most", most)
    before = opened = len(os.listdir("/proc/self/fd"))
    for number in range(60):
        place.change(number)
        opened = max(opened, len(os.listdir("/proc/self/fd")))
    assert opened - before == most
    place.writer.drain()
    assert len(os.listdir("/proc/self/fd")) == before
    assert place.writer.changed == 60


@pytest.mark.parametrize(("kind", "most_bytes"), [("history", 100), ("other", 7)])
def test_no_more_are_watched_than_memory_allows(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: Kind, most_bytes: int
) -> None:
    """Of a history its versions are held, of other documents what was there before."""
    monkeypatch.setattr(place.writer, "_most_bytes", most_bytes)  # not enough for four
    begun_s = place.clock.now_s
    for number in range(12):
        place.change(number, kind=kind)
    place.writer.drain()
    assert place.clock.now_s - begun_s == pytest.approx(3 * QUIET_S, abs=0.3)


def test_one_that_is_written_all_the_time_keeps_nobody_waiting(place: Place) -> None:
    place.path(1).parent.mkdir(parents=True)
    done: list[int] = []

    def note(number: int, _: bool = True) -> None:
        done.append(number)

    with place.path(1).open("wb", buffering=0) as file:
        file.write(b"[]")
        for number in (1, 2, 3):
            place.change(number, partial(note, number))
        place.clock.at.append((place.clock.now_s + 1.2 * QUIET_S, partial(note, 0)))
        place.clock.at.append((place.clock.now_s + 3 * QUIET_S, file.close))
        place.writer.drain()
    assert done == [2, 3, 0, 1]
    assert place.found == []


def test_what_did_not_become_quiet_is_told_to_what_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_watch, "_MOST_S", -10.0)
    told: list[bool] = []
    place.change(1, told.append)
    place.writer.drain()
    assert told == [False]
    assert [finding.code for finding in place.found] == ["live-busy"]


def test_what_was_written_is_not_held_until_garbage_is_collected(place: Place) -> None:
    """Workers collect it rarely, and every change holds a document."""
    made: list[ref[Change]] = []

    def edit(_: Live | None) -> Change:
        change = Change(b"[]", Attributes(0o600, None, None))
        made.append(ref(change))
        return change

    gc.disable()
    try:
        place.writer.apply(b"histories/1/chat-history.json", "history", edit)
        assert made[0]() is None
    finally:
        gc.enable()
