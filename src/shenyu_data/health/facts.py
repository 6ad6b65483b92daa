"""Gathers what alerts are judged by: from the log of runs, the ledger, what is known of the
repository, the disks and the schedule. It opens no repository and asks no network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

from shenyu_data.health.known import (
    REPOSITORY,
    TICK,
    TRIPPED,
    WATCHED,
    KnownRepository,
    Tick,
    awake_since,
    done_ms,
    noted_ms,
    recall,
    samples,
)
from shenyu_data.health.notify_state import channel_states
from shenyu_data.health.run_figures import (
    damaged_by,
    data_points,
    drifted,
    drill_trouble,
    figure_of,
    has_own_rule,
    in_a_row,
    not_whole,
    read_since,
)
from shenyu_data.health.runs import DONE, RUN_COLUMNS, Run, last_run, lives, run_of_row
from shenyu_data.health.schedule import Schedule
from shenyu_data.health.store import Store
from shenyu_data.health.watch_notes import noticed_since, watch_fact
from shenyu_data.model.alert_watch import STANDS_MS
from shenyu_data.model.alerts import (
    DAY_MS,
    DiskFact,
    Facts,
    JobFact,
    SlotFact,
    Tripped,
    Trouble,
    WayFact,
)
from shenyu_data.model.schedule import SET_BACK, next_begin_ms
from shenyu_data.operations.configuration import Settings

BELIEVED_MS = DAY_MS
"""Once runs were noted for so long on this side of a time that is yet to come, the clock is right
again.
"""

_ROWS = 60  # of each verb and job: what is older says nothing of how it stands


class Disk(NamedTuple):
    """A disk as it is now: its device, its room in bytes and in files."""

    device: int
    free_bytes: int
    total_bytes: int
    free_files: int
    total_files: int


LookAtDisk = Callable[[str], Disk]
"""Looks at the disk on which a path lies. Raises OSError."""


def look_at_disk(path: str) -> Disk:
    """Look at the disk of a path, or of the folder in which it is to be made."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return Disk(
        device=os.stat(path).st_dev,
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        free_files=found.f_favail,
        total_files=found.f_files,
    )


class Log:
    """The newest runs of one data directory, in the order in which they were noted: no clock
    decides that. Runs that are dated in the future say nothing.
    """

    def __init__(self, store: Store, now_ms: int) -> None:
        self._store = store
        self._now_ms = now_ms

    def of_verb(self, verb: str) -> list[Run]:
        """Return the runs of a verb, newest first."""
        return list(self._of("verb", verb))

    def of_job(self, job: str) -> Iterator[Run]:
        """Yield the runs of a job, newest first."""
        return self._of("job", job)

    def _of(self, column: Literal["verb", "job"], value: str) -> Iterator[Run]:
        with self._store.reading() as connection:
            rows = connection.execute(
                f"SELECT {RUN_COLUMNS} FROM runs "  # noqa: S608 - our words
                f"INDEXED BY runs_noted_by_{column} WHERE {column} = ? AND started_ms <= ? "
                "ORDER BY rowid DESC LIMIT ?",
                (value, self._now_ms, _ROWS),
            ).fetchall()
        return map(run_of_row, rows)

    def done_ms(
        self, recent: Iterable[Run], *, verb: str | None = None, job: str | None = None
    ) -> int | None:
        """Return when a verb or a job was last done: by its ``recent`` runs or, if all of these
        failed, by one that lies before them.
        """
        for run in recent:
            if run.outcome in DONE:
                return run.started_ms
        older = last_run(self._store, self._now_ms, verb=verb, job=job, outcomes=DONE)
        return older.started_ms if older is not None else None

    def has_job_runs(self) -> bool:
        """Whether anything ever ran a job. Who calls the verbs by other means wants no job run."""
        with self._store.reading() as connection:
            query = "SELECT 1 FROM runs WHERE job IS NOT NULL LIMIT 1"
            return connection.execute(query).fetchone() is not None

    def future_ms(self) -> int | None:
        """Return the latest time that was noted and is yet to come, unless runs noted since then
        show that the clock has been right for a while.
        """
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT started_ms FROM runs ORDER BY rowid DESC LIMIT 500"
            ).fetchall()
        oldest_after = self._now_ms
        for (time_ms,) in rows:
            if time_ms > self._now_ms:
                believed = self._now_ms - oldest_after >= BELIEVED_MS
                return None if believed else max(item for (item,) in rows)
            oldest_after = min(oldest_after, time_ms)
        return None


def gather(
    store: Store,
    settings: Settings,
    schedule: Schedule,
    now_ms: int,
    *,
    standing: frozenset[str] = frozenset(),
    ticking: bool = False,
    disks: LookAtDisk = look_at_disk,
) -> Facts:
    """Return what is known at a time; ``ticking``: it is ``serve`` who asks. Raise
    StateUnusable.
    """
    log = Log(store, now_ms)
    known = recall(store, REPOSITORY, KnownRepository)
    tick = recall(store, TICK, Tick)
    backups = [run for run in log.of_verb("backup") if run.outcome in DONE]
    verifies = log.of_verb("verify")
    drills = log.of_verb("drill")
    good_ms = next((run.started_ms for run in backups if not run.figures.get("degraded")), None)
    backup_ms = log.done_ms(backups, verb="backup")
    degraded = in_a_row(backups, not_whole)
    future_ms = log.future_ms()
    if known is not None and known.newest_ms is not None:
        good_ms = _latest(good_ms, known.good_ms, now_ms)
        if not backups:
            if known.newest_ms > now_ms:
                future_ms = _latest(future_ms, known.newest_ms, None)
            if known.degraded:
                degraded = Trouble(since_ms=known.newest_ms, count=known.degraded)
        backup_ms = _latest(backup_ms, known.newest_ms, now_ms)
    if tick is not None and tick.tick_ms > now_ms:
        future_ms = _latest(future_ms, tick.tick_ms, None)
    awake_ms = awake_since(tick, now_ms)
    looked_ms = tick.tick_ms if tick is not None else None
    attended = ticking or not (settings.schedule is not None or looked_ms or log.has_job_runs())
    jobs = [
        fact
        if fact.good_ms is not None
        else msgspec.structs.replace(fact, good_ms=done_ms(job, known, now_ms))
        for job, fact in zip(
            schedule.jobs,
            _jobs(store, log, schedule, now_ms, now_ms if attended else looked_ms),
            strict=True,
        )
    ]
    return Facts(
        now_ms=now_ms,
        since_ms=min(_since_ms(store), now_ms),
        awake_ms=now_ms if ticking and awake_ms is None else awake_ms,
        backup_ms=backup_ms,
        good_backup_ms=good_ms,
        degraded=degraded,
        verified_ms=_latest(
            log.done_ms(verifies, verb="verify"),
            known.proven_ms if known is not None else None,
            now_ms,
        ),
        damaged=damaged_by(verifies),
        read_ms=read_since(verifies, known.proven_ms if known is not None else None, now_ms),
        drilled_ms=log.done_ms(drills, verb="drill"),
        drill=drill_trouble(drills),
        data_points=data_points(backups, known.points if known is not None else (), now_ms),
        disks=_disks(store, settings, now_ms, disks),
        invalid=in_a_row(
            [run for run in log.of_verb("validate") if "path" in run.figures],
            lambda run: figure_of(run, "errors"),
        ),
        drifted=drifted(log.of_verb("permissions check"), log.of_verb("permissions fix")),
        slots=_slots(store, known, now_ms),
        future_ms=future_ms,
        jobs=jobs,
        every_ms=_every_ms(jobs),
        tripped=recall(store, TRIPPED, Tripped),
        ways=_ways(store),
        watch=watch_fact(store, settings.watch.enabled, now_ms),
        noticed=noticed_since(store, now_ms - STANDS_MS),
        standing=standing,
    )


def _ways(store: Store) -> list[WayFact]:
    return [
        WayFact(name=name, failing_ms=state.failing_ms, error=state.error)
        for name, state in channel_states(store).items()
        if state.failing_ms is not None
    ]


def _latest(mine: int | None, other: int | None, now_ms: int | None) -> int | None:
    """Return the later of two times that are known, and not in the future if ``now_ms`` is said."""
    known = [item for item in (mine, other) if item is not None]
    return max((item for item in known if now_ms is None or item <= now_ms), default=None)


def _since_ms(store: Store) -> int:
    """Return since when anything is known, at least now."""
    with store.reading() as connection:
        first = connection.execute("SELECT started_ms FROM runs ORDER BY rowid LIMIT 1").fetchone()
    watched = noted_ms(store, WATCHED)
    times = [item for item in (watched, first[0] if first else None) if item is not None]
    return min(times, default=1 << 62)


def _disks(store: Store, settings: Settings, now_ms: int, look: LookAtDisk) -> list[DiskFact]:
    places = [
        ("data", "the data directory", settings.data),
        ("repository", "the repository", settings.repository),
        ("state", "the state folder", os.path.dirname(store.path)),
    ]
    found: dict[int, DiskFact] = {}
    for name, what, path in places:
        if not path or "://" in path:
            continue
        try:
            disk = look(path)
        except OSError:
            continue
        known = found.get(disk.device)
        if known is not None:
            found[disk.device] = msgspec.structs.replace(known, holds=[*known.holds, what])
            continue
        found[disk.device] = DiskFact(
            name=name,
            holds=[what],
            free_bytes=disk.free_bytes,
            total_bytes=disk.total_bytes,
            free_files=disk.free_files,
            total_files=disk.total_files,
            points=samples(store, f"free:{name}", now_ms),
        )
    return list(found.values())


def _slots(store: Store, known: KnownRepository | None, now_ms: int) -> list[SlotFact]:
    """Return the key slots that were there, with what this machine knows of their last use."""
    if known is None:
        return []
    root = os.path.dirname(os.path.dirname(store.path))  # of all data directories
    uses: dict[str, int] = {}
    for slot in known.slots:
        with suppress(OSError):
            path = os.path.join(root, known.id, "slots", slot.id)
            uses[slot.id] = os.stat(path, follow_symlinks=False).st_mtime_ns // 1_000_000
    return [
        msgspec.structs.replace(slot, used_ms=_latest(slot.used_ms, uses.get(slot.id), now_ms))
        for slot in known.slots
    ]


def _jobs(
    store: Store, log: Log, schedule: Schedule, now_ms: int, tick_ms: int | None
) -> list[JobFact]:
    with store.reading() as connection:
        since = dict(connection.execute("SELECT job, since_ms FROM jobs").fetchall())
    return [
        _job(schedule, index, log, now_ms, [tick_ms, since.get(job.name)])
        for index, job in enumerate(schedule.jobs)
    ]


def _job(
    schedule: Schedule,
    index: int,
    log: Log,
    now_ms: int,
    looked_ms: list[int | None],
) -> JobFact:
    job = schedule.jobs[index]
    last_ms = None
    failed: list[Run] = []
    skipped: Run | None = None
    good_ms = running_ms = usual_ms = None
    found = log.of_job(job.name)
    for run in found:
        last_ms = last_ms or run.started_ms
        if run.outcome == "running" and lives(run):
            running_ms = run.started_ms
        if run.outcome in DONE:
            good_ms = run.started_ms
            if running_ms is not None:
                usual_ms = _longest_ms([run, *found])
            break
        if run.outcome in SET_BACK:
            failed.append(run)
        elif run.outcome == "skipped":
            skipped = skipped or run
    due_ms = job.cron.before(now_ms, schedule.zone)
    next_ms = job.cron.after(now_ms, schedule.zone)
    seen = [item for item in (*looked_ms, last_ms) if item is not None]
    last = failed[0] if failed else None
    return JobFact(
        name=job.name,
        verb=job.verb,
        retries=job.retries,
        failures=len(failed),
        failing_ms=failed[-1].started_ms if failed else None,
        attempt=last.attempt if last is not None else 1,
        exit_status=last.exit_status if last is not None else None,
        killed=last is not None and last.outcome == "killed",
        timed_out=last is not None and last.outcome == "timed-out",
        running_ms=running_ms,
        usual_ms=usual_ms,
        own_rule=last is not None and has_own_rule(last),
        skipped=skipped.error if skipped is not None else "",
        skipped_ms=skipped.due_ms if skipped is not None else None,
        due_ms=due_ms,
        seen_ms=max(seen, default=now_ms),
        every_ms=next_ms - due_ms if due_ms is not None and next_ms is not None else None,
        good_ms=good_ms if good_ms is not None else log.done_ms((), job=job.name),
        next_ms=next_begin_ms(job, schedule.clock(now_ms)),
    )


def _longest_ms(found: list[Run]) -> int:
    """Return how long the one of these runs took that took longest and was done."""
    times = [run.ended_ms - run.started_ms for run in found if run.outcome in DONE and run.ended_ms]
    return max(times, default=0)


def _every_ms(jobs: list[JobFact]) -> dict[str, int]:
    """Return how often each verb is to run: as the job of it that runs most often says."""
    found: dict[str, int] = {}
    for job in jobs:
        if job.every_ms is not None:
            found[job.verb] = min(found.get(job.verb, job.every_ms), job.every_ms)
    return found
