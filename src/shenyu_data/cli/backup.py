"""``shenyu-data backup``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from shenyu_data.cli.audited import anchored
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.noted import note_repository
from shenyu_data.cli.open import open_for
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, iso, number, size

if TYPE_CHECKING:
    from shenyu_data.operations.backup import BackupStats


def check_tag(ctx: click.Context, param: click.Parameter, tag: str | None) -> str | None:
    """Return the tag. Raise BadParameter if it cannot be printed."""
    if tag is not None and not (tag.strip() and tag.isprintable()):
        raise click.BadParameter("it must be a word that can be printed", ctx, param)
    return tag


@click.command("backup")
@click.option("--full", is_flag=True, help="Read every file anew and trust no clock.")
@click.option("--tag", metavar="T", callback=check_tag, help="A word to know the snapshot by.")
@common
@recorded
@anchored
def backup_command(call: Call, full: bool, tag: str | None) -> None:
    """Take a snapshot of the data directory.

    Exits with 1 if a document could not be read whole: the snapshot is then degraded, and says so.
    And if a tripwire notices what is no ordinary use, which `alerts list` tells.
    """
    data = call.data
    repository = open_for(call, "shenyu_data.operations.backup", bulk=True)
    from shenyu_data.operations.backup import BackupOptions, backup
    from shenyu_data.operations.places import state_folder, state_of
    from shenyu_data.operations.tripwires import Watch

    state = state_of(state_folder(os.environ), data)
    watch = Watch(state=state, limits=call.settings.tripwires)
    options = BackupOptions(full=full, tag=tag, jobs=call.jobs, watch=watch)
    stats = backup(data, repository, options, call.monitor)
    note_repository(call, repository, always=bool(stats.alarms))
    call.finish(
        {
            "id": stats.snapshot.hex(),
            "time": iso(stats.time_ms),
            "kind": stats.kind,
            "parent": stats.parent.hex() if stats.parent is not None else None,
            "tag": stats.tag,
            "degraded": stats.degraded,
            "totals": fields(stats.totals),
            "changes": fields(stats.changes),
            "read_documents": stats.read_documents,
            "read_bytes": stats.read_bytes,
            "stored_bytes": stats.stored_bytes,
            "elapsed_s": round(stats.elapsed_s, 3),
            "tripwires": [
                {
                    "rule": trip.rule,
                    "level": trip.level,
                    "count": trip.count,
                    "limit": trip.limit,
                    "total": trip.total,
                }
                for trip in stats.trips
            ],
            "pinned": [item.hex() for item in stats.pinned],
            "alarms": [item.hex() for item in stats.alarms],
        },
        _summary(stats),
        findings=stats.degraded or bool(stats.alarms) or bool(call.monitor.count("error")),
    )


def _summary(stats: BackupStats) -> str:
    totals, before, changes = stats.totals, stats.before, stats.changes
    lines = [
        f"Snapshot {stats.snapshot.hex()[:8]} ({stats.kind}"
        f"{', tag ' + stats.tag if stats.tag else ''}"
        f"{', DEGRADED' if stats.degraded else ''}) in {stats.elapsed_s:.1f} s",
        f"  holds    {number(totals.users, 'user')}, "
        f"{number(totals.histories, 'history', 'histories')}, {number(totals.chats, 'chat')}, "
        f"{number(totals.messages, 'message')}; {number(totals.documents, 'document')}, "
        f"{size(totals.document_bytes)}",
        f"  changes  {changes.new:,} new, {changes.changed:,} changed, {changes.gone:,} gone "
        f"documents; {_signed(totals.chats - before.chats, 'chat')}, "
        f"{_signed(totals.messages - before.messages, 'message')}",
        f"  read     {number(stats.read_documents, 'document')}, {size(stats.read_bytes)}; "
        f"stored {size(stats.stored_bytes)}",
    ]
    if totals.torn or totals.unreadable:
        lines.append(
            f"  degraded {number(totals.torn, 'document')} torn, {totals.unreadable:,} unreadable; "
            "their last good versions are kept"
        )
    if stats.pinned:
        from shenyu_data.cli.alerts import command_lines
        from shenyu_data.operations.alarms import commands

        stays = "nothing is pruned" if any(trip.blocks for trip in stats.trips) else "is kept"
        lines.append(
            f"  ALERT    this is no ordinary use; snapshot {stats.pinned[0].hex()[:8]} holds what "
            f"was there before, and {stays}"
        )
        lines += command_lines(commands(stats.snapshot, stats.trips, stats.pinned))
    elif stats.alarms:
        lines.append("  ALERT    see `shenyu-data alerts list`")
    return "\n".join(lines)


def _signed(count: int, one: str) -> str:
    return f"{'+' if count >= 0 else '-'}{number(abs(count), one)}"
