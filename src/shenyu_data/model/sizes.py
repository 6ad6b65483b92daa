"""Sizes as people type them: ``500MB``, ``20 GB``. Pure."""

from __future__ import annotations

import re

from shenyu_data.model.errors import UsageError

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE = re.compile(r"([0-9]{1,6}) ?([kmgt]?b)")


def parse_size(text: str) -> int:
    """Given a number, at most six digits, and ``B``, ``kB``, ``MB``, ``GB`` or ``TB`` (powers of
    1000), return how many bytes that is. Raise UsageError for anything else.
    """
    matched = _SIZE.fullmatch(text.lower())
    if matched is None:
        raise UsageError(f"{text} is not a size", hint="Write a number and a unit: 500MB or 20GB.")
    return int(matched[1]) * _UNITS[matched[2]]
