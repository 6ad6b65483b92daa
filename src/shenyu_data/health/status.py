"""How it stands: the data, its backups, the proofs of them, the jobs, the alerts. From what is kept
alone: no repository is opened, and no document read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shenyu_data.health.alert_steps import Alert
from shenyu_data.health.drill_ledger import LedgerSummary, ledgers
from shenyu_data.health.facts import Log
from shenyu_data.health.known import REPOSITORY, KnownRepository, noted_ms, recall
from shenyu_data.health.run_figures import figure_of
from shenyu_data.health.runs import DONE, Run
from shenyu_data.health.store import Store
from shenyu_data.model.alerts import DAY_MS, Facts

GROWTH_MS = 30 * DAY_MS
"""So far back growth is looked at."""

_TOTALS = ("users", "histories", "chats", "messages", "documents", "document_bytes")


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What the data directory held at the last backup, ``known_ms``; None: there was none.

    It grew by ``grown_bytes`` within ``grown_in_ms``; None if there are no two backups.
    """

    known_ms: int | None
    totals: dict[str, int]
    grown_bytes: int | None
    grown_in_ms: int | None


class Backups(msgspec.Struct, frozen=True, kw_only=True):
    """Of the repository: when what was ``known_ms``; how large it is, and would be if each snapshot
    were a copy. None: not known.
    """

    known_ms: int | None
    last_ms: int | None
    good_ms: int | None
    next_ms: int | None
    degraded: bool
    snapshots: int | None
    oldest_ms: int | None
    size_bytes: int | None
    held_bytes: int | None

    @property
    def saved_ratio(self) -> float | None:
        """Which share of what copies would take up is saved."""
        if not self.size_bytes or not self.held_bytes:
            return None
        return max(0.0, 1 - self.size_bytes / self.held_bytes)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All that ``status`` shows. ``ledger`` is that of the drills, None without any."""

    facts: Facts
    holdings: Holdings
    backups: Backups
    ledger: LedgerSummary | None
    alerts: list[Alert]

    @property
    def calling(self) -> list[Alert]:
        """The alerts that somebody has to look at."""
        return [item for item in self.alerts if item.calls(self.facts.now_ms)]


def take_status(store: Store, facts: Facts, alerts: Iterable[Alert]) -> Status:
    """Return how it stands. Raise StateUnusable."""
    log = Log(store, facts.now_ms)
    backups = [run for run in log.of_verb("backup") if run.outcome in DONE]
    known = recall(store, REPOSITORY, KnownRepository)
    known_ms = noted_ms(store, REPOSITORY)
    return Status(
        facts=facts,
        holdings=_holdings(facts, backups, known),
        backups=_backups(log, facts, backups, known, known_ms),
        ledger=next(iter(ledgers(store, facts.now_ms)), None),
        alerts=list(alerts),
    )


def _holdings(facts: Facts, backups: list[Run], known: KnownRepository | None) -> Holdings:
    totals: dict[str, Any] = {}
    known_ms = None
    for run in backups[:1]:
        found = run.figures.get("totals")
        if isinstance(found, dict):
            totals, known_ms = found, run.started_ms
    if not totals and known is not None:
        totals, known_ms = dict(known.totals), known.newest_ms
    points = [item for item in facts.data_points if item[0] >= facts.now_ms - GROWTH_MS]
    grown = points[-1][1] - points[0][1] if len(points) > 1 else None
    return Holdings(
        known_ms=known_ms,
        totals={name: int(totals[name]) for name in _TOTALS if name in totals},
        grown_bytes=grown,
        grown_in_ms=points[-1][0] - points[0][0] if grown is not None else None,
    )


def _backups(
    log: Log,
    facts: Facts,
    backups: list[Run],
    known: KnownRepository | None,
    known_ms: int | None,
) -> Backups:
    later = [run for run in backups if run.started_ms > (known_ms or 0)]
    held_bytes = sum(figure_of(run, "totals", "document_bytes") for run in later)
    nexts = [job.next_ms for job in facts.jobs if job.verb == "backup" and job.next_ms is not None]
    return Backups(
        known_ms=known_ms,
        last_ms=facts.backup_ms,
        good_ms=facts.good_backup_ms,
        next_ms=min(nexts, default=None),
        degraded=facts.degraded is not None,
        snapshots=known.snapshots + len(later) if known is not None else None,
        oldest_ms=known.oldest_ms if known is not None else None,
        size_bytes=_size_bytes(log, known, known_ms),
        held_bytes=known.held_bytes + held_bytes if known is not None else None,
    )


def _size_bytes(log: Log, known: KnownRepository | None, known_ms: int | None) -> int | None:
    """Return how large the repository is: as was counted last, by whoever counted."""
    for run in log.of_verb("verify"):
        counted = run.figures.get("object_bytes")
        if isinstance(counted, int):
            if known is None or known.size_bytes is None or run.started_ms > (known_ms or 0):
                return counted
            break
    return known.size_bytes if known is not None else None
