"""``shenyu-data alerts``: what somebody has to look at, saying that it is seen, and for how long
nobody wants to hear of it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.noted import note_repository
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, number
from shenyu_data.cli.status import alert_lines, judged, open_kept
from shenyu_data.health import alerts as kept
from shenyu_data.health.alert_steps import Alert
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import RepositoryError, StateUnusable, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.tripwires import describe
from shenyu_data.operations.alarms import Alarm, acknowledge, alarms, commands
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.repository.repository import Repository

_OF_TRIPWIRES = "tripwire"  # its alert leads to those that are listed one by one here
_SNAPSHOT = re.compile("[0-9a-fA-F]+")


@click.group("alerts", context_settings={"help_option_names": ["-h", "--help"]})
def alerts_command() -> None:
    """Show what somebody has to look at; silence it, or say that it is seen."""


@alerts_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are resolved or seen, too.")
@common
def list_command(call: Call, everything: bool) -> None:
    """List what rules see, and what tripwires noticed and nobody acknowledged: it blocks prunes.

    Exits with 1 if there is any that nobody has seen or silenced, with 4 if a snapshot cannot be
    read.
    """
    failures: list[RepositoryError] = []
    known = alarms(open_for(call), failures=failures)
    for error in failures:
        call.monitor.report(
            Finding(
                code=error.code, severity="error", path="", message=error.message, hint=error.hint
            )
        )
    now_ms = _now_ms()
    with open_kept(call, _state(call)) as store:
        with suppress(StateUnusable):  # else they are judged, and nothing is noted
            _look(call, store, now_ms)
        found = judged(call, store, _state(call), now_ms).alerts
        if everything:
            stand = {item.key for item in found}
            found += [item for item in kept.alerts(store, resolved=True) if item.key not in stand]
    found = [item for item in found if item.code != _OF_TRIPWIRES]
    standing = sum(item.stands for item in known) + sum(item.calls(now_ms) for item in found)
    shown = known if everything else [item for item in known if item.stands]
    texts = [*map(_text, shown), *(_rule_text(item, now_ms) for item in found)]
    call.finish(
        {
            "alerts": [*map(_document, shown), *(_rule_document(item, now_ms) for item in found)],
            "standing": standing,
        },
        "\n\n".join(texts) or "There are no alerts.",
        findings=bool(standing),
        damaged=bool(failures),
    )


@alerts_command.command("ack")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that nobody has acknowledged.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is as it should be.")
@common
@audited
def ack_command(call: Call, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """Say of alerts that they are seen.

    ID is that of a rule's alert, which is not told again then until its cause has gone, or the
    beginning of a tripwire's, which is that of its snapshot: prunes go on, and may drop what was
    pinned.
    """
    if bool(ids) == everything:
        raise UsageError(
            "it takes ids of alerts, or --all",
            hint="`shenyu-data alerts list` lists them.",
        )
    now_ms = _now_ms()
    of_rules = [name for name in ids if not _SNAPSHOT.fullmatch(name)]
    of_tripwires = [name for name in ids if name not in of_rules]
    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    count = 0
    repository = open_for(call) if of_tripwires or everything else None
    chosen = _chosen(call, of_rules, now_ms, everything=everything)
    if repository is not None:
        before = {item.snapshot.id for item in alarms(repository, failures=[]) if not item.stands}
        done = _acknowledge(call, repository, of_tripwires, reason, now_ms, everything=everything)
        documents += map(_document, done)
        lines += [_already(item) for item in done if item.snapshot.id in before]
        count += sum(item.snapshot.id not in before for item in done)
    if chosen:
        with open_store(_state(call)) as store:
            seen = [kept.acknowledge(store, item, reason, now_ms) for item in chosen]
        documents += [_rule_document(item, now_ms) for item in seen]
        known = [item for item in chosen if item.acked_ms is not None]
        lines += [_already_line(item.key, item.acked_ms, item.reason) for item in known]
        count += len(seen) - len(known)
    standing = _standing(call, repository, now_ms)
    lines.append(
        f"Acknowledged {number(count, 'alert')}; "
        + (
            f"{number(standing, 'alert')} still to be looked at: `shenyu-data alerts list`."
            if standing
            else "none is left, and `shenyu-data prune` goes on."
            if repository is not None
            else "none is left."
        )
    )
    call.finish(
        {"alerts": documents, "standing": standing, "acknowledged": count}, "\n".join(lines)
    )


@alerts_command.command("silence")
@click.argument("alert", metavar="ALERT")
@click.option(
    "--until", required=True, metavar="WHEN", help="A date, 2026-12-24, or an age from now: 3d."
)
@common
@audited
def silence_command(call: Call, alert: str, until: str) -> None:
    """Send no message about an alert until a date, whether it stands now or not.

    ALERT is its id, or the code of a rule: all alerts of that rule. They still stand in lists.
    """
    now_ms = _now_ms()
    until_ms = _until(until, now_ms)
    with open_store(_state(call)) as store:
        kept.silence(store, alert, until_ms, now_ms)
        found = judged(call, store, _state(call), now_ms).alerts
    found = [item for item in found if alert in (item.key, item.code)]
    call.finish(
        {
            "name": alert,
            "until": iso(until_ms),
            "alerts": [_rule_document(item, now_ms) for item in found],
        },
        f"{alert} is silent until {local(until_ms)}; {number(len(found), 'alert')} of it now.",
    )


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


def _chosen(call: Call, names: Sequence[str], now_ms: int, *, everything: bool) -> list[Alert]:
    """Return the alerts of rules by their ids, as they stand now. Raise UsageError."""
    if not names and not everything:
        return []
    with open_store(_state(call)) as store:
        _look(call, store, now_ms)
        known = [item for item in kept.alerts(store) if item.code != _OF_TRIPWIRES]
    if everything:
        return [item for item in known if item.acked_ms is None]
    return [kept.find_alert(known, name) for name in names]


def _look(call: Call, store: Store, now_ms: int) -> None:
    """Bring the alerts up to date: what a person sees listed has a row, whoever looked last."""
    schedule = open_schedule(call.settings.schedule, _state(call), os.environ)
    kept.look(store, call.settings, schedule, now_ms)


def _acknowledge(
    call: Call,
    repository: Repository,
    names: Sequence[str],
    reason: str,
    now_ms: int,
    *,
    everything: bool,
) -> list[Alarm]:
    """Acknowledge what tripwires noticed."""
    if everything:
        names = [item.snapshot.id.hex() for item in alarms(repository, failures=[]) if item.stands]
    done = acknowledge(repository, names, reason, now_ms=now_ms)
    note_repository(call, repository)
    return done


def _already(item: Alarm) -> str:
    """Return a sentence about an alarm that nobody had to look at any more."""
    name, seen = item.snapshot.id.hex()[:8], item.acknowledgement
    if seen is not None:
        return _already_line(name, seen.time_ms, seen.reason)
    return f"Alert {name} is resolved: whose histories were overwritten was erased."


def _already_line(name: str, time_ms: int | None, reason: str) -> str:
    when = f" on {local(time_ms)}" if time_ms is not None else ""
    return f"Alert {name} was acknowledged already{when}, and stays so: " + (
        printable(reason) or "no reason was given"
    )


def _standing(call: Call, repository: Repository | None, now_ms: int) -> int:
    """Return how many alerts are still to be looked at."""
    with open_kept(call, _state(call)) as store:
        found = judged(call, store, _state(call), now_ms).calling
    if repository is None:
        return len(found)
    of_rules = sum(item.code != _OF_TRIPWIRES for item in found)
    return of_rules + sum(item.stands for item in alarms(repository, failures=[]))


def _until(text: str, now_ms: int) -> int:
    """Return the time that a date, or an age from now, means. Raise UsageError."""
    from datetime import datetime

    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2})?", text):
            until_ms = int(datetime.fromisoformat(text).timestamp() * 1000)
        else:
            until_ms = now_ms + parse_age(text) * 1000
    except (UsageError, ValueError, OverflowError):
        raise UsageError(
            f"{printable(text)} is neither a date nor an age",
            hint="Write 2026-12-24, 2026-12-24T08:00, or 3d.",
        ) from None
    if until_ms <= now_ms:
        raise UsageError(f"{text} has passed", hint="Name a day that is yet to come.")
    return until_ms


def _state(call: Call) -> str:
    return state_of(state_folder(os.environ), call.data)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rule_document(item: Alert, now_ms: int) -> dict[str, Any]:
    """Return an alert of a rule in the same form as one of a tripwire."""
    command = {"command": item.command, "does": "is what to do"}
    return {
        "id": item.key,
        "source": "rule",
        "since": iso(item.since_ms),
        "level": item.level,
        "reasons": [
            {
                "rule": item.code,
                "level": item.level,
                "count": None,
                "limit": None,
                "total": None,
                "message": item.message,
            }
        ],
        "pinned": [],
        "commands": [command] if item.command else [],
        "acknowledged": {"time": iso(item.acked_ms), "reason": item.reason or None}
        if item.acked_ms is not None
        else None,
        "silenced_until": iso(item.silenced_ms)
        if item.silenced_ms is not None and item.silent(now_ms)
        else None,
        "resolved": iso(item.resolved_ms) if item.resolved_ms is not None else None,
    }


def _rule_text(item: Alert, now_ms: int) -> str:
    lines = alert_lines(item, now_ms)
    if item.resolved_ms is not None:
        return "\n".join([*lines[:2], f"          resolved {local(item.resolved_ms)}"])
    if item.acked_ms is not None and item.reason:
        lines.append(f"          acknowledged {local(item.acked_ms)}: {printable(item.reason)}")
    return "\n".join(lines)


def _document(item: Alarm) -> dict[str, Any]:
    snapshot, seen = item.snapshot, item.acknowledgement
    return {
        "id": snapshot.id.hex(),
        "source": "tripwire",
        "since": iso(snapshot.time_ms),
        "level": "alarm" if any(trip.blocks for trip in snapshot.trips) else "warning",
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
        "silenced_until": None,
        "resolved": iso(item.erased_ms) if item.erased_ms is not None and item.resolved else None,
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
    if item.erased_ms is not None:
        lines.append(f"  whose histories were overwritten was erased: {local(item.erased_ms)}")
    if not item.stands:
        return "\n".join(lines)
    pinned = [
        f"{one.hex()[:8]}{'' if one in item.there else ' (not in this repository)'}"
        for one in snapshot.pinned
    ]
    stays = "nothing is pruned meanwhile" if item.blocks else "kept until this is acknowledged"
    lines.append(f"  what was there before: {', '.join(pinned)}; {stays}")
    return "\n".join([*lines, *command_lines(_commands(item))])


def _commands(item: Alarm) -> list[tuple[str, str]]:
    return commands(item.snapshot.id, item.trips, item.there)


def command_lines(found: list[tuple[str, str]]) -> list[str]:
    """Return commands as lines, each with what it does."""
    width = max(len(command) for _, command in found)
    return [f"  {command:{width}}  {does}" for does, command in found]
