"""A year of ordinary use, and what tripwires say of it: `python -m benchmarks.ordinary`.

Each day people write (`benchmarks/day.py`), delete chats, have answers made anew; some come, few
leave. The machine is off now and then. Real backups are taken of it, by a clock that is given. For
tests too.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from benchmarks.data import DataSet, make
from benchmarks.day import day_of_use
from benchmarks.documents import application_user, json_text
from benchmarks.draws import Draws
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import backup as backup_module
from shenyu_data.operations.alarms import acknowledge
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.memory import MemoryStorage

DAY_MS = 86_400_000
FIRST_MS = 1_650_000_000_000 // DAY_MS * DAY_MS
HOURS = (7, 8, 9, 9, 10, 10, 11, 12, 13, 14, 14, 15, 16, 17, 18, 19, 20, 20, 21, 21, 22)


@dataclass
class Year:
    """How the people of a directory behave: shares of the histories that, in a day, are written,
    lose a chat, lose nearly all chats, or have their last answer made anew.
    """

    users: int
    seed: int
    written: float = 0.10
    chat_deleted: float = 0.01
    emptied: float = 0.001
    answered_anew: float = 0.02
    comes: int = 2  # percent of days
    leaves: int = 1
    off: int = 4
    data: Path = field(init=False)
    repository: Repository = field(init=False)
    day: int = 0

    def begin(self, folder: Path) -> None:
        """Make the directory and an empty repository."""
        self.data = folder / "data"
        make(DataSet("application", self.users, self.seed), self.data, jobs=1)
        self.repository = Repository(MemoryStorage(), Secrets(bytes(32), bytes(16)))
        self.repository.storage.put("dictionary-1", [_dictionary()])

    def live_a_day(self) -> None:
        """Do what people do in a day."""
        draws = Draws("ordinary", self.seed, self.day)
        quiet = self.day % 7 in (5, 6)
        share = self.written * (0.3 if quiet else 0.7 + draws.below(60) / 100)
        histories = sorted((self.data / "histories").glob("*/*.json"))
        for path in histories:
            for share_of, act in (
                (self.chat_deleted, _delete_some),
                (self.emptied, _delete_nearly_all),
                (self.answered_anew, _answer_anew),
            ):
                if draws.below(1_000_000) < share_of * 1_000_000:
                    _rewrite(path, act, draws)
        used = day_of_use(self.data, seed=self.seed * 1000 + self.day, fraction=share)
        for name in used.histories:
            hour = HOURS[draws.below(len(HOURS))]
            stamp = (self.now_ms - DAY_MS) / 1000 + hour * 3600 + draws.below(3600)
            os.utime(self.data / name, (stamp, stamp))
        if draws.chance(self.comes):
            for name, value in application_user(self.seed, self.users + self.day):
                target = self.data / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json_text(value), encoding="utf-8")
        if draws.chance(self.leaves) and histories:
            gone = histories[draws.below(len(histories))].parent
            shutil.rmtree(gone)
            (self.data / "users" / f"{gone.name}.json").unlink(missing_ok=True)
        self.day += 1

    @property
    def now_ms(self) -> int:
        """The midnight at which the day begins that is lived next."""
        return FIRST_MS + self.day * DAY_MS

    def back_up(self, **options: object) -> BackupStats:
        """Take a snapshot at this time."""
        clock = mock.Mock(time_ns=lambda: self.now_ms * 1_000_000, monotonic=time.monotonic)
        with mock.patch.object(backup_module, "time", clock):
            chosen = BackupOptions(watch=Watch(), **options)  # type: ignore[arg-type]
            return backup(str(self.data), self.repository, chosen, CollectingMonitor())

    def live(self, days: int) -> list[BackupStats]:
        """Live so many days with a snapshot after each, but for those at which the machine is off;
        return what was said of them. Somebody acknowledges each alarm on the next morning.
        """
        taken = []
        self.back_up()
        for _ in range(days):
            off = Draws("off", self.seed, self.day).chance(self.off)
            self.live_a_day()
            if not off:
                taken.append(self.back_up())
                names = [alarm.hex() for alarm in taken[-1].alarms]
                acknowledge(self.repository, names, "", now_ms=self.now_ms)
        return taken


def _dictionary() -> bytes:
    from shenyu_data.repository.compression import load_dictionary

    return load_dictionary()


def _rewrite(
    path: Path, act: Callable[[list[dict[str, object]], Draws], None], draws: Draws
) -> None:
    chats = json.loads(path.read_bytes())
    if isinstance(chats, list) and chats:
        act(chats, draws)
        path.write_text(json_text(chats), encoding="utf-8")


def _delete_some(chats: list[dict[str, object]], draws: Draws) -> None:
    for _ in range(1 + draws.below(3)):
        if chats:
            del chats[draws.below(len(chats))]


def _delete_nearly_all(chats: list[dict[str, object]], draws: Draws) -> None:
    del chats[draws.below(2) :]


def _answer_anew(chats: list[dict[str, object]], draws: Draws) -> None:
    messages = chats[0]["messages"]
    if isinstance(messages, list) and messages:
        messages[-1] = {"role": "assistant", "content": f"anew {draws.below(1_000_000)}"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ordinary", description=__doc__)
    parser.add_argument("--users", type=int, nargs="*", default=[3, 30, 300])
    parser.add_argument("--written", type=float, default=0.10, help="of the histories in a day")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    print("users  seed  snapshots  trips")
    for users in options.users:
        for seed in range(1, options.seeds + 1):
            year = Year(users, seed, written=options.written)
            with tempfile.TemporaryDirectory(prefix="ordinary-") as folder:
                year.begin(Path(folder))
                taken = year.live(options.days)
            told = Counter(
                trip.rule if trip.blocks else f"{trip.rule} ({trip.level})"
                for stats in taken
                for trip in stats.trips
            )
            print(f"{users:5}  {seed:4}  {len(taken):9}  {dict(told) or 'none'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
