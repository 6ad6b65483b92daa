"""Who touches the data directory: looks at what the kernel tells, has the rules of
model/watch_rules.py judge it, and sees to it that it is not blind itself.

It is told the time, and never waits; the loop in watch.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from shenyu_data.datadir.touches import Touch, Watching
from shenyu_data.health.events import Tell
from shenyu_data.health.watch_findings import (
    begins_text,
    report_blind,
    report_no_process,
    report_noticed,
)
from shenyu_data.health.watch_notebook import Notebook, beat_boot
from shenyu_data.health.watch_notes import Beat
from shenyu_data.health.watch_own import OwnRuns
from shenyu_data.health.watch_processes import GONE, UNSEEN, Processes
from shenyu_data.health.watch_sight import MECHANISMS, LostSight, Mechanism, Sight
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.errors import CannotWatchData
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.watch_pauses import Pauses
from shenyu_data.model.watch_rules import Tally
from shenyu_data.model.watch_terms import OPENED, Actor, Cause, Noticed, joined
from shenyu_data.operations.configuration import Settings

BUSY_MS = 1000
"""So often the rules are asked while something happens."""

IDLE_MS = 10_000
"""So often the watch proves itself, by an access of its own that must be told."""

_OWN = Actor(standing="own")
_SYSTEM = "system"
_MOST_KEPT = 1000

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
        self._data = data
        self._table: WatchTable = settings.watch
        self._monitor = monitor
        self._tell = tell
        self._show = show
        self._sight = Sight(data, mechanisms)
        self._notebook = Notebook(state, settings, monitor)
        self._before, ordinary = self._notebook.open()
        self._own = OwnRuns(state)
        self._processes = Processes(self._table, self._own.registered, data)
        self._tally = Tally(self._table, accounts, zone, ordinary)
        self._pauses = Pauses(self._table.window_ms())
        self._missed: dict[Cause, Noticed] = {}
        self._now_ms = 0
        self._since_ms = 0
        self._judged_ms = 0
        self._blind_ms: int | None = None
        self._overflows = 0
        self._unwatched = 0
        self._busy = False

    @property
    def mechanism(self) -> Watching | None:
        """What it sees with; None while it is blind."""
        return self._sight.mechanism

    @property
    def proven(self) -> bool:
        """Whether an access of its own was told."""
        return self._sight.proven_ms is not None

    @property
    def accesses(self) -> int:
        """How many accesses by others were seen."""
        return self._tally.accesses

    def fileno(self) -> int:
        """Return a descriptor that can be read when something has happened; -1 if there is none."""
        return self.mechanism.fileno() if self.mechanism is not None else -1

    def begin(self, now_ms: int) -> None:
        """Begin to watch. Raise CannotWatchData if no mechanism can be had."""
        self._now_ms = self._since_ms = self._judged_ms = now_ms
        reasons = self._sight.open()
        watching = self.mechanism
        if watching is None:
            raise CannotWatchData(
                f"{self._data} cannot be watched: {'; '.join(reasons)}",
                hint="See whether the directory is there, and docs/watch.md for what it takes.",
            )
        self._own.store = self._notebook.store
        self._note_killed(now_ms)
        if not watching.tells_process and self._table.names_processes():
            report_no_process(self._monitor)
        line, name = begins_text(self._data, watching, reasons), watching.name
        self._prove(now_ms)
        self._judge(now_ms)
        self._write(now_ms, at_once=True)
        self._tell(line, "watch-begins", mechanism=name)

    def step(self, now_ms: int) -> int:
        """Look at what happened; return after how many ms to look again, if nothing happens."""
        self._read(now_ms)
        if not 0 <= now_ms - self._judged_ms < (BUSY_MS if self._busy else IDLE_MS):
            self._busy = False
            self._judge(now_ms)
            self._judged_ms = now_ms
            self._prove(now_ms)
            self._write(now_ms)
        if self._sight.more:
            return 0
        return BUSY_MS if self._busy else IDLE_MS

    def end(self, now_ms: int) -> None:
        """Watch no more, and note that this was meant."""
        self._read(now_ms)
        self._judge(now_ms, at_last=True)
        self._write(now_ms, at_once=True, ended=True)
        self._notebook.close()
        self._sight.close()

    def _read(self, now_ms: int) -> None:
        self._now_ms = now_ms
        try:
            self._sight.read(now_ms, self._handle)
        except LostSight as lost:
            self._lost(now_ms, str(lost))

    def _handle(self, touches: Sequence[Touch]) -> None:
        self._busy = True
        tally, now_ms = self._tally, self._now_ms
        unknown = GONE if self.mechanism is None or self.mechanism.tells_process else UNSEEN
        tally.at(now_ms)
        own: tuple[bool, bool] | None = None
        actors: dict[tuple[int, bool], Actor] = {}
        for touch in touches:
            what, path, pid, gone = touch
            actor = actors.get((pid, gone))
            if actor is None:
                # A process of another namespace of numbers has none here.
                actor = self._processes.actor_of(pid, now_ms, gone=gone) if pid else unknown
                actors[pid, gone] = actor
            if actor is UNSEEN or actor is GONE:
                own = own or self._own.under_way(now_ms)
                if own[1] or (own[0] and what == OPENED):
                    actor = _OWN  # which it was cannot be told
            tally.add(actor, what, path)
            if self._show is not None:
                self._show(touch, actor)

    def _judge(self, now_ms: int, *, at_last: bool = False) -> None:
        """Ask the rules, and see what was missed; ``at_last``: nothing can wait any more."""
        self._tally.at(now_ms)
        for item in self._tally.judge():
            self._notice(item)
        self._count_dropped(now_ms)
        for cause, item in list(self._missed.items()):
            if at_last or self._pauses.may_tell(cause, _SYSTEM, now_ms):
                del self._missed[cause]
                self._notice(item)

    def _count_dropped(self, now_ms: int) -> None:
        watching = self.mechanism
        if watching is None:
            return
        if watching.overflows > self._overflows:
            count = watching.overflows - self._overflows
            self._overflows = watching.overflows
            self.dropped += count
            self._miss("dropped", min(self._judged_ms, now_ms), now_ms, dropped=count)
        if watching.unwatched > self._unwatched:
            self._unwatched = watching.unwatched
            self._miss("part", now_ms, now_ms, dropped=watching.unwatched)

    def _miss(
        self, cause: Cause, first_ms: int, last_ms: int, *, dropped: int = 0, blind_s: int = 0
    ) -> None:
        item = Noticed(
            cause=cause,
            who=_SYSTEM,
            first_ms=first_ms,
            last_ms=last_ms,
            dropped=dropped,
            blind_s=blind_s,
        )
        before = self._missed.get(cause)
        self._missed[cause] = item if before is None else joined(before, item)

    def _notice(self, item: Noticed) -> None:
        if len(self.noticed) < _MOST_KEPT:
            self.noticed.append(item)
        self._notebook.add(item)
        report_noticed(self._monitor, item)

    def _prove(self, now_ms: int) -> None:
        if self.mechanism is None:
            self._reopen(now_ms)
        try:
            self._sight.prove(now_ms)
        except LostSight as lost:
            self._lost(now_ms, str(lost))

    def _lost(self, now_ms: int, why: str) -> None:
        """Note that nothing is seen any more."""
        self._sight.close()
        if self._blind_ms is not None:
            return
        proven_ms = self._sight.proven_ms
        self._blind_ms = min(self._since_ms if proven_ms is None else proven_ms, now_ms)
        report_blind(self._monitor, self._data, why)
        self._write(now_ms, at_once=True)

    def _reopen(self, now_ms: int) -> None:
        self._sight.open()
        watching = self.mechanism
        if watching is None:
            return
        self._overflows = self._unwatched = 0
        self._tell("watching again", "watch-again", mechanism=watching.name)
        if self._blind_ms is not None:
            first_ms, self._blind_ms = min(self._blind_ms, now_ms), None
            self._miss("blind", first_ms, now_ms, blind_s=(now_ms - first_ms) // 1000)

    def _note_killed(self, now_ms: int) -> None:
        """Note that the watch before this one was killed, unless the machine went down with it."""
        before = self._before
        if before is not None and not before.ended and before.boot == beat_boot():
            first_ms = min(before.beat_ms, now_ms)
            self._miss("killed", first_ms, now_ms, blind_s=(now_ms - first_ms) // 1000)

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
