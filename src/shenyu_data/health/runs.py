"""The log of runs: which verb ran, for which job, when, how it ended, and its figures.

A run is noted when it begins and again when it ends, so that one that was killed is seen: its
process is gone, and its row has no end. No two runs of a job have the same due time and attempt:
whoever comes second is told so.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Literal, get_args

import msgspec

from shenyu_data.health.store import Store, wipe_journal
from shenyu_data.model.errors import (
    EXIT_DONE,
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    AlreadyRun,
)

Outcome = Literal[
    "running", "good", "findings", "failed", "interrupted", "killed", "timed-out", "skipped"
]
"""How a run stands. ``findings``: it was done, and saw something, or its result is degraded;
``timed-out``: it took longer than its job may, and was ended; ``skipped``: it was due and not run,
and its error says why."""

RUN_VARIABLE = "SHENYU_DATA_RUN"
"""The environment variable by which a job's run tells the verb which row of the log is its own."""

DONE: tuple[Outcome, ...] = ("good", "findings")
"""The outcomes of runs that did what they should."""

KEPT_MS = 400 * 86_400_000
"""Runs that began earlier are forgotten, but for the last ones of each verb and job."""

_KEPT_EACH = 10
_MOST_BYTES = 16_384
_TEXTS = ("id", "kind", "parent", "time", "error_code")  # what figures hold besides numbers
RUN_COLUMNS = (
    "id, job, verb, due_ms, attempt, started_ms, ended_ms, outcome, exit_status, figures, error, "
    "pid, born"
)
"""What is selected of the table for :func:`run_of_row`."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are ms since 1970.

    ``job`` and ``due_ms`` say for what it ran, None if a person called the verb. ``attempt`` counts
    from 1. ``figures`` are the numbers of what the verb's ``--json`` says, and ``error`` what
    made it fail. ``pid`` and ``born`` name the process, whatever number it is given again.
    """

    id: str
    job: str | None
    verb: str
    due_ms: int | None
    attempt: int
    started_ms: int
    ended_ms: int | None
    outcome: Outcome
    exit_status: int | None
    figures: dict[str, Any]
    error: str
    pid: int
    born: str


def begin_run(
    store: Store,
    verb: str,
    now_ms: int,
    *,
    job: str | None = None,
    due_ms: int | None = None,
    attempt: int = 1,
    pid: int | None = None,
) -> str:
    """Note that a run begins; return its id. ``pid`` is the process that carries it out, by default
    this one. Raise AlreadyRun, or StateUnusable.
    """
    run_id = os.urandom(16).hex()
    number = os.getpid() if pid is None else pid
    values = (
        *(run_id, job, verb, due_ms, attempt, now_ms, None, "running", None, "{}", ""),
        *(number, birth_of(number) or ""),
    )
    _insert(store, values)
    return run_id


def skip_run(store: Store, verb: str, now_ms: int, job: str, due_ms: int, why: str) -> None:
    """Note that a run was due and will not be made. Raise AlreadyRun, or StateUnusable."""
    run_id = os.urandom(16).hex()
    values = (run_id, job, verb, due_ms, 1, now_ms, now_ms, "skipped", None, "{}", why, 0, "")
    _insert(store, values)


def note_run_made(store: Store, run: Run) -> None:
    """Note a run that could not be noted when it was made. Raise AlreadyRun, or StateUnusable."""
    values = msgspec.structs.astuple(msgspec.structs.replace(run, figures={}))
    _insert(store, tuple("{}" if value == {} else value for value in values))


def _insert(store: Store, values: tuple[object, ...]) -> None:
    places = ", ".join("?" * len(values))
    with store.writing() as connection:
        try:
            connection.execute(
                f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({places})",  # noqa: S608 - our words
                values,
            )
        except sqlite3.IntegrityError:
            raise AlreadyRun(
                f"{values[1]} was begun for this time already",
                hint="Another shenyu-data runs the jobs of this data directory; one is enough.",
            ) from None


def end_run(
    store: Store,
    run_id: str,
    now_ms: int,
    outcome: Outcome,
    *,
    exit_status: int | None = None,
    figures: Mapping[str, Any] | None = None,
    error: str = "",
) -> bool:
    """Note how a run ended; of one that has ended already nothing changes. Return whether there is
    such a run: if the log was lost meanwhile there is not. Raise StateUnusable.
    """
    with store.writing() as connection:
        connection.execute(
            "UPDATE runs SET ended_ms = ?, outcome = ?, exit_status = ?, figures = ?, error = ? "
            "WHERE id = ? AND ended_ms IS NULL",
            (now_ms, outcome, exit_status, _kept(figures or {}), error[:2000], run_id),
        )
        return _has_run(connection, run_id)


def note_timed_out(
    store: Store, run_id: str, now_ms: int, exit_status: int | None, why: str
) -> bool:
    """Note that a run was ended because it took too long, whatever it noted itself when it was; one
    that was done nevertheless stays as it is. Return as :func:`end_run`. Raise StateUnusable.
    """
    with store.writing() as connection:
        connection.execute(
            "UPDATE runs SET ended_ms = coalesce(ended_ms, ?), outcome = 'timed-out', "
            "exit_status = coalesce(exit_status, ?), error = ? "
            "WHERE id = ? AND outcome IN ('running', 'interrupted', 'killed')",
            (now_ms, exit_status, why, run_id),
        )
        return _has_run(connection, run_id)


def _has_run(connection: sqlite3.Connection, run_id: str) -> bool:
    return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None


def hand_over_run(store: Store, run_id: str, pid: int) -> None:
    """Note that another process carries out a run that was begun. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute(
            "UPDATE runs SET pid = ?, born = ? WHERE id = ? AND ended_ms IS NULL",
            (pid, birth_of(pid) or "", run_id),
        )


def outcome_of(exit_status: int) -> Outcome:
    """Return how a verb that exited so ended."""
    if exit_status == EXIT_DONE:
        return "good"
    if exit_status == EXIT_FINDINGS:
        return "findings"
    return "interrupted" if exit_status == EXIT_INTERRUPTED else "failed"


def end_killed_runs(store: Store, now_ms: int) -> list[Run]:
    """Note of each run that has no end and whose process is gone that it was killed; return them
    as they are now. Raise StateUnusable.
    """
    with store.reading() as connection:
        found = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE ended_ms IS NULL"  # noqa: S608 - our words
        ).fetchall()
    dead = [run for run in map(run_of_row, found) if not lives(run)]
    for run in dead:
        end_run(store, run.id, now_ms, "killed", error="its process is gone")
    return [
        msgspec.structs.replace(run, ended_ms=now_ms, outcome="killed", error="its process is gone")
        for run in dead
    ]


def runs(
    store: Store,
    *,
    verb: str | None = None,
    job: str | None = None,
    outcomes: Iterable[Outcome] = get_args(Outcome),
    since_ms: int | None = None,
    limit: int = 100,
) -> list[Run]:
    """Return the newest runs, newest first, that answer to all that is given. Raise
    StateUnusable.
    """
    wanted = list(outcomes)
    where = [f"outcome IN ({', '.join('?' * len(wanted))})"]
    values: list[object] = [*wanted]
    for clause, value in (("verb = ?", verb), ("job = ?", job), ("started_ms >= ?", since_ms)):
        if value is not None:
            where.append(clause)
            values.append(value)
    query = (
        f"SELECT {RUN_COLUMNS} FROM runs WHERE {' AND '.join(where)} "  # noqa: S608 - our words
        "ORDER BY started_ms DESC, rowid DESC LIMIT ?"
    )
    with store.reading() as connection:
        return [run_of_row(row) for row in connection.execute(query, (*values, limit))]


def last_run(
    store: Store,
    now_ms: int,
    *,
    verb: str | None = None,
    job: str | None = None,
    outcomes: Iterable[Outcome],
) -> Run | None:
    """Return the newest run of a verb or a job that ended so; None if there is none. One that is
    dated in the future says nothing. Raise StateUnusable.
    """
    column, value = ("job", job) if job is not None else ("verb", verb)
    wanted = list(outcomes)
    query = (
        f"SELECT {RUN_COLUMNS} FROM runs WHERE {column} = ? "  # noqa: S608 - our words
        f"AND outcome IN ({', '.join('?' * len(wanted))}) AND started_ms <= ? AND ended_ms <= ? "
        "ORDER BY started_ms DESC, rowid DESC LIMIT 1"
    )
    with store.reading() as connection:
        row = connection.execute(query, (value, *wanted, now_ms, now_ms)).fetchone()
    return None if row is None else run_of_row(row)


def run_counts(store: Store, job: str) -> dict[str, int]:
    """Return how many runs of a job ended how, forgotten ones among them, so that a number never
    falls. Raise StateUnusable.
    """
    with store.reading() as connection:
        return dict(
            connection.execute(
                "SELECT outcome, sum(count) FROM ("
                "SELECT outcome, count(*) AS count FROM runs "
                "WHERE job = ? AND ended_ms IS NOT NULL GROUP BY outcome UNION ALL "
                "SELECT outcome, count FROM runs_forgotten WHERE job = ?) GROUP BY outcome",
                (job, job),
            )
        )


def run_with_id(store: Store, run_id: str) -> Run | None:
    """Return a run by its id; None if there is none. Raise StateUnusable."""
    with store.reading() as connection:
        row = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?",  # noqa: S608 - our words
            (run_id,),
        ).fetchone()
    return None if row is None else run_of_row(row)


def forget_old_runs(store: Store, now_ms: int) -> int:
    """Forget runs that began before KEPT_MS, but for the last ones of each verb and job; return
    how many. Raise StateUnusable.
    """
    old = (
        "FROM runs WHERE ended_ms IS NOT NULL AND started_ms < ? AND id NOT IN ("
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY verb, job, "
        "outcome IN ('good', 'findings') ORDER BY started_ms DESC) AS place FROM runs) "
        "WHERE place <= ?)"
    )
    values = (now_ms - KEPT_MS, _KEPT_EACH)
    with store.writing() as connection:
        connection.execute(
            "INSERT INTO runs_forgotten (job, outcome, count) "
            f"SELECT job, outcome, count(*) {old} AND job IS NOT NULL "
            "GROUP BY job, outcome "
            "ON CONFLICT (job, outcome) DO UPDATE SET count = count + excluded.count",
            values,
        )
        return connection.execute(f"DELETE {old}", values).rowcount


def forget_in_runs(store: Store, text: str) -> None:
    """Take the errors that hold ``text``, such as the name of a user who is erased, out of the log.
    Raise StateUnusable.
    """
    with store.writing() as connection:
        connection.execute("UPDATE runs SET error = '' WHERE instr(error, ?)", (text,))
    wipe_journal(store)


def birth_of(pid: int) -> str | None:
    """Return what tells a process from others that had or will have its number; None if there is
    none: the machine's boot, and the process's start in clock ticks since then (proc_pid_stat(5)).
    """
    with suppress(OSError, IndexError):
        boot = boot_id()
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in brackets, may hold anything, brackets too.
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] == b"Z":
            return None  # it has ended, and waits to be asked how
        return f"{boot} {fields[19].decode('ascii')}"
    return None


@cache
def boot_id() -> str:
    """Return what tells this boot of the machine from others. Raises OSError."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def lives(run: Run) -> bool:
    """Whether the process that carries out a run is there."""
    return bool(run.born) and birth_of(run.pid) == run.born


def age_s(run: Run) -> float:
    """Return how long the process of a run has been there, by the clock that nobody sets."""
    ticks = int(run.born.rpartition(" ")[2])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _kept(figures: Mapping[str, Any]) -> str:
    """Return the figures as JSON: numbers, and texts that cannot name a user. Lists may be long."""

    def thinned(values: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, Mapping):
                kept[str(key)] = thinned(value)
            elif value is None or isinstance(value, bool | int | float) or key in _TEXTS:
                kept[str(key)] = value
        return kept

    text = msgspec.json.encode(thinned(figures)).decode()
    return text if len(text) <= _MOST_BYTES else "{}"


def run_of_row(row: tuple[Any, ...]) -> Run:
    """Return the run that a row of the table describes."""
    values = dict(zip(Run.__struct_fields__, row, strict=True))
    try:
        figures = msgspec.json.decode(values["figures"])
    except msgspec.DecodeError:
        figures = {}
    return Run(**{**values, "figures": figures if isinstance(figures, dict) else {}})
