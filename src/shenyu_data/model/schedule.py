"""Which job is to run now, which is to wait and until when, and which runs will not be made. Pure:
what was remembered and a time go in, a decision comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Literal

import msgspec

from shenyu_data.model.cron import Cron

LONGEST_WAIT_MS = 6 * 3_600_000
"""No attempt waits longer than this for the one before."""

MOST_COUNTED = 1000
"""Of more runs than this that were missed it is said that there are more."""

MOST_ATTEMPTS = 100
"""No run is begun more often, however often it was interrupted."""

SET_BACK = ("failed", "killed", "timed-out")
"""The outcomes of runs that are tried again, as often as the job says."""

_LEADS_ON = ("permissions",)

Action = Literal["run", "wait", "running"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Something that runs at times: ``words`` are a verb and its flags."""

    name: str
    words: tuple[str, ...]
    cron: Cron
    retries: int
    retry_after_ms: int
    catch_up_ms: int | None
    timeout_ms: int | None = None

    @property
    def verb(self) -> str:
        """The verb: ``backup``, ``permissions check``."""
        return verb_of(self.words)


def verb_of(words: Sequence[str]) -> str:
    """Return the verb that a command line begins with, with that below it if it leads on."""
    return " ".join(words[: 2 if words[0] in _LEADS_ON else 1])


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the log of runs says of one attempt to make a run that was due; times in ms."""

    due_ms: int
    attempt: int
    outcome: str
    ended_ms: int | None
    exit_status: int | None


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that will not be made: how many, the due times of the first and the last, and why."""

    due_ms: int
    count: int
    since_ms: int
    why: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of a job. ``run``: attempt ``attempt`` at the run that was due at
    ``due_ms``. ``wait``: nothing until ``when_ms``, None for ever. ``running``: it has begun.

    ``missed`` is to be noted in any case. ``why`` says what a wait is for: ``due`` the next due
    time, ``jitter``, ``retry``; or of a run why it is made: ``due``, ``late``, ``retry`` or
    ``first``.
    """

    action: Action
    due_ms: int | None = None
    attempt: int = 1
    when_ms: int | None = None
    missed: Missed | None = None
    why: str = "due"


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions are made by: the time, the zone of due times, how long after these runs begin
    at most, what spreads them (a text of this machine's own), and since when this scheduler runs.
    """

    now_ms: int
    zone: tzinfo
    jitter_ms: int = 0
    salt: str = ""
    started_ms: int = 0


def decide(
    job: Job,
    attempts: Sequence[Attempt],
    clock: Clock,
    *,
    since_ms: int,
    running: bool = False,
    at_once: bool = False,
) -> Decision:
    """Decide about a job that is known since ``since_ms``: due times up to then are none of its.

    ``attempts`` are those at its newest due time that is not in the future; others do no harm.
    ``at_once``: a job without any attempt is due now. A job that runs is left alone.
    """
    if running:
        return Decision(action="running")
    now_ms = clock.now_ms
    # What is dated in the future comes from a clock that was wrong, and says nothing.
    known = [item for item in attempts if item.due_ms <= now_ms]
    last_ms = max((item.due_ms for item in known), default=None)
    since_ms = min(since_ms, now_ms)
    answered_ms = since_ms if last_ms is None else max(since_ms, last_ms)
    latest_ms = job.cron.before(now_ms, clock.zone)
    if latest_ms is not None and latest_ms > answered_ms:
        return _due(job, latest_ms, answered_ms, clock)
    if last_ms is None:
        if at_once:
            return Decision(action="run", due_ms=since_ms, why="first")
        return _wait(job, clock)
    return _again(job, [item for item in known if item.due_ms == last_ms], clock)


def begin_ms(job: Job, due_ms: int, clock: Clock) -> int:
    """Return when a run that is due at ``due_ms`` begins: the same for everybody who asks."""
    if not clock.jitter_ms:
        return due_ms
    from hashlib import blake2b  # late: it takes 5 ms

    next_ms = job.cron.after(due_ms, clock.zone)
    # A job that runs every minute must not be spread over five.
    most = clock.jitter_ms if next_ms is None else min(clock.jitter_ms, (next_ms - due_ms) // 2)
    text = f"{clock.salt}\n{job.name}\n{due_ms}".encode()
    share = int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
    return due_ms + int(most * share) // 1000 * 1000


def next_begin_ms(job: Job, clock: Clock) -> int | None:
    """Return when the next run begins that is due after now; None if never."""
    due_ms = job.cron.after(clock.now_ms, clock.zone)
    return None if due_ms is None else begin_ms(job, due_ms, clock)


def _wait(job: Job, clock: Clock, missed: Missed | None = None) -> Decision:
    return Decision(action="wait", when_ms=next_begin_ms(job, clock), missed=missed)


def _due(job: Job, latest_ms: int, answered_ms: int, clock: Clock) -> Decision:
    """Decide about a run that was due, and that nobody began."""
    late_ms = clock.now_ms - latest_ms
    count, first_ms = job.cron.count(answered_ms, latest_ms, clock.zone, MOST_COUNTED)
    if job.catch_up_ms is not None and late_ms > job.catch_up_ms:
        why = "nothing ran jobs at that time, and it is too old to be made up for"
        too_old = Missed(due_ms=latest_ms, count=count + 1, since_ms=first_ms, why=why)
        return _wait(job, clock, too_old)
    missed: Missed | None = None
    if count:
        before_ms = job.cron.before(latest_ms - 1, clock.zone)
        why = "nothing ran jobs at that time; a later run makes up for it"
        missed = Missed(due_ms=before_ms or first_ms, count=count, since_ms=first_ms, why=why)
    when_ms = begin_ms(job, latest_ms, clock)
    if clock.now_ms < when_ms:
        return Decision(
            action="wait", due_ms=latest_ms, when_ms=when_ms, missed=missed, why="jitter"
        )
    late = late_ms > clock.jitter_ms + 120_000
    return Decision(action="run", due_ms=latest_ms, missed=missed, why="late" if late else "due")


def _again(job: Job, attempts: Sequence[Attempt], clock: Clock) -> Decision:
    """Decide about a run that was begun, by its attempts."""
    last = max(attempts, key=lambda item: item.attempt)
    failures = sum(item.outcome in SET_BACK for item in attempts)
    too_old = job.catch_up_ms is not None and clock.now_ms - last.due_ms > job.catch_up_ms
    if (
        last.outcome not in (*SET_BACK, "interrupted")
        or last.exit_status == 4  # damage, or a wrong key: another try sees the same
        or failures > job.retries
        or last.attempt >= MOST_ATTEMPTS
        or too_old
    ):
        return _wait(job, clock)
    ended_ms = last.ended_ms if last.ended_ms is not None else last.due_ms
    doubled_ms = job.retry_after_ms << min(max(failures - 1, 0), 20)
    when_ms = ended_ms + min(doubled_ms, max(LONGEST_WAIT_MS, job.retry_after_ms))
    if ended_ms > clock.now_ms:
        when_ms = clock.now_ms  # the clock was set back: nobody knows how long ago that was
    elif last.outcome == "interrupted" and ended_ms < clock.started_ms:
        when_ms = clock.now_ms  # it was interrupted because the scheduler was stopped
    attempt = last.attempt + 1
    if when_ms <= clock.now_ms:
        return Decision(action="run", due_ms=last.due_ms, attempt=attempt, why="retry")
    return Decision(
        action="wait", due_ms=last.due_ms, attempt=attempt, when_ms=when_ms, why="retry"
    )
