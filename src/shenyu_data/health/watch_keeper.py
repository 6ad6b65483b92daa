"""Keeps a ``watch`` running beside the jobs of ``serve``: a process of its own, begun again if it
ends.

It outlives a ``serve`` that is killed, and watches on; the one of the next serve then finds it at
work, and is begun again only later.
"""

from __future__ import annotations

import os
import signal
import time

from shenyu_data.health.events import Tell
from shenyu_data.health.jobs import Launch, Process, launch
from shenyu_data.health.scheduler import Work
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.errors import EXIT_DONE, EXIT_FINDINGS
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor

FIRST_PAUSE_MS = 10_000
MOST_PAUSE_MS = 5 * 60_000
"""Between the end of a watch and the next one lies a pause, doubled each time it ends early."""

_STEADY_MS = 10 * 60_000
_PATIENCE_S = 10.0


class WatchKeeper:
    """Told the time by the loop of ``serve``. ``tell`` is told when a watch begins and ends."""

    def __init__(self, monitor: Monitor, tell: Tell, *, start: Launch = launch) -> None:
        self._monitor = monitor
        self._tell = tell
        self._start = start
        self._process: Process | None = None
        self._table: WatchTable | None = None
        self._began_ms = 0
        self._next_ms: int | None = None
        self._pause_ms = FIRST_PAUSE_MS
        self._complained = False

    def tick(self, now_ms: int, work: Work) -> None:
        """Begin a watch if one is wanted and none runs; stop it if none is wanted any more, or what
        it is to notice has changed.
        """
        process = self._process
        if process is not None and process.poll() is not None:
            self._ended(process.wait(), now_ms)
        if not work.settings.watch.enabled or work.settings.watch != self._table:
            self.end()
            self._next_ms = None
            self._table = work.settings.watch
        if not work.settings.watch.enabled:
            return
        is_early = self._next_ms is not None and 0 < self._next_ms - now_ms <= MOST_PAUSE_MS
        if self._process is None and not is_early:
            self._begin(now_ms, work)

    def _begin(self, now_ms: int, work: Work) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        self._began_ms = now_ms
        try:
            self._process = self._start(work.program.command(["watch"]), environment)
        except OSError as error:
            self._complain(f"it cannot be started: {error.strerror}")
            self._later(now_ms)
            return
        self._tell("watch: begins", "watch-started", pid=self._process.pid)

    def _ended(self, status: int, now_ms: int) -> None:
        self._process = None
        self._tell("watch: ended", "watch-ended", exit_status=status)
        if status not in (EXIT_DONE, EXIT_FINDINGS):
            how = f"it exited with {status}" if status >= 0 else f"signal {-status} ended it"
            self._complain(how)
        if now_ms - self._began_ms >= _STEADY_MS:
            self._pause_ms, self._complained = FIRST_PAUSE_MS, False
        self._later(now_ms)

    def _later(self, now_ms: int) -> None:
        self._next_ms = now_ms + self._pause_ms
        self._pause_ms = min(self._pause_ms * 2, MOST_PAUSE_MS)

    def _complain(self, why: str) -> None:
        if self._complained:  # once, until one ran for a while
            return
        self._complained = True
        self._monitor.report(
            Finding(
                code="watch-ended",
                severity="warning",
                path="",
                message=f"the watch that serve keeps does not run: {why}",
                hint="What it printed says why. It is begun again.",
            )
        )

    def end(self) -> None:
        """Have the watch that runs stop, and wait for that, but not for ever."""
        process = self._process
        if process is None:
            return
        self._process = None
        end_s = time.monotonic() + _PATIENCE_S
        number = signal.SIGTERM
        while process.poll() is None:
            process.send_signal(number)
            while process.poll() is None and time.monotonic() < end_s:
                time.sleep(0.02)
            number, end_s = signal.SIGKILL, time.monotonic() + _PATIENCE_S
