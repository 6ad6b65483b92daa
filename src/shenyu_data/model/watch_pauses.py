"""How often the same thing is told, and of how many whose names anybody may choose. Pure."""

from __future__ import annotations

import msgspec

from shenyu_data.model.alerts import DAY_MS
from shenyu_data.model.watch_terms import Cause

OTHERS = "others"
"""Whoever is not told by name any more."""

_MOST_TOLD = 512
_MOST_GROUPS = 64
_MOST_NAMED = 8


class _Pause(msgspec.Struct):
    until_ms: int
    length_ms: int


class Pauses:
    """What goes on is told once, again after ``first_ms``, then after twice that, up to a day."""

    def __init__(self, first_ms: int) -> None:
        self._first_ms = first_ms
        self._pauses: dict[tuple[Cause, str], _Pause] = {}

    def may_tell(self, cause: Cause, who: str, now_ms: int) -> bool:
        """Return whether it may be told now; it counts as told then."""
        pause = self._pauses.get((cause, who))
        if pause is None or not -DAY_MS <= pause.until_ms - now_ms <= pause.length_ms:
            if len(self._pauses) >= _MOST_TOLD:
                self._pauses = {k: v for k, v in self._pauses.items() if v.until_ms > now_ms}
            self._pauses[cause, who] = _Pause(now_ms + self._first_ms, self._first_ms)
            return True
        if now_ms < pause.until_ms:
            return False
        pause.length_ms = min(pause.length_ms * 2, DAY_MS)
        pause.until_ms = now_ms + pause.length_ms
        return True


class Names:
    """The accounts that are told of by themselves, on one day, and the first few programs of each:
    anybody may copy a program under a thousand names.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[Cause, str], set[str]] = {}
        self._since_ms = 0

    def at(self, now_ms: int) -> None:
        """Say what time it is: on another day others may be named."""
        if not 0 <= now_ms - self._since_ms < DAY_MS:
            self._since_ms = now_ms
            self._named.clear()

    def who(self, cause: Cause, account: str, program: str) -> str:
        """Return of whom something is told; without a ``program``, of the account alone."""
        named = self._named.get((cause, account))
        if named is None:
            if len(self._named) >= _MOST_GROUPS:
                return OTHERS
            named = self._named[cause, account] = set()
        if not program:
            return account
        if program not in named and len(named) >= _MOST_NAMED:
            return account
        named.add(program)
        return f"{account}:{program}"
