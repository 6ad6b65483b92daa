"""Who touches the data directory: looks at what the kernel tells, has the rules of
model/watch_rules.py judge it, and sees to it that it is not blind itself.

It is told the time, and never waits; the loop in watch.py does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from shenyu_data.datadir.fanotify import Fanotify
from shenyu_data.datadir.inotify import Inotify
from shenyu_data.datadir.touches import CannotWatch, Touch, Watching
from shenyu_data.health.events import Tell
from shenyu_data.health.watch_findings import report_blind, report_no_process, report_noticed
from shenyu_data.health.watch_notebook import Notebook, beat_boot
from shenyu_data.health.watch_notes import Beat
from shenyu_data.health.watch_own import OwnRuns
from shenyu_data.health.watch_processes import GONE, UNSEEN, Processes
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.errors import CannotWatchData
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.watch_rules import Tally
from shenyu_data.model.watch_terms import OPENED, Actor, Noticed
from shenyu_data.operations.configuration import Settings

BUSY_MS = 1000
"""So often the rules are asked while something happens."""

IDLE_MS = 10_000
"""So often the watch proves itself, by an access of its own that must be told."""

_MOST_READS = 64
_OWN = Actor(standing="own")
_MOST_KEPT = 1000

Mechanism = Callable[[str], Watching]
MECHANISMS: dict[str, Mechanism] = {Fanotify.name: Fanotify, Inotify.name: Inotify}
"""What is tried, one after the other."""

Show = Callable[[Touch, Actor], None]
"""Is shown each access, for people who look on."""


class Watcher:
    """Watches ``data``, whose state folder is ``state``."""

    def __init__(
        self,
        data: str,
        state: str,
        settings: Settings,
        zone: tzinfo,
        accounts: frozenset[int] | None,
        monitor: Monitor,
        tell: Tell,
        *,
        mechanisms: Mapping[str, Mechanism] = MECHANISMS,
        show: Show | None = None,
    ) -> None:
        self.dropped = 0
        self.noticed: list[Noticed] = []
        self.proven = False
        self.mechanism: Watching | None = None
        self._data = data
        self._table: WatchTable = settings.watch
        self._monitor = monitor
        self._tell = tell
        self._mechanisms = mechanisms
        self._show = show
        self._notebook = Notebook(state, settings, monitor)
        self._before, ordinary = self._notebook.open()
        self._own = OwnRuns(state)
        self._processes = Processes(self._table, self._own.registered, data)
        self._tally = Tally(self._table, accounts, zone, ordinary)
        self._since_ms = 0
        self._judged_ms = 0
        self._probed_ms: int | None = None
        self._proven_ms = 0
        self._blind_ms: int | None = None
        self._probed_overflows = 0
        self._overflows = 0
        self._unwatched = 0
        self._busy = False
        self._more = False

    @property
    def accesses(self) -> int:
        """How many accesses by others were seen."""
        return self._tally.accesses

    def fileno(self) -> int:
        """Return a descriptor that can be read when something has happened; -1 if there is none."""
        return self.mechanism.fileno() if self.mechanism is not None else -1

    def begin(self, now_ms: int) -> None:
        """Begin to watch. Raise CannotWatchData if no mechanism can be had."""
        self._since_ms = self._judged_ms = self._proven_ms = now_ms
        reasons = self._open()
        if self.mechanism is None:
            raise CannotWatchData(
                f"{self._data} cannot be watched: {'; '.join(reasons)}",
                hint="See whether the directory is there, and docs/watch.md for what it takes.",
            )
        line, name = self._begins(reasons), self.mechanism.name
        self._own.store = self._notebook.store
        self._note_gap(now_ms)
        if not self.mechanism.tells_process and self._wants_processes():
            report_no_process(self._monitor)
        self._prove(now_ms)
        self._write(now_ms, at_once=True)
        self._tell(line, "watch-begins", mechanism=name)

    def step(self, now_ms: int) -> int:
        """Look at what happened; return after how many ms to look again, if nothing happens."""
        self._read(now_ms)
        if self.mechanism is not None and self.mechanism.seen_root:
            self.proven, self._proven_ms = True, now_ms
        if self._is_due(now_ms):
            self._judged_ms = now_ms
            self._busy = False
            self._judge(now_ms)
            self._prove(now_ms)
            self._write(now_ms)
        if self._more:
            return 0
        return BUSY_MS if self._busy else IDLE_MS

    def end(self, now_ms: int) -> None:
        """Watch no more, and note that this was meant."""
        self._read(now_ms)
        self._judge(now_ms)
        self._write(now_ms, at_once=True, ended=True)
        self._notebook.close()
        self._close()

    def _is_due(self, now_ms: int) -> bool:
        return not 0 <= now_ms - self._judged_ms < (BUSY_MS if self._busy else IDLE_MS)

    def _open(self) -> list[str]:
        """Open the first mechanism that can be had; return why others cannot."""
        reasons = []
        for name, mechanism in self._mechanisms.items():
            try:
                self.mechanism = mechanism(self._data)
            except CannotWatch as error:
                reasons.append(f"{name}: {error}")
            else:
                self._overflows = self._unwatched = self._probed_overflows = 0
                self._probed_ms = None
                break
        return reasons

    def _close(self) -> None:
        if self.mechanism is not None:
            self.mechanism.close()
            self.mechanism = None

    def _wants_processes(self) -> bool:
        table = self._table
        return any(item is not None for item in (table.application, table.programs, table.accounts))

    def _begins(self, reasons: Sequence[str]) -> str:
        watching = self.mechanism
        if watching is None:
            return ""
        line = f"watching {self._data} with {watching.name}"
        if not watching.tells_process:
            line += f", {watching.folders:,} folders, and not told who it is that touches it"
            line += f" ({'; '.join(reasons)})" if reasons else ""
        return line

    def _read(self, now_ms: int) -> None:
        watching = self.mechanism
        if watching is None:
            return
        self._more = False
        try:
            for _ in range(_MOST_READS):
                touches = watching.read()
                if touches is None:
                    return
                if touches:
                    self._handle(touches, now_ms)
        except OSError as error:
            self._lost(now_ms, error.strerror or str(error))
            return
        self._more = True

    def _handle(self, touches: Sequence[Touch], now_ms: int) -> None:
        self._busy = True
        tally = self._tally
        tally.at(now_ms)
        own: tuple[bool, bool] | None = None
        actors: dict[tuple[int, bool], Actor] = {}
        for touch in touches:
            what, path, pid, gone = touch
            actor = actors.get((pid, gone))
            if actor is None:
                actor = self._processes.actor_of(pid, now_ms, gone=gone)
                actors[pid, gone] = actor
            if actor is UNSEEN or actor is GONE:
                own = own or self._own.under_way(now_ms)
                if own[1] or (own[0] and what == OPENED):
                    actor = _OWN  # which it was cannot be told
            tally.add(actor, what, path)
            if self._show is not None:
                self._show(touch, actor)

    def _judge(self, now_ms: int) -> None:
        self._tally.at(now_ms)
        for item in self._tally.judge():
            self._notice(item)
        watching = self.mechanism
        if watching is None:
            return
        if watching.overflows > self._overflows:
            count = watching.overflows - self._overflows
            self._overflows = watching.overflows
            self.dropped += count
            self._notice(
                Noticed(
                    cause="dropped",
                    who="system",
                    first_ms=self._judged_ms,
                    last_ms=now_ms,
                    dropped=count,
                )
            )
        if watching.unwatched > self._unwatched:
            self._unwatched = watching.unwatched
            self._notice(
                Noticed(
                    cause="part",
                    who="system",
                    first_ms=now_ms,
                    last_ms=now_ms,
                    dropped=watching.unwatched,
                )
            )

    def _notice(self, item: Noticed) -> None:
        if len(self.noticed) < _MOST_KEPT:
            self.noticed.append(item)
        self._notebook.add(item)
        report_noticed(self._monitor, item)

    def _prove(self, now_ms: int) -> None:
        """See whether the last access of our own was told, and make the next one."""
        watching = self.mechanism
        if watching is None:
            self._reopen(now_ms)
            return
        is_untold = self._probed_ms is not None and not watching.seen_root
        if is_untold and (self._more or watching.overflows > self._probed_overflows):
            return  # it may be told yet, or was dropped
        if is_untold:
            self._lost(now_ms, "an access of its own was not told")
            return
        watching.seen_root = False
        try:
            os.close(os.open(self._data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._probed_ms, self._probed_overflows = now_ms, watching.overflows
        except OSError as error:
            self._lost(now_ms, error.strerror or str(error))

    def _lost(self, now_ms: int, why: str) -> None:
        """Note that nothing is seen any more."""
        self._close()
        if self._blind_ms is not None:
            return
        self._blind_ms = min(self._proven_ms, now_ms)
        report_blind(self._monitor, self._data, why)
        self._write(now_ms, at_once=True)

    def _reopen(self, now_ms: int) -> None:
        self._open()
        if self.mechanism is None:
            return
        self._tell("watching again", "watch-again", mechanism=self.mechanism.name)
        if self._blind_ms is not None:
            blind_ms = max(0, now_ms - self._blind_ms)
            first_ms, self._blind_ms = min(self._blind_ms, now_ms), None
            self._proven_ms = now_ms
            self._notice(
                Noticed(
                    cause="blind",
                    who="system",
                    first_ms=first_ms,
                    last_ms=now_ms,
                    blind_s=blind_ms // 1000,
                )
            )
        self._write(now_ms, at_once=True)

    def _note_gap(self, now_ms: int) -> None:
        """Note that the watch before this one was killed, unless the machine went down with it."""
        before = self._before
        if before is None or before.ended or before.boot != beat_boot():
            return
        self._notice(
            Noticed(
                cause="killed",
                who="system",
                first_ms=min(before.beat_ms, now_ms),
                last_ms=now_ms,
                blind_s=max(0, now_ms - before.beat_ms) // 1000,
            )
        )

    def _write(self, now_ms: int, *, at_once: bool = False, ended: bool = False) -> None:
        watching = self.mechanism
        beat = Beat(
            beat_ms=now_ms,
            since_ms=self._since_ms,
            boot=beat_boot(),
            mechanism=watching.name if watching is not None else "",
            ended=ended,
            blind_ms=self._blind_ms,
            folders=watching.folders if watching is not None else 0,
            unwatched=watching.unwatched if watching is not None else 0,
        )
        self._notebook.write(now_ms, beat, self._tally.ordinary, at_once=at_once)
        self._own.store = self._notebook.store
