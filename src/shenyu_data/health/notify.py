"""Telling people: what waits in the outbox goes out on every way that is configured.

A message is sent at least once on each way: it is marked when it went, so that a kill between the
two sends it again, under the same id. What fails waits, and holds up nothing else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence

import msgspec

from shenyu_data.health.notify_channels import Channel, channels_of
from shenyu_data.health.notify_errors import NotSent
from shenyu_data.health.notify_state import (
    channel_states,
    deliveries,
    forget_channels,
    note_given_up,
    note_not_sent,
    note_sent,
    rests,
    tidy_deliveries,
)
from shenyu_data.health.notify_text import letter
from shenyu_data.health.outbox import (
    MOST_WAITING,
    Message,
    mark_message,
    pending_messages,
    tidy_outbox,
)
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.amounts import counted
from shenyu_data.model.config_notifications import NotificationsTable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.configuration import Settings

ROUND_MS = 120_000
"""A round of sending begins no further message after so long; the rest waits for the next one."""

START_KEPT_MS = 600_000
"""A ping that a job began is of no use any more after so long."""

LEAST_TRIES = 5
"""Nothing is given up that was not tried so often: a clock that leaps says nothing."""

_LOCK = "notify.lock"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did, in messages and ways: one message on two ways counts twice."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How a test message went on one way; ``error`` is empty if it did."""

    channel: str
    error: str


def send_waiting(
    state: str, settings: Settings, monitor: Monitor, clock: Callable[[], int]
) -> Sent | None:
    """Send what waits in the outbox of the state folder ``state``; None if another process does.

    Raise StateUnusable if it cannot be noted what was sent: then nothing more is.
    """
    with open_store(state) as store:
        lock = os.open(os.path.join(state, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _send_all(store, settings, os.path.basename(state), monitor, clock)
        except BlockingIOError:
            return None
        finally:
            os.close(lock)


def _send_all(
    store: Store, settings: Settings, source: str, monitor: Monitor, clock: Callable[[], int]
) -> Sent:
    channels = channels_of(settings)
    table = settings.notifications or NotificationsTable()
    began_ms = clock()
    messages = pending_messages(store, limit=MOST_WAITING)
    totals = Sent()
    for channel in channels:
        wanted = [message for message in messages if channel.wants(message)]
        made = _send_on(
            channel, wanted, store, source[:8], monitor, clock, began_ms, table.give_up_ms()
        )
        totals = Sent(
            sent=totals.sent + made.sent,
            failed=totals.failed + made.failed,
            given_up=totals.given_up + made.given_up,
        )
    known = deliveries(store)
    for message in messages:
        ways = [channel.name for channel in channels if channel.wants(message)]
        if all((way := known.get((message.id, name))) and way.done for name in ways):
            mark_message(store, message.id, clock(), done=True)
    forget_channels(store, {channel.name for channel in channels})
    tidy_outbox(store, clock())
    tidy_deliveries(store)
    return totals


def _send_on(
    channel: Channel,
    messages: Sequence[Message],
    store: Store,
    source: str,
    monitor: Monitor,
    clock: Callable[[], int],
    began_ms: int,
    give_up_ms: int,
) -> Sent:
    known = deliveries(store)
    standing = channel_states(store).get(channel.name)
    resting = standing is not None and rests(standing.tried_ms, standing.failures, clock())
    sent = failed = given_up = 0
    for message in messages:
        now_ms = clock()
        earlier = known.get((message.id, channel.name))
        if earlier is not None and earlier.done:
            continue
        tries = max(earlier.attempts if earlier else 0, standing.failures if standing else 0)
        lost = message.payload.get("event") != "start"
        stale_ms = give_up_ms if lost else min(START_KEPT_MS, give_up_ms)
        if message.created_ms + stale_ms < now_ms and (tries >= LEAST_TRIES or not lost):
            note_given_up(store, message.id, channel.name, now_ms, counted=lost)
            given_up += lost
            continue
        if resting or (earlier is not None and rests(earlier.tried_ms, earlier.attempts, now_ms)):
            continue
        if not began_ms <= now_ms < began_ms + ROUND_MS:
            break
        try:
            _send(channel, message, source)
        except NotSent as error:
            failed += 1
            note_not_sent(
                store, message.id, channel.name, now_ms, error.message, refused=error.permanent
            )
            resting = not error.permanent
            continue
        note_sent(store, message.id, channel.name, clock())
        sent += 1
    if given_up:
        monitor.report(_given_up(channel.name, given_up, standing.error if standing else ""))
    return Sent(sent=sent, failed=failed, given_up=given_up)


def _send(channel: Channel, message: Message, source: str) -> None:
    """Send a message. Raise NotSent, whatever else a library may raise: others wait behind it."""
    try:
        channel.send(message, letter(message, source, os.uname().nodename))
    except NotSent:
        raise
    except Exception as error:
        raise NotSent(f"it failed: {type(error).__name__}") from None


def _given_up(channel: str, count: int, error: str) -> Finding:
    return Finding(
        code="notification-given-up",
        severity="error",
        path="",
        message="given up, as they could not be sent for too long: "
        f"{counted(count, 'message')} to {channel}" + (f": {error}" if error else ""),
        hint="`shenyu-data alerts test` tells which ways work; `shenyu-data alerts list` what is "
        "wrong.",
    )


def try_channels(settings: Settings, source: str, now_ms: int) -> list[Trial]:
    """Send a test message on every way but pings, at once and past the outbox; return how it went.

    A ping would say of a job what is not so.
    """
    message = Message(id=0, created_ms=now_ms, kind="test", alert_key=None, payload={})
    found = []
    for channel in channels_of(settings):
        if not channel.wants(message):
            continue
        error = ""
        try:
            _send(channel, message, source[:8])
        except NotSent as failure:
            error = failure.message
        found.append(Trial(channel=channel.name, error=error))
    return found
