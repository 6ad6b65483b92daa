"""The rules of alerts: each looks at the facts and says what is wrong, since when, and what to do.
Pure.
"""

from __future__ import annotations

from shenyu_data.model.alert_backups import (
    backup_degraded,
    backup_old,
    drill_failed,
    drill_overdue,
    job_failed,
    job_slow,
    jobs_stopped,
    read_overdue,
    run_skipped,
    tripwire,
    verify_failed,
    verify_overdue,
)
from shenyu_data.model.alert_machine import (
    clock_wrong,
    data_growth,
    data_size,
    disk_free,
    disk_full_soon,
    documents_invalid,
    key_untested,
    notifier_down,
    permissions_drifted,
)
from shenyu_data.model.alert_terms import Rule
from shenyu_data.model.alert_watch import (
    access_bulk,
    access_stranger,
    watch_missed,
    watch_stopped,
)
from shenyu_data.model.alerts import Condition, Facts
from shenyu_data.model.config_alerts import LEVELS, AlertsTable


def judge(facts: Facts, table: AlertsTable) -> list[Condition]:
    """Return what is wrong, the worst first."""
    found = []
    for rule in RULES:
        settings = table.rule(rule.code)
        if not settings.enabled:
            continue
        for seen in rule.look(facts, table):
            level = settings.level or seen.level or rule.level
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
    return sorted(found, key=lambda item: -LEVELS.index(item.level))


RULES = (
    Rule("backup-old", "critical", "the last backup is too old, or there is none", backup_old),
    Rule(
        "backup-degraded",
        "warning",
        "the last backup could not read everything",
        backup_degraded,
    ),
    Rule(
        "job-failed",
        "warning",
        "a job failed or was killed, and trying again failed",
        job_failed,
    ),
    Rule("job-slow", "warning", "a job runs for much longer than it ever did", job_slow),
    Rule("run-skipped", "info", "a run that was due was not made", run_skipped),
    Rule("jobs-stopped", "critical", "jobs are due and nothing runs them", jobs_stopped),
    Rule(
        "verify-overdue",
        "warning",
        "the repository was not verified for too long",
        verify_overdue,
    ),
    Rule("verify-failed", "critical", "a verification found damage", verify_failed),
    Rule(
        "read-overdue",
        "warning",
        "not every byte of the repository was read in time",
        read_overdue,
    ),
    Rule("drill-overdue", "warning", "there was no drill for too long", drill_overdue),
    Rule(
        "drill-failed",
        "critical",
        "a drill found what cannot be restored, or is blind",
        drill_failed,
    ),
    Rule("data-size", "warning", "the data directory is larger than it may be", data_size),
    Rule("data-growth", "warning", "the data directory grew very fast", data_growth),
    Rule("disk-free", "critical", "little room is left on a disk", disk_free),
    Rule(
        "disk-full-soon",
        "warning",
        "a disk will be full soon, by the trend",
        disk_full_soon,
    ),
    Rule(
        "documents-invalid",
        "warning",
        "the last validation found errors",
        documents_invalid,
    ),
    Rule(
        "permissions-drifted",
        "warning",
        "modes or owners are not as they should be",
        permissions_drifted,
    ),
    Rule("key-untested", "info", "nobody tried a key for long", key_untested),
    Rule("clock-wrong", "critical", "the clock is behind of what was noted", clock_wrong),
    Rule("tripwire", "critical", "a backup noticed what is no ordinary use", tripwire),
    Rule("notifier-down", "warning", "messages on a way do not get through", notifier_down),
    Rule(
        "access-bulk",
        "critical",
        "somebody read or removed documents of many users",
        access_bulk,
    ),
    Rule(
        "access-stranger",
        "warning",
        "somebody touched the data who may not, or not then",
        access_stranger,
    ),
    Rule("watch-missed", "warning", "watching missed something", watch_missed),
    Rule("watch-stopped", "critical", "nothing watches who touches the data", watch_stopped),
)
"""All rules."""

CODES = tuple(rule.code for rule in RULES)
"""The codes of all rules."""
