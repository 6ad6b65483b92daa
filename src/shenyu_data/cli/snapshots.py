"""``shenyu-data snapshots``."""

from __future__ import annotations

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import kind_of_snapshot, local, size, snapshot_json, table
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding


@click.command("snapshots")
@common
def snapshots_command(call: Call) -> None:
    """List the snapshots, oldest first."""
    failures: list[RepositoryError] = []
    snapshots = open_for(call).snapshots(failures)
    for error in failures:
        call.monitor.report(
            Finding(
                code=error.code, severity="error", path="", message=error.message, hint=error.hint
            )
        )
    rows = [
        (
            item.id.hex()[:8],
            local(item.time_ms),
            kind_of_snapshot(item),
            f"{item.totals.users:,}",
            f"{item.totals.chats:,}",
            f"{item.totals.messages:,}",
            size(item.totals.document_bytes),
            size(item.stored_bytes),
            item.tag or "",
        )
        for item in snapshots
    ]
    header = ("id", "time", "kind", "users", "chats", "messages", "holds", "stored", "tag")
    text = table(header, rows) if rows else "No snapshots yet: `shenyu-data backup` takes one."
    call.finish(
        {"snapshots": [snapshot_json(item) for item in snapshots]}, text, findings=bool(failures)
    )
