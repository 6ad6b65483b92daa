"""Metrics: what is known of a data directory and its backups, in figures.

They come from the log of runs, the ledger of drills and the file systems; nothing is unlocked, and
no document is read. A figure that is not known is left out, and never made up.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, get_args

from shenyu_data import __version__
from shenyu_data.health.alerts import alerts
from shenyu_data.health.drill_ledger import ledgers
from shenyu_data.health.metric_names import METRICS, PREFIX
from shenyu_data.health.notify_state import channel_states
from shenyu_data.health.outbox import MOST_WAITING, pending_messages
from shenyu_data.health.runs import DONE, Outcome, last_run, run_counts
from shenyu_data.health.schedule import Schedule, is_running
from shenyu_data.health.store import Store
from shenyu_data.model.config_alerts import Level
from shenyu_data.model.config_schedule import JOB_VERBS
from shenyu_data.model.errors import ShenyuDataError, StateUnusable
from shenyu_data.operations.configuration import Settings
from shenyu_data.repository.snapshots import snapshot_ids
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.open import is_remote

KIND = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of :func:`text_of`."""

_ENDED: tuple[Outcome, ...] = tuple(item for item in get_args(Outcome) if item != "running")
LEVELS: tuple[Level, ...] = get_args(Level)

_GOOD: tuple[Outcome, ...] = ("good",)


class Sample(NamedTuple):
    """One value of a metric, of those in METRICS; ``labels`` in the order of its definition."""

    name: str
    labels: tuple[str, ...]
    value: float


def measure(
    store: Store | None, schedule: Schedule, settings: Settings, state: str, now_ms: int
) -> list[Sample]:
    """Return all that is known now, in the order of METRICS. Without a ``store``, or with one that
    cannot be read, what it knows is left out.
    """
    samples = [Sample(PREFIX + "build_info", (__version__, platform.python_version()), 1)]
    remembered: list[Sample] = []
    usable = store is not None
    if store is not None:
        try:
            remembered = list(_remembered(store, schedule, settings, now_ms))
        except StateUnusable:
            usable = False
    samples.append(Sample(PREFIX + "log_usable", (), usable))
    samples += remembered if usable else []
    samples += _repository(settings.repository)
    samples += _file_systems(settings, state)
    places = {name: place for place, name in enumerate(METRICS)}
    return sorted(samples, key=lambda sample: places[sample.name])


def _remembered(
    store: Store, schedule: Schedule, settings: Settings, now_ms: int
) -> Iterator[Sample]:
    yield from _jobs(store, schedule, now_ms)
    for verb in JOB_VERBS:
        for what, outcomes in (("completion", DONE), ("success", _GOOD)):
            run = last_run(store, now_ms, verb=verb, outcomes=outcomes)
            if run is not None and run.ended_ms is not None:
                name = f"{verb.replace(' ', '_')}_last_{what}_timestamp_seconds"
                yield Sample(PREFIX + name, (), run.ended_ms / 1000)
    backup = last_run(store, now_ms, verb="backup", outcomes=DONE)
    if backup is not None and backup.figures:
        yield from _backup(backup.figures)
    # One that found damage failed, and it is what must be told.
    verify = last_run(store, now_ms, verb="verify", outcomes=_ENDED)
    if verify is not None:
        yield from _figures(verify.figures, "verify_", ("damaged_objects", "read_bytes"))
        if settings.repository is not None and is_remote(settings.repository):
            yield from _of_bucket(verify.figures)
    yield from _drills(store, now_ms)
    standing = [alert.level for alert in alerts(store)]
    for level in LEVELS:
        yield Sample(PREFIX + "alerts", (level,), standing.count(level))
    yield from _notifications(store)


def _jobs(store: Store, schedule: Schedule, now_ms: int) -> Iterator[Sample]:
    for job in schedule.jobs:
        labels = (job.name, job.verb)
        values: dict[str, float] = {"running": is_running(store, job.name)}
        due_ms = job.cron.after(now_ms, schedule.zone)
        if due_ms is not None:
            values["next_run_timestamp_seconds"] = due_ms / 1000
        last = last_run(store, now_ms, job=job.name, outcomes=_ENDED)
        if last is not None:
            values["last_run_timestamp_seconds"] = last.started_ms / 1000
            status = last.exit_status
            values["last_exit_status"] = -1 if status is None else status
            if last.ended_ms is not None:
                values["last_duration_seconds"] = max(0, last.ended_ms - last.started_ms) / 1000
        for what, outcomes in (("completion", DONE), ("success", _GOOD)):
            run = last_run(store, now_ms, job=job.name, outcomes=outcomes)
            if run is not None and run.ended_ms is not None:
                values[f"last_{what}_timestamp_seconds"] = run.ended_ms / 1000
        for name, value in values.items():
            yield Sample(f"{PREFIX}job_{name}", labels, value)
        counts = run_counts(store, job.name)
        for outcome in _ENDED:  # each from the first on, so that a rise from none is seen
            yield Sample(PREFIX + "job_runs_total", (*labels, outcome), counts.get(outcome, 0))


def _backup(figures: Mapping[str, Any]) -> Iterator[Sample]:
    totals = figures.get("totals")
    if isinstance(totals, Mapping):
        names = ("users", "histories", "chats", "messages", "documents", "document_bytes")
        yield from _figures(totals, "", names)
        for name in ("torn", "unreadable"):
            yield from _figure(totals.get(name), f"{name}_documents")
    yield from _figures(figures, "backup_", ("degraded", "read_bytes", "stored_bytes"))
    yield from _figure(figures.get("elapsed_s"), "backup_duration_seconds")
    changes = figures.get("changes")
    if isinstance(changes, Mapping):
        for name in ("new", "changed", "gone"):
            yield from _figure(changes.get(name), "backup_documents", name)


def _of_bucket(figures: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield what the last verify counted: listing a bucket at every look would cost money."""
    for name, figure in (
        ("repository_bytes", "object_bytes"),
        ("repository_objects", "objects"),
        ("repository_snapshots", "snapshots"),
    ):
        yield from _figure(figures.get(figure), name)


def _drills(store: Store, now_ms: int) -> Iterator[Sample]:
    for ledger in ledgers(store, now_ms)[:1]:
        yield from _figure(ledger.users, "drill_users")
        for within, proven in (("30d", ledger.proven_30d), ("90d", ledger.proven_90d)):
            yield from _figure(proven, "drill_proven_users", within)
            if ledger.users:
                yield from _figure(proven / ledger.users, "drill_proven_ratio", within)
        yield from _figure(ledger.never_proven, "drill_never_proven_users")
        yield from _figure(ledger.failing, "drill_failing_users")
        if ledger.oldest_ms is not None:
            oldest_s = ledger.oldest_ms / 1000
            yield from _figure(oldest_s, "drill_oldest_proof_timestamp_seconds")


def _notifications(store: Store) -> Iterator[Sample]:
    waiting = len(pending_messages(store, limit=MOST_WAITING))
    yield Sample(PREFIX + "notifications_waiting", (), waiting)
    for name, state in channel_states(store).items():
        failing = state.failing_ms is not None
        yield Sample(PREFIX + "notifications_failing", (name,), failing)
        yield Sample(PREFIX + "notifications_sent_total", (name,), state.sent)
        yield Sample(PREFIX + "notifications_given_up_total", (name,), state.given_up)


def _figures(figures: Mapping[str, Any], prefix: str, names: Sequence[str]) -> Iterator[Sample]:
    for name in names:
        yield from _figure(figures.get(name), prefix + name)


def _figure(value: object, name: str, *labels: str) -> Iterator[Sample]:
    if isinstance(value, bool | int | float):
        yield Sample(PREFIX + name, labels, value)


def _repository(location: str | None) -> list[Sample]:
    """Return how large a repository in a local folder is: its names and sizes are listed."""
    if location is None or is_remote(location) or not os.path.isdir(location):
        return []
    objects = stored_bytes = 0
    storage = LocalStorage(location)
    try:
        for info in storage.list(""):
            objects += 1
            stored_bytes += info.size
        snapshots = sum(1 for _ in snapshot_ids(storage))
    except ShenyuDataError:
        return []
    return [
        Sample(PREFIX + "repository_bytes", (), stored_bytes),
        Sample(PREFIX + "repository_objects", (), objects),
        Sample(PREFIX + "repository_snapshots", (), snapshots),
    ]


def _file_systems(settings: Settings, state: str) -> Iterator[Sample]:
    places = {"data": settings.data, "repository": settings.repository, "state": state}
    for place, path in places.items():
        if path is None or is_remote(path):
            continue
        with suppress(OSError):
            found = os.statvfs(path)
            free = found.f_bavail * found.f_frsize
            yield Sample(PREFIX + "filesystem_free_bytes", (place,), free)
            size = found.f_blocks * found.f_frsize
            yield Sample(PREFIX + "filesystem_size_bytes", (place,), size)


def text_of(samples: Sequence[Sample]) -> bytes:
    """Return the samples in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for name, labels, value in samples:
        definition = METRICS[name]
        if name not in families:
            kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
            families[name] = kind(name, definition.about, labels=definition.labels)
        families[name].add_metric(labels, value)

    class Found(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families.values()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Found())
    return generate_latest(registry)
