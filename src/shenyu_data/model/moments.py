"""Moments as people type them: ``2025-02-10``, ``2025-02-10T12:30``, ``3d`` ago. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError


def parse_moment(text: str, now_ms: int) -> int:
    """Given a date (its beginning), a date and time, ``today``, ``yesterday`` or an age, return the
    moment in ms since 1970. Without a zone it is of here. Raise UsageError for anything else.
    """
    try:
        return now_ms - 1000 * parse_age(text.removesuffix(" ago"))
    except UsageError:
        pass
    try:
        return int(_moment(text, now_ms).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text} is not a time",
            hint="Write a date (2025-02-10), a date and time (2025-02-10T12:30), or how long ago "
            "it was (3d, 12h).",
        ) from None


def _moment(text: str, now_ms: int) -> datetime:
    if text in ("today", "yesterday"):
        day = datetime.fromtimestamp(now_ms / 1000).date() - timedelta(days=text == "yesterday")
        return datetime.combine(day, time())
    try:
        return datetime.combine(date.fromisoformat(text), time())
    except ValueError:
        return datetime.fromisoformat(text)
