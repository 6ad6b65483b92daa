"""A wrong clock: what speaks against it, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shenyu_data.model.errors import ClockDoubtful
from shenyu_data.operations.cleanup_clock import check_clock, doubt
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import PASSPHRASE, take

DAY = 86_400_000
NOW = 1_790_000_000_000
DAILY = [NOW - day * DAY for day in range(60, 0, -1)]
YEARS = 3650 * DAY


@pytest.mark.parametrize(
    "taken",
    [
        [],
        DAILY,
        [NOW - 20 * DAY],
        [*DAILY, NOW + DAY // 2],  # another machine's clock is a little ahead
        [NOW - 300 * DAY, *DAILY],  # it was off for long, some time ago
        [NOW - 300 * DAY, *DAILY[-9:]],
        [NOW - 9 * DAY, NOW + YEARS, NOW - 8 * DAY, *DAILY[-7:]],  # wrong once, and mended
        [-(10**18), *DAILY],
    ],
)
def test_a_clock_that_nothing_contradicts_is_trusted(taken: list[int]) -> None:
    assert doubt(NOW, taken, NOW - 5 * DAY) is None
    assert doubt(NOW, taken, NOW + DAY // 2) is None
    assert doubt(NOW, taken, None) is None


@pytest.mark.parametrize(
    "taken",
    [
        [NOW - 31 * DAY],
        [time_ms - YEARS for time_ms in DAILY],  # the clock leapt since the last backup
        [*[time_ms - YEARS for time_ms in DAILY], NOW - 1000],  # it leapt, then a backup ran
        [*[time_ms - YEARS for time_ms in DAILY], *DAILY[-3:]],
        [*DAILY, NOW + 2 * DAY],  # it fell back
        [time_ms + YEARS for time_ms in DAILY],
        [10**18],
    ],
)
def test_a_clock_that_snapshots_contradict_is_doubted(taken: list[int]) -> None:
    assert doubt(NOW, taken, None) is not None


def test_a_clock_that_is_behind_what_was_written_is_doubted() -> None:
    assert doubt(NOW, DAILY, NOW + 2 * DAY) is not None
    assert doubt(0, [], NOW) is not None


def test_a_repository_and_a_directory_are_asked(tmp_path: Path) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1)])
    taken = take(repository, data)
    now_ms = repository.root(taken.snapshot).time_ms
    check_clock(repository, str(data.folder), now_ms)
    for wrong_ms in (now_ms + YEARS, now_ms - YEARS):
        with pytest.raises(ClockDoubtful, match="nothing is cleaned up"):
            check_clock(repository, str(data.folder), wrong_ms)
    later_s = now_ms / 1000 + 10 * 86_400
    os.utime(data.folder / "users", (later_s, later_s))
    with pytest.raises(ClockDoubtful, match="data directory was written"):
        check_clock(repository, str(data.folder), now_ms)
