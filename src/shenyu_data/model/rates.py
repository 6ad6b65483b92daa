"""Rates as people type them: ``2MB``, ``500 kB/s``. Pure; used where a bandwidth is meant."""

from __future__ import annotations

import re

from shenyu_data.model.errors import UsageError

_UNITS = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([a-z]+?)(?:/s)?")


def parse_rate(text: str) -> int:
    """Given a number and a unit of bytes (``kB``, ``MB``, ``GB``, ``KiB``, ``MiB``, ``GiB``; upper
    or lower case), return bytes a second. Raise UsageError for anything else, and for 0.
    """
    matched = _RATE.fullmatch(text.lower())
    unit = _UNITS.get(matched[2]) if matched else None
    rate = int(float(matched[1]) * unit) if matched and unit else 0
    if not rate:
        raise UsageError(
            f"{text} is not a rate", hint="Write a number and a unit, bytes a second: 500kB or 2MB."
        )
    return rate
