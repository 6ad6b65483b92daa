"""``serve``: one process that runs the jobs of a data directory, and answers over HTTP.

This is the outermost loop: it looks at the clock and waits; what it does then is in
health/scheduler.py.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from shenyu_data.health.events import Tell
from shenyu_data.health.http import Endpoint, Page, Pages
from shenyu_data.health.jobs import report_unnoted
from shenyu_data.health.scheduler import TICK_MS, Scheduler, Work
from shenyu_data.health.systemd import Manager
from shenyu_data.health.wakeups import Wakeups
from shenyu_data.health.watch_keeper import WatchKeeper
from shenyu_data.model.amounts import counted
from shenyu_data.model.errors import AlreadyServing, ShenyuDataError, StateUnusable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.storage.atomic import make_private

_STALE_S = 5 * 60.0


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen. With ``once`` nothing listens, and it ends when nothing is due any more."""

    host: str = "127.0.0.1"
    port: int = 8418
    once: bool = False


class ServeStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was done until it stopped. ``failed`` runs were killed or failed."""

    runs: int
    failed: int
    elapsed_s: float


@contextmanager
def only_one(
    state: str,
    monitor: Monitor,
    verb: str = "serve",
    does: str = "runs the jobs of this data directory",
) -> Iterator[None]:
    """Be the only one that serves a data directory, or does what another ``verb`` does. Raise
    AlreadyServing if there is one.

    If no lock can be had in the state folder, that is a finding: the log decides who makes a run.
    """
    lock = -1
    try:
        try:
            make_private(state)
            path = os.path.join(state, f"{verb}.lock")
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(path, flags, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.read(lock, 20).decode("ascii", "replace").strip()
            who = f", process {number}," if number.isdecimal() else ""
            raise AlreadyServing(
                f"another shenyu-data {verb}{who} {does}",
                hint="One is enough. It ends when it is sent SIGTERM.",
            ) from None
        except OSError as error:
            report_unnoted(monitor, StateUnusable(f"{state}: {error.strerror}"))
        else:
            with suppress(OSError):  # no room for a number: others see that the lock is held
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        if lock >= 0:
            os.close(lock)


def serve(
    scheduler: Scheduler,
    options: ServeOptions,
    wakeups: Wakeups,
    manager: Manager,
    monitor: Monitor,
    reload: Callable[[], Work],
    tell: Tell,
    clock: Callable[[], int],
    pages: Pages,
    keeper: WatchKeeper | None = None,
) -> ServeStats:
    """Run jobs until ``wakeups`` says to stop; the one that runs then is waited for. Until then
    ``keeper`` keeps a watch running.

    ``pages`` are answered besides /healthz. Raise ShenyuDataError if it cannot listen.
    """
    started_s = time.monotonic()
    endpoint = None
    if not options.once:
        own = {"/healthz": lambda: health_page(scheduler)}
        endpoint = Endpoint(options.host, options.port, {**pages, **own})
    try:
        count = len(scheduler.work.schedule.jobs)
        where = f" at {endpoint.address}" if endpoint is not None else ""
        address = endpoint.address if endpoint is not None else None
        tell(f"serving {counted(count, 'job')}{where}", "serve-begins", jobs=count, address=address)
        manager.tell("READY=1", f"STATUS={counted(count, 'job')}")
        _loop(scheduler, options, wakeups, manager, monitor, reload, tell, clock, keeper)
    finally:
        manager.tell("STOPPING=1")
        if keeper is not None:
            keeper.end()
        if endpoint is not None:
            endpoint.close()
        scheduler.close()
    return ServeStats(
        runs=scheduler.runs,
        failed=scheduler.failed,
        elapsed_s=time.monotonic() - started_s,
    )


def _loop(
    scheduler: Scheduler,
    options: ServeOptions,
    wakeups: Wakeups,
    manager: Manager,
    monitor: Monitor,
    reload: Callable[[], Work],
    tell: Tell,
    clock: Callable[[], int],
    keeper: WatchKeeper | None,
) -> None:
    reloads = 0
    while not wakeups.stops():
        if wakeups.reloads() != reloads:
            reloads = wakeups.reloads()
            manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            if _reload(scheduler, reload, monitor):
                count = len(scheduler.work.schedule.jobs)
                tell(f"serving {counted(count, 'job')}: read again", "reloaded", jobs=count)
            manager.tell("READY=1", f"STATUS={counted(len(scheduler.work.schedule.jobs), 'job')}")
        now_ms = clock()
        wake_ms = scheduler.tick(now_ms)
        if keeper is not None:
            keeper.tick(now_ms, scheduler.work)
        manager.tell("WATCHDOG=1")
        idle = scheduler.running is None and not scheduler.rebuilding.asks
        if options.once and idle and wake_ms > clock():
            return
        # A clock that is set is noticed, and hooks are called.
        wait_s = min(wake_ms - clock(), TICK_MS) / 1000
        if manager.watchdog_s is not None:
            wait_s = min(wait_s, manager.watchdog_s / 2)
        wakeups.wait(wait_s)
    manager.tell("STOPPING=1")
    while scheduler.running is not None:
        scheduler.stop(wakeups.stops())
        manager.tell("WATCHDOG=1")
        wakeups.wait(0.5)
        scheduler.finish(clock())


def _reload(scheduler: Scheduler, reload: Callable[[], Work], monitor: Monitor) -> bool:
    """Read the configuration again; return whether that went well."""
    try:
        scheduler.work = reload()
        return True
    except ShenyuDataError as error:
        monitor.report(
            Finding(
                code="not-reloaded",
                severity="error",
                path="",
                message="the configuration cannot be read again, and jobs, which read it "
                f"themselves, may fail until it is mended: {error.message}",
                hint=f"{error.hint} Jobs are begun at their times as before.",
            )
        )
        return False


def health_page(scheduler: Scheduler) -> Page:
    """Return whether the loop still goes round."""
    from datetime import UTC, datetime

    last_ms, running = scheduler.last_tick_ms, scheduler.running
    ok = scheduler.idle_s() < _STALE_S
    last = None
    if last_ms is not None:
        last = datetime.fromtimestamp(last_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "ok": ok,
        "last_tick": last,
        "running": running.job.name if running is not None else None,
    }
    return Page(200 if ok else 503, "application/json", msgspec.json.encode(document) + b"\n")
