"""A chat's own clocks: when it began, and when it was last active. Pure.

The file's time says little: the application rewrites a whole history for one new chat, and whatever
copies, imports or compresses a file sets it anew. So a chat is asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Source = Literal["message", "timestamp", "id", "mtime"]
"""Which clock was read: a message's, the chat's ``timestamp``, its id, its file's."""

AHEAD_MS = 86_400_000
"""A clock may be ahead by a day (time zones, other machines); beyond that it is wrong."""

_FIRST_SECOND = 1_000_000_000  # in 2001; smaller numbers are counters, not clocks
_FIRST_MS = 100_000_000_000  # in 1973; as seconds, in 5138
_LAST_MS = 100_000_000_000_000  # in 5138
_MOST_DIGITS = 16
_TIME_KEYS = frozenset(
    ("timestamp", "updated_at", "updatedAt", "time", "date", "created_at", "createdAt")
)


class Activity(NamedTuple):
    """When a chat was last active, in milliseconds since 1970, and which clock said so."""

    ms: int
    source: Source


def last_activity(value: object, mtime_ms: int, now_ms: int | None = None) -> Activity:
    """Return when a chat was last active: by its newest message that has a time, else by its
    ``timestamp``, else by its id if that is a clock, else by its file's ``mtime_ms``.

    Times are ISO 8601 text (without a zone: UTC), milliseconds or seconds since 1970, also as
    digits in a string. What is none of these, lies before 1973, or more than :data:`AHEAD_MS` after
    ``now_ms``, is a wrong clock: the next one is asked. A file from the future is as old as now.
    """
    latest = None if now_ms is None else now_ms + AHEAD_MS
    if isinstance(value, dict):
        messages = value.get("messages")
        found = [moment for item in _listed(messages) for moment in _times(item, latest)]
        if found:
            return Activity(max(found), "message")
        if stated := list(_times(value, latest)):
            return Activity(max(stated), "timestamp")
        began = moment_ms(value.get("id"), dates=False)
        if began is not None and (latest is None or began <= latest):
            return Activity(int(began), "id")
    return Activity(mtime_ms if now_ms is None else min(mtime_ms, now_ms), "mtime")


def clock_ms(value: object) -> float | None:
    """Return when a chat began, in milliseconds since 1970, as far as it says so.

    By its id if that is a clock (the application's are), else by its ``timestamp``, else by the
    first message that has one.
    """
    if not isinstance(value, dict):
        return None
    moment = moment_ms(value.get("id"), dates=False)
    if moment is None:
        moment = moment_ms(value.get("timestamp"))
    if moment is None:
        times = (moment_ms(item.get("timestamp")) for item in _listed(value.get("messages")))
        moment = next((time for time in times if time is not None), None)
    return moment


def moment_ms(value: object, *, dates: bool = True) -> float | None:
    """Return the moment that a value of a document means, in milliseconds since 1970; None if it
    is no clock. ``dates`` False: only numbers count, and strings of digits.
    """
    if not isinstance(value, str):  # text first: most are
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _of_number(value)
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        moment = _of_number(int(text))
        if moment is not None:
            return moment  # else it may be 20250131
    if not dates:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000
    except (ValueError, OverflowError):
        return None
    return moment if _FIRST_MS <= moment < _LAST_MS else None


def _of_number(value: float) -> float | None:
    if _FIRST_SECOND <= value < _FIRST_MS:
        return float(value) * 1000
    return float(value) if _FIRST_MS <= value < _LAST_MS else None


def _listed(messages: object) -> Iterator[dict[str, object]]:
    """Yield the messages that could have a time."""
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield message


def _times(item: dict[str, object], latest: int | None) -> Iterator[int]:
    for key in _TIME_KEYS.intersection(item):
        moment = moment_ms(item[key])
        if moment is not None and (latest is None or moment <= latest):
            yield int(moment)
