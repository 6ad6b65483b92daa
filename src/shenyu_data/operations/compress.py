"""``compress`` and ``decompress``: histories become ``.json.gz``, as the guide has them, and back.

The bytes inside stay the same, the file's time, mode and owner too. What the running application
reads is left alone unless the operator says that it is stopped. Each is the other's undo.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain, islice

import msgspec

from shenyu_data.datadir.folder import open_root
from shenyu_data.model.findings import printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.compress_task import (
    COUNTS,
    MOST_ITEMS,
    CompressTask,
    Item,
    Tally,
    Wish,
    compress_owners,
)
from shenyu_data.operations.history_owners import owners_in_parts
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import Began, Ended, Journal, Journals, open_journals
from shenyu_data.operations.live_document import QUIET_S
from shenyu_data.operations.workers import open_executor, run_tasks

_TASK_OWNERS = 1000  # making things durable costs the same for many as for few
_WAITING_A_JOB = 4


class CompressOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, with whose histories (None: everybody's). ``state``: the folder of the
    journals, whose lock keeps operations that change live data apart.
    """

    wish: Wish
    user: bytes | None = None
    state: str
    jobs: int = 1


class CompressPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done: the first documents, how many there are, and their bytes as they are.

    ``in_use`` are left because the application reads them, ``recent`` because they are too young.
    """

    items: list[Item]
    documents: int
    before_bytes: int
    in_use: int
    recent: int
    failed: int


class CompressStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: documents, and their bytes before and after. ``in_use`` and ``recent`` as in
    the plan; ``refused`` are left for what their findings say; ``failed`` could not be written.
    """

    documents: int
    before_bytes: int
    after_bytes: int
    in_use: int
    recent: int
    refused: int
    failed: int
    elapsed_s: float


def plan_compress(data: str, options: CompressOptions, monitor: Monitor) -> CompressPlan:
    """Say what :func:`compress` would do now, by names, times and first bytes. Writes nothing.

    Raise UsageError if there are no histories of ``options.user``, DataDirectoryError.
    """
    total, items = _run(data, options, monitor, plan=True)
    return CompressPlan(
        items=items,
        documents=total.documents,
        before_bytes=total.before_bytes,
        in_use=total.in_use,
        recent=total.recent,
        failed=total.failed,
    )


def compress(data: str, options: CompressOptions, monitor: Monitor) -> CompressStats:
    """Put the compressed twins, or the plain ones, in the place of the documents.

    Finishes what a killed run left. Raise as :func:`plan_compress`, and UsageError if another
    operation is changing the directory.
    """
    begun = time.monotonic()
    with open_journals(options.state) as journals:
        with open_root(data) as root:
            finish_interrupted(journals.key(), root, journals, QUIET_S, monitor)
        journal = _begin(journals, data, options.wish.way)
        total, _ = _run(data, options, monitor, plan=False)
        if total.documents:
            journal.write(Ended())
        else:
            journal.discard()
    counts = {name: getattr(total, name) for name in COUNTS}
    return CompressStats(**counts, elapsed_s=time.monotonic() - begun)


def _begin(journals: Journals, data: str, way: str) -> Journal:
    """Note that documents get other names: an undo must not pass over that to what was done before,
    and put a second copy beside them.
    """
    began = Began(
        operation=way,
        time_ms=time.time_ns() // 1_000_000,
        repository=b"",
        data=printable(os.path.abspath(data)),
        snapshot=None,
    )
    return journals.begin(began)


def _run(
    data: str, options: CompressOptions, monitor: Monitor, *, plan: bool
) -> tuple[Tally, list[Item]]:
    total = Tally()
    tasks = _tasks(data, options, plan=plan)
    first = list(islice(tasks, 1))
    few = sum(len(task.owners) for task in first) < _TASK_OWNERS
    jobs = 1 if few else options.jobs
    title = "Looking" if plan else f"{options.wish.way.capitalize()}ing"
    with (
        open_executor(jobs) as executor,
        monitor.task(title, None, "users") as progress,
    ):
        work = chain(first, tasks)
        waiting = _WAITING_A_JOB * max(jobs, 1)
        for part in run_tasks(executor, compress_owners, work, waiting=waiting, tidies=True):
            progress.advance(part.owners)
            for finding in part.findings:
                monitor.report(finding)
            for name in COUNTS:
                setattr(total, name, getattr(total, name) + getattr(part, name))
            total.items += part.items[: MOST_ITEMS - len(total.items)]
    return total, sorted(total.items, key=lambda item: item.path)


def _tasks(data: str, options: CompressOptions, *, plan: bool) -> Iterator[CompressTask]:
    """Deal the folders of histories into tasks, as they are listed."""
    for owners in owners_in_parts(data, options.user, _TASK_OWNERS):
        yield CompressTask(data, owners, options.wish, plan)
