"""The schedule of one data directory: what the log of runs and the configuration make of the pure
decisions in model/schedule.py. For ``serve`` and ``schedule``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import tzinfo

import msgspec

from shenyu_data.health.runs import RUN_COLUMNS as COLUMNS
from shenyu_data.health.runs import Run, end_killed_runs, lives, run_of_row, skip_run
from shenyu_data.health.store import Store
from shenyu_data.health.zones import open_zone
from shenyu_data.model.config_schedule import ScheduleTable
from shenyu_data.model.errors import AlreadyRun, ShenyuDataError, StateUnusable, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.schedule import Attempt, Clock, Decision, Job, Missed, decide

_YEAR_MS = 400 * 86_400_000


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a data directory. ``zone_name`` is empty if nothing tells it; ``salt`` spreads
    what several machines do at the same times.
    """

    jobs: list[Job]
    zone: tzinfo
    zone_name: str
    jitter_ms: int
    salt: str

    def clock(self, now_ms: int, *, jitter: bool = True, started_ms: int = 0) -> Clock:
        """Return what decisions at a time are made by."""
        return Clock(
            now_ms=now_ms,
            zone=self.zone,
            jitter_ms=self.jitter_ms if jitter else 0,
            salt=self.salt,
            started_ms=started_ms,
        )

    def names(self) -> set[str]:
        """Return the names of the jobs."""
        return {job.name for job in self.jobs}

    def job(self, name: str) -> Job:
        """Return a job. Raise UsageError if there is none of that name."""
        for job in self.jobs:
            if job.name == name:
                return job
        names = ", ".join(job.name for job in self.jobs) or "none at all"
        raise UsageError(
            f"there is no job {printable(name)}",
            hint=f"There is {names}: see `shenyu-data schedule show`.",
        )


def open_schedule(
    table: ScheduleTable | None, state: str, environment: Mapping[str, str]
) -> Schedule:
    """Return the schedule that ``[schedule]`` describes, or the usual one. ``state`` is the data
    directory's state folder. Raise ConfigError if its time zone is not known here.
    """
    table = table if table is not None else ScheduleTable()
    zone, name = open_zone(table.timezone, environment)
    return Schedule(
        jobs=table.all_jobs(),
        zone=zone,
        zone_name=name,
        jitter_ms=table.jitter_ms(),
        salt=f"{os.uname().nodename}\n{os.path.basename(state)}",
    )


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job: since when, its last attempts, whether it runs; and whether any
    backup was ever made.
    """

    since_ms: int
    attempts: list[Attempt]
    running: bool = False
    backed_up: bool = True


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands: what is known of it, and what is to become of it."""

    job: Job
    known: Remembered
    decision: Decision


def remember(
    store: Store,
    schedule: Schedule,
    now_ms: int,
    *,
    new_ms: int | None = None,
    unnoted: Callable[[StateUnusable], None] | None = None,
    lost: Mapping[str, int] | None = None,
) -> dict[str, Remembered]:
    """Return what is known of each job, by its name. Raise StateUnusable if nothing can be told.

    With ``unnoted``, which jobs are known since when is noted, and which runs were killed; it is
    told if that is not possible. New jobs are then known since ``new_ms``, by default now; those
    that are no news, as only the state folder was lost, since what ``lost`` says of them.
    """
    lost = lost or {}
    since, changes = _known_since(store, schedule, now_ms)
    if unnoted is not None:
        try:
            end_killed_runs(store, now_ms)
            _note_since(store, changes, lost, now_ms)
            new_ms = now_ms
        except StateUnusable as error:
            unnoted(error)
    for name in schedule.names() - since.keys():
        since[name] = lost.get(name, now_ms if new_ms is None else new_ms)
    backed_up = _ever(store, "backup")
    return {
        job.name: Remembered(
            since_ms=since[job.name],
            attempts=attempts_of(store, job.name, now_ms),
            running=is_running(store, job.name),
            backed_up=backed_up,
        )
        for job in schedule.jobs
    }


def standings(
    schedule: Schedule,
    known: Mapping[str, Remembered],
    clock: Clock,
    is_empty: Callable[[], bool],
) -> list[Standing]:
    """Say of each job what is to become of it. ``is_empty`` tells whether the repository holds no
    snapshot: then the first job that is a backup is due at once.
    """
    found = []
    backups = [job.name for job in schedule.jobs if job.verb == "backup"]
    for job in schedule.jobs:
        item = known[job.name]
        first = [job.name] == backups[:1] and not item.attempts and not item.backed_up
        since_ms, running = item.since_ms, item.running
        decision = decide(job, item.attempts, clock, since_ms=since_ms, running=running)
        # Asked last: a repository that is far away may keep us waiting for minutes.
        if first and decision.action == "wait" and is_empty():
            decision = decide(job, item.attempts, clock, since_ms=since_ms, at_once=True)
        found.append(Standing(job=job, known=item, decision=decision))
    return found


def knows_jobs(store: Store) -> bool:
    """Whether anything was ever noted of a job. Raise StateUnusable."""
    with store.reading() as connection:
        query = "SELECT 1 FROM jobs UNION ALL SELECT 1 FROM runs WHERE job IS NOT NULL LIMIT 1"
        return connection.execute(query).fetchone() is not None


def note_missed(store: Store, job: Job, missed: Missed, schedule: Schedule, now_ms: int) -> None:
    """Note runs that will not be made, as one row. Raise StateUnusable."""
    with suppress(AlreadyRun):  # somebody else noted it
        skip_run(store, job.verb, now_ms, job.name, missed.due_ms, tell_missed(missed, schedule))


def tell_missed(missed: Missed, schedule: Schedule) -> str:
    """Return the sentence about runs that will not be made."""
    from shenyu_data.model.schedule import MOST_COUNTED

    since = moment(missed.since_ms, schedule.zone)
    if missed.count == 1:
        return f"the run that was due at {since} was missed: {missed.why}"
    many = f"more than {MOST_COUNTED}" if missed.count >= MOST_COUNTED else f"{missed.count}"
    until = moment(missed.due_ms, schedule.zone)
    return f"{many} runs that were due from {since} to {until} were missed: {missed.why}"


def leapt_over(job: Job, schedule: Schedule, now_ms: int) -> int | None:
    """Return when, in about a year, a change of the clock leaps over a fixed time of a job, so that
    it is due right after; None if never.
    """
    from datetime import datetime

    time_ms: int | None = now_ms
    while job.cron.fixed and time_ms is not None and time_ms < now_ms + _YEAR_MS:
        time_ms = job.cron.after(time_ms, schedule.zone)
        if time_ms is not None:
            local = datetime.fromtimestamp(time_ms / 1000, schedule.zone)
            if local.hour not in job.cron.hours or local.minute not in job.cron.minutes:
                return time_ms
    return None


def moment(time_ms: int, zone: tzinfo) -> str:
    """Return a time as people read it, in a zone."""
    from datetime import datetime

    return datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")


def attempts_of(store: Store, job: str, now_ms: int) -> list[Attempt]:
    """Return the attempts at the newest due time of a job that is not in the future. One that has
    not ended counts as killed: a job that runs is not asked about. Raise StateUnusable.
    """
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT due_ms, attempt, outcome, ended_ms, exit_status FROM runs WHERE job = ? AND "
            "due_ms = (SELECT max(due_ms) FROM runs WHERE job = ? AND due_ms <= ?) "
            "ORDER BY attempt",
            (job, job, now_ms),
        ).fetchall()
    return [
        Attempt(
            due_ms=due,
            attempt=attempt,
            outcome="killed" if outcome == "running" else outcome,
            ended_ms=ended,
            exit_status=status,
        )
        for due, attempt, outcome, ended, status in rows
    ]


def last_runs(store: Store, job: str, count: int) -> list[Run]:
    """Return the last runs of a job that are noted, newest first; one that has neither an end nor a
    process was killed. Raise StateUnusable.
    """
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM runs WHERE job = ? "  # noqa: S608 - our words
            "ORDER BY rowid DESC LIMIT ?",
            (job, count),
        ).fetchall()
    found = [run_of_row(row) for row in rows]
    return [
        msgspec.structs.replace(run, outcome="killed")
        if run.ended_ms is None and not lives(run)
        else run
        for run in found
    ]


def is_running(store: Store, job: str) -> bool:
    """Whether a process is at work on a run of a job. Raise StateUnusable."""
    return bool(running_runs(store, job))


def running_runs(store: Store, job: str) -> list[Run]:
    """Return the runs of a job on which a process is at work. Raise StateUnusable."""
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM runs "  # noqa: S608 - our words
            "WHERE job = ? AND ended_ms IS NULL",
            (job,),
        ).fetchall()
    return [run for run in map(run_of_row, rows) if lives(run)]


def _ever(store: Store, verb: str) -> bool:
    with store.reading() as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM runs WHERE verb = ? AND outcome IN ('good', 'findings') LIMIT 1",
                (verb,),
            ).fetchone()
        )


def _known_since(
    store: Store, schedule: Schedule, now_ms: int
) -> tuple[dict[str, int], dict[str, str | None]]:
    """Return since when jobs are known as they are; and how those that are not are to be noted,
    None for such as are no more.
    """
    wanted = {job.name: f"{job.cron.text} {schedule.zone_name}" for job in schedule.jobs}
    with store.reading() as connection:
        rows = connection.execute("SELECT job, at, since_ms FROM jobs").fetchall()
    known = {name: since for name, at, since in rows if wanted.get(name) == at and since <= now_ms}
    changes = {name: wanted.get(name) for name, *_ in rows if name not in known}
    return known, changes | {name: at for name, at in wanted.items() if name not in known}


def _note_since(
    store: Store, changes: Mapping[str, str | None], lost: Mapping[str, int], now_ms: int
) -> None:
    if not changes:
        return
    with store.writing() as connection:
        for name, at in changes.items():
            connection.execute("DELETE FROM jobs WHERE job = ?", (name,))
            if at is not None:
                connection.execute(
                    "INSERT INTO jobs (job, at, since_ms) VALUES (?, ?, ?)",
                    (name, at, lost.get(name, now_ms)),
                )


def repository_is_empty(list_snapshots: Callable[[], Sequence[object]]) -> Callable[[], bool]:
    """Return a question that is asked once: whether there is no snapshot. If that cannot be told,
    it is not so, and is not asked again.
    """
    answers: list[bool] = []

    def is_empty() -> bool:
        if not answers:
            try:
                answers.append(not list_snapshots())
            except ShenyuDataError:
                answers.append(False)
        return answers[0]

    return is_empty
