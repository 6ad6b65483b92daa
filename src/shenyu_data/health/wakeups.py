"""Signals as something to wait for: that this process is to stop, to read its configuration again,
or that a child has ended. For the main thread of ``serve`` and ``schedule run``.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType
from typing import Any

_STOP = (signal.SIGTERM, signal.SIGINT)


class Wakeups:
    """While it is entered, signals end no wait by an exception; they end :meth:`wait`, and are
    counted. Without ``reloads_on_hangup`` the end of the session is one more reason to stop.
    """

    def __init__(self, *, reloads_on_hangup: bool) -> None:
        self._stops = 0
        self._reloads = 0
        self._reloads_on_hangup = reloads_on_hangup
        self._before: dict[signal.Signals, Any] = {}
        self._pipe = (-1, -1)
        self._wakeup = -1

    def __enter__(self) -> Wakeups:
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in (*_STOP, signal.SIGHUP, signal.SIGCHLD):
            ignored = signal.getsignal(number) is signal.SIG_IGN  # as nohup has it
            if ignored and number is signal.SIGHUP and not self._reloads_on_hangup:
                continue
            self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        for descriptor in self._pipe:
            os.close(descriptor)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._reloads_on_hangup:
            self._reloads += 1
        elif number != signal.SIGCHLD:
            self._stops += 1

    def stops(self) -> int:
        """Return how often this process was asked to stop."""
        return self._stops

    def reloads(self) -> int:
        """Return how often it was asked to read its configuration again."""
        return self._reloads

    def wake(self) -> None:
        """End a wait, from another thread."""
        with suppress(BlockingIOError):
            os.write(self._pipe[1], b"\0")

    def wait(self, seconds: float, descriptor: int = -1) -> None:
        """Wait until a signal has come since the last wait, or ``descriptor`` can be read, at most
        so long.
        """
        waiting = [self._pipe[0], *([descriptor] if descriptor >= 0 else [])]
        select.select(waiting, [], [], max(0.0, seconds))
        with suppress(BlockingIOError):
            while os.read(self._pipe[0], 4096):
                pass
