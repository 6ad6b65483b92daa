"""``compress --archive`` and ``decompress --archive``: cold chats leave the live history for a
compressed archive beside it, and come back into their places.

The archive is the copy: there is nothing for ``restore --undo``, but a safety snapshot is taken
first as of every change of live histories.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice

import msgspec

from shenyu_data.datadir.folder import open_root
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.archive_task import (
    COUNTS,
    MOST_ITEMS,
    ArchiveItem,
    ArchiveOptions,
    ArchiveTally,
    LookTask,
    MoveTask,
    look_at_owners,
    move_of_owners,
)
from shenyu_data.operations.history_owners import owners_in_parts
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import Began, Digests, Ended, open_journals
from shenyu_data.operations.safety import save_first
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.repository import Repository

_TAG = "before-archive"
_TASK_OWNERS = 500
_WAITING_A_JOB = 2
_MOVERS_A_JOB = 2
"""So many processes, because each waits about half of its time, for the disk and at its end for
two seconds to pass."""


class ArchivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would move: the first histories, and how much there is in all. ``left`` tells of those
    that cannot be looked into.
    """

    items: list[ArchiveItem]
    histories: int
    chats: int
    size_bytes: int
    left: list[Finding]


class ArchiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """What moved. ``safety`` is the snapshot of what was there; None if nothing was to be done."""

    histories: int
    chats: int
    size_bytes: int
    safety: bytes | None
    refused: int
    busy: int
    failed: int
    elapsed_s: float


def plan_archive(data: str, options: ArchiveOptions) -> ArchivePlan:
    """Say what :func:`archive` would do now. Writes nothing.

    Raise UsageError if there are no histories of that user, DataDirectoryError.
    """
    total = ArchiveTally()
    parts, few = _parts(data, options)
    jobs = 1 if few else options.jobs
    with open_executor(jobs) as executor:
        tasks = (LookTask(data, owners, options) for owners in parts)
        for part in run_tasks(executor, look_at_owners, tasks, waiting=_WAITING_A_JOB * jobs):
            _add(total, part)
            total.findings += part.findings
            total.items += part.items[: MOST_ITEMS - len(total.items)]
    return ArchivePlan(
        items=sorted(total.items, key=lambda item: item.path),
        histories=total.histories,
        chats=total.chats,
        size_bytes=total.size_bytes,
        left=total.findings,
    )


def archive(
    repository: Repository, data: str, options: ArchiveOptions, monitor: Monitor
) -> ArchiveStats:
    """Move chats into archives, or back. What cannot be done safely is refused and reported.

    Raise UsageError if another operation is changing the directory, and what a backup raises: then
    nothing was changed.
    """
    begun = time.monotonic()
    with open_journals(options.state) as journals, open_root(data) as root:
        finish_interrupted(repository, root, journals, options.quiet_s, monitor)
        journal = journals.begin(
            Began(
                operation="archive",
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id,
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        total, safety = ArchiveTally(), None
        parts, few = _parts(data, options)
        jobs = 1 if few else options.jobs
        parts = _pass_over(data, options, parts, jobs, monitor)
        first = list(islice(parts, 1))
        if first:
            safety = save_first(
                data, repository, journal, monitor, options.user, options.jobs, _TAG
            ).snapshot
            task = MoveTask(data, [], options, journal, Digests(repository), 1)
            _move(task, chain(first, parts), jobs, total, monitor)
        journal.write(Ended())
    return ArchiveStats(
        histories=total.histories,
        chats=total.chats,
        size_bytes=total.size_bytes,
        safety=safety,
        refused=total.refused,
        busy=total.busy,
        failed=total.failed,
        elapsed_s=time.monotonic() - begun,
    )


def _parts(data: str, options: ArchiveOptions) -> tuple[Iterator[list[bytes]], bool]:
    """Return the owners, in parts, and whether they are so few that one process does it."""
    parts = owners_in_parts(data, options.user, _TASK_OWNERS)
    first = list(islice(parts, 1))
    return chain(first, parts), sum(map(len, first)) < _TASK_OWNERS


def _pass_over(
    data: str, options: ArchiveOptions, parts: Iterator[list[bytes]], jobs: int, monitor: Monitor
) -> Iterator[list[bytes]]:
    """Return the parts from the first one on in which there is anything to be done."""
    looking: deque[list[bytes]] = deque()

    def tasks() -> Iterator[LookTask]:
        for owners in parts:
            looking.append(owners)
            yield LookTask(data, owners, options)

    waiting = _WAITING_A_JOB * jobs
    with (
        open_executor(jobs) as executor,
        monitor.task("Looking", None, "users") as progress,
        closing(run_tasks(executor, look_at_owners, tasks(), waiting=waiting, in_order=True)) as at,
    ):
        for found in at:
            if found.chats:
                break
            looking.popleft()
            progress.advance(found.owners)
            for finding in found.findings:
                monitor.report(finding)
    return chain(looking, parts)


def _move(
    task: MoveTask, parts: Iterator[list[bytes]], jobs: int, total: ArchiveTally, monitor: Monitor
) -> None:
    """Move the chats of all these owners, as ``task`` says."""
    movers = jobs * _MOVERS_A_JOB if jobs > 1 else 1
    with (
        open_executor(movers) as executor,
        monitor.task("Archiving", None, "users") as progress,
    ):
        if executor is None:
            owners = chain.from_iterable(parts)
            task = task._replace(owners=owners)
            _add(total, move_of_owners(task, monitor.report, progress.advance))
            return
        tasks = (task._replace(owners=owners, share=movers) for owners in parts)
        for part in run_tasks(executor, move_of_owners, tasks, waiting=_WAITING_A_JOB * movers):
            _add(total, part)
            progress.advance(part.owners)
            for finding in part.findings:
                monitor.report(finding)


def _add(total: ArchiveTally, part: ArchiveTally) -> None:
    for name in COUNTS:
        setattr(total, name, getattr(total, name) + getattr(part, name))
