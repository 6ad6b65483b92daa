"""The weekly digest: how the jobs went, what there is, what was proven. Figures, and no names but
those of jobs.
"""

from __future__ import annotations

from shenyu_data.health.metrics import measure
from shenyu_data.health.runs import runs
from shenyu_data.health.schedule import Schedule
from shenyu_data.health.store import Store
from shenyu_data.model.ages import format_age
from shenyu_data.operations.configuration import Settings

WEEK_MS = 7 * 86_400_000

_MOST_RUNS = 5_000


def digest_lines(
    store: Store, schedule: Schedule, settings: Settings, state: str, now_ms: int
) -> list[str]:
    """Return what happened in the week before ``now_ms``, line by line. Raise StateUnusable."""
    found = {
        sample.name.removeprefix("shenyu_data_"): sample.value
        for sample in measure(store, schedule, settings, state, now_ms)
        if not sample.labels
    }
    lines = ["Last good runs:"]
    for verb in ("backup", "verify", "drill"):
        good_s = found.get(f"{verb}_last_success_timestamp_seconds")
        age = "never" if good_s is None else f"{format_age(int(now_ms / 1000 - good_s))} ago"
        lines.append(f"  {verb}: {age}")
    lines += ["", "Jobs of the last week:"]
    made = runs(store, since_ms=now_ms - WEEK_MS, limit=_MOST_RUNS)
    for job in schedule.jobs:
        counts: dict[str, int] = {}
        for run in made:
            if run.job == job.name and run.started_ms <= now_ms:
                counts[run.outcome] = counts.get(run.outcome, 0) + 1
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        lines.append(f"  {job.name}: {told or 'no run'}")
    lines += ["", "What there is:"]
    for name in ("users", "chats", "messages", "repository_snapshots"):
        if name in found:
            lines.append(f"  {name.removeprefix('repository_')}: {int(found[name]):,}")
    for name in ("document_bytes", "repository_bytes"):
        if name in found:
            lines.append(f"  {name.removesuffix('_bytes')}: {found[name] / 1e6:,.1f} MB")
    if "drill_users" in found:
        unproven = int(found.get("drill_never_proven_users", 0))
        lines.append(f"  users never proven restorable: {unproven} of {int(found['drill_users'])}")
    return lines
