"""The scheduler of ``serve``: one job at a time, in the order in which they were due.

It is told the time, and never waits: a year of it is simulated in seconds. What cannot be noted is
remembered, and noted when that is possible again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from shenyu_data.health.events import Tell
from shenyu_data.health.hooks import Event, Occasion, call_hooks
from shenyu_data.health.jobs import Launch, Program, Running, begin_job, launch, report_unnoted
from shenyu_data.health.lost import Rebuilding, latest_unknown_ms
from shenyu_data.health.overdue import Overdue
from shenyu_data.health.runs import Outcome, Run, note_run_made, run_with_id
from shenyu_data.health.schedule import (
    Remembered,
    Schedule,
    Standing,
    note_missed,
    remember,
    standings,
)
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.errors import AlreadyRun, ShenyuDataError, StateUnusable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.schedule import SET_BACK, Attempt, Job, Missed
from shenyu_data.operations.configuration import Settings

TICK_MS = 60_000
"""At most so long after one look at the clock follows the next: somebody may have set it."""

_LONGEST_MS = 86_400_000
_FEWEST_HOOKS_MS = 50_000
_MOST_PENDING = 10_000


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says is to be done, as it was read last."""

    settings: Settings
    schedule: Schedule
    program: Program


class Scheduler:
    """Runs the jobs of one data directory, whose state folder is ``state``.

    ``tell`` is told when a run begins and ends.
    """

    def __init__(
        self,
        state: str,
        work: Work,
        monitor: Monitor,
        is_empty: Callable[[], bool],
        tell: Tell,
        *,
        started_ms: int,
        start: Launch = launch,
        open_log: Callable[[str], Store] = open_store,
        hooks: Sequence[str] | None = None,
        elapsed_s: Callable[[], float] = time.monotonic,
        once: bool = False,
    ) -> None:
        self.work = work
        self._once = once
        self.running: Running | None = None
        self.last_tick_ms: int | None = None
        self._ticked_s = elapsed_s()
        self.runs = 0
        self.failed = 0
        self._state = state
        self._monitor = monitor
        self._is_empty = is_empty
        self._tell = tell
        self._started_ms = started_ms
        self._start = start
        self._elapsed_s = elapsed_s
        self._overdue = Overdue()
        self._hooks = hooks
        self._failing_hooks: set[str] = set()
        self._open_log = open_log
        self._store: Store | None = None
        self._complained = False
        self._known: dict[str, Remembered] = {}
        self._made: dict[str, list[Attempt]] = {}
        self._pending: list[Callable[[Store], None]] = []
        self._hooks_ms: int | None = None
        self.rebuilding = Rebuilding(is_empty, start, monitor)

    def tick(self, now_ms: int) -> int:
        """Note what has ended, begin what is due; return when to look again, at the latest."""
        self.last_tick_ms = now_ms
        self._ticked_s = self._elapsed_s()
        self._let_go_of_a_lost_log()
        self._finish(now_ms)
        store = self._usable_store()
        wake_ms = now_ms + _LONGEST_MS
        if self.running is None:
            wake_ms = self._begin_next(store, now_ms)
        if self.running is not None:
            wake_ms = min(wake_ms, now_ms + int(self.running.keep_time() * 1000))
        last_ms = self._hooks_ms
        if last_ms is None or not last_ms <= now_ms < last_ms + _FEWEST_HOOKS_MS:
            self._hooks_ms = now_ms
            self._call_hooks("tick", now_ms, None)
        return wake_ms

    def idle_s(self) -> float:
        """Return how long ago the last tick was, by the clock that nobody sets."""
        return self._elapsed_s() - self._ticked_s

    def stop(self, asked: int) -> None:
        """Have the job that runs stop; to be called until :attr:`running` is None after a tick."""
        if self.running is not None:
            self.running.stop(asked)

    def finish(self, now_ms: int) -> None:
        """Note what has ended; begin nothing."""
        self._let_go_of_a_lost_log()
        self._finish(now_ms)
        self._usable_store()

    def close(self) -> None:
        """Close the log."""
        self.rebuilding.close()
        self._close_store()

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _let_go_of_a_lost_log(self) -> None:
        if self._store is not None and not self._store.is_there():
            self._close_store()
            self.rebuilding.remember(self._known)

    def _usable_store(self) -> Store | None:
        """Return the log, with all noted that could not be; None if it cannot be written."""
        try:
            if self._store is None:
                self._store = self._open_log(self._state)
            while self._pending:
                self._pending[0](self._store)
                self._pending.pop(0)
                self._complained = False
        except StateUnusable as error:
            self._complain(error)
        return self._store

    def _complain(self, error: StateUnusable) -> None:
        if not self._complained:  # once, until it has been usable again
            self._complained = True
            report_unnoted(self._monitor, error)

    def _later(self, note: Callable[[Store], None]) -> None:
        if len(self._pending) < _MOST_PENDING:
            self._pending.append(note)

    def _standings(self, store: Store | None, now_ms: int) -> list[Standing] | None:
        """Return how each job stands; None while the repository is asked, as nothing is known."""
        schedule, work = self.work.schedule, self.work
        if store is not None:
            try:
                lost = self.rebuilding.since(
                    store, schedule, work.settings.repository, work.program, now_ms
                )
                if lost is None:
                    return None
                with suppress(StateUnusable):  # what is read below still counts
                    self._overdue.look(store, schedule.jobs, now_ms)
                self._known = remember(
                    *(store, schedule, now_ms),
                    new_ms=self._started_ms,
                    unnoted=self._complain,
                    lost=lost,
                )
            except StateUnusable as error:
                self._complain(error)
        if not self._pending:
            self._made.clear()
        known = {}
        for job in schedule.jobs:
            since_ms = self._started_ms
            if store is None and self._once:  # the next call would know no more than this one
                since_ms = latest_unknown_ms(job, schedule, now_ms)
            item = self._known.get(job.name) or Remembered(
                since_ms=since_ms, attempts=[], backed_up=False
            )
            made = self._made.get(job.name, [])
            if made:
                item = msgspec.structs.replace(
                    item, attempts=[*made, *_others(item.attempts, made)], running=False
                )
            known[job.name] = item
        clock = schedule.clock(now_ms, started_ms=self._started_ms)
        return standings(schedule, known, clock, self._is_empty)

    def _begin_next(self, store: Store | None, now_ms: int) -> int:
        """Begin the run that was due first; return when the next one is to begin."""
        wake_ms = now_ms + _LONGEST_MS
        found = self._standings(store, now_ms)
        if found is None:
            return now_ms + TICK_MS
        due = []
        for number, item in enumerate(found):
            decision = item.decision
            if decision.missed is not None:
                self._note_missed(store, item.job, decision.missed, now_ms)
            if decision.action == "run" and decision.due_ms is not None:
                due.append((decision.due_ms, number))
            elif decision.when_ms is not None:
                wake_ms = min(wake_ms, max(decision.when_ms, now_ms))
        if self._overdue.waits or any(item.decision.action == "running" for item in found):
            # A job that outlived the last scheduler, or that a person called.
            return min(wake_ms, now_ms + TICK_MS)
        for due_ms, number in sorted(due):
            if self._begin(store, found[number], due_ms, now_ms):
                return wake_ms
            wake_ms = min(wake_ms, now_ms + TICK_MS)  # somebody else began it, or nobody can
        return wake_ms

    def _begin(self, store: Store | None, item: Standing, due_ms: int, now_ms: int) -> bool:
        job, attempt = item.job, item.decision.attempt
        try:
            self.running = begin_job(
                store,
                job,
                due_ms,
                attempt,
                self.work.program,
                now_ms,
                self._complain,
                self._start,
                self._elapsed_s,
            )
        except AlreadyRun:
            return False
        except ShenyuDataError as error:
            self._remember_made(job, due_ms, attempt, now_ms, "failed", 3)
            self._monitor.report(_not_begun(error))
            return False
        if self.running.run_id is not None:
            self._complained = False
        self.runs += 1
        self._tell(
            f"{job.name}: begins{f', attempt {attempt}' if attempt > 1 else ''}",
            "run-begins",
            **_named(self.running),
        )
        self._call_hooks("begin", now_ms, self.running.run_id)
        return True

    def _finish(self, now_ms: int) -> None:
        """Note the end of the job that has ended."""
        running = self.running
        if running is None or not running.ended():
            return
        self.running = None
        outcome = running.outcome
        self.failed += outcome in SET_BACK
        run_id = running.run_id
        if not self._note_end(running, now_ms):
            made = running.attempt_made(now_ms)
            run_id = self._remember_made(
                *(running.job, made.due_ms, made.attempt, now_ms, outcome, made.exit_status),
                run_id=run_id,
                note_end=lambda store: running.note_end(store, now_ms),
            )
            self._usable_store()  # if the log was lost, there is a new one by now
        self._tell(
            f"{running.job.name}: {outcome}",
            "run-ends",
            **_named(running),
            outcome=outcome,
            exit_status=running.exit_status,
        )
        self._call_hooks("end", now_ms, run_id)

    def _note_end(self, running: Running, now_ms: int) -> bool:
        """Note how a run ended; return whether that was possible."""
        try:
            return self._store is not None and running.note_end(self._store, now_ms)
        except StateUnusable as error:
            self._complain(error)
            return False

    def _remember_made(
        self,
        job: Job,
        due_ms: int,
        attempt: int,
        now_ms: int,
        outcome: Outcome,
        exit_status: int | None,
        *,
        run_id: str | None = None,
        note_end: Callable[[Store], bool] = lambda store: False,
    ) -> str:
        """Remember a run that is not in the log, or that it ended, until it can be noted; return
        its id. ``note_end`` notes the end in the row that it had, if that is still there.
        """
        made = Attempt(
            due_ms=due_ms,
            attempt=attempt,
            outcome=outcome,
            ended_ms=now_ms,
            exit_status=exit_status,
        )
        run = Run(
            id=run_id or os.urandom(16).hex(),
            job=job.name,
            verb=job.verb,
            due_ms=due_ms,
            attempt=attempt,
            started_ms=now_ms,
            ended_ms=now_ms,
            outcome=outcome,
            exit_status=exit_status,
            figures={},
            error="it could not be noted when it was made",
            pid=0,
            born="",
        )
        self._made.setdefault(job.name, []).append(made)

        def note(store: Store) -> None:
            with suppress(AlreadyRun):
                if not note_end(store):
                    note_run_made(store, run)

        self._later(note)
        return run.id

    def _note_missed(self, store: Store | None, job: Job, missed: Missed, now_ms: int) -> None:
        schedule = self.work.schedule
        try:
            if store is not None:
                note_missed(store, job, missed, schedule, now_ms)
                return
        except StateUnusable as error:
            self._complain(error)
        self._later(lambda later: note_missed(later, job, missed, schedule, now_ms))
        skipped = Attempt(
            due_ms=missed.due_ms, attempt=1, outcome="skipped", ended_ms=now_ms, exit_status=None
        )
        self._made.setdefault(job.name, []).append(skipped)

    def _call_hooks(self, event: Event, now_ms: int, run_id: str | None) -> None:
        store = self._store
        if store is None:
            return
        run = None
        if run_id is not None:
            with suppress(StateUnusable):
                run = run_with_id(store, run_id)
        call_hooks(
            Occasion(
                event=event,
                store=store,
                settings=self.work.settings,
                now_ms=now_ms,
                monitor=self._monitor,
                run=run,
            ),
            self._hooks,
            self._failing_hooks,
        )


def _named(running: Running) -> dict[str, str | int | None]:
    """Return what an event says of which run it is about."""
    return {
        "job": running.job.name,
        "verb": running.job.verb,
        "attempt": running.attempt,
        "run": running.run_id,
    }


def _others(attempts: list[Attempt], made: list[Attempt]) -> list[Attempt]:
    """Return the attempts of the log that are not remembered better."""
    known = {(item.due_ms, item.attempt) for item in made}
    return [item for item in attempts if (item.due_ms, item.attempt) not in known]


def _not_begun(error: ShenyuDataError) -> Finding:
    return Finding(
        code="job-not-begun", severity="error", path="", message=error.message, hint=error.hint
    )
