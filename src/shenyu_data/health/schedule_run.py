"""``schedule run``: makes the run of a job that is due, and tries again if it fails. Called by cron
and systemd timers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from shenyu_data.health.hooks import Event, Occasion, call_hooks
from shenyu_data.health.jobs import Program, Running, begin_job, report_unnoted
from shenyu_data.health.overdue import stop_overdue
from shenyu_data.health.runs import Outcome, end_killed_runs, run_with_id
from shenyu_data.health.schedule import Schedule, attempts_of, is_running, note_missed
from shenyu_data.health.store import Store
from shenyu_data.health.wakeups import Wakeups
from shenyu_data.model.errors import EXIT_DONE, AlreadyRun, StateUnusable
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.schedule import Attempt, Decision, Job, decide
from shenyu_data.operations.configuration import Settings

_LONGEST_WAIT_S = 60.0  # a clock that is set is noticed


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the run: ``not-due`` if it was made already, else how its last attempt ended.

    ``attempts`` are those of this call. ``exit_status`` is that of the verb.
    """

    outcome: Outcome | Literal["not-due"]
    due_ms: int | None
    attempts: int
    exit_status: int
    started_ms: int
    ended_ms: int


def run_job(
    job: Job,
    schedule: Schedule,
    store: Store | None,
    program: Program,
    settings: Settings,
    monitor: Monitor,
    wakeups: Wakeups,
    clock: Callable[[], int],
    *,
    at_once: bool = False,
) -> JobResult:
    """Make the run of ``job`` that is due; with ``at_once`` one more, due now.

    Without a ``store`` nothing is known. What cannot be noted is a finding, and no reason to fail.
    Raise AlreadyRun if somebody else makes it, or ShenyuDataError if it cannot be started.
    """
    started_ms = clock()
    latest_ms = started_ms if at_once else job.cron.before(started_ms, schedule.zone)
    unnoted: list[Attempt] = []
    last: Running | None = None
    while not wakeups.stops():
        now_ms = clock()
        try:
            if at_once and last is None:
                running = store is not None and is_running(store, job.name)
                decision = Decision(action="running" if running else "run", due_ms=latest_ms)
            else:
                decision = _decide(job, schedule, store, unnoted, now_ms, latest_ms)
        except StateUnusable as error:
            report_unnoted(monitor, error)
            store = None
            continue
        if decision.action == "running":
            if store is not None:
                stop_overdue(store, job)  # by the next call it is gone
            raise AlreadyRun(
                f"the job {job.name} runs already",
                hint="`shenyu-data schedule show` tells since when.",
            )
        if decision.action == "wait" and decision.why == "retry" and decision.when_ms is not None:
            wakeups.wait(min((decision.when_ms - now_ms) / 1000, _LONGEST_WAIT_S))
            continue
        if decision.action == "wait" or decision.due_ms is None:
            break
        last = begin_job(
            store,
            job,
            decision.due_ms,
            decision.attempt,
            program,
            now_ms,
            lambda error: report_unnoted(monitor, error),
        )
        _tell(store, settings, monitor, clock(), last, "begin")
        while not last.ended():
            wait_s = min(last.keep_time(), _LONGEST_WAIT_S)
            wakeups.wait(1.0 if wakeups.stops() else wait_s)
            if wakeups.stops():
                last.stop(wakeups.stops())
        try:
            if store is None or last.run_id is None:
                unnoted.append(last.attempt_made(clock()))
            else:
                last.note_end(store, clock())
        except StateUnusable as error:
            report_unnoted(monitor, error)
            unnoted.append(last.attempt_made(clock()))
        _tell(store, settings, monitor, clock(), last, "end")
    return JobResult(
        outcome="not-due" if last is None else last.outcome,
        due_ms=None if last is None else last.due_ms,
        attempts=0 if last is None else last.attempt,
        exit_status=EXIT_DONE if last is None else last.exit_status,
        started_ms=started_ms,
        ended_ms=clock(),
    )


def _decide(
    job: Job,
    schedule: Schedule,
    store: Store | None,
    unnoted: list[Attempt],
    now_ms: int,
    latest_ms: int | None,
) -> Decision:
    attempts = list(unnoted)
    running = False
    if store is not None:
        end_killed_runs(store, now_ms)
        running = is_running(store, job.name)
        attempts += attempts_of(store, job.name, now_ms)
    # Whoever calls it says that it is due: that it was not known before does not matter.
    since_ms = 0 if attempts or latest_ms is None else latest_ms - 1
    clock = schedule.clock(now_ms, jitter=False)
    decision = decide(job, attempts, clock, since_ms=since_ms, running=running)
    if decision.missed is not None and store is not None:
        note_missed(store, job, decision.missed, schedule, now_ms)
    return decision


def _tell(
    store: Store | None,
    settings: Settings,
    monitor: Monitor,
    now_ms: int,
    running: Running,
    event: Event,
) -> None:
    if store is None:
        return
    try:
        run = None if running.run_id is None else run_with_id(store, running.run_id)
    except StateUnusable:
        run = None
    call_hooks(
        Occasion(
            event=event, store=store, settings=settings, now_ms=now_ms, monitor=monitor, run=run
        )
    )
