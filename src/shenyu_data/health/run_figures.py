"""What runs saw, by the figures that the log keeps of them: damage, what is not whole, since when.

All take runs in the order in which they were noted, newest first. Pure; for facts.py and status.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from shenyu_data.health.runs import DONE, Run
from shenyu_data.model.alerts import Point, Trouble


def figure_of(run: Run, *names: str) -> int:
    """Return a number of a run's figures by the keys that lead there; 0 if there is none."""
    value: Any = run.figures
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return int(value) if isinstance(value, int | float) else 0


def not_whole(run: Run) -> int:
    """Return how many documents a backup could not read whole."""
    if not run.figures.get("degraded"):
        return 0
    return max(1, figure_of(run, "totals", "torn") + figure_of(run, "totals", "unreadable"))


def in_a_row(found: list[Run], count: Callable[[Run], int]) -> Trouble | None:
    """Return what the last run that was done saw, and since when runs in a row have."""
    trouble = None
    for run in found:
        if run.outcome not in DONE:
            continue
        if not (number := count(run)):
            break
        last = trouble.count if trouble is not None else number
        trouble = Trouble(since_ms=run.started_ms, count=last)
    return trouble


def damaged_by(verifies: list[Run]) -> Trouble | None:
    """Return what verifications found damaged, unless a later one that read as much found nothing:
    one that goes by parts reads those first that were damaged.
    """
    trouble = None
    sound_bytes = -1
    for run in verifies:
        damaged = figure_of(run, "damaged_objects")
        if damaged:
            if trouble is None and sound_bytes >= figure_of(run, "read_bytes"):
                return None
            last = trouble.count if trouble is not None else damaged
            trouble = Trouble(since_ms=run.started_ms, count=last)
        elif run.outcome in DONE:
            if trouble is not None:
                break
            by_parts = run.figures.get("read_parts") is not None
            sound_bytes = max(sound_bytes, 1 << 62 if by_parts else figure_of(run, "read_bytes"))
    return trouble


def read_since(verifies: list[Run], proven_ms: int | None, now_ms: int) -> int | None:
    """Return since when every byte of the repository was read; ``proven_ms``: at least then."""
    times = [proven_ms] if proven_ms is not None else []
    for run in verifies:
        if run.outcome not in DONE:
            continue
        stalest_s = run.figures.get("stalest_read_s")
        if isinstance(stalest_s, int | float):
            times.append(run.started_ms - int(stalest_s * 1000))
            break
    return max((item for item in times if item <= now_ms), default=None)


def drill_trouble(drills: list[Run]) -> Trouble | None:
    """Return what drills since the last one that was done could not prove, and why."""
    trouble = None
    for run in drills:
        if run.outcome in DONE:
            break
        kind = _drill_kind(run)
        if kind is None:
            continue
        if trouble is None:
            count = figure_of(run, "damaged") if kind == "damaged" else figure_of(run, "failed")
            trouble = Trouble(since_ms=run.started_ms, count=count, kind=kind)
        trouble = msgspec.structs.replace(trouble, since_ms=run.started_ms)
    return trouble


def _drill_kind(run: Run) -> str | None:
    if run.figures.get("error_code") == "drill-blind":
        return "blind"
    return next((name for name in ("damaged", "failed") if figure_of(run, name)), None)


def drifted(checks: list[Run], fixes: list[Run]) -> Trouble | None:
    """Return what checks of permissions saw, unless it was mended since."""
    mended_ms = next((run.started_ms for run in fixes if run.outcome == "good"), None)
    if mended_ms is not None:
        checks = [run for run in checks if run.started_ms > mended_ms]
    return in_a_row(checks, lambda run: figure_of(run, "errors") + figure_of(run, "warnings"))


def data_points(backups: list[Run], known: Iterable[Point], now_ms: int) -> list[Point]:
    """Return how large the data was at backups, oldest first: as the log says, and before that as
    is ``known`` of the repository.
    """
    points = [(run.started_ms, figure_of(run, "totals", "document_bytes")) for run in backups]
    first_ms = min((time_ms for time_ms, _ in points), default=now_ms)
    return sorted([*(point for point in known if point[0] < first_ms), *points])


def has_own_rule(run: Run) -> bool:
    """Whether what the run saw is told by a rule of its own, and told once is enough."""
    if run.verb == "verify":
        return bool(figure_of(run, "damaged_objects"))
    return run.verb == "drill" and _drill_kind(run) is not None
