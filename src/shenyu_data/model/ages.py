"""Ages as people type them: ``90d``, ``12h``, ``4 weeks``. Pure; used where a time ago is meant."""

from __future__ import annotations

import re

from shenyu_data.model.errors import UsageError

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
_UNITS = {
    **dict.fromkeys(("s", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), _HOUR_S),
    **dict.fromkeys(("d", "day", "days"), _DAY_S),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY_S),
    **dict.fromkeys(("y", "year", "years"), 365 * _DAY_S),
}
_AGE = re.compile(r"([0-9]{1,4}) ?([a-z]+)")


def parse_age(text: str) -> int:
    """Given an age, at most four digits and a unit, return it in seconds.

    Units are ``s``, ``min``, ``h``, ``d``, ``w``, ``y`` (365 days) and their words. ``m`` is none:
    whoever writes ``6m`` may mean minutes or months, and something may be deleted by it. Raise
    UsageError for anything else.
    """
    matched = _AGE.fullmatch(text.lower())
    seconds = _UNITS.get(matched[2]) if matched else None
    if matched is None or seconds is None:
        raise UsageError(
            f"{text} is not an age",
            hint="Write a number and a unit: 90min, 12h, 90d, 4w or 1y.",
        )
    return int(matched[1]) * seconds


def format_age(seconds: int) -> str:
    """Return an age in the greatest of ``d``, ``h``, ``min`` and ``s`` that it is a multiple of."""
    for unit, length in (("d", _DAY_S), ("h", _HOUR_S), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
