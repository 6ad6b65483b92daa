"""Alerts: what rules saw, kept from one look to the next, and told once.

An alert is told when it rises, again as configured, and when its cause has gone. What comes and
goes again and again is told less and less often. Everything is noted at once with its message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from shenyu_data.health.alert_steps import Alert, new_alert, order, silenced, step, updated
from shenyu_data.health.facts import LookAtDisk, gather, look_at_disk
from shenyu_data.health.hooks import Occasion
from shenyu_data.health.known import TICK, WATCHED, note, note_samples, note_tick, noted_ms
from shenyu_data.health.outbox import add_message, tidy_outbox
from shenyu_data.health.runs import end_killed_runs
from shenyu_data.health.schedule import Schedule, knows_jobs, open_schedule, remember
from shenyu_data.health.store import Store, wipe_journal
from shenyu_data.model.alert_rules import CODES, judge
from shenyu_data.model.alerts import DAY_MS, Condition, Facts
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.errors import StateUnusable, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.configuration import Settings

LOOK_MS = 5 * 60_000
"""So often, at most, rules are looked at while nothing happens."""

KEPT_MS = 400 * DAY_MS
"""Alerts that were resolved earlier are forgotten."""

MOST_REASON = 1000
"""Characters."""


def after(occasion: Occasion) -> None:
    """Look at the rules: a hook, after each run of a job and now and then. Raise StateUnusable."""
    store, now_ms = occasion.store, occasion.now_ms
    if occasion.event == "begin":
        return
    last_ms = noted_ms(store, TICK)
    recent = last_ms is not None and 0 <= now_ms - last_ms < LOOK_MS
    if occasion.event == "tick" and recent:
        return
    schedule = open_schedule(occasion.settings.schedule, os.path.dirname(store.path), os.environ)
    # Judged before the tick is noted: one that lies ahead tells of a clock that was set back.
    look(store, occasion.settings, schedule, now_ms, ticking=occasion.event == "tick")
    if occasion.event == "tick":
        note_tick(store, now_ms)
        tidy_outbox(store, now_ms)


def look(
    store: Store,
    settings: Settings,
    schedule: Schedule,
    now_ms: int,
    *,
    ticking: bool = False,
    disks: LookAtDisk = look_at_disk,
) -> Facts:
    """Gather the facts, judge them, and note what follows; ``ticking``: ``serve`` is at work and
    looks. Raise StateUnusable.
    """
    if noted_ms(store, WATCHED) is None:
        note(store, WATCHED, now_ms, {})
    if knows_jobs(store):
        remember(store, schedule, now_ms, unnoted=_raise)
    else:  # nothing runs jobs yet; if they are new, whoever begins to must find out
        end_killed_runs(store, now_ms)
    facts = gather(
        store,
        settings,
        schedule,
        now_ms,
        standing=standing_keys(store),
        ticking=ticking,
        disks=disks,
    )
    note_samples(store, now_ms, {f"free:{item.name}": item.free_bytes for item in facts.disks})
    table = settings.alerts or AlertsTable()
    observe(store, judge(facts, table), table, now_ms)
    return facts


def _raise(error: StateUnusable) -> None:
    raise error


def standing_keys(store: Store) -> frozenset[str]:
    """Return the keys of the alerts that stand. Raise StateUnusable."""
    with store.reading() as connection:
        rows = connection.execute("SELECT key FROM alerts WHERE resolved_ms IS NULL").fetchall()
    return frozenset(key for (key,) in rows)


def alerts(store: Store, *, resolved: bool = False) -> list[Alert]:
    """Return the alerts that stand, with ``resolved`` those that did, too; the loudest first, then
    the newest. Raise StateUnusable.
    """
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - our words
            f"{'' if resolved else 'WHERE resolved_ms IS NULL'}"
        ).fetchall()
    silences = silences_of(store)
    return sorted((silenced(_alert(row), silences) for row in rows), key=order)


def with_conditions(store: Store, conditions: Iterable[Condition], now_ms: int) -> list[Alert]:
    """Return the alerts that stand by what rules see now, with what is kept of them; nothing is
    noted. Raise StateUnusable.
    """
    kept = {item.key: item for item in alerts(store)}
    silences = silences_of(store)
    found = [
        updated(kept.get(item.key) or silenced(new_alert(item, now_ms), silences), item, now_ms)
        for item in conditions
    ]
    return sorted(found, key=order)


def observe(store: Store, conditions: Iterable[Condition], table: AlertsTable, now_ms: int) -> None:
    """Bring the alerts in line with what rules see now, and put what is to be told into the outbox.
    Raise StateUnusable.
    """
    seen = {item.key: item for item in conditions}
    silences = silences_of(store)
    with store.writing() as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM alerts").fetchall()  # noqa: S608
        kept = {alert.key: silenced(alert, silences) for alert in map(_alert, rows)}
        for key in {**kept, **seen}:
            before = kept.get(key)
            alert, kind = step(before, seen.get(key), table, silences, now_ms)
            if alert is None or alert == before:
                continue
            _write(connection, alert)
            if kind is not None:
                add_message(connection, kind, now_ms, payload_of(alert), alert_key=key)
        connection.execute("DELETE FROM alerts WHERE resolved_ms < ?", (now_ms - KEPT_MS,))


def silence(store: Store, name: str, until_ms: int, now_ms: int) -> None:
    """Send no message until a time about the alert of a key, or all alerts of a rule's code,
    whether they stand now or not.

    Raise UsageError if there is no such rule, StateUnusable.
    """
    if name.partition(":")[0] not in CODES:
        raise UsageError(
            f"no rule is called {printable(name)}",
            hint=f"The rules are {', '.join(CODES)}; `shenyu-data alerts list` lists what they "
            "see.",
        )
    with store.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO silences VALUES (?, ?)", (name, until_ms))
        connection.execute("DELETE FROM silences WHERE until_ms <= ?", (now_ms,))


def silences_of(store: Store) -> dict[str, int]:
    """Return until when what is silenced, by code or key. Raise StateUnusable."""
    with store.reading() as connection:
        return dict(connection.execute("SELECT name, until_ms FROM silences").fetchall())


def acknowledge(store: Store, alert: Alert, reason: str, now_ms: int) -> Alert:
    """Note that somebody has seen an alert: it is not told again until it has gone or grown worse.
    One that was acknowledged stays as it was. Raise UsageError if the reason is no line of text, or
    StateUnusable.
    """
    if not reason.isprintable() or len(reason) > MOST_REASON:
        raise UsageError(
            "the reason must be printable text, of one line",
            hint=f"At most {MOST_REASON} characters.",
        )
    if alert.acked_ms is not None:
        return alert
    acked = msgspec.structs.replace(alert, acked_ms=now_ms, reason=reason)
    with store.writing() as connection:
        # Who looks at the rules may have noted more of it since it was read.
        noted = connection.execute(
            "UPDATE alerts SET acked_ms = ?, reason = ? WHERE key = ? AND resolved_ms IS NULL",
            (now_ms, reason, alert.key),
        )
        if not noted.rowcount:
            _write(connection, acked)
    return acked


def forget_in_alerts(store: Store, text: str) -> None:
    """Take the reasons that hold ``text``, such as the name of a user who is erased, away. Raise
    StateUnusable.
    """
    with store.writing() as connection:
        connection.execute("UPDATE alerts SET reason = '' WHERE instr(reason, ?)", (text,))
    wipe_journal(store)


def find_alert(known: Iterable[Alert], wanted: str) -> Alert:
    """Return the alert that stands by a key, or the only one of a code. Raise UsageError."""
    found = [item for item in known if item.key == wanted]
    found = found or [item for item in known if item.code == wanted]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} alerts are called {printable(wanted)}",
            hint="`shenyu-data alerts list` lists them.",
        )
    return found[0]


def payload_of(alert: Alert) -> dict[str, Any]:
    """Return what a message about an alert says: see health/outbox.py."""
    return {
        "code": alert.code,
        "level": alert.level,
        "subject": alert.subject,
        "message": alert.message,
        "command": alert.command,
        "since_ms": alert.since_ms,
        "times": alert.times,
        "figures": alert.figures,
        "resolved_ms": alert.resolved_ms,
    }


_KEPT = tuple(name for name in Alert.__struct_fields__ if name != "silenced_ms")
_COLUMNS = ", ".join(_KEPT)


def _write(connection: Any, alert: Alert) -> None:
    values: Mapping[str, Any] = msgspec.structs.asdict(alert)
    row = [
        msgspec.json.encode(values[name]).decode() if name == "figures" else values[name]
        for name in _KEPT
    ]
    places = ", ".join("?" * len(row))
    connection.execute(
        f"INSERT OR REPLACE INTO alerts ({_COLUMNS}) VALUES ({places})",  # noqa: S608 - our words
        row,
    )


def _alert(row: tuple[Any, ...]) -> Alert:
    values = dict(zip(_KEPT, row, strict=True))
    figures: dict[str, int] = {}
    with suppress(msgspec.DecodeError, msgspec.ValidationError):
        figures = msgspec.json.decode(values["figures"], type=dict[str, int])
    return Alert(**{**values, "figures": figures})
