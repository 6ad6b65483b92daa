"""A run of a job: its row in the log, and the process that carries it out.

The process is this program as cron would call it, in a session of its own: it outlives whoever
started it, and notes its end itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from shenyu_data.health.runs import (
    RUN_VARIABLE,
    Outcome,
    begin_run,
    end_run,
    hand_over_run,
    note_timed_out,
    outcome_of,
)
from shenyu_data.health.store import Store
from shenyu_data.model.ages import format_age
from shenyu_data.model.errors import EXIT_FAILED, ShenyuDataError, StateUnusable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.schedule import Attempt, Job, verb_of

PATIENCE_S = 60.0
"""So long a job that is told to stop may take before it is told less kindly."""

LAST_S = 10.0
"""So long it may take then, before it is killed."""
_DAY_S = 86_400.0


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """How this program is called: its words, and the flags that every verb gets."""

    words: list[str]
    flags: list[str]

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line of a verb and its flags."""
        count = len(verb_of(words).split())
        return [*self.words, *words[:count], *self.flags, *words[count:]]


class Process(Protocol):
    """What is known of a process: a Popen, or what stands in for one where time is simulated."""

    pid: int

    def poll(self) -> int | None:
        """Return what it exited with, or None while it has not ended."""
        ...

    def wait(self) -> int:
        """Wait for its end; return what it exited with."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send it, and what it started, a signal, if it is there."""
        ...


class _Group(subprocess.Popen[bytes]):
    """A process in a session of its own, with all that it starts."""

    def send_signal(self, sig: int) -> None:
        """Send all of them a signal."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sig)


Launch = Callable[[Sequence[str], Mapping[str, str]], Process]
"""Starts a command line with an environment. Raises OSError."""


def launch(command: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start a process that outlives this one.

    What it prints goes where our own findings go: to the journal, or into cron's letter.
    """
    return _Group(
        command, stdin=subprocess.DEVNULL, stdout=2, env=environment, start_new_session=True
    )


class Running:
    """One attempt at a run, under way. ``run_id`` is its row, None if it could not be noted."""

    def __init__(
        self,
        job: Job,
        due_ms: int,
        attempt: int,
        run_id: str | None,
        process: Process,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self.due_ms = due_ms
        self.attempt = attempt
        self.run_id = run_id
        self.process = process
        self._elapsed_s = elapsed_s
        self._began_s = elapsed_s()
        self._overstayed = False
        self._told = 0
        self._told_s = 0.0

    def ended(self) -> bool:
        """Whether its process has come to its end."""
        return self.process.poll() is not None

    def stop(self, asked: int) -> None:
        """Have it stop, now that this was asked for so many times. To be called again and again
        until it has ended: what does not heed an interrupt is ended after a while.
        """
        now_s = self._elapsed_s()
        late = self._told and now_s - self._told_s > (PATIENCE_S if self._told == 1 else LAST_S)
        level = min(max(asked, self._told + bool(late)), 3)
        if level > self._told:
            self._told, self._told_s = level, now_s
            number = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[level - 1]
            self.process.send_signal(number)

    def keep_time(self) -> float:
        """Have it stop if it takes longer than its job may; return after how many seconds to call
        this again, at most. The clock that it goes by is one that nobody sets.
        """
        if self.job.timeout_ms is None or self.ended():
            return _DAY_S
        left_s = self.job.timeout_ms / 1000 - (self._elapsed_s() - self._began_s)
        if left_s > 0:
            return left_s
        self._overstayed = True
        self.stop(1)
        return 1.0

    @property
    def exit_status(self) -> int:
        """What the verb exited with; 3 if it was ended by a signal."""
        status = self.process.wait()
        return status if status >= 0 else EXIT_FAILED

    @property
    def outcome(self) -> Outcome:
        """How it ended, as far as its exit status tells."""
        status = self.process.wait()
        found: Outcome = outcome_of(status) if status >= 0 else "killed"
        if -status in (signal.SIGINT, signal.SIGTERM):
            found = "interrupted"
        # One that is interrupted before it can heed that exits with anything.
        return "timed-out" if self._overstayed and found != "good" else found

    def attempt_made(self, now_ms: int) -> Attempt:
        """Return the attempt as it has ended, for what cannot be noted."""
        status = self.process.wait()
        return Attempt(
            due_ms=self.due_ms,
            attempt=self.attempt,
            outcome=self.outcome,
            ended_ms=now_ms,
            exit_status=status if status >= 0 else None,
        )

    def note_end(self, store: Store, now_ms: int) -> bool:
        """Note how it ended, if the verb has not done so itself; return whether its row is there.
        Raise StateUnusable.
        """
        if self.run_id is None:
            return False
        status = self.process.wait()
        if self.outcome == "timed-out":
            said = status if status >= 0 else None
            return note_timed_out(store, self.run_id, now_ms, said, took_too_long(self.job))
        error = ""
        if status < 0:
            error = f"ended by signal {-status}"
        elif self.outcome == "failed":
            error = f"exited with {status} before it could say why"
        return end_run(
            store,
            self.run_id,
            now_ms,
            self.outcome,
            exit_status=status if status >= 0 else None,
            error=error,
        )


def begin_job(
    store: Store | None,
    job: Job,
    due_ms: int,
    attempt: int,
    program: Program,
    now_ms: int,
    unnoted: Callable[[StateUnusable], None],
    start: Launch = launch,
    elapsed_s: Callable[[], float] = time.monotonic,
) -> Running:
    """Begin a run of a job. One that cannot be noted is made all the same; ``unnoted`` is told.

    Raise AlreadyRun if somebody else began it, or ShenyuDataError if no process can be started.
    """
    run_id = None
    if store is not None:
        try:
            run_id = begin_run(
                store, job.verb, now_ms, job=job.name, due_ms=due_ms, attempt=attempt
            )
        except StateUnusable as error:
            unnoted(error)
    environment = environment_of_jobs()
    if run_id is not None:
        environment[RUN_VARIABLE] = run_id
    command = program.command([*job.words, "--no-progress", "--quiet"])
    try:
        process = start(command, environment)
    except OSError as error:
        failure = ShenyuDataError(
            f"cannot start {command[0]} for the job {job.name}: {error.strerror}",
            hint="It is tried again as the job's `retries` say.",
        )
        if store is not None and run_id is not None:
            end_run(store, run_id, now_ms, "failed", exit_status=EXIT_FAILED, error=failure.message)
        raise failure from None
    if store is not None and run_id is not None:
        with suppress(StateUnusable):  # then its row names this process, which waits for it
            hand_over_run(store, run_id, process.pid)
    return Running(job, due_ms, attempt, run_id, process, elapsed_s)


def took_too_long(job: Job) -> str:
    """Return the sentence about a run that was ended."""
    return f"it took longer than its timeout of {format_age((job.timeout_ms or 0) // 1000)}"


def environment_of_jobs() -> dict[str, str]:
    """Return the environment of what is started beside this process."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    environment.pop(RUN_VARIABLE, None)
    return environment


def report_unnoted(monitor: Monitor, error: ShenyuDataError) -> None:
    """Report that a run is not in the log."""
    monitor.report(
        Finding(
            code="run-not-noted",
            severity="warning",
            path="",
            message=f"this run is not in the log of runs: {error.message}",
            hint=error.hint,
        )
    )
