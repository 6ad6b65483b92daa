"""``shenyu-data prune``."""

from __future__ import annotations

import time
from typing import Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.noted import note_repository
from shenyu_data.cli.open import open_for
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import iso, local, number, size, table
from shenyu_data.cli.retention_options import retention_options
from shenyu_data.model.errors import SnapshotNotFound
from shenyu_data.model.findings import Finding
from shenyu_data.model.retention import Retention
from shenyu_data.operations.prune import PruneStats, prune
from shenyu_data.operations.prune_plan import PruneOptions, PrunePlan, plan_prune
from shenyu_data.repository.format import Snapshot
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids


@click.command("prune")
@click.option("--drop", "drop", multiple=True, metavar="ID", help="Drop this one in any case.")
@click.option(
    "--limit",
    type=click.IntRange(0, 1_000_000),
    default=20,
    metavar="N",
    help="Say of this many users what they lose. Default: 20.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@retention_options
@recorded
@audited
def prune_command(
    call: Call,
    retention: Retention,
    grace_s: float,
    drop: tuple[str, ...],
    limit: int,
    dry_run: bool,
) -> None:
    """Drop old snapshots by the retention policy, and give back the space of what none needs.

    What is not needed any more is deleted by a later prune, once the grace is over. Exits with 4,
    deleting nothing, if something that a snapshot needs cannot be read.
    """
    repository = open_for(call, bulk=True)
    options = PruneOptions(
        retention=retention,
        grace_s=grace_s,
        drop=_ids(repository, drop),
        users=limit,
        jobs=call.jobs,
    )
    plan = plan_prune(repository, options, call.monitor, now_ms=time.time_ns() // 1_000_000)
    for what, error in plan.unreadable[:20]:
        call.monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path=what,
                message=f"it cannot be read, so what it needs is not known: {error.message}",
                hint="`shenyu-data verify` names all that is affected.",
            )
        )
    heads = {item.id: item for item in repository.snapshots([])}
    text = _describe(plan, heads)
    if dry_run or plan.unreadable:
        document = _document(plan, heads, None, dry_run=dry_run)
        call.finish(document, text, damaged=bool(plan.unreadable))
        return
    if not plan.empty:
        if not call.yes and not call.as_json and not call.quiet:
            click.echo(text, err=True)
        confirm(
            call, f"Drop {number(len(plan.drop), 'snapshot')}, delete {size(plan.deletable_bytes)}?"
        )
    # An empty plan too: what erasures and killed writes left is destroyed without asking.
    stats = prune(repository, plan, options, call.monitor)
    note_repository(call, repository)
    call.finish(
        _document(plan, heads, stats, dry_run=False),
        text if plan.empty else _summary(stats),
        findings=bool(call.monitor.count("error")),
    )


def _ids(repository: Repository, names: tuple[str, ...]) -> frozenset[bytes]:
    """Given beginnings of ids, of snapshots that need not be readable, return the ids."""
    found = set()
    for name in names:
        matches = [
            item for item in snapshot_ids(repository.storage) if item.hex().startswith(name.lower())
        ]
        if not name or len(matches) != 1:
            raise SnapshotNotFound(
                f"{len(matches)} snapshots begin with {name}",
                hint="--drop takes the beginning of an id; `shenyu-data snapshots` lists them.",
            )
        found.add(matches[0])
    return frozenset(found)


def _describe(plan: PrunePlan, heads: dict[bytes, Snapshot]) -> str:
    rows = [
        (
            item.candidate.id.hex()[:8],
            local(item.candidate.time_ms),
            "keep" if item.keep else "DROP",
            "; ".join(item.reasons) if item.keep else "",
        )
        for item in plan.decisions
    ]
    rows += [
        (snapshot.hex()[:8], "unknown", "DROP", "it cannot be read")
        for snapshot in plan.drop
        if snapshot not in heads
    ]
    lines = [table(("id", "time", "", "because"), rows)] if rows else ["There are no snapshots."]
    usage = plan.usage
    lines += [
        "",
        f"Keeps {number(len(plan.decisions) - _dropped(plan), 'snapshot')}, "
        f"drops {number(len(plan.drop), 'snapshot')}.",
        f"  deletes  {number(len(plan.deletable), 'object')}, {size(plan.deletable_bytes)}",
        f"  waiting  {number(len(plan.doomed) - len(plan.deletable), 'object')}, "
        f"{size(plan.doomed_bytes - plan.deletable_bytes)}, until their grace is over",
        f"  repacks  {number(len(plan.repack), 'pack')} of "
        f"{size(sum(item.size for item in plan.repack))}, "
        f"{size(sum(item.live for item in plan.repack))} of which are needed",
    ]
    if usage.users_losing:
        lines += [
            f"{number(usage.users_losing, 'user')} can go back to "
            f"{number(usage.versions_lost, 'version')} fewer; "
            f"{number(usage.versions_left, 'version')} remain"
            + (f"; of {number(usage.users_gone, 'user')} nothing remains" * bool(usage.users_gone)),
            "",
            table(
                ("user", "", "versions lost", "left"),
                [(item.user, "", f"{item.lost:,}", f"{item.left:,}") for item in plan.losses],
            ),
        ]
    return "\n".join(lines)


def _dropped(plan: PrunePlan) -> int:
    return sum(not item.keep for item in plan.decisions)


def _summary(stats: PruneStats) -> str:
    lines = [
        f"Pruned in {stats.elapsed_s:.1f} s: {number(stats.kept, 'snapshot')} kept, "
        f"{number(stats.dropped, 'snapshot')} dropped",
        f"  deleted  {number(stats.deleted_objects, 'object')}, {size(stats.deleted_bytes)}",
    ]
    if stats.waiting_objects:
        lines.append(
            f"  waiting  {number(stats.waiting_objects, 'object')}, {size(stats.waiting_bytes)}: a "
            "prune after the grace deletes them"
        )
    if stats.repacked_packs:
        lines.append(
            f"  repacked {number(stats.repacked_packs, 'pack')}, "
            f"{size(stats.rewritten_bytes)} written"
        )
    return "\n".join(lines)


def _document(
    plan: PrunePlan, heads: dict[bytes, Snapshot], stats: PruneStats | None, *, dry_run: bool
) -> dict[str, Any]:
    usage = plan.usage
    return {
        "snapshots": [
            {
                "id": item.candidate.id.hex(),
                "time": iso(item.candidate.time_ms),
                "keep": item.keep,
                "reasons": item.reasons,
            }
            for item in plan.decisions
        ],
        "unreadable_dropped": [item.hex() for item in plan.drop if item not in heads],
        "kept": len(plan.decisions) - _dropped(plan),
        "dropped": len(plan.drop),
        "deleted_objects": stats.deleted_objects if stats else len(plan.deletable),
        "deleted_bytes": stats.deleted_bytes if stats else plan.deletable_bytes,
        "waiting_objects": stats.waiting_objects
        if stats
        else len(plan.doomed) - len(plan.deletable),
        "waiting_bytes": stats.waiting_bytes if stats else plan.doomed_bytes - plan.deletable_bytes,
        "repacked_packs": stats.repacked_packs if stats else len(plan.repack),
        "rewritten_bytes": stats.rewritten_bytes
        if stats
        else sum(item.live for item in plan.repack),
        "users_losing": usage.users_losing,
        "users_gone": usage.users_gone,
        "versions_lost": usage.versions_lost,
        "versions_left": usage.versions_left,
        "users": [
            {"user": item.user, "versions_lost": item.lost, "versions_left": item.left}
            for item in plan.losses
        ],
        "elapsed_s": round(stats.elapsed_s, 3) if stats else None,
        "dry_run": dry_run,
    }
