"""The work of a backup, bucket by bucket, and how it is dealt out to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import field

from shenyu_data.datadir.survey import Owners
from shenyu_data.operations.workers import run_tasks
from shenyu_data.repository.format import Totals
from shenyu_data.repository.manifest import Layer

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")
R = TypeVar("R")


class BucketWork(msgspec.Struct):
    """One bucket to look at or to take. ``layers`` are the parent's; none: everything is new.

    ``displaced``: where users' files are now, so that no shared folder of that name can be.
    """

    bucket: int
    owners: Owners
    layers: list[Layer]
    totals: Totals = field(default_factory=Totals)
    gone: list[bytes] = field(default_factory=list)
    displaced: list[bytes] = field(default_factory=list)
    rewrite: bool = False
    """Whether the section must hold the whole bucket, not only what changed."""


class Listed(msgspec.Struct):
    """What the survey could list whole; what it did not meet elsewhere is kept as it was."""

    users: bool
    shared: bool


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
