"""The outbox: what is to be told to people, until it has been. Alerts are put into it, and
notifications take out of it.

It is a table of the state folder's database, so that an alert and its message are noted at once,
and nothing is lost while a notifier is down.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from shenyu_data.health.store import Store

Kind = Literal["alert-raised", "alert-repeated", "alert-resolved", "digest", "ping", "test"]
"""What a message is about."""

KINDS: tuple[Kind, ...] = get_args(Kind)

KEPT_MS = 30 * 86_400_000
"""Messages that were done with earlier are forgotten."""

MOST_WAITING = 5_000
"""Of more messages that wait, as when nobody sends any, the oldest are dropped."""

_COLUMNS = "id, created_ms, kind, alert_key, payload, done_ms, attempts, tried_ms, error"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Times are ms since 1970.

    ``alert_key`` names the alert, None of what is about none. ``payload`` is what it says; of an
    alert: ``code``, ``level``, ``subject``, ``message``, ``command`` (what to do), ``since_ms``,
    ``times`` (how often it was told), ``figures``, and ``resolved_ms``, null as long as it is none.
    It holds no secret and no user's name or text.
    ``attempts`` were made to send it, the last at ``tried_ms``, with ``error``; ``done_ms``: it was
    sent, or given up.
    """

    id: int
    created_ms: int
    kind: Kind
    alert_key: str | None
    payload: dict[str, Any]
    done_ms: int | None = None
    attempts: int = 0
    tried_ms: int | None = None
    error: str = ""


def add_message(
    connection: sqlite3.Connection,
    kind: Kind,
    now_ms: int,
    payload: Mapping[str, Any],
    *,
    alert_key: str | None = None,
) -> int:
    """Put a message into the outbox, within ``store.writing()`` of the caller, so that it is there
    exactly if what it tells of is noted; return its id.
    """
    row = connection.execute(
        "INSERT INTO outbox (created_ms, kind, alert_key, payload) VALUES (?, ?, ?, ?) "
        "RETURNING id",
        (now_ms, kind, alert_key, msgspec.json.encode(payload).decode()),
    ).fetchone()
    return int(row[0])


def pending_messages(store: Store, *, limit: int = 100) -> list[Message]:
    """Return the messages that are not done with, oldest first. Raise StateUnusable."""
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM outbox "  # noqa: S608 - our words
            "WHERE done_ms IS NULL ORDER BY id LIMIT ?",
            (limit,),
        ).fetchall()
    return [_message(row) for row in rows]


def mark_message(
    store: Store, message_id: int, now_ms: int, *, done: bool, error: str = ""
) -> None:
    """Note an attempt to send a message: it is ``done`` with, or to be tried again. Raise
    StateUnusable.
    """
    with store.writing() as connection:
        connection.execute(
            "UPDATE outbox SET attempts = attempts + 1, tried_ms = ?, error = ?, "
            "done_ms = CASE WHEN ? THEN ? END WHERE id = ? AND done_ms IS NULL",
            (now_ms, error[:500], done, now_ms, message_id),
        )


def tidy_outbox(store: Store, now_ms: int) -> int:
    """Forget old messages that were done with, and the oldest of too many that wait; return how
    many of those. Raise StateUnusable.
    """
    with store.writing() as connection:
        connection.execute("DELETE FROM outbox WHERE done_ms < ?", (now_ms - KEPT_MS,))
        return connection.execute(
            "DELETE FROM outbox WHERE done_ms IS NULL AND id <= (SELECT id FROM outbox "
            "WHERE done_ms IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (MOST_WAITING,),
        ).rowcount


def _message(row: tuple[Any, ...]) -> Message:
    values = dict(zip(Message.__struct_fields__, row, strict=True))
    try:
        payload = msgspec.json.decode(values["payload"])
    except msgspec.DecodeError:
        payload = {}
    return Message(**{**values, "payload": payload if isinstance(payload, dict) else {}})
