"""How free space goes by the trend of the last days. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import linear_regression, median

from shenyu_data.model.alerts import DAY_MS, Point

WINDOW_MS = 14 * DAY_MS
"""Points from before say nothing of what is to come."""

FEWEST = 5
SHORTEST_MS = 3 * DAY_MS


def full_in_ms(points: Sequence[Point], now_ms: int, free_bytes: int) -> int | None:
    """Given how many bytes were free when, say after which time none will be; None if that cannot
    be said, or free space does not shrink.

    The line of least squares says how fast. One large file makes a steep line too: so most days
    must have shrunk it, and the days between are what the median is taken of.
    """
    recent = sorted(item for item in points if now_ms - WINDOW_MS <= item[0] <= now_ms)
    if len(recent) < FEWEST or recent[-1][0] - recent[0][0] < SHORTEST_MS:
        return None
    first_ms = recent[0][0]
    days = [(time_ms - first_ms) / DAY_MS for time_ms, _ in recent]
    slope, _ = linear_regression(days, [float(free) for _, free in recent])
    usual = median(_daily(recent))
    if slope >= 0 or usual >= 0:
        return None
    # The milder of the two: a day's import is no trend, nor is the day on which a prune came late.
    return int(free_bytes / -max(slope, usual) * DAY_MS)


def _daily(points: Sequence[Point]) -> list[float]:
    """Return by how much it changed from day to day, a day apart."""
    last_of_day = dict(sorted((time_ms // DAY_MS, (time_ms, free)) for time_ms, free in points))
    ends = list(last_of_day.values())
    return [
        (after[1] - before[1]) * DAY_MS / max(1, after[0] - before[0])
        for before, after in pairwise(ends)
    ] or [0.0]
