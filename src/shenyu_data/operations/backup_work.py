"""How the work of a backup is dealt out to its workers. For operations/backup.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from shenyu_data.operations.backup_tasks import BucketWork
from shenyu_data.operations.workers import run_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """The executor and how work is shared out over it."""

    def __init__(self, executor: Executor | None, jobs: int) -> None:
        self._executor = executor
        self._jobs = jobs

    def share(self, names: int, a_task: int) -> float:
        """Return how many names a task should have: ``a_task``, or fewer so that nobody idles."""
        return max(1.0, min(a_task, names / (2 * self._jobs)))

    def run(self, function: Callable[[T], R], tasks: Iterator[T]) -> Iterator[R]:
        """Yield the results as they come."""
        return run_tasks(self._executor, function, tasks, waiting=self._jobs + 1)


def batches(work: Iterator[BucketWork], names: float) -> Iterator[list[BucketWork]]:
    """Yield the work in tasks of at least so many ``names`` of owners and shared documents."""
    batch: list[BucketWork] = []
    size = 0
    for item in work:
        batch.append(item)
        size += len(item.owners.users) + len(item.owners.shared) + len(item.gone)
        if size >= names:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
