"""What an archive's name says of its date, and where its snapshot stands among the others. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo

_DATE = re.compile(r"(?<![0-9])([0-9]{8})(?:[-_T]?([0-9]{6}))?(?![0-9])")


def time_of_name(name: str, zone: tzinfo | None = None) -> int | None:
    """Given an archive's name, such as ``shenyu_data_20250210_030000.tar.gz``, return its time in
    ms, or None if it names none. Dates are of ``zone``; None is the machine's own.
    """
    for date, time in reversed(_DATE.findall(name)):
        try:
            moment = datetime.strptime(date + (time or "000000"), "%Y%m%d%H%M%S")
            moment = moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
            return int(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            continue
    return None


def place_among(times_ms: Sequence[int], time_ms: int) -> int:
    """Given the times of snapshots in the order in which they were taken, return before which of
    them one of ``time_ms`` belongs; their number if it is the newest.

    It is the place that contradicts the fewest times: a clock that was wrong now and then does not
    matter.
    """
    contradicted = sum(time <= time_ms for time in times_ms)  # if it stood before all
    best, fewest = 0, contradicted
    for place, time in enumerate(times_ms, 1):
        contradicted += -1 if time <= time_ms else 1
        if contradicted < fewest:
            best, fewest = place, contradicted
    return best
