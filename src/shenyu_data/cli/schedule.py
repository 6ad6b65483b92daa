"""``shenyu-data schedule``: which jobs run when; what cron and timers call."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.own_program import own_program
from shenyu_data.cli.render import iso, table
from shenyu_data.cli.schedule_install import install_command, remove_command
from shenyu_data.health.jobs import report_unnoted
from shenyu_data.health.known import REPOSITORY, KnownRepository, recall
from shenyu_data.health.lost import lost_since
from shenyu_data.health.runs import Run
from shenyu_data.health.schedule import (
    Schedule,
    Standing,
    knows_jobs,
    last_runs,
    moment,
    open_schedule,
    remember,
    repository_is_empty,
    standings,
)
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.errors import ObjectMissing, StateUnusable
from shenyu_data.model.schedule import SET_BACK, next_begin_ms
from shenyu_data.operations.places import state_folder, state_of


@click.group("schedule", context_settings={"help_option_names": ["-h", "--help"]})
def schedule_command() -> None:
    """Show which jobs run when; make a run that is due; install timers."""


schedule_command.add_command(install_command)
schedule_command.add_command(remove_command)


@schedule_command.command("show")
@common
def show_command(call: Call) -> None:
    """Show the jobs: when each runs next, and how it ended last.

    Exits with 1 if the last run of a job failed.
    """
    state = state_of(state_folder(os.environ), call.data)
    schedule = open_schedule(call.settings.schedule, state, os.environ)
    now_ms = time.time_ns() // 1_000_000
    store = open_or_report(call, state)
    found: dict[str, tuple[Standing | None, Run | None]] = {
        job.name: (None, None) for job in schedule.jobs
    }
    if store is not None:
        with store:
            is_empty = asked_repository(call)
            lost = {}
            if call.settings.repository is not None and not (knows_jobs(store) or is_empty()):
                kept = recall(store, REPOSITORY, KnownRepository)
                lost = lost_since(store, schedule, kept, now_ms)
            known = remember(store, schedule, now_ms, lost=lost)
            for item in standings(schedule, known, schedule.clock(now_ms), is_empty):
                last = next(iter(last_runs(store, item.job.name, 1)), None)
                found[item.job.name] = (item, last)
    documents, rows = [], []
    for job in schedule.jobs:
        standing, last = found[job.name]
        document = _job_json(schedule, job.name, standing, last, now_ms)
        documents.append(document)
        rows.append(_row(schedule, document, standing, last, now_ms))
    zone = schedule.zone_name or "the system's time zone"
    text = f"Times are those of {zone}.\n" + table(("job", "at", "next", "last", "took"), rows)
    failed = [item["last"] for item in documents if item["last"]]
    call.finish(
        {"timezone": schedule.zone_name or None, "jobs": documents},
        text if rows else "No job is configured.",
        findings=any(item["outcome"] in (*SET_BACK, "interrupted") for item in failed),
    )


@schedule_command.command("run")
@click.argument("job")
@click.option("--now", "at_once", is_flag=True, help="Run it even if it is not due.")
@common
def run_command(call: Call, job: str, at_once: bool) -> None:
    """Make the run of a job that is due, and try again if it fails. For cron and timers.

    Exits as the job's verb does; with 0 if nothing is due; with 3 if somebody else makes the run.
    """
    from shenyu_data.health.schedule_run import run_job
    from shenyu_data.health.wakeups import Wakeups

    state = state_of(state_folder(os.environ), call.data)
    schedule = open_schedule(call.settings.schedule, state, os.environ)
    wanted = schedule.job(job)
    store = open_or_report(call, state)
    with Wakeups(reloads_on_hangup=False) as wakeups:
        result = run_job(
            wanted,
            schedule,
            store,
            own_program(call),
            call.settings,
            call.monitor,
            wakeups,
            lambda: time.time_ns() // 1_000_000,
            at_once=at_once,
        )
    if store is not None:
        store.close()
    took_s = (result.ended_ms - result.started_ms) / 1000
    next_ms = next_begin_ms(wanted, schedule.clock(result.ended_ms, jitter=False))
    following = f"it is due next at {_moment(schedule, next_ms)}"
    text = f"{job} is not due: {following}"
    if result.outcome != "not-due":
        text = f"{job}: {_OUTCOMES[result.outcome]} in {took_s:.1f} s; {following}"
    document = {
        "job": job,
        "outcome": result.outcome,
        "due": iso(result.due_ms) if result.due_ms is not None else None,
        "attempts": result.attempts,
        "exit_status": result.exit_status,
        "next": iso(next_ms) if next_ms is not None else None,
        "elapsed_s": took_s,
    }
    call.finish(document, text)
    raise click.exceptions.Exit(result.exit_status)


def open_or_report(call: Call, state: str) -> Store | None:
    """Open the log of runs; None, and a finding, if it cannot be used."""
    try:
        return open_store(state)
    except StateUnusable as error:
        report_unnoted(call.monitor, error)
        return None


def asked_repository(call: Call) -> Any:
    """Return the question whether the repository holds no snapshot, which needs no key. Where no
    repository is, as before its disk is mounted, nobody can tell.
    """

    def list_snapshots() -> list[bytes]:
        from shenyu_data.repository.format import SLOTS
        from shenyu_data.repository.snapshots import snapshot_ids
        from shenyu_data.storage.open import open_storage

        storage = open_storage(call.repository_location, call.settings.storage)
        found = list(snapshot_ids(storage))
        if not found and next(iter(storage.list(SLOTS)), None) is None:
            raise ObjectMissing(f"there is no repository in {storage.location}")
        return found

    return repository_is_empty(list_snapshots)


_OUTCOMES = {
    "running": "runs",
    "good": "good",
    "findings": "done, with findings",
    "failed": "FAILED",
    "interrupted": "interrupted",
    "killed": "KILLED",
    "timed-out": "TIMED OUT",
    "skipped": "missed",
}


def _job_json(
    schedule: Schedule, name: str, standing: Standing | None, last: Run | None, now_ms: int
) -> dict[str, Any]:
    job = schedule.job(name)
    next_ms = next_begin_ms(job, schedule.clock(now_ms))
    state = "waiting"
    if standing is not None:
        decision = standing.decision
        state = {"run": "due", "running": "running"}.get(decision.action, "waiting")
        if decision.action == "run":
            next_ms = now_ms
        elif decision.why in ("jitter", "retry"):
            next_ms, state = decision.when_ms, decision.why
    return {
        "name": name,
        "run": list(job.words),
        "at": job.cron.text,
        "state": state,
        "next": iso(next_ms) if next_ms is not None else None,
        "last": None if last is None else _run_json(last),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "due": iso(run.due_ms) if run.due_ms is not None else None,
        "attempt": run.attempt,
        "started": iso(run.started_ms),
        "outcome": run.outcome,
        "exit_status": run.exit_status,
        "error": run.error or None,
        "elapsed_s": _took_s(run),
    }


def _took_s(run: Run) -> float | None:
    return None if run.ended_ms is None else max(0, run.ended_ms - run.started_ms) / 1000


def _row(
    schedule: Schedule,
    document: dict[str, Any],
    standing: Standing | None,
    last: Run | None,
    now_ms: int,
) -> tuple[str, ...]:
    words = {"due": "now", "running": "running"}
    when = words.get(document["state"]) or (document["next"] or "never")
    if when == document["next"]:
        next_ms = standing.decision.when_ms if standing is not None else None
        if next_ms is None:
            next_ms = next_begin_ms(schedule.job(document["name"]), schedule.clock(now_ms))
        when = _moment(schedule, next_ms)
        when += {"retry": ", again"}.get(document["state"], "")
    ended = took = "-"
    if last is not None:
        ended = f"{_OUTCOMES[last.outcome]}, {moment(last.started_ms, schedule.zone)}"
        took_s = _took_s(last)
        took = f"{took_s:.1f} s" if took_s is not None and last.outcome != "skipped" else "-"
    return (document["name"], document["at"], when, ended, took)


def _moment(schedule: Schedule, time_ms: int | None) -> str:
    return "never" if time_ms is None else moment(time_ms, schedule.zone)
