"""What a message says: what, since when, what to do. Pure; made of what the outbox holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shenyu_data.health.outbox import Message
from shenyu_data.model.alert_terms import nth
from shenyu_data.model.findings import printable

_MOST_TITLE = 150


class Letter(NamedTuple):
    """A message as people read it. ``id`` is the same whenever it is sent again."""

    id: str
    title: str
    body: str


def letter(message: Message, source: str, machine: str) -> Letter:
    """Return what to tell of a message. ``source`` names the data directory, ``machine`` the
    computer.
    """
    payload = message.payload
    if message.kind == "digest":
        title, body = "the last week", _digest(payload)
    elif message.kind == "test":
        title, body = "a test", "This is a test: messages of shenyu-data arrive here."
    else:
        title, body = _alert(message)
    whole = f"shenyu-data on {machine}: {title}"
    return Letter(message_id(message, source), _line(whole)[:_MOST_TITLE], body)


def message_id(message: Message, source: str) -> str:
    """Return what names a message, here and on other machines, also after the state is lost."""
    return f"{source}-{message.created_ms}-{message.id}"


def _alert(message: Message) -> tuple[str, str]:
    payload = message.payload
    text = _line(payload.get("message"))
    since = _moment(payload.get("since_ms"))
    if message.kind == "alert-resolved":
        ended = _moment(payload.get("resolved_ms"))
        lines = [f"It is over: {text}", f"Since {since}, until {ended}."]
        return f"resolved: {text}", "\n".join(lines)
    lines = [text, f"Since {since}."]
    times = payload.get("times")
    if isinstance(times, int) and times > 1:
        lines.append(f"You are told for the {nth(times)} time." if times > 3 else "Told again.")
    if payload.get("command"):
        lines.append(f"What to do: {_line(payload['command'])}")
    return f"{_line(payload.get('level'))}: {text}", "\n".join(lines)


def _digest(payload: Mapping[str, Any]) -> str:
    lines = payload.get("lines")
    return "\n".join(map(_line, lines)) if isinstance(lines, list) else ""


def _moment(value: object) -> str:
    if not isinstance(value, int):
        return "a time that is not known"
    try:
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return "a time that is not known"


def _line(value: object) -> str:
    return printable(value if isinstance(value, str) else "")
