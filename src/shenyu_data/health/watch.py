"""``watch``: the loop around health/watcher.py. It looks at the clock and waits."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from shenyu_data.health.systemd import Manager
from shenyu_data.health.wakeups import Wakeups
from shenyu_data.health.watcher import Watcher
from shenyu_data.model.watch_terms import Noticed

_CHECK_S = 30.0
_SIGN_S = 1.0
_CROWDED_S = 0.002
_PAUSE_S = 0.001


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How long to watch: until it is told to stop, or for so long, or, as a ``check``, until an
    access of its own was told.
    """

    for_s: float | None = None
    check: bool = False


class WatchStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen until it stopped. ``proven``: an access of its own was told."""

    mechanism: str
    tells_process: bool
    folders: int
    unwatched: int
    accesses: int
    dropped: int
    proven: bool
    noticed: list[Noticed]
    elapsed_s: float


def watch(
    watcher: Watcher,
    options: WatchOptions,
    wakeups: Wakeups,
    manager: Manager,
    clock: Callable[[], int],
) -> WatchStats:
    """Watch until ``wakeups`` says to stop, or as ``options`` say. Raise CannotWatchData."""
    started_s = time.monotonic()
    until_s = _CHECK_S if options.check else options.for_s
    watcher.begin(clock())
    watching = watcher.mechanism
    begun = (watching.name, watching.tells_process) if watching is not None else ("", False)
    manager.tell("READY=1", f"STATUS=watching with {begun[0]}")
    told_s, woken_s = -_SIGN_S, 0.0
    try:
        while not wakeups.stops():
            wait_s = watcher.step(clock()) / 1000
            now_s = time.monotonic() - started_s
            if options.check and watcher.proven:
                break
            if until_s is not None and now_s >= until_s:
                break
            if now_s - told_s >= _SIGN_S:
                manager.tell("WATCHDOG=1")
                told_s = now_s
            if manager.watchdog_s is not None:
                wait_s = min(wait_s, manager.watchdog_s / 2)
            if until_s is not None:
                wait_s = min(wait_s, until_s - now_s)
            wakeups.wait(wait_s, watcher.fileno())
            now_s = time.monotonic()
            if now_s - woken_s < _CROWDED_S:  # so that a busy disk wakes nobody for each access
                time.sleep(_PAUSE_S)
            woken_s = now_s
    finally:
        manager.tell("STOPPING=1")
        watching = watcher.mechanism
        folders = (watching.folders, watching.unwatched) if watching is not None else (0, 0)
        watcher.end(clock())
    return WatchStats(
        mechanism=begun[0],
        tells_process=begun[1],
        folders=folders[0],
        unwatched=folders[1],
        accesses=watcher.accesses,
        dropped=watcher.dropped,
        proven=watcher.proven,
        noticed=watcher.noticed,
        elapsed_s=time.monotonic() - started_s,
    )
