"""``shenyu-data validate``."""

from __future__ import annotations

import os

import click

from shenyu_data import __version__
from shenyu_data.cli.common import Call, common, print_json
from shenyu_data.cli.open import open_for
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, number, size
from shenyu_data.model.errors import EXIT_DONE, EXIT_FINDINGS, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.shrunken import report_shrunken, scope_of
from shenyu_data.operations.validate import ValidateOptions, ValidateStats, locate, validate


@click.command("validate")
@click.argument("path", required=False)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Read everything, and report everything, what is merely worth knowing too.",
)
@click.option(
    "--against-snapshots",
    "compare",
    is_flag=True,
    help="Also look for histories that lost chats since, or before, the newest snapshot.",
)
@click.option(
    "--fail-on",
    metavar="LEVEL",
    type=click.Choice(["error", "warning", "info"]),
    default="warning",
    help="From which severity on to exit with 1: error, warning (default), info.",
)
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    type=click.Choice(["text", "json", "sarif"]),
    help="Print text (default), json (as --json), or sarif (2.1.0).",
)
@common
@recorded
def validate_command(
    call: Call, path: str | None, everything: bool, compare: bool, fail_on: str, form: str | None
) -> None:
    """Check the documents of the data directory, or only what lies at PATH.

    PATH is a data directory, or a file or folder inside the one that is set. Exits with 1 if there
    are errors or warnings. No key is needed, but with --against-snapshots, and the data directory
    is not written to. If there is a catalog (`users list` makes it), only documents that changed
    are read, and it is kept true.
    """
    if call.as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} contradict", hint="Give one of them.")
    if form in ("json", "sarif"):
        call.print_as_json()
    data, inside = (call.data, None) if path is None else locate(path, call.settings.data)
    everything = everything or fail_on == "info"  # what makes it fail is to be seen
    state = state_of(state_folder(os.environ), data)
    options = ValidateOptions(jobs=call.jobs, all=everything, path=inside, state=state)
    if everything:
        call.monitor.show_all()
    repository = open_for(call) if compare else None
    stats = validate(data, options, call.monitor)
    if repository is not None:
        scope = scope_of(inside)
        losses = report_shrunken(repository, data, scope, state, call.monitor, infos=everything)
        stats = stats.plus(warnings=losses.shrunken + losses.gone, infos=losses.acknowledged)
    failing = _failing(stats, fail_on)
    if form == "sarif":
        _finish_sarif(call, data, failing=failing)
        return
    document = fields(stats)
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    call.finish({"data": data, "path": inside, **document}, _summary(stats), findings=failing)


def _failing(stats: ValidateStats, fail_on: str) -> bool:
    """Whether there is a finding of that severity or a worse one."""
    counts = {"error": stats.errors, "warning": stats.warnings, "info": stats.infos}
    worst_first = list(counts)
    return any(counts[name] for name in worst_first[: worst_first.index(fail_on) + 1])


def _finish_sarif(call: Call, data: str, *, failing: bool) -> None:
    from shenyu_data.model.sarif import sarif_log  # late: few need it

    status = EXIT_FINDINGS if failing else EXIT_DONE
    folder = printable(os.path.abspath(data))
    found = sarif_log(call.monitor.findings, folder=folder, version=__version__, exit_status=status)
    print_json(found.log, found.results)
    if failing:
        raise click.exceptions.Exit(status)


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
