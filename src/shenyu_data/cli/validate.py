"""``shenyu-data validate``."""

from __future__ import annotations

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.render import fields, number, size
from shenyu_data.operations.validate import ValidateOptions, ValidateStats, locate, validate


@click.command("validate")
@click.argument("path", required=False)
@click.option("--all", "everything", is_flag=True, help="Also report what is merely worth knowing.")
@common
def validate_command(call: Call, path: str | None, everything: bool) -> None:
    """Check the documents of the data directory, or only what lies at PATH.

    PATH is a data directory, or a file or folder inside the one that is set. Exits with 1 if there
    are errors or warnings. No key is needed, and nothing is written.
    """
    data, inside = (call.data, None) if path is None else locate(path, call.settings.data)
    options = ValidateOptions(jobs=call.jobs, all=everything, path=inside)
    if everything:
        call.monitor.show_all()
    stats = validate(data, options, call.monitor)
    document = fields(stats)
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    call.finish(
        {"data": data, "path": inside, **document},
        _summary(stats),
        findings=bool(stats.errors or stats.warnings),
    )


def _summary(stats: ValidateStats) -> str:
    verdict = "No errors" if not stats.errors else f"{number(stats.errors, 'error')}"
    return (
        f"{verdict}, {number(stats.warnings, 'warning')}, "
        f"{stats.infos:,} worth knowing{' (--all shows them)' if stats.infos else ''}: "
        f"checked {number(stats.documents, 'document')}, {size(stats.document_bytes)}: "
        f"{number(stats.users, 'user')}, {number(stats.histories, 'history', 'histories')}, "
        f"{number(stats.chats, 'chat')}, {number(stats.messages, 'message')} "
        f"in {stats.elapsed_s:.1f} s"
    )
