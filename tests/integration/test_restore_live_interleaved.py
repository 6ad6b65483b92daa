"""In-place restores interleaved, call by call, with an application that rewrites the same file.

The application is played in the same process: whenever the restore asks the system for something
about files, the writer may take some of its own steps first, as chance has it. The clock is played
as well, so that a slow machine changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shenyu_data.datadir import exchange
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import live_document, live_writer
from shenyu_data.operations.restore_live import LiveOptions, restore_in_place
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import PASSPHRASE, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
T0 = 1_700_000_000_000
CHATS = 30
MOST_ROUNDS = 60
"""So often the writer writes; then the user goes to bed."""
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))

_STEP_S = 0.1
"""No step of a write takes longer: who reads, waits for seconds, then writes, cannot be met."""

_CALLS = ("open", "read", "rename", "link", "unlink", "stat", "write", "writev", "fsync", "close")


class Writer:
    """The application: reads, puts a chat in front or goes on with one, truncates, writes."""

    def __init__(self, path: Path, chance: random.Random, now_s: Callable[[], float]) -> None:
        self._path = path
        self._chance = chance
        self._now_s = now_s
        self._rest_s = chance.choice([0.002, 0.01, 0.05, 0.2])
        self._number = 0
        self.chats: list[int] = []
        self.messages: list[str] = []
        self.met_torn = 0
        self.rounds = 0
        self.is_writing = False
        self._life = self._live()

    def step(self) -> None:
        next(self._life)

    def finish_the_round(self) -> None:
        while self.is_writing:
            self.step()

    def _live(self) -> Iterator[None]:
        while True:
            self.is_writing = True
            yield from self._round()
            self.is_writing = False
            self.rounds += 1
            until = self._now_s() + self._rest_s * (0.2 + self._chance.random())
            while self._now_s() < until or self.rounds >= MOST_ROUNDS:
                yield

    def _round(self) -> Iterator[None]:
        try:
            chats = json.loads(self._path.read_bytes())
        except ValueError:
            chats = []  # as the application does
            self.met_torn += 1
        yield
        self._number += 1
        new = 10_000_000 + self._number
        if chats and self._chance.random() < 0.6:
            one = chats[self._chance.choice([0, 0, 1, len(chats) // 2]) % len(chats)]
            one["messages"].append({"role": "user", "content": f"<{new}>"})
            self.messages.append(f"<{new}>")
        else:
            chats.insert(0, {"id": T0 + new, "title": "new", "messages": []})
            self.chats.append(new)
        data = json.dumps(chats, ensure_ascii=False, indent=2).encode()
        while True:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
                descriptor = os.open(self._path, flags, 0o600)
            except BlockingIOError:  # held off: the system wakes it up when it may
                yield
            else:
                break
        middle = self._chance.randrange(len(data))
        for piece in (data[:middle], data[middle:]):
            yield
            os.write(descriptor, piece)
        yield
        os.close(descriptor)


class Interleaving:
    """Lets a writer take steps whenever the code under test calls the system."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.writer = Writer(path, chance, lambda: self._now_s)
        self._chance = chance
        self._likely = chance.choice([0.002, 0.005, 0.01, 0.03, 0.1, 0.5])
        self._most = chance.choice([1, 2, 6, 15])
        self._stopped = True
        self._now_s = self._stepped_s = 1000.0

    def patch(self, patches: pytest.MonkeyPatch) -> None:
        for name in _CALLS:
            patches.setattr(os, name, self._around(getattr(os, name)))
        patches.setattr(fcntl, "fcntl", self._around(fcntl.fcntl))
        clock = SimpleNamespace(
            monotonic=lambda: self._now_s,
            sleep=self._sleep,
            time=time.time,
            time_ns=time.time_ns,
        )
        for module in (live_document, live_writer, exchange):
            patches.setattr(module, "time", clock)
        patience_s = self._chance.choice([60.0, 60.0, 0.5, 0.02])
        patches.setattr(live_document, "_MOST_S", patience_s)

    def _sleep(self, seconds: float) -> None:
        self._now_s += seconds
        self._let_it()

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*words: Any, **more: Any) -> Any:
            self._let_it()
            answer = call(*words, **more)
            self._let_it()
            return answer

        return around

    def _let_it(self) -> None:
        self._now_s += 0.0001
        overdue = self.writer.is_writing and self._now_s > self._stepped_s + _STEP_S
        if self._stopped or (self._chance.random() > self._likely and not overdue):
            return
        self._stopped = True
        self._stepped_s = self._now_s
        for _ in range(self._chance.randint(1, self._most)):
            self.writer.step()
        self._stopped = False

    def __enter__(self) -> None:
        self._stopped = False

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self.writer.finish_the_round()


class Place:
    """A history of thirty chats in a repository, of which some were deleted since."""

    def __init__(self, folder: Path) -> None:
        self.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.data.add_user(USER, [chat(number, messages=2) for number in range(CHATS, 0, -1)])
        self.snapshot = take(self.repository, self.data).snapshot
        self.state = str(folder / "state")
        self.path = self.data.folder / PATH

    def options(self, **more: Any) -> LiveOptions:
        return LiveOptions(user=USER.encode(), quiet_s=2.0, state=self.state, jobs=1, **more)


@pytest.fixture(scope="module")
def repository_and_data(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("interleaved"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_of_the_writer_nor_of_the_restore_is_lost(
    repository_and_data: Place, tmp_path: Path, seed: int
) -> None:
    place = repository_and_data
    chance = random.Random(seed)
    gone = chance.sample(range(1, CHATS + 1), 3)
    kept = [number for number in range(CHATS, 0, -1) if number not in gone]
    place.data.write(PATH, [chat(number, messages=2) for number in kept])
    for left in place.path.parent.glob(".shenyu-data*"):
        left.unlink()
    interleaving = Interleaving(place.path, chance)
    writer = interleaving.writer
    monitor = CollectingMonitor()
    restored = []
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            for number in gone[:2]:
                stats = restore_in_place(
                    place.repository,
                    place.repository.root(place.snapshot),
                    str(place.data.folder),
                    place.options(chat=str(T0 + number)),
                    monitor,
                )
                if stats.changed and not stats.busy:
                    restored.append(number)
    assert writer.met_torn == 0, "the writer met a torn file: one of ours"
    codes = [finding.code for finding in monitor.findings]
    live = place.path.read_text()
    numbers = [item["id"] - T0 for item in json.loads(live)]
    assert len(numbers) == len(set(numbers))
    assert {*kept, *restored} - set(numbers) == set(), codes
    aside = list(place.path.parent.glob(".shenyu-data*"))
    assert all(path.name.startswith(".shenyu-data-kept-") for path in aside)
    assert codes.count("displaced-kept") == len(aside)
    # The safety snapshot may meet a torn document; nothing is kept but by who has to give up.
    assert set(codes) <= {"live-busy", "displaced-kept", "torn-document"}
    assert not aside or "live-busy" in codes
    everything = live + "".join(path.read_text() for path in aside)
    assert [text for text in writer.messages if text not in everything] == [], codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes
