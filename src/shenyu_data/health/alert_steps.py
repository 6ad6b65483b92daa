"""An alert, and what becomes of it from one look to the next: when it is told, again, or that it is
over. Pure; alerts.py keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shenyu_data.health.outbox import Kind
from shenyu_data.model.alerts import DAY_MS, Condition
from shenyu_data.model.config_alerts import LEVELS, AlertsTable, Level

MOST_FLAPS = 6
"""The pause between messages about an alert that comes and goes is doubled so often at most."""

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


def step(
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
        alert = silenced(new_alert(condition, now_ms), silences)
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
    alert = updated(alert, condition, now_ms)
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


def new_alert(condition: Condition, now_ms: int) -> Alert:
    """Return the alert of what a rule sees for the first time; nothing was told of it."""
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


def updated(alert: Alert, condition: Condition, now_ms: int) -> Alert:
    """Return an alert that stands with what its rule sees now."""
    return msgspec.structs.replace(
        alert,
        level=condition.level,
        since_ms=min(alert.since_ms, condition.since_ms),
        seen_ms=now_ms,
        message=condition.message,
        command=condition.command,
        figures=condition.figures,
    )


def silenced(alert: Alert, silences: Mapping[str, int]) -> Alert:
    """Return it with the time until which it is silenced, by its key or its code."""
    times = [silences[name] for name in (alert.key, alert.code) if name in silences]
    return msgspec.structs.replace(alert, silenced_ms=max(times, default=None))


def order(alert: Alert) -> tuple[bool, int, int, str]:
    """Return what puts those that stand first, of these the loudest, then the newest."""
    return (
        alert.resolved_ms is not None,
        -LEVELS.index(alert.level),
        -(alert.resolved_ms or alert.since_ms),
        alert.key,
    )
