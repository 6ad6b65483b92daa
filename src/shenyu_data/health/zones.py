"""Which time zone jobs are due in: the configured one, or the system's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, tzinfo

from shenyu_data.model.errors import ConfigError
from shenyu_data.model.findings import printable

_LOCALTIME = "/etc/localtime"
_FOLDER = "/zoneinfo/"


def open_zone(name: str | None, environment: Mapping[str, str]) -> tuple[tzinfo, str]:
    """Return the time zone of that name, or the system's, and its name; that may be empty if
    nothing tells it. Raise ConfigError if there is no such zone.
    """
    if name is not None:
        return _named(name, "`schedule.timezone`"), name
    said = environment.get("TZ", "").removeprefix(":")
    if said and not said.startswith("/"):
        return _named(said, "TZ in the environment"), said
    return _from_file(said or _LOCALTIME)


def _named(name: str, where: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # late: it takes 6 ms

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"{where}: there is no time zone {printable(name)} on this system",
            hint="Write it as in Europe/Berlin; the package tzdata holds the zones.",
        ) from None


def _from_file(path: str) -> tuple[tzinfo, str]:
    from zoneinfo import ZoneInfo

    try:
        with open(path, "rb") as file:
            zone = ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC, "UTC"  # as the C library has it
    name = os.path.realpath(path).rpartition(_FOLDER)[2]
    return zone, "" if name.startswith("/") else name
