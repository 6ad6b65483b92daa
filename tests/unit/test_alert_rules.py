"""Each rule fires on its cause, and is quiet otherwise."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shenyu_data.model.alert_rules import RULES, judge
from shenyu_data.model.alert_terms import GRACE_MS, nth
from shenyu_data.model.alerts import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Condition,
    DiskFact,
    Facts,
    JobFact,
    SlotFact,
    Tripped,
    Trouble,
    WatchFact,
    WayFact,
    span,
)
from shenyu_data.model.config import parse_config
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.trend import full_in_ms
from shenyu_data.model.watch_terms import Noticed

NOW = 1_780_000_000_000
GB = 10**9
TROUBLE = Trouble(since_ms=NOW - DAY_MS, count=3)
DISK = DiskFact(
    name="data",
    holds=["the data directory", "the repository"],
    free_bytes=500 * GB,
    total_bytes=1000 * GB,
    free_files=50_000_000,
    total_files=60_000_000,
)
JOB = JobFact(
    name="nightly",
    verb="backup",
    retries=3,
    due_ms=NOW - 8 * HOUR_MS,
    seen_ms=NOW - 8 * HOUR_MS + 1000,
    every_ms=DAY_MS,
    good_ms=NOW - 8 * HOUR_MS,
)
READ = Noticed(
    cause="bulk-read",
    who="account-1001",
    first_ms=NOW - HOUR_MS,
    last_ms=NOW - HOUR_MS,
    account=1001,
    programs=["/usr/bin/tar"],
    accesses=431,
    users=200,
)
SLOT = SlotFact(id="ab" * 16, kind="recovery", created_ms=NOW - 300 * DAY_MS, used_ms=NOW - DAY_MS)
WELL = Facts(
    now_ms=NOW,
    since_ms=NOW - 300 * DAY_MS,
    awake_ms=NOW - 90 * DAY_MS,
    backup_ms=NOW - 8 * HOUR_MS,
    good_backup_ms=NOW - 8 * HOUR_MS,
    verified_ms=NOW - 6 * HOUR_MS,
    read_ms=NOW - 29 * DAY_MS,
    drilled_ms=NOW - 6 * DAY_MS,
    data_points=[(NOW - day * DAY_MS, (1000 - day) * GB // 10) for day in range(60, -1, -1)],
    disks=[DISK],
    slots=[SLOT],
    jobs=[JOB],
    every_ms={"backup": DAY_MS, "verify": DAY_MS, "drill": 7 * DAY_MS},
)


def facts(**changes: Any) -> Facts:
    return msgspec.structs.replace(WELL, **changes)


def job(**changes: Any) -> list[JobFact]:
    return [msgspec.structs.replace(JOB, **changes)]


def disk(**changes: Any) -> list[DiskFact]:
    return [msgspec.structs.replace(DISK, **changes)]


def slot(**changes: Any) -> list[SlotFact]:
    return [msgspec.structs.replace(SLOT, **changes)]


def noticed(**changes: Any) -> Noticed:
    return msgspec.structs.replace(READ, **changes)


def watched(**changes: Any) -> WatchFact:
    beat = WatchFact(wanted=False, beat_ms=NOW - HOUR_MS)
    return msgspec.structs.replace(beat, **changes)


def seen(given: Facts, config: str = "") -> list[Condition]:
    return judge(given, parse_config(config, "x.toml").alerts or AlertsTable())


def shrinking(daily: int, *, days: int = 14, free: int = 500 * GB) -> list[tuple[int, int]]:
    return [(NOW - day * DAY_MS, free + day * daily) for day in range(days, -1, -1)]


def one_large_file() -> list[tuple[int, int]]:
    return [
        (NOW - day * DAY_MS, (400 if day > 5 else 100) * GB + day % 2) for day in range(14, -1, -1)
    ]


CAUSES: dict[str, tuple[Facts, str]] = {
    "backup-old": (facts(backup_ms=NOW - 37 * HOUR_MS), ""),
    "backup-old, none at all": (facts(backup_ms=None), ""),
    "backup-old, by the configuration": (WELL, '[alerts.backup-old]\nolder_than = "7h"'),
    "backup-degraded": (facts(degraded=TROUBLE), ""),
    "job-failed, twice": (
        facts(jobs=job(failures=2, failing_ms=NOW, attempt=2, exit_status=3)),
        "",
    ),
    "job-failed, damage": (facts(jobs=job(failures=1, failing_ms=NOW, exit_status=4)), ""),
    "job-failed, no retries left": (
        facts(jobs=job(failures=1, failing_ms=NOW, exit_status=3, retries=0)),
        "",
    ),
    "job-failed, killed": (facts(jobs=job(failures=2, failing_ms=NOW, killed=True)), ""),
    "job-failed, timed out": (facts(jobs=job(failures=2, failing_ms=NOW, timed_out=True)), ""),
    "job-slow": (facts(jobs=job(running_ms=NOW - 4 * HOUR_MS, usual_ms=MINUTE_MS)), ""),
    "job-slow, of a large one": (
        facts(jobs=job(running_ms=NOW - 26 * HOUR_MS, usual_ms=5 * HOUR_MS)),
        "",
    ),
    "job-slow, never done": (facts(jobs=job(running_ms=NOW - 25 * HOUR_MS)), ""),
    "job-slow, by the configuration": (
        facts(jobs=job(running_ms=NOW - 2 * HOUR_MS, usual_ms=HOUR_MS)),
        '[alerts.job-slow]\nolder_than = "90min"',
    ),
    "run-skipped": (facts(jobs=job(skipped="1 run was missed", skipped_ms=NOW - DAY_MS)), ""),
    "jobs-stopped": (facts(jobs=job(seen_ms=NOW - 9 * HOUR_MS)), ""),
    "verify-overdue": (facts(verified_ms=NOW - 5 * DAY_MS), ""),
    "verify-failed": (facts(damaged=TROUBLE), ""),
    "read-overdue": (facts(read_ms=NOW - 46 * DAY_MS), ""),
    "drill-overdue": (facts(drilled_ms=NOW - 16 * DAY_MS), ""),
    "drill-failed, blind": (facts(drill=Trouble(since_ms=NOW, count=0, kind="blind")), ""),
    "drill-failed, damaged": (facts(drill=Trouble(since_ms=NOW, count=2, kind="damaged")), ""),
    "drill-failed, not written": (facts(drill=Trouble(since_ms=NOW, count=1, kind="failed")), ""),
    "data-size": (WELL, '[alerts.data-size]\nmost = "99GB"'),
    "data-growth": (facts(data_points=[(NOW - 6 * DAY_MS, 10 * GB), (NOW, 21 * GB)]), ""),
    "disk-free": (facts(disks=disk(free_bytes=19 * GB)), ""),
    "disk-free, of files": (facts(disks=disk(free_files=2_000_000)), ""),
    "disk-full-soon": (facts(disks=disk(points=shrinking(40 * GB))), ""),
    "documents-invalid": (facts(invalid=TROUBLE), ""),
    "permissions-drifted": (facts(drifted=TROUBLE), ""),
    "key-untested, never": (facts(slots=slot(used_ms=None)), ""),
    "key-untested, for long": (facts(slots=slot(used_ms=NOW - 366 * DAY_MS)), ""),
    "clock-wrong": (facts(future_ms=NOW + 11 * MINUTE_MS), ""),
    "tripwire": (
        facts(
            tripped=Tripped(
                count=1,
                since_ms=NOW - HOUR_MS,
                rules=["history-overwritten"],
                pinned="3f27bfa9",
                commands=["shenyu-data repair"],
            )
        ),
        "",
    ),
    "tripwire, that blocks nothing": (
        facts(
            tripped=Tripped(
                count=1,
                since_ms=NOW - HOUR_MS,
                rules=["history-overwritten"],
                pinned="3f27bfa9",
                commands=["shenyu-data repair"],
                blocks=False,
            )
        ),
        "",
    ),
    "notifier-down": (
        facts(ways=[WayFact(name="mail-ops", failing_ms=NOW - 7 * HOUR_MS, error="it is down")]),
        "",
    ),
    "access-bulk": (facts(noticed=[READ]), ""),
    "access-bulk, removed": (facts(noticed=[noticed(cause="bulk-removed", documents=20)]), ""),
    "access-stranger": (facts(noticed=[noticed(cause="writer")]), ""),
    "watch-missed": (facts(noticed=[noticed(cause="dropped", who="system", dropped=2)]), ""),
    "watch-missed, killed": (facts(noticed=[noticed(cause="killed", who="system")]), ""),
    "watch-stopped, never begun": (facts(watch=WatchFact(wanted=True)), ""),
    "watch-stopped, by somebody": (facts(watch=watched(wanted=True, ended=True)), ""),
    "watch-stopped, killed": (facts(watch=watched(wanted=True)), ""),
    "watch-stopped, killed and nobody asked for it": (facts(watch=watched(wanted=False)), ""),
    "watch-stopped, blind": (facts(watch=watched(beat_ms=NOW, blind_ms=NOW - HOUR_MS)), ""),
}

QUIET: dict[str, tuple[Facts, str]] = {
    "a backup that is young enough": (facts(backup_ms=NOW - 35 * HOUR_MS), ""),
    "a schedule that is slower": (
        facts(backup_ms=NOW - 9 * DAY_MS, every_ms={"backup": 7 * DAY_MS}),
        "",
    ),
    "nothing yet, of a new directory": (
        facts(since_ms=NOW, backup_ms=None, verified_ms=None, read_ms=None, drilled_ms=None),
        "",
    ),
    "a machine that has just woken up": (
        facts(
            awake_ms=NOW - GRACE_MS + 1, backup_ms=NOW - 9 * DAY_MS, verified_ms=NOW - 9 * DAY_MS
        ),
        "",
    ),
    "a run that is tried again": (
        facts(jobs=job(failures=1, failing_ms=NOW, attempt=1, exit_status=3)),
        "",
    ),
    "a first run that takes a day": (facts(jobs=job(running_ms=NOW - 23 * HOUR_MS)), ""),
    "a run that takes four times as long as ever": (
        facts(jobs=job(running_ms=NOW - 20 * HOUR_MS, usual_ms=5 * HOUR_MS)),
        "",
    ),
    "damage that has a rule of its own": (
        facts(jobs=job(failures=4, failing_ms=NOW, exit_status=4, own_rule=True)),
        "",
    ),
    "a job that was due a moment ago": (
        facts(jobs=job(due_ms=NOW - HOUR_MS, seen_ms=NOW - DAY_MS)),
        "",
    ),
    "a small directory that doubled": (
        facts(data_points=[(NOW - 6 * DAY_MS, 10**6), (NOW, 3 * 10**6)]),
        "",
    ),
    "growth over months": (
        facts(data_points=[(NOW - 90 * DAY_MS, GB), (NOW - 8 * DAY_MS, 20 * GB), (NOW, 21 * GB)]),
        "",
    ),
    "a small disk with a fifth free": (
        facts(disks=disk(free_bytes=4 * GB, total_bytes=20 * GB)),
        "",
    ),
    "a huge disk with little free, of hundred": (
        facts(disks=disk(free_bytes=50 * GB, total_bytes=10_000 * GB)),
        "",
    ),
    "a file system that counts no files": (facts(disks=disk(free_files=0, total_files=0)), ""),
    "a disk that fills in months": (facts(disks=disk(points=shrinking(GB))), ""),
    "a disk that filled on one day": (
        facts(disks=disk(free_bytes=100 * GB, points=one_large_file())),
        "",
    ),
    "a passphrase of somebody who is away": (
        facts(slots=slot(kind="passphrase", used_ms=NOW - 900 * DAY_MS)),
        "",
    ),
    "a new key": (facts(slots=slot(created_ms=NOW - 29 * DAY_MS, used_ms=None)), ""),
    "a way that was down for a while": (
        facts(ways=[WayFact(name="mail-ops", failing_ms=NOW - 5 * HOUR_MS, error="it is down")]),
        "",
    ),
    "what was noticed days ago": (facts(noticed=[noticed(last_ms=NOW - 4 * DAY_MS)]), ""),
    "a watch that runs": (facts(watch=watched(wanted=True, beat_ms=NOW - MINUTE_MS)), ""),
    "a watch that was stopped and nobody asked for": (facts(watch=watched(ended=True)), ""),
    "one that was killed long ago and nobody asked for": (
        facts(watch=watched(beat_ms=NOW - 9 * DAY_MS)),
        "",
    ),
    "a watch that begins with the machine": (
        facts(awake_ms=NOW - MINUTE_MS, watch=watched(wanted=True, beat_ms=NOW - DAY_MS)),
        "",
    ),
    "a watch that was blind for a moment": (
        facts(watch=watched(beat_ms=NOW, blind_ms=NOW - MINUTE_MS)),
        "",
    ),
    "a clock that is a little behind": (facts(future_ms=NOW + 9 * MINUTE_MS), ""),
    "what is switched off": (
        facts(backup_ms=None, degraded=TROUBLE),
        "[alerts.backup-old]\nenabled = false\n[alerts.backup-degraded]\nenabled = false",
    ),
}


def test_nothing_is_wrong_when_all_is_well() -> None:
    assert seen(WELL) == []


@pytest.mark.parametrize("name", CAUSES)
def test_each_rule_fires_on_its_cause_and_no_other_does(name: str) -> None:
    (condition,) = seen(*CAUSES[name])
    assert condition.code == name.split(",")[0]
    assert condition.since_ms <= NOW
    assert condition.message.endswith(".")
    assert condition.message.isprintable()
    assert condition.command.startswith(("shenyu-data ", "date", ""))


def test_every_rule_is_tried() -> None:
    assert {name.split(",")[0] for name in CAUSES} == {rule.code for rule in RULES}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_no_cause_is_quiet(name: str) -> None:
    assert seen(*QUIET[name]) == []


def test_what_stands_is_overdue_though_the_machine_has_just_woken_up() -> None:
    late = facts(awake_ms=NOW, backup_ms=NOW - 9 * DAY_MS)
    assert seen(late) == []
    assert seen(msgspec.structs.replace(late, standing=frozenset({"backup-old"})))


def test_a_disk_must_be_clearly_free_again() -> None:
    almost = facts(disks=disk(free_bytes=21 * GB))
    assert seen(almost) == []
    standing = frozenset({"disk-free:data"})
    assert seen(msgspec.structs.replace(almost, standing=standing))
    free = facts(disks=disk(free_bytes=23 * GB), standing=standing)
    assert seen(free) == []


def test_the_loudest_comes_first_and_a_level_is_what_the_configuration_says() -> None:
    both = facts(degraded=TROUBLE, damaged=TROUBLE)
    assert [item.level for item in seen(both)] == ["critical", "warning"]
    loud = seen(both, '[alerts.verify-failed]\nlevel = "info"')
    assert [(item.code, item.level) for item in loud] == [
        ("backup-degraded", "warning"),
        ("verify-failed", "info"),
    ]


def test_alerts_of_one_rule_about_several_things_are_told_apart() -> None:
    two = [*job(failures=2, failing_ms=NOW), *job(name="other", failures=2, failing_ms=NOW)]
    assert [item.key for item in seen(facts(jobs=two))] == [
        "job-failed:nightly",
        "job-failed:other",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[alerts.backup_old]", "backup_old"),
        ('[alerts]\nrepeat = "soon"', "soon is not an age"),
        ('[alerts.backup-old]\nolder_than = "9"', "9 is not an age"),
        ('[alerts.backup-old]\nlevel = "loud"', "loud"),
        ('[alerts.data-size]\nmost = "much"', "much is not a size"),
        ('[alerts.job-failed]\nolder_than = "9d"', "older_than"),
        ("[alerts.disk-free]\npercent = 100", "percent"),
    ],
)
def test_a_table_that_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(text, "x.toml")


def test_the_trend_says_when_a_disk_is_full() -> None:
    days = full_in_ms(shrinking(50 * GB), NOW, 500 * GB)
    assert days is not None
    assert round(days / DAY_MS) == 10


@pytest.mark.parametrize(
    "points",
    [
        [],
        shrinking(50 * GB, days=2),
        shrinking(-GB),
        [(NOW, GB)] * 20,
        [(NOW + DAY_MS, 0), (NOW + 2 * DAY_MS, 0)],
    ],
)
def test_too_little_or_what_does_not_shrink_says_nothing(points: list[tuple[int, int]]) -> None:
    assert full_in_ms(points, NOW, 500 * GB) is None


def test_spans_are_whole_units() -> None:
    lengths = (0, MINUTE_MS, 90 * MINUTE_MS, 47 * HOUR_MS, 48 * HOUR_MS, 400 * DAY_MS, -5)
    assert [span(length) for length in lengths] == [
        "less than a minute",
        "1 minute",
        "1 hour",
        "47 hours",
        "2 days",
        "400 days",
        "less than a minute",
    ]


@pytest.mark.parametrize(
    ("count", "said"), [(2, "second"), (4, "4th"), (11, "11th"), (21, "21st"), (112, "112th")]
)
def test_what_happened_often_is_counted_as_people_do(count: int, said: str) -> None:
    assert nth(count) == said


@pytest.mark.parametrize(
    ("blocks", "pinned", "said", "level"),
    [
        (True, "3f27bfa9", "Nothing is pruned until", "critical"),
        (False, "3f27bfa9", "It is kept until", "warning"),
        (False, None, "The alert stands until", "warning"),
    ],
)
def test_a_tripwire_says_what_is_kept_and_how_loud_that_is(
    blocks: bool, pinned: str | None, said: str, level: str
) -> None:
    tripped = Tripped(count=1, since_ms=NOW, rules=["x"], pinned=pinned, commands=[], blocks=blocks)
    (found,) = judge(facts(tripped=tripped), AlertsTable())
    assert said in found.message
    assert found.level == level
