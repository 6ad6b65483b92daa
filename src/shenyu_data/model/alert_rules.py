"""The rules of alerts: each looks at the facts and says what is wrong, since when, and what to do.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shenyu_data.model.ages import parse_age
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, Condition, Facts, JobFact, bytes_text, span
from shenyu_data.model.config_alerts import AlertsTable, Level
from shenyu_data.model.sizes import parse_size
from shenyu_data.model.trend import full_in_ms

GRACE_MS = 2 * HOUR_MS
"""Whoever was off may make up for what was due, before it is called overdue."""

UNHEARD_MS = 6 * HOUR_MS
"""So long messages may fail on one way before others are told of it."""

SCARCE_FILES = 20
"""One of so many files that a disk has room for must be free."""


class Seen(msgspec.Struct, frozen=True):
    """What a rule saw, without the rule's own words: see :class:`Condition`."""

    since_ms: int
    message: str
    command: str
    figures: dict[str, int] = {}
    subject: str = ""


class Rule(msgspec.Struct, frozen=True):
    """A rule: its code, how loud it is by default, what it watches, and how."""

    code: str
    level: Level
    about: str
    look: Callable[[Facts, AlertsTable], Iterator[Seen]]


def judge(facts: Facts, table: AlertsTable) -> list[Condition]:
    """Return what is wrong, the worst first."""
    found = []
    for rule in RULES:
        settings = table.rule(rule.code)
        if not settings.enabled:
            continue
        for seen in rule.look(facts, table):
            level = settings.level or rule.level
            condition = Condition(
                code=rule.code,
                subject=seen.subject,
                level=level,
                since_ms=min(seen.since_ms, facts.now_ms),
                message=seen.message,
                command=seen.command,
                figures=seen.figures,
            )
            found.append(condition)
    return sorted(found, key=lambda item: -_LOUDNESS[item.level])


_LOUDNESS = {"info": 0, "warning": 1, "critical": 2}


def allowed_ms(facts: Facts, table: AlertsTable, code: str) -> int:
    """Return how old what a rule about an age watches may be: as configured, or by default, and
    where the schedule is slower than that, half as long again as its pause.
    """
    said = getattr(table.rule(code), "older_than", None)
    if said is not None:
        return parse_age(said) * 1000
    verb, usual_ms = _AGES[code]
    return max(usual_ms, facts.every_ms.get(verb, 0) * 3 // 2)


_AGES = {
    "backup-old": ("backup", 36 * HOUR_MS),
    "verify-overdue": ("verify", 4 * DAY_MS),
    "read-overdue": ("", 45 * DAY_MS),
    "drill-overdue": ("drill", 15 * DAY_MS),
    "jobs-stopped": ("", 3 * HOUR_MS),
}


def _overdue(facts: Facts, table: AlertsTable, code: str, last_ms: int | None) -> int | None:
    """Return since when something is overdue that happened last at ``last_ms``; None if it is not,
    or may be about to be made up for.
    """
    since_ms = (facts.since_ms if last_ms is None else last_ms) + allowed_ms(facts, table, code)
    if facts.now_ms <= since_ms:
        return None
    awake_ms = facts.awake_ms
    just_woken = awake_ms is not None and facts.now_ms - awake_ms < GRACE_MS
    return None if just_woken and code not in facts.standing else since_ms


def _ago(facts: Facts, time_ms: int | None) -> str:
    return "never" if time_ms is None else f"{span(facts.now_ms - time_ms)} ago"


def _backup_old(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    since_ms = _overdue(facts, table, "backup-old", facts.backup_ms)
    if since_ms is not None:
        allowed = span(allowed_ms(facts, table, "backup-old"))
        yield Seen(
            since_ms,
            "There is no backup yet."
            if facts.backup_ms is None
            else f"The last backup was {_ago(facts, facts.backup_ms)}; {allowed} are allowed.",
            "shenyu-data backup",
            _age(facts, facts.backup_ms),
        )


def _backup_degraded(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    if facts.degraded is not None:
        yield Seen(
            facts.degraded.since_ms,
            f"The last backup is degraded: {_count(facts.degraded.count, 'document')} could not "
            f"be read whole. The last good backup was {_ago(facts, facts.good_backup_ms)}.",
            "shenyu-data validate",
            {"documents": facts.degraded.count},
        )


def _job_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    for job in facts.jobs:
        if not job.failures or job.failing_ms is None or job.own_rule:
            continue
        if job.failures < 2 and job.attempt <= job.retries and job.exit_status != 4:
            continue  # it is tried again first
        how = "was killed" if job.killed else f"failed with exit status {job.exit_status}"
        yield Seen(
            job.failing_ms,
            f"The job {job.name} {how}, for the "
            f"{_nth(job.failures)} time in a row; it was last done {_ago(facts, job.good_ms)}.",
            f"shenyu-data schedule run {job.name} --now",
            {"failures": job.failures},
            subject=job.name,
        )


def _run_skipped(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    for job in facts.jobs:
        if job.skipped_ms is not None:
            yield Seen(
                job.skipped_ms,
                f"The job {job.name} was not run when it was due: {job.skipped}.",
                f"shenyu-data schedule run {job.name} --now",
                subject=job.name,
            )


def _jobs_stopped(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    allowed = allowed_ms(facts, table, "jobs-stopped")
    late = [job for job in facts.jobs if _unattended(facts, job, allowed)]
    if late:
        names = ", ".join(job.name for job in late)
        since_ms = min(job.due_ms for job in late if job.due_ms is not None)
        yield Seen(
            since_ms,
            f"Nothing runs these jobs, the first was due {_ago(facts, since_ms)}: {names}.",
            "shenyu-data serve",
            {"jobs": len(late)},
        )


def _unattended(facts: Facts, job: JobFact, allowed: int) -> bool:
    return (
        job.due_ms is not None and job.due_ms > job.seen_ms and facts.now_ms > job.due_ms + allowed
    )


def _verify_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    since_ms = _overdue(facts, table, "verify-overdue", facts.verified_ms)
    if since_ms is not None and facts.damaged is None:  # it was, and that is told
        yield Seen(
            since_ms,
            f"The repository was last verified: {_ago(facts, facts.verified_ms)}.",
            "shenyu-data verify",
            _age(facts, facts.verified_ms),
        )


def _verify_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    if facts.damaged is not None:
        yield Seen(
            facts.damaged.since_ms,
            f"The repository is damaged: {_count(facts.damaged.count, 'object')}. What they do not "
            "affect still restores.",
            "shenyu-data verify --read-data",
            {"objects": facts.damaged.count},
        )


def _read_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    since_ms = _overdue(facts, table, "read-overdue", facts.read_ms)
    if since_ms is not None:
        yield Seen(
            since_ms,
            f"Not every byte of the repository was read within "
            f"{span(allowed_ms(facts, table, 'read-overdue'))}; all were: "
            f"{_ago(facts, facts.read_ms)}.",
            "shenyu-data verify --read-data",
            _age(facts, facts.read_ms),
        )


def _drill_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    since_ms = _overdue(facts, table, "drill-overdue", facts.drilled_ms)
    if since_ms is not None and facts.drill is None:  # it was tried, and that is told
        yield Seen(
            since_ms,
            f"Users were last proven restorable: {_ago(facts, facts.drilled_ms)}.",
            "shenyu-data drill",
            _age(facts, facts.drilled_ms),
        )


def _drill_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    if facts.drill is not None:
        count = facts.drill.count
        said = {
            "blind": "The drill did not notice damage that it made on purpose: it proves nothing.",
            "damaged": f"The drill found {_count(count, 'document')} that cannot be restored.",
            "failed": f"The drill could not write {_count(count, 'document')}.",
        }
        yield Seen(
            facts.drill.since_ms,
            said[facts.drill.kind],
            "shenyu-data verify --read-data"
            if facts.drill.kind == "damaged"
            else "shenyu-data drill",
            {"documents": count},
        )


def _data_size(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    most = table.data_size.most
    if most is not None and facts.data_points and facts.data_points[-1][1] > parse_size(most):
        limit = parse_size(most)
        since_ms = facts.data_points[-1][0]
        for time_ms, size in reversed(facts.data_points):
            if size <= limit:
                break
            since_ms = time_ms
        size = facts.data_points[-1][1]
        yield Seen(
            since_ms,
            f"The data directory holds {bytes_text(size)}; {bytes_text(limit)} are allowed.",
            "shenyu-data cleanup --dry-run",
            {"data_bytes": size},
        )


def _data_growth(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    rule = table.data_growth
    from_ms = facts.now_ms - parse_age(rule.within) * 1000
    points = [item for item in facts.data_points if item[0] >= from_ms]
    before = [item for item in facts.data_points if item[0] < from_ms][-1:]
    points = before + points
    if len(points) < 2:
        return
    first, last = points[0][1], points[-1][1]
    grown = last - first
    if grown >= parse_size(rule.least) and grown * 100 >= first * rule.percent:
        yield Seen(
            points[-1][0],
            f"The data directory grew from {bytes_text(first)} to {bytes_text(last)} within "
            f"{span(points[-1][0] - points[0][0])}.",
            "shenyu-data users list --sort size",
            {"grown_bytes": grown, "data_bytes": last},
        )


def _disk_free(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    rule = table.disk_free
    for disk in facts.disks:
        limit = min(disk.total_bytes * rule.percent // 100, parse_size(rule.free))
        scarce = disk.total_files // SCARCE_FILES
        if f"disk-free:{disk.name}" in facts.standing:  # it must be clearly over
            limit, scarce = limit * 11 // 10, scarce * 11 // 10
        few = disk.free_files < scarce
        if disk.free_bytes < limit or few:
            what = ", ".join(disk.holds)
            room = f"{bytes_text(disk.free_bytes)} of {bytes_text(disk.total_bytes)} are free"
            if few:
                room += f", and room for {_count(disk.free_files, 'more file')}"
            yield Seen(
                facts.now_ms,
                f"The disk of {what} is nearly full: {room}.",
                "shenyu-data prune" if "the repository" in disk.holds else "",
                {"free_bytes": disk.free_bytes, "free_files": disk.free_files},
                subject=disk.name,
            )


def _disk_full_soon(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    within = parse_age(table.disk_full_soon.within) * 1000
    for disk in facts.disks:
        left_ms = full_in_ms(disk.points, facts.now_ms, disk.free_bytes)
        standing = f"disk-full-soon:{disk.name}" in facts.standing
        if left_ms is not None and left_ms < (within * 5 // 4 if standing else within):
            yield Seen(
                facts.now_ms,
                f"The disk of {', '.join(disk.holds)} will be full in about {span(left_ms)}, as it "
                f"went in the last days: {bytes_text(disk.free_bytes)} are free.",
                "shenyu-data prune --dry-run" if "the repository" in disk.holds else "",
                {"free_bytes": disk.free_bytes, "days_left": left_ms // DAY_MS},
                subject=disk.name,
            )


def _documents_invalid(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    if facts.invalid is not None:
        yield Seen(
            facts.invalid.since_ms,
            f"The last validation found {_count(facts.invalid.count, 'error')}: documents that the "
            "application cannot read, or overwrites.",
            "shenyu-data validate",
            {"errors": facts.invalid.count},
        )


def _permissions_drifted(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    if facts.drifted is not None:
        yield Seen(
            facts.drifted.since_ms,
            f"{_count(facts.drifted.count, 'mode or owner', 'modes or owners')} of the data "
            "directory are not as they should be.",
            "shenyu-data permissions fix",
            {"files": facts.drifted.count},
        )


def _key_untested(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    rule = table.key_untested
    never_ms, old_ms = parse_age(rule.never) * 1000, parse_age(rule.older_than) * 1000
    for slot in facts.slots:
        what = "recovery key" if slot.kind == "recovery" else "passphrase"
        if slot.used_ms is None:
            since_ms = slot.created_ms + never_ms
            said = f"never used since it was made {_ago(facts, slot.created_ms)}"
        elif slot.kind == "recovery":
            since_ms = slot.used_ms + old_ms
            said = f"last used {_ago(facts, slot.used_ms)}"
        else:
            continue
        if facts.now_ms > since_ms:
            yield Seen(
                since_ms,
                f"The {what} of the key slot {slot.id[:8]} was {said}: nobody knows whether it is "
                "still at hand. List the keys with it, once.",
                "shenyu-data key list",
                subject=slot.id[:8],
            )


def _clock_wrong(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    future_ms = facts.future_ms
    if (
        future_ms is not None
        and future_ms > facts.now_ms + parse_age(table.clock_wrong.behind) * 1000
    ):
        yield Seen(
            facts.now_ms,
            "The clock is wrong, or was: something was noted that lies "
            f"{span(future_ms - facts.now_ms)} ahead of it.",
            "date",
            {"behind_s": (future_ms - facts.now_ms) // 1000},
        )


def _tripwire(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    tripped = facts.tripped
    if tripped is not None:
        held = f"; snapshot {tripped.pinned} holds what was there before" if tripped.pinned else ""
        yield Seen(
            tripped.since_ms,
            f"A backup noticed what is no ordinary use ({', '.join(tripped.rules)}){held}. Nothing "
            "is pruned until somebody acknowledges it.",
            tripped.commands[0] if tripped.commands else "shenyu-data alerts list",
            {"snapshots": tripped.count},
        )


def _notifier_down(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    for way in facts.ways:
        if way.failing_ms <= facts.now_ms - UNHEARD_MS:
            yield Seen(
                way.failing_ms,
                f"Messages on {way.name} do not get through: {way.error}.",
                "shenyu-data alerts test",
                {"failing_s": (facts.now_ms - way.failing_ms) // 1000},
                subject=way.name,
            )


def _age(facts: Facts, time_ms: int | None) -> dict[str, int]:
    return {} if time_ms is None else {"age_s": (facts.now_ms - time_ms) // 1000}


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _nth(count: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(count, f"{count}th")


RULES = (
    Rule("backup-old", "critical", "the last backup is too old, or there is none", _backup_old),
    Rule(
        "backup-degraded", "warning", "the last backup could not read everything", _backup_degraded
    ),
    Rule(
        "job-failed", "warning", "a job failed or was killed, and trying again failed", _job_failed
    ),
    Rule("run-skipped", "info", "a run that was due was not made", _run_skipped),
    Rule("jobs-stopped", "critical", "jobs are due and nothing runs them", _jobs_stopped),
    Rule(
        "verify-overdue", "warning", "the repository was not verified for too long", _verify_overdue
    ),
    Rule("verify-failed", "critical", "a verification found damage", _verify_failed),
    Rule(
        "read-overdue",
        "warning",
        "not every byte of the repository was read in time",
        _read_overdue,
    ),
    Rule("drill-overdue", "warning", "there was no drill for too long", _drill_overdue),
    Rule(
        "drill-failed",
        "critical",
        "a drill found what cannot be restored, or is blind",
        _drill_failed,
    ),
    Rule("data-size", "warning", "the data directory is larger than it may be", _data_size),
    Rule("data-growth", "warning", "the data directory grew very fast", _data_growth),
    Rule("disk-free", "critical", "little room is left on a disk", _disk_free),
    Rule("disk-full-soon", "warning", "a disk will be full soon, by the trend", _disk_full_soon),
    Rule("documents-invalid", "warning", "the last validation found errors", _documents_invalid),
    Rule(
        "permissions-drifted",
        "warning",
        "modes or owners are not as they should be",
        _permissions_drifted,
    ),
    Rule("key-untested", "info", "nobody tried a key for long", _key_untested),
    Rule("clock-wrong", "critical", "the clock is behind of what was noted", _clock_wrong),
    Rule("tripwire", "critical", "a backup noticed what is no ordinary use", _tripwire),
    Rule("notifier-down", "warning", "messages on a way do not get through", _notifier_down),
)
"""All rules."""

CODES = tuple(rule.code for rule in RULES)
"""The codes of all rules."""
