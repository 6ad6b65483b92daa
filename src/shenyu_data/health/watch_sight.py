"""What a watch sees with: one of the kernel's mechanisms, that has to prove again and again that it
tells of accesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from shenyu_data.datadir.fanotify import Fanotify
from shenyu_data.datadir.inotify import Inotify
from shenyu_data.datadir.touches import CannotWatch, Touch, Watching

Mechanism = Callable[[str], Watching]
MECHANISMS: dict[str, Mechanism] = {Fanotify.name: Fanotify, Inotify.name: Inotify}
"""What is tried, one after the other."""

_MOST_READS = 64


class LostSight(Exception):
    """Nothing is seen any more, and why."""


class Sight:
    """Sees accesses to ``data``, while it is open."""

    def __init__(self, data: str, mechanisms: Mapping[str, Mechanism]) -> None:
        self.mechanism: Watching | None = None
        self.proven_ms: int | None = None
        """When an access of its own was told last."""

        self.more = False
        """Whether more is to be read at once."""

        self._data = data
        self._mechanisms = mechanisms
        self._probed_ms: int | None = None
        self._probed_overflows = 0

    def open(self) -> list[str]:
        """Open the first mechanism that can be had; return why those before it cannot."""
        reasons = []
        for name, mechanism in self._mechanisms.items():
            try:
                self.mechanism = mechanism(self._data)
            except CannotWatch as error:
                reasons.append(f"{name}: {error}")
            else:
                self._probed_ms = None
                break
        return reasons

    def close(self) -> None:
        """See nothing any more."""
        if self.mechanism is not None:
            self.mechanism.close()
            self.mechanism = None
        self.more = False

    def read(self, now_ms: int, handle: Callable[[Sequence[Touch]], None]) -> None:
        """Have what is told handled, but not for ever. Raise LostSight."""
        watching = self.mechanism
        if watching is None:
            return
        self.more = True
        try:
            for _ in range(_MOST_READS):
                touches = watching.read()
                if touches is None:
                    self.more = False
                    break
                if touches:
                    handle(touches)
        except OSError as error:
            raise LostSight(error.strerror or str(error)) from None
        if watching.seen_root:
            self.proven_ms = now_ms

    def prove(self, now_ms: int) -> None:
        """See that the last access of its own was told, and make the next one. Raise LostSight."""
        watching = self.mechanism
        if watching is None:
            return
        if self._probed_ms is not None and not watching.seen_root:
            if self.more:
                return  # it may be told yet
            if watching.overflows == self._probed_overflows:  # else it may have been dropped
                raise LostSight("an access of its own was not told")
        watching.seen_root = False
        self._probed_ms, self._probed_overflows = now_ms, watching.overflows
        try:
            os.close(os.open(self._data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise LostSight(error.strerror or str(error)) from None
