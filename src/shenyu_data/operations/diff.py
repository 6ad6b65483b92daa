"""``diff``: what differs between two snapshots, or a snapshot and the live directory, by user.

Buckets are compared one at a time and only the owners that differ most are kept by name, so that
memory does not grow with the directory. One user alone is compared down to the chats:
see ``diff_user.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import UsageError
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.backup_work import Listed
from shenyu_data.operations.diff_owner import OwnerDiff
from shenyu_data.operations.diff_sides import LiveSide, Side, SnapshotSide
from shenyu_data.operations.diff_tasks import (
    DiffResult,
    DiffTask,
    DiffTotals,
    DiffWork,
    diff_buckets,
)
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import BUCKETS, Root
from shenyu_data.repository.manifest import Layer, layers_of
from shenyu_data.repository.repository import Repository

_SMALL = 1000  # documents: below, starting processes costs more than it saves
_TASKS_A_JOB = 8

Target = Root | str
"""A snapshot, or the path of a data directory."""


class DiffOptions(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``limit`` users are told by name, whoever lost most first (None: all)."""

    limit: int | None = None
    jobs: int = 1


class DiffStats(msgspec.Struct, frozen=True, kw_only=True):
    """The ``owners`` that differ, as far as the limit goes, of ``found``; the sums of all. Not
    ``complete``: a folder of the live directory could not be listed.
    """

    owners: list[OwnerDiff]
    found: int
    totals: DiffTotals
    damaged: int
    complete: bool


def diff(
    repository: Repository, before: Target, after: Target, options: DiffOptions, monitor: Monitor
) -> DiffStats:
    """Compare everything of two sides.

    What cannot be read is reported, and the rest is compared. Raise UsageError if neither side is
    a snapshot, DataDirectoryError if a live side cannot be listed.
    """
    check_sides(before, after)
    most = max(side.totals.documents for side in (before, after) if isinstance(side, Root))
    jobs = options.jobs if most > _SMALL else 1
    sums = DiffResult()
    with ExitStack() as stack:
        sides = [_Buckets(repository, side, monitor, stack) for side in (before, after)]
        executor = stack.enter_context(open_executor(jobs))
        progress = stack.enter_context(monitor.task("Comparing", BUCKETS, "buckets"))
        tasks = _tasks(repository, sides[0], sides[1], options.limit, jobs)
        for result in run_tasks(executor, diff_buckets, tasks, waiting=jobs + 1):
            progress.advance(BUCKETS // (jobs * _TASKS_A_JOB) or 1)
            sums.totals.add(result.totals)
            sums.owners += result.owners
            sums.found += result.found
            sums.damaged += result.damaged
            sums.complete &= result.complete
            sums.keep(options.limit)
            for finding in result.findings:
                monitor.report(finding)
    return DiffStats(
        owners=sorted(sums.owners, key=lambda item: item.rank),
        found=sums.found,
        totals=sums.totals,
        damaged=sums.damaged,
        complete=sums.complete and all(side.complete for side in sides),
    )


def check_sides(before: Target, after: Target) -> None:
    """Raise UsageError if both sides are live."""
    if isinstance(before, str) and isinstance(after, str):
        raise UsageError(
            "both sides are the live directory", hint="Give a snapshot as one of them: `latest`."
        )


class _Buckets:
    """One side, which gives its buckets."""

    def __init__(
        self, repository: Repository, side: Target, monitor: Monitor, stack: ExitStack
    ) -> None:
        self._side = side
        self.complete = True
        if isinstance(side, str):
            self._survey = stack.enter_context(Survey(BUCKETS))
            survey(
                side,
                self._survey,
                user_bucket=repository.keys.user_bucket,
                shared_bucket=repository.keys.shared_bucket,
                monitor=monitor,
            )
            self.complete = self._survey.complete

    def bucket(self, number: int) -> Side:
        """Return one bucket."""
        if isinstance(self._side, Root):
            return SnapshotSide(self._side.sequence, layers_of(self._side, number))
        listed = Listed(self._survey.users_complete, self._survey.complete)
        return LiveSide(self._side, self._survey.bucket(number), listed)


def _tasks(
    repository: Repository, before: _Buckets, after: _Buckets, limit: int | None, jobs: int
) -> Iterator[DiffTask]:
    share = BUCKETS // (jobs * _TASKS_A_JOB) or 1
    for start in range(0, BUCKETS, share):
        work = []
        for number in range(start, min(start + share, BUCKETS)):
            old, new = before.bucket(number), after.bucket(number)
            shared = isinstance(new, SnapshotSide) and _layers(old) == new.layers
            if not shared:  # else it is the same without a look
                work.append(DiffWork(number, old, new))
        yield DiffTask(repository, work, limit)


def _layers(side: Side) -> list[Layer] | None:
    return side.layers if isinstance(side, SnapshotSide) else None
