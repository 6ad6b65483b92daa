"""What alerts are judged by, and what a rule says: facts in, conditions out. Pure.

The rules themselves are in model/alert_rules.py.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.config_alerts import Level
from shenyu_data.model.watch_terms import Noticed

Point = tuple[int, int]
"""A time in ms since 1970, and how many bytes there were."""

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


class JobFact(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands. ``failures`` runs in a row failed, since ``failing_ms``; the last one at
    ``attempt``, with ``exit_status``. ``skipped`` says what was due and not run since the last run
    that was done. ``due_ms`` is the latest time at which it was due, ``seen_ms`` when anything
    last looked after it; ``every_ms`` lies between two due times. ``running_ms``: since when it
    runs, if it does, and ``usual_ms``: how long it took at most when it was done, None if never.
    """

    name: str
    verb: str
    retries: int = 0
    failures: int = 0
    failing_ms: int | None = None
    attempt: int = 1
    exit_status: int | None = None
    killed: bool = False
    timed_out: bool = False
    own_rule: bool = False
    skipped: str = ""
    skipped_ms: int | None = None
    due_ms: int | None = None
    seen_ms: int = 0
    every_ms: int | None = None
    good_ms: int | None = None
    next_ms: int | None = None
    running_ms: int | None = None
    usual_ms: int | None = None


class DiskFact(msgspec.Struct, frozen=True, kw_only=True):
    """A disk: what lies on it, its room in bytes and in files, and how much was free when."""

    name: str
    holds: list[str]
    free_bytes: int
    total_bytes: int
    free_files: int = 0
    total_files: int = 0
    points: list[Point] = []


class SlotFact(msgspec.Struct, frozen=True, kw_only=True):
    """A key slot that opens the repository."""

    id: str
    kind: str
    created_ms: int
    used_ms: int | None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that runs saw: since when each of them has, and the count of the last one."""

    since_ms: int
    count: int
    kind: str = ""


class Tripped(msgspec.Struct, frozen=True, kw_only=True):
    """What tripwires noticed and nobody acknowledged: how many snapshots, the first since when, the
    rules, and the newest snapshot that holds what was there before. ``blocks``: nothing is pruned.
    """

    count: int
    since_ms: int
    rules: list[str]
    pinned: str | None
    commands: list[str]
    blocks: bool = True


class WayFact(msgspec.Struct, frozen=True, kw_only=True):
    """A way on which messages do not get through, since when, and why: never with an address."""

    name: str
    failing_ms: int
    error: str


class WatchFact(msgspec.Struct, frozen=True, kw_only=True):
    """How watching over who touches the data stands. ``wanted``: it is to run always. ``beat_ms``:
    it was last seen to run, None if never; ``ended``: it was stopped since, by somebody who may.
    ``blind_ms``: it runs and has seen nothing since then.
    """

    wanted: bool
    beat_ms: int | None = None
    ended: bool = False
    blind_ms: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that rules look at. Times are ms since 1970, None if it never happened.

    ``since_ms``: nothing is known from before. ``awake_ms``: since when ``serve`` has been at work
    without a gap, None if it is not. ``future_ms``: a time that was noted and is yet to come.
    ``every_ms``: how often each verb is to run, by the schedule. ``standing``: the keys of alerts
    that stand.
    """

    now_ms: int
    since_ms: int
    awake_ms: int | None = None
    backup_ms: int | None = None
    good_backup_ms: int | None = None
    degraded: Trouble | None = None
    verified_ms: int | None = None
    damaged: Trouble | None = None
    read_ms: int | None = None
    drilled_ms: int | None = None
    drill: Trouble | None = None
    data_points: list[Point] = []
    disks: list[DiskFact] = []
    invalid: Trouble | None = None
    drifted: Trouble | None = None
    slots: list[SlotFact] = []
    future_ms: int | None = None
    jobs: list[JobFact] = []
    every_ms: dict[str, int] = {}
    tripped: Tripped | None = None
    ways: list[WayFact] = []
    watch: WatchFact | None = None
    noticed: list[Noticed] = []
    standing: frozenset[str] = frozenset()


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Something a rule saw: it holds now, and has since ``since_ms``.

    ``subject`` tells apart what the same rule saw at several places: a job, a disk, a slot. No
    text names a user. ``command`` is what to do, empty if no command does it.
    """

    code: str
    subject: str
    level: Level
    since_ms: int
    message: str
    command: str
    figures: dict[str, int]

    @property
    def key(self) -> str:
        """What the alert is known by: its code, and its subject if it has one."""
        return f"{self.code}:{self.subject}" if self.subject else self.code


def span(length_ms: int) -> str:
    """Return a length of time as people say it, in whole units: ``3 days``."""
    for unit, name in ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute")):
        count = max(0, length_ms) // unit
        if count >= (2 if name == "day" else 1):
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    return "less than a minute"
