"""Runs of jobs that take longer than they may and outlived the scheduler that began them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from shenyu_data.health.jobs import LAST_S, PATIENCE_S, took_too_long
from shenyu_data.health.runs import age_s, lives, note_timed_out, run_with_id
from shenyu_data.health.schedule import running_runs
from shenyu_data.health.store import Store
from shenyu_data.model.schedule import Job


class Overdue:
    """Has such runs stop, and notes that they were."""

    def __init__(self) -> None:
        self._stopped: dict[str, Job] = {}

    @property
    def waits(self) -> bool:
        """Whether one that was told to stop has not been noted yet as what it is. Until then its
        own note, that it was interrupted, would have its job run again.
        """
        return bool(self._stopped)

    def look(self, store: Store, jobs: Iterable[Job], now_ms: int) -> None:
        """Have runs stop whose time is over, and note those that have; to be called now and then.
        Raise StateUnusable.
        """
        for job in jobs:
            self._stopped.update(dict.fromkeys(stop_overdue(store, job), job))
        for run_id, job in [*self._stopped.items()]:
            run = run_with_id(store, run_id)
            if run is None or not lives(run):
                note_timed_out(store, run_id, now_ms, None, took_too_long(job))
                del self._stopped[run_id]


def stop_overdue(store: Store, job: Job) -> list[str]:
    """Have the runs of a job stop whose time is over; return their ids. What does not heed an
    interrupt is ended by a later call. Raise StateUnusable.
    """
    if job.timeout_ms is None:
        return []
    found = []
    for run in running_runs(store, job.name):
        late_s = age_s(run) - job.timeout_ms / 1000
        if late_s <= 0:
            continue
        found.append(run.id)
        number = signal.SIGINT
        if late_s > PATIENCE_S:
            number = signal.SIGTERM if late_s <= PATIENCE_S + LAST_S else signal.SIGKILL
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(run.pid, number)
    return found
