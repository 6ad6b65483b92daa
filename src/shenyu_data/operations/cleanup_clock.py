"""Whether the clock can be trusted to say what is old. Called before a cleanup by age.

A machine whose clock leapt ahead by ten years takes every chat for ten years old, and one whose
clock fell back takes every chat for one from the future. What snapshots and folders say of the time
is held against the clock: either can be wrong, so a person must look.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.errors import ClockDoubtful
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import list_snapshots

_DAY_MS = 86_400_000

BEHIND_MS = _DAY_MS
"""So far may the clock be behind of what was noted before: machines differ a little."""

MOST_LEAP_MS = 30 * _DAY_MS
"""Whoever cleans up backs up more often than this."""

LATELY_MS = 7 * _DAY_MS
"""A leap is believed once snapshots were taken on this side of it for so long."""


def check_clock(repository: Repository, data: str, now_ms: int) -> None:
    """Raise ClockDoubtful if the clock, which says ``now_ms``, may be wrong; DataDirectoryError or
    StorageError if that cannot be looked at.
    """
    taken = list_snapshots(repository.storage, repository.keys, [])
    in_order = [item.time_ms for item in sorted(taken, key=lambda item: item.sequence)]
    why = doubt(now_ms, in_order, _written_ms(data))
    if why is not None:
        raise ClockDoubtful(
            f"it is {_day(now_ms)} by the clock, but {why}: nothing is cleaned up",
            hint="See that the clock is right (`date`). If it is, take a backup, or give "
            "--clock-is-right.",
        )


def doubt(now_ms: int, taken_ms: Sequence[int], written_ms: int | None) -> str | None:
    """Return what speaks against the clock; None if nothing does. Pure.

    ``taken_ms``: the times of the snapshots in the order in which they were taken, which no clock
    decides; ``written_ms``: when the folders of the data directory were last written.
    """
    if written_ms is not None and written_ms > now_ms + BEHIND_MS:
        return f"the data directory was written on {_day(written_ms)}"
    if not taken_ms:
        return None
    if taken_ms[-1] > now_ms + BEHIND_MS:
        return f"the newest snapshot was taken on {_day(taken_ms[-1])}"
    later = now_ms
    for time_ms in reversed(taken_ms):
        if later - time_ms > MOST_LEAP_MS:
            return f"a snapshot was taken on {_day(time_ms)} and none until {_day(later)}"
        if time_ms < now_ms - LATELY_MS:
            return None
        later = min(later, time_ms)
    return None


def _written_ms(data: str) -> int | None:
    times = []
    with suppress(OSError), DataFolders(data) as folders:
        for descriptor in (folders.users, folders.histories):
            if descriptor is not None:
                times.append(os.fstat(descriptor).st_mtime_ns // 1_000_000)
    return max(times, default=None)


def _day(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "a day that no calendar has"
