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

from shenyu_data.health.facts import LookAtDisk, gather, look_at_disk
from shenyu_data.health.hooks import Occasion
from shenyu_data.health.known import TICK, WATCHED, note, note_samples, note_tick, noted_ms
from shenyu_data.health.outbox import Kind, add_message, tidy_outbox
from shenyu_data.health.runs import end_killed_runs
from shenyu_data.health.schedule import Schedule, knows_jobs, open_schedule, remember
from shenyu_data.health.store import Store, wipe_journal
from shenyu_data.model.alert_rules import CODES, judge
from shenyu_data.model.alerts import DAY_MS, Condition, Facts
from shenyu_data.model.config_alerts import LEVELS, AlertsTable, Level
from shenyu_data.model.errors import StateUnusable, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.configuration import Settings

LOOK_MS = 5 * 60_000
"""So often, at most, rules are looked at while nothing happens."""

KEPT_MS = 400 * DAY_MS
"""Alerts that were resolved earlier are forgotten."""

MOST_FLAPS = 6
"""The pause between messages about an alert that comes and goes is doubled so often at most."""

MOST_REASON = 1000
"""Characters."""

_CALM_MS = DAY_MS  # whoever rises again later than this after it has gone is no flapping one


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is kept. Times are ms since 1970.

    ``told`` is what people were told last: "" nothing, "raised" or "resolved", at ``told_ms``;
    ``times``: how often since it rose. ``flaps``: how often it rose again soon after it had gone.
    ``acked_ms``: somebody has seen it, and why it is so for now is the ``reason``. No message goes
    out until ``silenced_ms``, which is kept apart: see :func:`silence`.
    """

    key: str
    code: str
    subject: str
    level: Level
    since_ms: int
    seen_ms: int
    resolved_ms: int | None
    told: str
    told_ms: int | None
    times: int
    flaps: int
    acked_ms: int | None
    reason: str
    message: str
    command: str
    figures: dict[str, int]
    silenced_ms: int | None = None

    def calls(self, now_ms: int) -> bool:
        """Whether somebody has to look at it: it stands, and is neither seen nor silenced."""
        return self.resolved_ms is None and self.acked_ms is None and not self.silent(now_ms)

    def silent(self, now_ms: int) -> bool:
        """Whether it is silenced."""
        return self.silenced_ms is not None and self.silenced_ms > now_ms


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
    return sorted((_silenced(_alert(row), silences) for row in rows), key=_order)


def with_conditions(store: Store, conditions: Iterable[Condition], now_ms: int) -> list[Alert]:
    """Return the alerts that stand by what rules see now, with what is kept of them; nothing is
    noted. Raise StateUnusable.
    """
    kept = {item.key: item for item in alerts(store)}
    silences = silences_of(store)
    found = [
        _updated(kept.get(item.key) or _silenced(_new(item, now_ms), silences), item, now_ms)
        for item in conditions
    ]
    return sorted(found, key=_order)


def observe(store: Store, conditions: Iterable[Condition], table: AlertsTable, now_ms: int) -> None:
    """Bring the alerts in line with what rules see now, and put what is to be told into the outbox.
    Raise StateUnusable.
    """
    seen = {item.key: item for item in conditions}
    silences = silences_of(store)
    with store.writing() as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM alerts").fetchall()  # noqa: S608
        kept = {alert.key: _silenced(alert, silences) for alert in map(_alert, rows)}
        for key in {**kept, **seen}:
            before = kept.get(key)
            alert, kind = _step(before, seen.get(key), table, silences, now_ms)
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


def _silenced(alert: Alert, silences: Mapping[str, int]) -> Alert:
    times = [silences[name] for name in (alert.key, alert.code) if name in silences]
    return msgspec.structs.replace(alert, silenced_ms=max(times, default=None))


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


def _step(
    before: Alert | None,
    condition: Condition | None,
    table: AlertsTable,
    silences: Mapping[str, int],
    now_ms: int,
) -> tuple[Alert | None, Kind | None]:
    """Return an alert as it is after one look, and what is to be told of it."""
    if condition is None:
        return (None, None) if before is None else _gone(before, table, now_ms)
    if before is None:
        alert = _silenced(_new(condition, now_ms), silences)
    elif before.resolved_ms is not None:
        calm = not 0 <= now_ms - before.resolved_ms < _CALM_MS
        alert = msgspec.structs.replace(
            before,
            since_ms=condition.since_ms,
            resolved_ms=None,
            times=0 if before.told != "raised" else before.times,
            flaps=0 if calm else min(before.flaps + 1, MOST_FLAPS),
            acked_ms=None,
            reason="",
        )
    else:
        alert = before
    worse = LEVELS.index(condition.level) > LEVELS.index(alert.level)
    alert = _updated(alert, condition, now_ms)
    if worse:
        alert = msgspec.structs.replace(alert, acked_ms=None, reason="")
    if alert.silent(now_ms) or alert.acked_ms is not None:
        return alert, None
    alert = _anchored(alert, now_ms)
    if alert.told != "raised" or worse:
        if (
            alert.told_ms is not None
            and not worse
            and now_ms - alert.told_ms < _pause(alert, table)
        ):
            return alert, None
        return _told(alert, "raised", now_ms), "alert-raised"
    repeat_ms = table.repeat_ms(alert.code)
    told_ms = alert.told_ms if alert.told_ms is not None else now_ms
    if repeat_ms is not None and now_ms - told_ms >= repeat_ms:
        return _told(alert, "raised", now_ms), "alert-repeated"
    return alert, None


def _gone(before: Alert, table: AlertsTable, now_ms: int) -> tuple[Alert, Kind | None]:
    alert = before
    if alert.resolved_ms is None:
        alert = msgspec.structs.replace(alert, resolved_ms=now_ms, acked_ms=None, reason="")
        if before.silent(now_ms):
            # Nobody wanted to hear of it; that it is over is no news either.
            return msgspec.structs.replace(alert, told="resolved"), None
    if alert.told != "raised":
        return alert, None
    alert = _anchored(alert, now_ms)
    gone_ms = now_ms - (alert.resolved_ms or now_ms)
    if alert.flaps and gone_ms < _pause(alert, table):
        return alert, None  # it will be back
    return _told(alert, "resolved", now_ms), "alert-resolved"


def _anchored(alert: Alert, now_ms: int) -> Alert:
    """Return it with no time that is yet to come: the clock was set back, and what is counted from
    then would never pass.
    """
    if alert.told_ms is not None and alert.told_ms > now_ms:
        alert = msgspec.structs.replace(alert, told_ms=now_ms)
    if alert.resolved_ms is not None and alert.resolved_ms > now_ms:
        alert = msgspec.structs.replace(alert, resolved_ms=now_ms)
    return alert


def _pause(alert: Alert, table: AlertsTable) -> int:
    return table.quiet_ms() << alert.flaps


def _told(alert: Alert, told: str, now_ms: int) -> Alert:
    times = alert.times + (told == "raised")
    return msgspec.structs.replace(alert, told=told, told_ms=now_ms, times=times)


def _new(condition: Condition, now_ms: int) -> Alert:
    return Alert(
        key=condition.key,
        code=condition.code,
        subject=condition.subject,
        level=condition.level,
        since_ms=condition.since_ms,
        seen_ms=now_ms,
        resolved_ms=None,
        told="",
        told_ms=None,
        times=0,
        flaps=0,
        acked_ms=None,
        reason="",
        message=condition.message,
        command=condition.command,
        figures=condition.figures,
    )


def _updated(alert: Alert, condition: Condition, now_ms: int) -> Alert:
    return msgspec.structs.replace(
        alert,
        level=condition.level,
        since_ms=min(alert.since_ms, condition.since_ms),
        seen_ms=now_ms,
        message=condition.message,
        command=condition.command,
        figures=condition.figures,
    )


def _order(alert: Alert) -> tuple[bool, int, int, str]:
    return (
        alert.resolved_ms is not None,
        -LEVELS.index(alert.level),
        -(alert.resolved_ms or alert.since_ms),
        alert.key,
    )


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
