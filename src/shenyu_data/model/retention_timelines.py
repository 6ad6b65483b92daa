"""Telling apart times that contradict the order in which snapshots were taken. Pure; for the
retention policy.

Going back from the newest, times should not grow. One that is more than the tolerance above the
lowest seen so far opens a second timeline, what fits in neither a third, and so on. So a clock that
ran ahead, and one that was set back, each leave two timelines, both of which are in order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

TOLERANCE_MS = 86_400_000
"""Clocks of several machines differ, and some are set to the wrong time zone: up to a day is no
contradiction.
"""


def timelines(times_ms: Sequence[int]) -> list[int]:
    """Given times in the order in which snapshots were taken, return the number of the timeline of
    each, from 1.
    """
    numbers = [0] * len(times_ms)
    lowest: list[int] = []  # of each timeline so far; always rising
    for position in range(len(times_ms) - 1, -1, -1):
        time = times_ms[position]
        line = bisect_left(lowest, time - TOLERANCE_MS)
        if line == len(lowest):
            lowest.append(time)
        else:
            lowest[line] = min(lowest[line], time)
        numbers[position] = line + 1
    return numbers


def witness_of(
    times_ms: Sequence[int], numbers: Sequence[int], number: int
) -> Callable[[int], int]:
    """Given times and their timelines, return a function that says, for a position in the timeline
    ``number``, which one keeps it out of the timeline before: the newest there that was taken later
    and yet has an earlier time.
    """
    before = [p for p in range(len(numbers) - 1, -1, -1) if numbers[p] == number - 1]
    lowest: list[int] = []  # negated, so that it rises as we go back
    for position in before:
        lowest.append(max(-times_ms[position], lowest[-1] if lowest else -times_ms[position]))

    def find(position: int) -> int:
        return before[bisect_left(lowest, TOLERANCE_MS - times_ms[position] + 1)]

    return find
