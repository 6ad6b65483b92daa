"""The rules of alerts about backups, their proofs, and the jobs that make both. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shenyu_data.model.ages import parse_age
from shenyu_data.model.alert_terms import (
    Seen,
    age_figures,
    ago,
    allowed_ms,
    nth,
    overdue_since,
)
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, Facts, JobFact, span
from shenyu_data.model.amounts import counted
from shenyu_data.model.config_alerts import AlertsTable

SLOW_TIMES = 5
"""A run that takes so many times as long as any that was done may hang,"""

SLOW_MS = 3 * HOUR_MS
"""but none that takes less than this;"""

FIRST_MS = DAY_MS
"""and one of a job that was never done, after this."""


def backup_old(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether the last backup is too old, or there is none."""
    since_ms = overdue_since(facts, table, "backup-old", facts.backup_ms)
    if since_ms is not None:
        allowed = span(allowed_ms(facts, table, "backup-old"))
        yield Seen(
            since_ms,
            "There is no backup yet."
            if facts.backup_ms is None
            else f"The last backup was {ago(facts, facts.backup_ms)}; {allowed} are allowed.",
            "shenyu-data backup",
            age_figures(facts, facts.backup_ms),
        )


def backup_degraded(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether the last backup could not read everything."""
    if facts.degraded is not None:
        yield Seen(
            facts.degraded.since_ms,
            f"The last backup is degraded: {counted(facts.degraded.count, 'document')} could not "
            f"be read whole. The last good backup was {ago(facts, facts.good_backup_ms)}.",
            "shenyu-data validate",
            {"documents": facts.degraded.count},
        )


def job_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether a job failed or was killed, and trying again failed."""
    for job in facts.jobs:
        if not job.failures or job.failing_ms is None or job.own_rule:
            continue
        if job.failures < 2 and job.attempt <= job.retries and job.exit_status != 4:
            continue  # it is tried again first
        how = "was killed" if job.killed else f"failed with exit status {job.exit_status}"
        if job.timed_out:
            how = "took longer than its timeout, and was ended"
        yield Seen(
            job.failing_ms,
            f"The job {job.name} {how}, for the "
            f"{nth(job.failures)} time in a row; it was last done {ago(facts, job.good_ms)}.",
            f"shenyu-data schedule run {job.name} --now",
            {"failures": job.failures},
            subject=job.name,
        )


def job_slow(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether a job runs for much longer than it ever did: it may hang."""
    for job in facts.jobs:
        if job.running_ms is None:
            continue
        said = table.job_slow.older_than
        allowed = parse_age(said) * 1000 if said is not None else _patience_ms(job)
        if facts.now_ms - job.running_ms > allowed:
            before = "it was never done before"
            if job.usual_ms is not None:
                before = f"before, it took {span(job.usual_ms)} at most"
            yield Seen(
                job.running_ms + allowed,
                f"The job {job.name} has been running for "
                f"{span(facts.now_ms - job.running_ms)}; {before}. It may hang. Other jobs wait "
                "for it where serve runs them. A `timeout` ends such runs.",
                "shenyu-data schedule show",
                {"running_s": (facts.now_ms - job.running_ms) // 1000},
                subject=job.name,
            )


def _patience_ms(job: JobFact) -> int:
    if job.usual_ms is None:
        return FIRST_MS
    return max(SLOW_MS, SLOW_TIMES * job.usual_ms)


def run_skipped(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether a run that was due was not made."""
    for job in facts.jobs:
        if job.skipped_ms is not None:
            yield Seen(
                job.skipped_ms,
                f"The job {job.name} was not run when it was due: {job.skipped}.",
                f"shenyu-data schedule run {job.name} --now",
                subject=job.name,
            )


def jobs_stopped(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether jobs are due and nothing runs them."""
    allowed = allowed_ms(facts, table, "jobs-stopped")
    late = [job for job in facts.jobs if _unattended(facts, job, allowed)]
    if late:
        names = ", ".join(job.name for job in late)
        since_ms = min(job.due_ms for job in late if job.due_ms is not None)
        yield Seen(
            since_ms,
            f"Nothing runs these jobs, the first was due {ago(facts, since_ms)}: {names}.",
            "shenyu-data serve",
            {"jobs": len(late)},
        )


def _unattended(facts: Facts, job: JobFact, allowed: int) -> bool:
    return (
        job.due_ms is not None and job.due_ms > job.seen_ms and facts.now_ms > job.due_ms + allowed
    )


def verify_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether the repository was not verified for too long."""
    since_ms = overdue_since(facts, table, "verify-overdue", facts.verified_ms)
    if since_ms is not None and facts.damaged is None:  # it was, and that is told
        yield Seen(
            since_ms,
            f"The repository was last verified: {ago(facts, facts.verified_ms)}.",
            "shenyu-data verify",
            age_figures(facts, facts.verified_ms),
        )


def verify_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether a verification found damage."""
    if facts.damaged is not None:
        yield Seen(
            facts.damaged.since_ms,
            f"The repository is damaged: {counted(facts.damaged.count, 'object')}. What they do "
            "not affect still restores.",
            "shenyu-data verify --read-data",
            {"objects": facts.damaged.count},
        )


def read_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether not every byte of the repository was read in time."""
    since_ms = overdue_since(facts, table, "read-overdue", facts.read_ms)
    if since_ms is not None:
        yield Seen(
            since_ms,
            f"Not every byte of the repository was read within "
            f"{span(allowed_ms(facts, table, 'read-overdue'))}; all were: "
            f"{ago(facts, facts.read_ms)}.",
            "shenyu-data verify --read-data",
            age_figures(facts, facts.read_ms),
        )


def drill_overdue(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether there was no drill for too long."""
    since_ms = overdue_since(facts, table, "drill-overdue", facts.drilled_ms)
    if since_ms is not None and facts.drill is None:  # it was tried, and that is told
        yield Seen(
            since_ms,
            f"Users were last proven restorable: {ago(facts, facts.drilled_ms)}.",
            "shenyu-data drill",
            age_figures(facts, facts.drilled_ms),
        )


def drill_failed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether a drill found what cannot be restored, or is blind."""
    if facts.drill is not None:
        count = facts.drill.count
        said = {
            "blind": "The drill did not notice damage that it made on purpose: it proves nothing.",
            "damaged": f"The drill found {counted(count, 'document')} that cannot be restored.",
            "failed": f"The drill could not write {counted(count, 'document')}.",
        }
        yield Seen(
            facts.drill.since_ms,
            said[facts.drill.kind],
            "shenyu-data verify --read-data"
            if facts.drill.kind == "damaged"
            else "shenyu-data drill",
            {"documents": count},
        )


def tripwire(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether a backup noticed what is no ordinary use."""
    tripped = facts.tripped
    if tripped is not None:
        kept = "It is kept" if tripped.pinned else "The alert stands"
        stays = "Nothing is pruned" if tripped.blocks else kept
        held = f"; snapshot {tripped.pinned} holds what was there before" if tripped.pinned else ""
        yield Seen(
            tripped.since_ms,
            f"A backup noticed what is no ordinary use ({', '.join(tripped.rules)}){held}. {stays} "
            "until somebody acknowledges this.",
            tripped.commands[0] if tripped.commands else "shenyu-data alerts list",
            {"snapshots": tripped.count},
            level=None if tripped.blocks else "warning",
        )
