"""``shenyu-data import-archive``."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import click

from shenyu_data.cli.backup import check_tag
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, size, table
from shenyu_data.model.findings import printable
from shenyu_data.model.sizes import parse_size
from shenyu_data.operations.import_archive import (
    ArchivePlan,
    ArchiveStats,
    ImportArchiveOptions,
    Status,
    import_archives,
    plan_import_archives,
)


def _time_ms(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter("write 2025-02-10 or 2025-02-10T03:00", ctx, param) from None


def size_in_bytes(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Given a size as people type it, return it in bytes. Raise UsageError."""
    return parse_size(text) if text is not None else None


@click.command("import-archive")
@click.argument("file", nargs=-1, required=True, metavar="FILE...")
@click.option("--date", callback=_time_ms, metavar="DATE", help="When it was made.")
@click.option(
    "--tag", metavar="T", callback=check_tag, help="Instead of the archive's name as the tag."
)
@click.option("--inside", metavar="PATH", help="Where in the archive the data directory is.")
@click.option(
    "--damaged-too",
    is_flag=True,
    help="Import what can be read of a damaged or unsafe archive, as a degraded snapshot.",
)
@click.option("--erased-too", is_flag=True, help="Bring back users who were erased since.")
@click.option(
    "--max-size",
    callback=size_in_bytes,
    metavar="SIZE",
    help="How much one archive may unpack to: 20GB.",
)
@click.option("--temp", metavar="DIR", help="The folder to unpack in. Default: the system's.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
def import_archive_command(
    call: Call,
    file: tuple[str, ...],
    date: int | None,
    tag: str | None,
    inside: str | None,
    damaged_too: bool,
    erased_too: bool,
    max_size: int | None,
    temp: str | None,
    dry_run: bool,
) -> None:
    """Make snapshots of archives that tar made of a data directory, with their own dates.

    An archive that was imported before is passed over. Exits with 3 if one was refused: it is
    damaged, unsafe, or none; and with 1 if a snapshot is degraded.
    """
    options = ImportArchiveOptions(
        time_ms=date,
        tag=tag,
        inside=os.fsencode(inside) if inside is not None else None,
        damaged_too=damaged_too,
        erased_too=erased_too,
        max_bytes=max_size,
        temporary=temp,
        jobs=call.jobs,
    )
    repository = open_for(call, bulk=not dry_run)
    plans = plan_import_archives(file, repository, options, call.monitor)
    if dry_run:
        results = [ArchiveStats(plan=plan, status=_planned(plan)) for plan in plans]
    else:
        results = list(import_archives(plans, repository, options, call.monitor))
    call.finish(
        {"archives": [_json(result) for result in results], "dry_run": dry_run},
        table(("archive", "time", "", "snapshot", "documents", "holds"), list(map(_row, results))),
        findings=any(item.backup and item.backup.degraded for item in results),
        failed=any(item.status == "refused" for item in results),
    )


def _planned(plan: ArchivePlan) -> Status:
    if plan.refused is not None:
        return "refused"
    return "known" if plan.snapshot is not None else "planned"


def _row(result: ArchiveStats) -> tuple[str, ...]:
    plan, stats = result.plan, result.backup
    snapshot = stats.snapshot if stats is not None else plan.snapshot
    return (
        plan.name,
        local(plan.time_ms) if plan.refused is None else "-",
        result.status + (" DEGRADED" if stats is not None and stats.degraded else ""),
        snapshot.hex()[:8] if snapshot is not None else "-",
        f"{stats.totals.documents:,}" if stats is not None else "-",
        size(stats.totals.document_bytes) if stats is not None else "-",
    )


def _json(result: ArchiveStats) -> dict[str, Any]:
    plan, stats = result.plan, result.backup
    snapshot = stats.snapshot if stats is not None else plan.snapshot
    return {
        "file": printable(plan.path),
        "name": plan.name,
        "status": result.status,
        "snapshot": snapshot.hex() if snapshot is not None else None,
        "time": iso(plan.time_ms) if plan.refused is None else None,
        "tag": plan.tag,
        "archive_bytes": plan.size_bytes,
        "blake3": plan.digest.hex() or None,
        "degraded": stats.degraded if stats is not None else None,
        "documents": stats.totals.documents if stats is not None else None,
        "document_bytes": stats.totals.document_bytes if stats is not None else None,
        "stored_bytes": stats.stored_bytes if stats is not None else None,
        "left_out": result.left_out,
    }
