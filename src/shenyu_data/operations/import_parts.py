"""Going through an export with workers: what they make of its parts, in its order. For the plan of
an import and for the import.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import TypeVar

from shenyu_data.model.errors import ArchiveError
from shenyu_data.operations.import_checks import Entry, Part
from shenyu_data.operations.import_items import ImportItems
from shenyu_data.operations.workers import open_executor, run_tasks

T = TypeVar("T")
R = TypeVar("R")

_WAITING_A_JOB = 2
_WAITING = 12
"""So many more, that workers have enough to do while what they wrote is made durable."""


def work_through(
    items: ImportItems, function: Callable[[T], R], task_of: Callable[[Part], T], jobs: int
) -> Generator[R | Entry]:
    """Yield ``function(task_of(part))`` of each part of an export, as workers are done with it, and
    each entry that comes alone, which must be taken before the next; in the export's order.

    Raise ArchiveError as the items do, after all that comes before.
    """
    parts = items.parts()
    first = next(parts, None)
    if first is None:
        return
    parts = chain((first,), parts)
    if isinstance(first, Entry) or not first.is_full:
        jobs = 1  # done before another process would have started
    with open_executor(jobs) as executor:
        waiting = _WAITING_A_JOB * max(jobs, 1) + _WAITING
        while True:
            stopped: list[Entry | ArchiveError] = []
            tasks = _tasks(parts, task_of, stopped)
            yield from run_tasks(executor, function, tasks, waiting=waiting, in_order=True)
            if not stopped:
                return
            for what in stopped:
                if isinstance(what, ArchiveError):
                    raise what
                yield what


def _tasks(
    parts: Iterator[Part | Entry],
    task_of: Callable[[Part], T],
    stopped: list[Entry | ArchiveError],
) -> Iterator[T]:
    """Yield tasks up to an entry that comes alone, or an error, which goes into ``stopped``."""
    while True:
        try:
            part = next(parts, None)
        except ArchiveError as error:
            stopped.append(error)
            return
        if part is None:
            return
        if isinstance(part, Entry):
            stopped.append(part)
            return
        yield task_of(part)
