"""The table ``[watch]`` of the configuration: who may touch the data, and from when on it is no
ordinary use. Pure.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError

Least = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Text = Annotated[str, Meta(min_length=1)]

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_UNIT_ENDS = (".service", ".scope")


def is_unit(entry: str) -> bool:
    """Whether an entry of a list is a unit of systemd, and not a program."""
    return "/" not in entry and entry.endswith(_UNIT_ENDS)


class WatchTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[watch]``. Programs are whole paths, or units of systemd; accounts are those of
    the system, by name or number.
    """

    enabled: bool = False
    application: list[Text] | None = None
    programs: list[Text] | None = None
    accounts: list[Text] | None = None
    hours: Text | None = None
    window: Text = "5min"
    users: Least = 200
    users_a_day: Least = 1000
    removed: Least = 20
    times: Least = 5

    def __post_init__(self) -> None:
        for name in ("application", "programs"):
            for entry in getattr(self, name) or ():
                if not entry.startswith("/") and not is_unit(entry):
                    raise ValueError(
                        f"`{name}`: {entry!r} is neither a whole path nor the name of a unit "
                        "(NAME.service)"
                    )
        if self.hours is not None:
            found = _HOURS.fullmatch(self.hours)
            if found is None or found.group(1, 2) == found.group(3, 4):
                raise ValueError("`hours` are two times of the day, such as 07:00-20:00")
        try:
            shortest = parse_age(self.window)
        except UsageError as error:
            raise ValueError(f"`window`: {error.message}. {error.hint}") from None
        if not 60 <= shortest <= 86_400:
            raise ValueError("`window` is a minute at least, and a day at most")

    def window_ms(self) -> int:
        """Return the length of a window."""
        return parse_age(self.window) * 1000

    def names_processes(self) -> bool:
        """Whether it says anything that only who is told of processes can judge."""
        lists = (self.application, self.programs, self.accounts)
        return any(one is not None for one in lists)

    def minutes(self) -> tuple[int, int] | None:
        """Return from and until which minute of the day it is no odd hour; None: it never is."""
        found = _HOURS.fullmatch(self.hours) if self.hours is not None else None
        if found is None:
            return None
        numbers = [int(part) for part in found.groups()]
        return numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]


WATCH_DESCRIPTIONS = {
    "enabled": "Whether serve keeps a watch running, and its absence is an alert. Default: false.",
    "application": "Programs or units of the application. With any, nobody else may write.",
    "programs": "Those that may read besides. With this key, even if empty, no others may.",
    "accounts": "Accounts of the system, by name or number. With any, no others may.",
    "hours": "When others than the application may touch the data, such as 07:00-20:00.",
    "window": "The length of time in which accesses are counted together. Default: 5min.",
    "users": "Documents of so many users opened in a window are no ordinary use. Default: 200.",
    "users_a_day": "So many in a day, by others than the application. Default: 1000.",
    "removed": "So many documents removed or moved away in a window. Default: 20.",
    "times": "It takes so many times what is ordinary, too, once that is known. Default: 5.",
}
"""What each key of the table ``[watch]`` means."""
