"""Calendar periods: which hour, day, week, month or year a moment lies in. Pure; for retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")

Key = tuple[int, ...]
"""Names a period; a later one is greater."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_MS = -62_100_000_000_000  # a bit inside the years that Python knows,
_LATEST_MS = 253_400_000_000_000  # so that any time zone can be applied


def moment(time_ms: int, zone: tzinfo | None) -> datetime:
    """Given a time in ms since 1970, return it in ``zone`` (None: the machine's own)."""
    inside = min(max(time_ms, _EARLIEST_MS), _LATEST_MS)
    return (_EPOCH + timedelta(milliseconds=inside)).astimezone(zone)


def key_of(period: str, time_ms: int, zone: tzinfo | None) -> Key:
    """Given one of :data:`PERIODS` and a time, return which of them it lies in."""
    at = moment(time_ms, zone)
    if period == "yearly":
        return (at.year,)
    if period == "monthly":
        return (at.year, at.month)
    if period == "weekly":
        return at.isocalendar()[:2]
    if period == "daily":
        return (at.year, at.month, at.day)
    # When clocks go back an hour comes twice: the second has the smaller offset.
    offset = at.utcoffset() or timedelta()
    return (at.year, at.month, at.day, at.hour, -int(offset.total_seconds()))


def label_of(period: str, key: Key) -> str:
    """Return a period as people read it: 2026, 2026-03, 2026-W09, 2026-03-01, or the hour."""
    if period == "weekly":
        return f"{key[0]:04}-W{key[1]:02}"
    if period == "hourly":
        year, month, day, hour, offset = key
        zone = timezone(timedelta(seconds=-offset))
        return datetime(year, month, day, hour, tzinfo=zone).isoformat(" ", "minutes")
    return "-".join(f"{part:0{2 if number else 4}}" for number, part in enumerate(key))
