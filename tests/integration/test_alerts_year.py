"""A year of alerts in seconds: ordinary use is quiet, each trouble is told once and resolved when
it is over, and nothing is a storm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.health.alerts import alerts, look
from shenyu_data.health.facts import Disk
from shenyu_data.health.known import (
    REPOSITORY,
    TICK,
    KnownRepository,
    Tick,
    note,
    note_tick,
    recall,
)
from shenyu_data.health.outbox import Message, pending_messages
from shenyu_data.health.runs import begin_run, end_run, outcome_of
from shenyu_data.health.schedule import note_missed, open_schedule, remember, standings
from shenyu_data.health.store import open_store
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, MINUTE_MS, SlotFact
from shenyu_data.model.config_schedule import ScheduleTable
from shenyu_data.model.errors import StateUnusable
from shenyu_data.operations.configuration import load_settings

START = 1_767_225_600_000  # 2026-01-01, UTC
GB = 10**9


class Machine:
    """A machine with its jobs: what they see, its clock, its power and its disk."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = START
        self.true_ms = START
        self.free_bytes = 300 * GB
        self.daily_bytes = 100_000_000
        self.leaking_bytes = 0
        self.data_bytes = 50 * GB
        self.step_ms = 6 * HOUR_MS
        self.looks_often = True
        """Whether rules are looked at after each run, too, as they are."""
        self.exits: dict[str, tuple[int, dict[str, Any]]] = {}
        """What the runs of verbs exit with, and their figures, if they are not good."""
        self.store = open_store(str(folder / "state"))
        # A year of looks: what a power failure would leave is not asked here.
        self.store.connection.executescript(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;"
        )
        self.settings = load_settings(
            config_file=None, data=str(folder), repository=None, jobs=None, environment={}
        )
        table = ScheduleTable(timezone="Europe/Berlin", jitter="0min")
        self.schedule = open_schedule(table, str(folder), {})
        self.used_ms = START
        self.note_keys()

    def note_keys(self) -> None:
        """Do what a backup does: note what the repository holds."""
        slot = SlotFact(id="ab" * 16, kind="recovery", created_ms=START, used_ms=self.used_ms)
        known = KnownRepository(
            id="00",
            location="repo",
            snapshots=1,
            oldest_ms=START,
            newest_ms=START,
            good_ms=START,
            degraded=0,
            totals={},
            held_bytes=1,
            size_bytes=1,
            proven_ms=None,
            slots=[slot],
        )
        note(self.store, REPOSITORY, self.now_ms, known)

    def days(self, count: float, *, power: bool = True) -> None:
        """Let days pass."""
        until_ms = self.true_ms + int(count * DAY_MS)
        while self.true_ms < until_ms:
            step_ms = min(self.step_ms, until_ms - self.true_ms)
            self.true_ms += step_ms
            self.now_ms += step_ms
            self.free_bytes -= (self.daily_bytes + self.leaking_bytes) * step_ms // DAY_MS
            self.data_bytes += self.daily_bytes * step_ms // DAY_MS // 2
            if power:
                self.step()

    def set_clock(self, by_ms: int) -> None:
        """Set the clock."""
        self.now_ms += by_ms

    def step(self) -> None:
        """Do what ``serve`` does: look, and run what is due, one after another."""
        self.look()
        for _ in range(20):
            known = remember(self.store, self.schedule, self.now_ms, unnoted=_fail)
            clock = self.schedule.clock(self.now_ms)
            due = []
            for item in standings(self.schedule, known, clock, lambda: False):
                decision = item.decision
                if decision.missed is not None:
                    note_missed(self.store, item.job, decision.missed, self.schedule, self.now_ms)
                if decision.action == "run" and decision.due_ms is not None:
                    due.append((decision.due_ms, item.job.name, item.job.verb, decision.attempt))
            if not due:
                break
            due_ms, name, verb, attempt = min(due)
            self.run(name, verb, due_ms, attempt)
            if self.looks_often:
                self.look()
        if not self.looks_often:
            self.look()

    def run(self, name: str, verb: str, due_ms: int, attempt: int) -> None:
        status, figures = self.exits.get(verb, (0, {}))
        run_id = begin_run(self.store, verb, self.now_ms, job=name, due_ms=due_ms, attempt=attempt)
        usual: dict[str, dict[str, Any]] = {
            "backup": {"degraded": False, "totals": {"document_bytes": self.data_bytes}},
            "verify": {"damaged_objects": 0, "read_parts": 9, "stalest_read_s": 29.0 * 86_400},
            "validate": {"path": None, "errors": 0},
        }
        end_run(
            self.store,
            run_id,
            self.now_ms,
            outcome_of(status),
            exit_status=status,
            figures=usual.get(verb, {}) | figures,
        )

    def look(self) -> None:
        # As if it had looked all the time since the last step, if it was no longer ago than that.
        last = recall(self.store, TICK, Tick)
        if last is not None and 0 <= self.now_ms - last.tick_ms <= self.step_ms + MINUTE_MS:
            note(self.store, TICK, self.now_ms, msgspec.structs.replace(last, tick_ms=self.now_ms))
        look(
            *(self.store, self.settings, self.schedule, self.now_ms), ticking=True, disks=self.disk
        )
        note_tick(self.store, self.now_ms)

    def disk(self, path: str) -> Disk:
        if path != self.settings.data:
            raise FileNotFoundError(path)
        return Disk(1, max(0, self.free_bytes), 1000 * GB, 10**9, 10**9)

    def told(self) -> list[Message]:
        return pending_messages(self.store, limit=100_000)

    def counts(self) -> dict[tuple[str, str], int]:
        """Give how often what was told of which alert."""
        told = Counter((item.alert_key or "", item.kind[6:]) for item in self.told())
        return dict(told)

    def standing(self) -> list[str]:
        return [item.key for item in alerts(self.store)]


def _fail(error: StateUnusable) -> None:
    raise error


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_year_of_ordinary_use_is_quiet(machine: Machine) -> None:
    """The machine is off for a night now and then, a run fails and is tried again, the clock is
    corrected by seconds, and somebody tries the recovery key once.
    """
    machine.step_ms, machine.looks_often = 12 * HOUR_MS, False
    for week in range(52):
        machine.days(3)
        machine.set_clock(-30_000 if week % 2 else 30_000)
        if week % 8 == 3:
            machine.days(0.25, power=False)
        if week % 4 == 1:
            machine.exits["verify"] = (3, {"damaged_objects": 0})
            machine.days(0.25)
            machine.exits.clear()
        machine.days(4)
        if week == 40:
            machine.used_ms = machine.now_ms
            machine.note_keys()
    assert machine.counts() == {}
    assert machine.standing() == []


JOBS = ("backup", "backup-full", "prune", "verify", "validate", "drill")
Trouble = Callable[[Machine], None]


def failing_storage(machine: Machine) -> None:
    for verb in ("backup", "prune", "verify"):
        machine.exits[verb] = (3, {"totals": {}})
    machine.days(1.5)
    machine.exits.clear()


def full_disk(machine: Machine) -> None:
    free = machine.free_bytes
    machine.free_bytes = 2 * GB
    machine.exits["backup"] = (3, {})
    machine.days(1.25)
    machine.free_bytes = free
    machine.exits.clear()


def power_off(machine: Machine) -> None:
    machine.days(4.5, power=False)


def clock_ahead(machine: Machine) -> None:
    """For a day it is a year ahead; what was noted then stays in the log."""
    machine.set_clock(365 * DAY_MS)
    machine.days(0.5)
    machine.set_clock(-365 * DAY_MS)


def clock_behind(machine: Machine) -> None:
    machine.set_clock(-40 * DAY_MS)
    machine.days(1)
    machine.set_clock(40 * DAY_MS)


def degraded(machine: Machine) -> None:
    machine.exits["backup"] = (1, {"degraded": True})
    machine.days(2)
    machine.exits.clear()


def damage(machine: Machine) -> None:
    machine.exits["verify"] = (4, {"damaged_objects": 2})
    machine.days(2)
    machine.exits.clear()


def invalid(machine: Machine) -> None:
    machine.exits["validate"] = (1, {"errors": 3})
    machine.days(2)
    machine.exits.clear()


def hanging(machine: Machine) -> None:
    """A verification hangs until somebody ends it."""
    run_id = begin_run(machine.store, "verify", machine.now_ms, job="verify", due_ms=machine.now_ms)
    machine.days(0.5)
    end_run(machine.store, run_id, machine.now_ms, "interrupted", exit_status=130)


def blind_drill(machine: Machine) -> None:
    machine.exits["drill"] = (3, {"error_code": "drill-blind"})
    machine.days(8)
    machine.exits.clear()


def steady_leak(machine: Machine) -> None:
    machine.leaking_bytes = 14 * GB
    machine.days(12)
    machine.leaking_bytes = -56 * GB
    machine.days(3)
    machine.leaking_bytes = 0


def import_of_everything(machine: Machine) -> None:
    machine.data_bytes *= 3


TROUBLES: dict[str, tuple[Trouble, set[str]]] = {
    "failing storage": (
        failing_storage,
        {"job-failed:backup", "job-failed:prune", "job-failed:verify", "backup-old"},
    ),
    "full disk": (full_disk, {"disk-free:data", "job-failed:backup", "backup-old"}),
    "power off": (
        power_off,
        {"run-skipped:" + name for name in ("backup", "prune", "verify", "validate")},
    ),
    "clock ahead": (clock_ahead, {"clock-wrong"}),
    "clock behind": (clock_behind, {"clock-wrong"}),
    "degraded": (degraded, {"backup-degraded"}),
    "damage": (damage, {"verify-failed"}),
    "invalid documents": (invalid, {"documents-invalid"}),
    "hanging job": (hanging, {"job-slow:verify"}),
    "blind drill": (blind_drill, {"drill-failed"}),
    "steady leak": (steady_leak, {"disk-full-soon:data"}),
    "import of everything": (import_of_everything, {"data-growth"}),
}
MAY_BE_TOLD_TOO = {
    # Where one cause has several effects, each of these is true at that time.
    "failing storage": {"job-failed:backup-full"},
    "clock ahead": {"key-untested:abababab"} | {f"run-skipped:{name}" for name in JOBS},
    "clock behind": {f"run-skipped:{name}" for name in ("backup", "prune", "verify", "validate")},
}


@pytest.mark.parametrize("name", TROUBLES)
def test_each_trouble_is_told_once_and_resolved_when_it_is_over(
    machine: Machine, name: str
) -> None:
    trouble, keys = TROUBLES[name]
    machine.days(16)
    assert machine.counts() == {}
    trouble(machine)
    over_ms = max([machine.now_ms, *(item.created_ms for item in machine.told())])
    machine.days(16)
    counts = machine.counts()
    told = {key for key, _ in counts}
    assert told >= keys
    assert told - keys <= MAY_BE_TOLD_TOO.get(name, set())
    for key in told:
        assert counts[key, "raised"] == counts[key, "resolved"] == 1, key
        assert counts.get((key, "repeated"), 0) <= 16, key
    assert machine.standing() == []
    for message in machine.told():
        assert message.kind != "alert-raised" or message.created_ms <= over_ms + 2 * DAY_MS


def test_a_year_of_all_troubles_is_no_storm(machine: Machine) -> None:
    machine.days(9)
    for name in TROUBLES:
        machine.days(5)
        TROUBLES[name][0](machine)
        machine.used_ms = machine.now_ms  # somebody tries the key now and then
        machine.note_keys()
    machine.days(16)
    counts = machine.counts()
    assert machine.standing() == []
    told = {key for key, _ in counts}
    assert told >= {key for _, keys in TROUBLES.values() for key in keys}
    for key in told:
        assert counts[key, "raised"] == counts[key, "resolved"], key
        assert counts[key, "raised"] <= 3, key
    assert sum(counts.values()) < 120


def test_what_stands_when_the_state_is_lost_is_told_again_and_resolved(tmp_path: Path) -> None:
    before = Machine(tmp_path / "before")
    before.days(3)
    before.exits["backup"] = (1, {"degraded": True})
    before.days(1)
    assert before.standing() == ["backup-degraded"]
    machine = Machine(tmp_path / "after")
    machine.now_ms = machine.true_ms = before.now_ms
    machine.note_keys()
    known = recall(machine.store, REPOSITORY, KnownRepository)
    assert known is not None
    found = msgspec.structs.replace(known, newest_ms=before.now_ms, degraded=1)
    note(machine.store, REPOSITORY, machine.now_ms, found)
    machine.step()
    assert machine.standing() == ["backup-degraded"]
    machine.days(3)
    assert machine.standing() == []
    assert machine.counts() == {
        ("backup-degraded", "raised"): 1,
        ("backup-degraded", "resolved"): 1,
    }


def test_nothing_runs_the_jobs_any_more(machine: Machine) -> None:
    """``serve`` is gone, and somebody looks now and then."""
    machine.days(3)
    for _ in range(4):
        machine.days(0.5, power=False)
        look(machine.store, machine.settings, machine.schedule, machine.now_ms, disks=machine.disk)
    assert machine.counts()["jobs-stopped", "raised"] == 1
    machine.days(1)
    assert machine.standing() == []


def test_who_calls_the_verbs_by_other_means_is_not_told_that_no_job_runs(machine: Machine) -> None:
    for _ in range(9):
        machine.days(0.5, power=False)
        verb = begin_run(machine.store, "backup", machine.now_ms)
        end_run(machine.store, verb, machine.now_ms, "good", exit_status=0)
        look(machine.store, machine.settings, machine.schedule, machine.now_ms, disks=machine.disk)
    assert "jobs-stopped" not in machine.standing()


def test_a_disk_that_hovers_about_its_limit_is_no_storm(machine: Machine) -> None:
    machine.daily_bytes = 0
    for number in range(24 * 4):
        machine.free_bytes = (19 if number % 2 else 23) * GB
        machine.now_ms += 30 * MINUTE_MS
        machine.look()
    counts = machine.counts()
    assert counts["disk-free:data", "raised"] <= 4
    assert sum(counts.values()) <= 10


def test_a_key_that_nobody_tried_is_told_after_a_month(machine: Machine) -> None:
    changed = msgspec.structs.replace
    machine.days(1)
    slot = SlotFact(id="cd" * 16, kind="recovery", created_ms=machine.now_ms, used_ms=None)
    before = recall(machine.store, REPOSITORY, KnownRepository)
    assert before is not None
    note(machine.store, REPOSITORY, machine.now_ms, changed(before, slots=[slot]))
    machine.days(29)
    assert machine.counts() == {}
    machine.days(2)
    assert machine.counts() == {("key-untested:cdcdcdcd", "raised"): 1}
    tried = changed(slot, used_ms=machine.now_ms)
    note(machine.store, REPOSITORY, machine.now_ms, changed(before, slots=[tried]))
    machine.days(0.5)
    assert machine.counts()["key-untested:cdcdcdcd", "resolved"] == 1
