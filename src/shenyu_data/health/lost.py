"""A state folder that is new though the repository holds snapshots: since when its jobs are to be
taken for known, so that none is silently put off. For ``serve`` and ``schedule show``.

Where the repository tells when a job's work was last done, that counts; of what it does not tell
nothing is known, and the job is due.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from shenyu_data.health.jobs import Launch, Process, Program, environment_of_jobs
from shenyu_data.health.known import REPOSITORY, KnownRepository, done_ms, recall
from shenyu_data.health.runs import DONE
from shenyu_data.health.schedule import Remembered, Schedule, knows_jobs, moment
from shenyu_data.health.store import Store
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.schedule import Job
from shenyu_data.storage.open import is_remote

ASKED_MS = 10 * 60_000
"""So long the repository may take to be asked. Then nothing is known."""


def lost_since(
    store: Store, schedule: Schedule, known: KnownRepository | None, now_ms: int
) -> dict[str, int]:
    """Return since when each job is to be taken for known, given that no job is noted and the
    repository holds snapshots; nothing if the log reaches back as far as these: then the jobs are
    new. Raise StateUnusable.
    """
    if _reaches_back(store, known):
        return {}
    found = {}
    for job in schedule.jobs:
        times = [
            item for item in (done_ms(job, known, now_ms), _run_ms(store, job, now_ms)) if item
        ]
        found[job.name] = max([*times, latest_unknown_ms(job, schedule, now_ms)])
    return found


def latest_unknown_ms(job: Job, schedule: Schedule, now_ms: int) -> int:
    """Return since when a job is to be taken for known of which nothing is: of runs before the
    latest one nobody knows whether they were made, and that one is due.
    """
    latest_ms = job.cron.before(now_ms, schedule.zone)
    return now_ms if latest_ms is None else latest_ms - 1


def _reaches_back(store: Store, known: KnownRepository | None) -> bool:
    with store.reading() as connection:
        first = connection.execute("SELECT started_ms FROM runs ORDER BY rowid LIMIT 1").fetchone()
    if first is None or known is None or known.oldest_ms is None:
        return False
    return bool(first[0] <= known.oldest_ms)


def _run_ms(store: Store, job: Job, now_ms: int) -> int | None:
    """Return when a person last called the verb of a job and it was done."""
    full = job.verb == "backup" and "--full" in job.words
    with store.reading() as connection:
        (time_ms,) = connection.execute(
            "SELECT max(started_ms) FROM runs WHERE verb = ? AND started_ms <= ? "
            "AND outcome IN (?, ?) AND (NOT ? OR json_extract(figures, '$.kind') = 'full')",
            (job.verb, now_ms, *DONE, full),
        ).fetchone()
    return None if time_ms is None else int(time_ms)


class Rebuilding:
    """Finds out once, at the start of a scheduler, whether the state folder was lost, and what is
    known of its jobs all the same. The repository is asked by a process of its own: its memory goes
    back, and a passphrase that is waited for holds up nothing.
    """

    def __init__(self, is_empty: Callable[[], bool], start: Launch, monitor: Monitor) -> None:
        self._is_empty = is_empty
        self._start = start
        self._monitor = monitor
        self._since: dict[str, int] | None = None
        self._asked: Process | None = None
        self._asked_ms = 0

    def since(
        self,
        store: Store,
        schedule: Schedule,
        repository: str | None,
        program: Program,
        now_ms: int,
    ) -> dict[str, int] | None:
        """Return since when jobs that are not noted are to be taken for known, where that is not
        now; None while the repository is being asked. Raise StateUnusable.
        """
        if self._since and knows_jobs(store):
            self._since = {}  # what was found is noted: whatever is new later is new
        if self._since is None:
            # What is far away is asked by the other process alone: it may keep it waiting.
            near = repository is not None and not is_remote(repository)
            if repository is None or knows_jobs(store) or (near and self._is_empty()):
                self._since = {}
            else:
                self._since = self._find(store, schedule, program, now_ms)
        return self._since

    @property
    def asks(self) -> bool:
        """Whether the repository is being asked."""
        return self._asked is not None

    def remember(self, known: Mapping[str, Remembered]) -> None:
        """Take jobs for known as a scheduler at work knows them, whose log was lost."""
        self._since = {
            name: max([item.since_ms, *(attempt.due_ms for attempt in item.attempts)])
            for name, item in known.items()
        }

    def close(self) -> None:
        """Ask no more."""
        if self._asked is not None and self._asked.poll() is None:
            self._asked.send_signal(signal.SIGKILL)
            self._asked.wait()
        self._asked = None

    def _find(
        self, store: Store, schedule: Schedule, program: Program, now_ms: int
    ) -> dict[str, int] | None:
        waits = self._asked is not None and self._asked.poll() is None
        known = recall(store, REPOSITORY, KnownRepository)
        if known is None and self._asked is None and self._ask(program, now_ms):
            return None
        if known is None and waits and 0 <= now_ms - self._asked_ms < ASKED_MS:
            return None
        self.close()
        since = {}
        if known is None or known.snapshots:
            since = lost_since(store, schedule, known, now_ms)
        if since:
            self._monitor.report(_told(schedule, known, now_ms))
        return since

    def _ask(self, program: Program, now_ms: int) -> bool:
        command = program.command(["status", "--refresh", "--no-progress", "--quiet"])
        try:
            self._asked = self._start(command, environment_of_jobs())
        except OSError:
            return False
        self._asked_ms = now_ms
        return True


def _told(schedule: Schedule, known: KnownRepository | None, now_ms: int) -> Finding:
    if known is None:
        return Finding(
            code="state-not-rebuilt",
            severity="error",
            path="",
            message="nothing is known here of runs and alerts, as if the state folder was lost, "
            "and the repository could not be asked: each job is due now",
            hint="See what was said before this, then run `shenyu-data status --refresh`.",
        )
    told = [
        f"{job.name} {moment(time_ms, schedule.zone)}"
        for job in schedule.jobs
        if (time_ms := done_ms(job, known, now_ms)) is not None
    ]
    return Finding(
        code="state-rebuilt",
        severity="warning",
        path="",
        message="nothing was known here of runs and alerts, as if the state folder was lost. The "
        f"repository tells what was last done: {', '.join(told) or 'nothing'}. Other jobs are due "
        "now",
        hint="Keep the state folder: it knows of drills, alerts and acknowledgements besides.",
    )
