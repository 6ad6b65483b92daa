"""An application that rewrites a history while an operation of ours changes it, call by call.

It is played in the same process: whenever the operation asks the system for something about files,
the writer may take some of its own steps first, as chance has it. The clock is played as well, so
that a slow machine changes nothing. For tests.
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
from typing import TYPE_CHECKING, Any

from shenyu_data.datadir import aside, exchange, new_files, twins
from shenyu_data.operations import import_watch, interrupted, live_document, live_watch, live_writer

if TYPE_CHECKING:
    import pytest

T0 = 1_700_000_000_000
MOST_ROUNDS = 60
"""So often the writer writes; then the user goes to bed."""

_STEP_S = 0.1
"""No step of a write takes longer: who reads, waits for seconds, then writes, cannot be met."""

_NAP_S = 0.01

_CALLS = ("open", "read", "rename", "link", "unlink", "stat", "write", "writev", "fsync", "close")

Stamps = Callable[[tuple[Any, ...], Any], int | None]
"""Given the words of a call and its answer, return the descriptor of the file that it changed."""


def _stamps_nothing(words: tuple[Any, ...], answer: Any) -> None:
    """Say that a call changes no file."""


_STAMPS: dict[str, Stamps] = {
    "open": lambda words, answer: answer if words[1] & os.O_TRUNC else None,
    "write": lambda words, answer: words[0],
    "writev": lambda words, answer: words[0],
}


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
        """Go on to the next call to the system."""
        next(self._life)

    def finish_the_round(self) -> None:
        """Go on until nothing is half written."""
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
        except FileNotFoundError:
            chats = []
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
    """Lets a writer take steps whenever the code under test calls the system: within its block,
    after :meth:`patch`.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.writer = Writer(path, chance, lambda: self._now_s)
        self._chance = chance
        self._likely = chance.choice([0.002, 0.005, 0.01, 0.03, 0.1, 0.5])
        self._most = chance.choice([1, 2, 6, 15])
        self._stopped = True
        self._now_s = self._stepped_s = 1000.0
        self._written_s, self._written_at_s = time.time(), self._now_s

    def patch(self, patches: pytest.MonkeyPatch) -> None:
        """Come in between whoever calls the system, and play the clock."""
        for name in _CALLS:
            call = getattr(os, name)
            patches.setattr(os, name, self._around(call, _STAMPS.get(name, _stamps_nothing)))
        patches.setattr(fcntl, "fcntl", self._around(fcntl.fcntl))
        clock = SimpleNamespace(
            monotonic=lambda: self._now_s,
            sleep=self._sleep,
            time=self._time,
            time_ns=lambda: int(self._time() * 1e9),
        )
        operations = (import_watch, interrupted, live_document, live_watch, live_writer)
        for module in (*operations, exchange, twins):
            patches.setattr(module, "time", clock)
        for module in (aside, new_files, twins):
            patches.setattr(module, "rename_new", self._around(exchange.rename_new))
        patience_s = self._chance.choice([60.0, 60.0, 0.5, 0.02])
        patches.setattr(live_watch, "_MOST_S", patience_s)

    def _sleep(self, seconds: float) -> None:
        while seconds > _NAP_S:  # nobody sleeps through several steps of the writer
            self._now_s += _NAP_S
            self._let_it()
            seconds -= _NAP_S
        self._now_s += seconds
        self._let_it()

    def _time(self) -> float:
        """Return the time of day: the last write was stamped by the system, what passed since is
        played. A machine that stalls makes no document older.
        """
        return self._written_s + self._now_s - self._written_at_s

    def _around(
        self, call: Callable[..., Any], stamps: Stamps = _stamps_nothing
    ) -> Callable[..., Any]:
        def around(*words: Any, **more: Any) -> Any:
            self._let_it()
            answer = call(*words, **more)
            written = stamps(words, answer)
            if written is not None:
                self._written_s = os.fstat(written).st_mtime
                self._written_at_s = self._now_s
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
