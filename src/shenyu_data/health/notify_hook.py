"""What is told after a run and at a tick: pings of the job, a digest each week, what alerts say.

Sending is done in a thread of its own, so that nobody who is down holds up a job.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

from shenyu_data.health.hooks import Occasion
from shenyu_data.health.notify_state import forget_channels
from shenyu_data.health.outbox import add_message, mark_message, pending_messages
from shenyu_data.health.runs import DONE
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.configuration import Settings

WEEK_MS = 7 * 86_400_000

LAST_WAIT_S = 20.0
"""So long the end of a process waits for messages on their way. What is not sent is sent later."""

_OTHERS_S = 20  # so long another process that sends is waited for, and then left to it

_turn = threading.Lock()
_carrier: threading.Thread | None = None
_more = False


def notify_after(occasion: Occasion) -> None:
    """Put pings and digests into the outbox, and have sent what waits there."""
    settings, store = occasion.settings, occasion.store
    if settings.notifications is None and not settings.pings:
        for message in pending_messages(store):
            mark_message(store, message.id, occasion.now_ms, done=True, error="nobody is told")
        forget_channels(store, ())
        return
    _ping(occasion)
    mail = settings.notifications.mail.values() if settings.notifications is not None else ()
    if occasion.event == "tick" and any(item.digest for item in mail):
        _digest(occasion)
    if pending_messages(store, limit=1):
        carry(os.path.dirname(store.path), settings, occasion.monitor)


def _ping(occasion: Occasion) -> None:
    run = occasion.run
    if run is None or run.job not in occasion.settings.pings:
        return
    if occasion.event == "begin":
        event = "start"
    else:
        event = "success" if run.outcome in DONE else "failure"
    payload = {"job": run.job, "event": event, "run": run.id, "outcome": run.outcome}
    with occasion.store.writing() as connection:
        add_message(connection, "ping", occasion.now_ms, payload)


def _digest(occasion: Occasion) -> None:
    store, now_ms = occasion.store, occasion.now_ms
    with store.reading() as connection:
        (last_ms,) = connection.execute(
            "SELECT max(created_ms) FROM outbox WHERE kind = 'digest' AND created_ms <= ?",
            (now_ms,),
        ).fetchone()
    if last_ms is not None and now_ms < last_ms + WEEK_MS:
        return
    from shenyu_data.health.digest import digest_lines
    from shenyu_data.health.schedule import open_schedule

    state = os.path.dirname(store.path)
    schedule = open_schedule(occasion.settings.schedule, state, os.environ)
    lines = digest_lines(store, schedule, occasion.settings, state, now_ms)
    with store.writing() as connection:
        add_message(connection, "digest", now_ms, {"lines": lines})


def carry(state: str, settings: Settings, monitor: Monitor) -> None:
    """Have what waits sent; if that is under way, once more when it is done."""
    global _carrier, _more
    with _turn:
        _more = True
        if _carrier is not None and _carrier.is_alive():  # one that failed is no carrier any more
            return
        _carrier = threading.Thread(
            target=_carry, args=(state, settings, monitor), name="notifications", daemon=True
        )
        _carrier.start()
    atexit.unregister(finish_carrying)
    atexit.register(finish_carrying)


def finish_carrying(wait_s: float = LAST_WAIT_S) -> None:
    """Wait for messages that are on their way, but not for long."""
    carrier = _carrier
    if carrier is not None:
        carrier.join(wait_s)


def _carry(state: str, settings: Settings, monitor: Monitor) -> None:
    global _carrier, _more
    while True:
        with _turn:
            if not _more:
                _carrier = None
                return
            _more = False
        _carry_once(state, settings, monitor)


def _carry_once(state: str, settings: Settings, monitor: Monitor) -> None:
    from shenyu_data.health.notify import send_waiting

    try:
        for _ in range(_OTHERS_S):
            if send_waiting(state, settings, monitor, _now_ms) is not None:
                return
            time.sleep(1)
    except Exception as error:
        monitor.report(
            Finding(
                code="not-notified",
                severity="warning",
                path="",
                message=f"messages wait, and cannot be sent: {error}",
                hint="They are tried again.",
            )
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
