"""``shenyu-data status``: how it stands, on one screen."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.health.alert_steps import Alert
from shenyu_data.health.alerts import standing_keys, with_conditions
from shenyu_data.health.facts import gather
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.status import Status, take_status
from shenyu_data.health.store import Store, open_store, passing_store
from shenyu_data.model.alert_rules import judge
from shenyu_data.model.alerts import DAY_MS, span
from shenyu_data.model.amounts import bytes_text
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.errors import StateUnusable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.places import state_folder, state_of


@click.command("status")
@click.option("--refresh", is_flag=True, help="Look into the repository first, with its key.")
@common
def status_command(call: Call, refresh: bool) -> None:
    """Show how it stands: the data, the backups, the proofs of them, the jobs, the alerts.

    It shows what runs have noted, and opens no repository. Exits with 1 if there are alerts that
    nobody has seen or silenced.
    """
    state = state_of(state_folder(os.environ), call.data)
    now_ms = time.time_ns() // 1_000_000
    if refresh:
        _refresh(call, state, now_ms)
    with open_kept(call, state) as store:
        found = judged(call, store, state, now_ms)
    call.finish(
        _document(call, found),
        _text(call, found),
        findings=bool(found.calling) or bool(call.monitor.count("error")),
    )


def open_kept(call: Call, state: str) -> Store:
    """Open what is kept; if it cannot be used or was damaged, that is a finding, and nothing is
    known.
    """
    try:
        store = open_store(state)
    except StateUnusable as error:
        _report(call, error.message, error.hint)
        return passing_store()
    if store.renewed:
        _report(
            call,
            f"what was remembered is damaged, and set aside: {store.renewed}",
            "`shenyu-data status --refresh` asks the repository; the next backup does, too.",
        )
    return store


def judged(call: Call, store: Store, state: str, now_ms: int) -> Status:
    """Return how it stands by what is kept; nothing is noted. Raise StateUnusable."""
    settings = call.settings
    schedule = open_schedule(settings.schedule, state, os.environ)
    facts = gather(store, settings, schedule, now_ms, standing=standing_keys(store))
    conditions = judge(facts, settings.alerts or AlertsTable())
    return take_status(store, facts, with_conditions(store, conditions, now_ms))


def alert_json(alert: Alert, now_ms: int) -> dict[str, Any]:
    """Return an alert as ``--json`` shows it."""
    silenced_ms = alert.silenced_ms if alert.silent(now_ms) else None
    return {
        "id": alert.key,
        "code": alert.code,
        "subject": alert.subject or None,
        "level": alert.level,
        "since": _iso(alert.since_ms),
        "message": alert.message,
        "command": alert.command or None,
        "figures": [{"name": name, "value": value} for name, value in alert.figures.items()],
        "silenced_until": _iso(silenced_ms),
        "acknowledged": _iso(alert.acked_ms),
    }


def alert_lines(alert: Alert, now_ms: int) -> list[str]:
    """Return an alert as lines: how bad, what, since when, what to do."""
    word = {"info": "info", "warning": "WARNING", "critical": "CRITICAL"}[alert.level]
    marks = []
    if alert.silent(now_ms):
        marks.append(f"silenced until {_local(alert.silenced_ms)}")
    if alert.acked_ms is not None:
        marks.append("acknowledged")
    since = f"since {_local(alert.since_ms)}" + "".join(f", {mark}" for mark in marks)
    lines = [f"{word:8}  {printable(alert.message)}", f"          {alert.key}, {since}"]
    if alert.command:
        lines.append(f"          {alert.command}")
    return lines


def _refresh(call: Call, state: str, now_ms: int) -> None:
    from shenyu_data.cli.open import open_for
    from shenyu_data.health.known import bring_up_to_date
    from shenyu_data.operations.last_use import remembered_uses

    repository = open_for(call)
    with open_store(state) as store:
        uses = remembered_uses(state_folder(os.environ), repository)
        bring_up_to_date(store, repository, uses, now_ms, sizes=True)


def _report(call: Call, message: str, hint: str) -> None:
    call.monitor.report(
        Finding(code="state-lost", severity="error", path="", message=message, hint=hint)
    )


def _document(call: Call, found: Status) -> dict[str, Any]:
    facts, holdings, backups, ledger = found.facts, found.holdings, found.backups, found.ledger
    now_ms = facts.now_ms
    totals = holdings.totals
    ratio = backups.saved_ratio
    return {
        "time": _iso(now_ms),
        "known_since": _iso(facts.since_ms),
        "data": {
            "location": call.data,
            "known": _iso(holdings.known_ms),
            "users": totals.get("users"),
            "histories": totals.get("histories"),
            "chats": totals.get("chats"),
            "messages": totals.get("messages"),
            "documents": totals.get("documents"),
            "document_bytes": totals.get("document_bytes"),
            "grown_bytes": holdings.grown_bytes,
            "grown_in_s": _seconds(holdings.grown_in_ms),
        },
        "backups": {
            "repository": call.settings.repository,
            "last": _iso(backups.last_ms),
            "last_age_s": _age_s(now_ms, backups.last_ms),
            "last_good": _iso(backups.good_ms),
            "last_good_age_s": _age_s(now_ms, backups.good_ms),
            "degraded": backups.degraded,
            "next": _iso(backups.next_ms),
            "known": _iso(backups.known_ms),
            "snapshots_count": backups.snapshots,
            "oldest": _iso(backups.oldest_ms),
            "size_bytes": backups.size_bytes,
            "held_bytes": backups.held_bytes,
            "saved_ratio": round(ratio, 4) if ratio is not None else None,
        },
        "proof": {
            "verified": _iso(facts.verified_ms),
            "all_read": _iso(facts.read_ms),
            "drilled": _iso(facts.drilled_ms),
            "users": ledger.users if ledger is not None else None,
            "proven_30d": ledger.proven_30d if ledger is not None else None,
            "proven_90d": ledger.proven_90d if ledger is not None else None,
            "never_proven": ledger.never_proven if ledger is not None else None,
            "failing": ledger.failing if ledger is not None else None,
        },
        "disks": [
            {
                "holds": disk.holds,
                "free_bytes": disk.free_bytes,
                "total_bytes": disk.total_bytes,
            }
            for disk in facts.disks
        ],
        "jobs": [
            {
                "name": job.name,
                "last_good": _iso(job.good_ms),
                "failures": job.failures,
                "next": _iso(job.next_ms),
            }
            for job in facts.jobs
        ],
        "alerts": [alert_json(item, now_ms) for item in found.alerts],
        "standing": len(found.calling),
    }


def _text(call: Call, found: Status) -> str:
    now_ms = found.facts.now_ms
    calling = found.calling
    lines = [
        f"{len(calling)} ALERT{'S' if len(calling) > 1 else ''}: somebody has to look."
        if calling
        else "All is well, as far as is known."
    ]
    lines += _how_much_is_known(found)
    lines += ["", *_about_data(call, found), "", *_about_backups(call, found)]
    lines += ["", *_about_proof(found), "", *_about_jobs(found), *_about_disks(found)]
    for alert in found.alerts:
        lines += ["", *alert_lines(alert, now_ms)]
    return "\n".join(lines)


def _how_much_is_known(found: Status) -> list[str]:
    """Return what to say where the log does not reach back as far as the backups."""
    facts, oldest_ms = found.facts, found.backups.oldest_ms
    if found.backups.known_ms is None and facts.since_ms >= facts.now_ms:
        return [
            "Nothing is known here yet. If there are backups, the state folder was lost:",
            "`shenyu-data status --refresh` asks the repository.",
        ]
    if oldest_ms is not None and oldest_ms < facts.since_ms:
        return [
            f"Of runs, drills and alerts before {_local(facts.since_ms)} nothing is known here."
        ]
    return []


def _about_data(call: Call, found: Status) -> list[str]:
    holdings = found.holdings
    totals = holdings.totals
    lines = [f"Data      {printable(call.data)}"]
    if not totals:
        return [*lines, "          not known until a backup was made"]
    names = (
        ("user", "users"),
        ("history", "histories"),
        ("chat", "chats"),
        ("message", "messages"),
    )
    counts = [
        f"{totals.get(many, 0):,} {one if totals.get(many) == 1 else many}" for one, many in names
    ]
    size = (
        f"{bytes_text(totals.get('document_bytes', 0))} in {totals.get('documents', 0):,} documents"
    )
    lines += [f"          {', '.join(counts)}", f"          {size}"]
    grown, within = holdings.grown_bytes, holdings.grown_in_ms
    if grown is not None and within is not None and within >= DAY_MS:
        sign = "-" if grown < 0 else "+"
        lines[-1] += f"; {sign}{bytes_text(abs(grown))} within {span(within)}"
    return lines


def _about_backups(call: Call, found: Status) -> list[str]:
    backups, now_ms = found.backups, found.facts.now_ms
    lines = [f"Backups   {printable(call.settings.repository or 'no repository is set')}"]
    good = _moment(now_ms, backups.good_ms)
    lines.append(f"          last good {good}; next {_coming(now_ms, backups.next_ms)}")
    if backups.degraded:
        lines.append(f"          the last one, {_moment(now_ms, backups.last_ms)}, is DEGRADED")
    if backups.snapshots is not None:
        text = f"          {backups.snapshots:,} snapshot{'s' if backups.snapshots != 1 else ''}"
        if backups.oldest_ms is not None:
            text += f" since {_local(backups.oldest_ms)}"
        lines.append(text)
    if backups.size_bytes is not None:
        text = f"          {bytes_text(backups.size_bytes)}"
        if backups.saved_ratio:
            text += (
                f" instead of {bytes_text(backups.held_bytes or 0)}: "
                f"{backups.saved_ratio:.0%} saved"
            )
        lines.append(text)
    return lines


def _about_proof(found: Status) -> list[str]:
    facts, ledger = found.facts, found.ledger
    now_ms = facts.now_ms
    lines = [
        f"Proof     last verified {_moment(now_ms, facts.verified_ms)}",
        f"          every byte read since {_moment(now_ms, facts.read_ms)}",
        f"          last drill {_moment(now_ms, facts.drilled_ms)}",
    ]
    if ledger is not None:
        lines[-1] += (
            f"; of {ledger.users:,} user{'s' * (ledger.users != 1)} {ledger.proven_30d:,} proven "
            f"within 30 days, {ledger.never_proven:,} never"
        )
    return lines


def _about_jobs(found: Status) -> list[str]:
    now_ms = found.facts.now_ms
    lines = []
    for number, job in enumerate(found.facts.jobs):
        text = f"{'Jobs' if not number else '':10}{printable(job.name)}: "
        text += f"last good {_moment(now_ms, job.good_ms)}; next {_coming(now_ms, job.next_ms)}"
        if job.failures:
            text += f"; FAILED {job.failures} time{'s' if job.failures > 1 else ''} since"
        lines.append(text)
    return lines


def _about_disks(found: Status) -> list[str]:
    lines = [
        f"{'Disks' if not number else '':10}{bytes_text(disk.free_bytes)} of "
        f"{bytes_text(disk.total_bytes)} free: {', '.join(disk.holds)}"
        for number, disk in enumerate(found.facts.disks)
    ]
    return ["", *lines] if lines else []


def _moment(now_ms: int, time_ms: int | None) -> str:
    """Return a time that has passed, and how long ago that is."""
    return "never" if time_ms is None else f"{_local(time_ms)} ({span(now_ms - time_ms)} ago)"


def _coming(now_ms: int, time_ms: int | None) -> str:
    return "never" if time_ms is None else f"in {span(time_ms - now_ms)}"


def _local(time_ms: int | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime((time_ms or 0) / 1000))


def _iso(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ms // 1000))


def _seconds(length_ms: int | None) -> int | None:
    return None if length_ms is None else length_ms // 1000


def _age_s(now_ms: int, time_ms: int | None) -> int | None:
    return None if time_ms is None else max(0, now_ms - time_ms) // 1000
