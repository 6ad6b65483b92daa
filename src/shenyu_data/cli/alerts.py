"""``shenyu-data alerts``: what somebody has to look at, and saying that it is seen."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, number
from shenyu_data.model.errors import RepositoryError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.tripwires import describe
from shenyu_data.operations.alarms import Alarm, acknowledge, alarms, commands
from shenyu_data.operations.places import state_folder, state_of


@click.group("alerts", context_settings={"help_option_names": ["-h", "--help"]})
def alerts_command() -> None:
    """Show what somebody has to look at, and say that it is seen."""


@alerts_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are acknowledged, too.")
@common
def list_command(call: Call, everything: bool) -> None:
    """List what tripwires noticed and nobody acknowledged: it blocks prunes.

    Exits with 1 if there is any, with 4 if a snapshot cannot be read.
    """
    failures: list[RepositoryError] = []
    known = alarms(open_for(call), failures=failures)
    for error in failures:
        call.monitor.report(
            Finding(
                code=error.code, severity="error", path="", message=error.message, hint=error.hint
            )
        )
    standing = [item for item in known if item.stands]
    shown = known if everything else standing
    call.finish(
        {"alerts": [_document(item) for item in shown], "standing": len(standing)},
        "\n\n".join(map(_text, shown)) or "There are no alerts.",
        findings=bool(standing),
        damaged=bool(failures),
    )


@alerts_command.command("ack")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that nobody has acknowledged.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is as it should be.")
@common
def ack_command(call: Call, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """Say of alerts that they are seen: prunes go on, and may drop what was pinned.

    ID is the beginning of an alert's id, which is that of its snapshot.
    """
    if bool(ids) == everything:
        raise UsageError(
            "it takes ids of alerts, or --all",
            hint="`shenyu-data alerts list` lists them.",
        )
    repository = open_for(call)
    if everything:
        ids = tuple(
            item.snapshot.id.hex() for item in alarms(repository, failures=[]) if item.stands
        )
    now_ms = time.time_ns() // 1_000_000
    done = acknowledge(repository, ids, reason, now_ms=now_ms)
    standing = sum(item.stands for item in alarms(repository, failures=[]))
    text = f"Acknowledged {number(len(done), 'alert')}; " + (
        f"{number(standing, 'alert')} still to be looked at: `shenyu-data alerts list`."
        if standing
        else "none is left, and `shenyu-data prune` goes on."
    )
    call.finish({"alerts": [_document(item) for item in done], "standing": standing}, text)


@alerts_command.command("test")
@common
def test_command(call: Call) -> None:
    """Send a test message on every way that is configured, and say which worked.

    Jobs' pings are left out: they would say what is not so. Exits with 1 if a way does not work.
    """
    from shenyu_data.health.notify import try_channels

    source = os.path.basename(state_of(state_folder(os.environ), call.data))
    trials = try_channels(call.settings, source, time.time_ns() // 1_000_000)
    channels = [
        {"name": trial.channel, "sent": not trial.error, "error": trial.error or None}
        for trial in trials
    ]
    lines = [
        f"{trial.channel}: {'NOT SENT: ' + trial.error if trial.error else 'sent'}"
        for trial in trials
    ]
    call.finish(
        {"channels": channels},
        "\n".join(map(printable, lines))
        or "Nobody is told anything: set [notifications] in the configuration.",
        findings=any(trial.error for trial in trials),
    )


def _document(item: Alarm) -> dict[str, Any]:
    snapshot, seen = item.snapshot, item.acknowledgement
    return {
        "id": snapshot.id.hex(),
        "source": "tripwire",
        "since": iso(snapshot.time_ms),
        "level": "alarm",
        "reasons": [
            {
                "rule": trip.rule,
                "level": trip.level,
                "count": trip.count,
                "limit": trip.limit,
                "total": trip.total,
                "message": describe(trip),
            }
            for trip in snapshot.trips
        ],
        "pinned": [
            {"id": pinned.hex(), "there": pinned in item.there} for pinned in snapshot.pinned
        ],
        "commands": [{"command": command, "does": does} for does, command in _commands(item)],
        "acknowledged": {"time": iso(seen.time_ms), "reason": seen.reason or None}
        if seen is not None
        else None,
    }


def _text(item: Alarm) -> str:
    snapshot, seen = item.snapshot, item.acknowledgement
    lines = [
        f"Alert {snapshot.id.hex()[:8]}: at the snapshot of {local(snapshot.time_ms)} "
        "a tripwire noticed what is no ordinary use",
        *(f"  - {describe(trip)}" for trip in snapshot.trips),
    ]
    if seen is not None:
        why = f": {printable(seen.reason)}" if seen.reason else ""
        return "\n".join([*lines, f"  acknowledged {local(seen.time_ms)}{why}"])
    pinned = [
        f"{one.hex()[:8]}{'' if one in item.there else ' (not in this repository)'}"
        for one in snapshot.pinned
    ]
    lines.append(f"  what was there before: {', '.join(pinned)}; nothing is pruned meanwhile")
    return "\n".join([*lines, *command_lines(_commands(item))])


def _commands(item: Alarm) -> list[tuple[str, str]]:
    return commands(item.snapshot.id, item.snapshot.trips, item.there)


def command_lines(found: list[tuple[str, str]]) -> list[str]:
    """Return commands as lines, each with what it does."""
    width = max(len(command) for _, command in found)
    return [f"  {command:{width}}  {does}" for does, command in found]
