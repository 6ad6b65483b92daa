"""``shenyu-data import``."""

from __future__ import annotations

import io
import os
import sys
from typing import BinaryIO

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.import_archive import size_in_bytes
from shenyu_data.cli.offline import offline_option, quiet_s
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, number, size, table
from shenyu_data.cli.signals import signals_interrupt
from shenyu_data.cli.terminal import say
from shenyu_data.exchange.streams import STANDARD
from shenyu_data.model.findings import printable
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_edits import Policy
from shenyu_data.operations.import_items import Chosen, InputFormat
from shenyu_data.operations.import_plan import ImportOptions, ImportPlan, open_export, plan_import
from shenyu_data.operations.places import state_folder, state_of

_SHOWN = 20


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "native", "guide"]),
    default="auto",
    metavar="F",
    help="What FILE is: auto (the default), native or guide.",
)
@click.option(
    "--policy",
    type=click.Choice(["skip", "overwrite", "newer", "merge", "rename"]),
    default="skip",
    metavar="P",
    help="What becomes of documents that are there and differ: skip (the default), overwrite, "
    "newer, merge, rename.",
)
@click.option("--exact", is_flag=True, help="Owners, set-id bits and all links as in FILE.")
@click.option("--erased-too", is_flag=True, help="Bring back users who were erased.")
@click.option("--damaged-too", is_flag=True, help="Import what can be read of a damaged FILE.")
@click.option(
    "--unsaved-too", is_flag=True, help="Replace documents though no snapshot holds them."
)
@click.option(
    "--max-size", callback=size_in_bytes, metavar="SIZE", help="How much FILE may unpack to: 20GB."
)
@offline_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@audited
def import_command(
    call: Call,
    file: str,
    form: InputFormat,
    policy: Policy,
    exact: bool,
    erased_too: bool,
    damaged_too: bool,
    unsaved_too: bool,
    max_size: int | None,
    offline: bool,
    dry_run: bool,
) -> None:
    """Bring an export into the data directory, beside what is there.

    FILE may be - for standard input. Exits with 1 if something of it was left out, and with 3 if a
    document could not be written, or FILE is damaged.
    """
    options = ImportOptions(
        form=form,
        policy=policy,
        exact=exact,
        erased_too=erased_too,
        damaged_too=damaged_too,
        unsaved_too=unsaved_too,
        max_bytes=max_size,
        state=state_of(state_folder(os.environ), call.data),
        quiet_s=quiet_s(offline),
        jobs=call.jobs,
    )
    standard = file == STANDARD
    repository = open_for(call, bulk=True) if call.settings.repository is not None else None

    def source() -> BinaryIO:
        return io.BufferedReader(_Unclosed(sys.stdin.buffer)) if standard else open_export(file)

    plan = None
    if not standard or dry_run:
        plan = plan_import(source, call.data, repository, options, call.monitor)
    if plan is not None and dry_run:
        _finish_plan(call, plan, file, _describe(plan, f"Would import {file}", call.data))
        return
    if plan is not None and not (call.yes or call.as_json or call.quiet):
        say(_describe(plan, f"Import {file}", call.data))
    confirm(call, "Go ahead?")
    with signals_interrupt():
        stats = import_data(
            source, call.data, repository, options, call.monitor, plan=plan, again=not standard
        )
    _finish(call, stats, file, repository is not None)


class _Unclosed(io.RawIOBase):
    """Standard input, which stays open when its reader is closed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _finish_plan(call: Call, plan: ImportPlan, file: str, text: str) -> None:
    document = fields(plan)
    del document["stretches"]  # of no interest to anybody but the import
    document["documents"] = [fields(item) for item in document.pop("items")]
    document["names"] = [fields(item) for item in plan.names]
    document["documents_count"] = plan.documents
    call.finish(
        {"file": printable(file), **document, "dry_run": True},
        text,
        findings=bool(plan.counts.get("conflict") or plan.refused or plan.damaged)
        or call.monitor.count("error") > 0,
    )


def _finish(call: Call, stats: ImportStats, file: str, saves: bool) -> None:
    document = fields(stats)
    safety = stats.safety.hex() if stats.safety is not None else None
    del document["safety"]
    document["names"] = [fields(item) for item in stats.names]
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    text = f"Imported {file} in {stats.elapsed_s:.1f} s: {number(stats.created, 'new document')}"
    for count, word in (
        (stats.replaced, "replaced or merged"),
        (stats.renamed, "put beside what is there"),
        (stats.skipped, "left as they are"),
        (stats.unchanged, "there already"),
        (stats.refused, "left out for a conflict"),
        (stats.busy, "too busy"),
        (stats.failed, "not written"),
    ):
        if count:
            text += f", {count:,} {word}"
    text += _names(stats.names)
    if stats.erased:
        text += f"\n  {number(stats.erased, 'user')} were erased and stay so"
    if safety is not None:
        text += f"\n  before   saved in snapshot {safety[:8]}"
    if saves and stats.created + stats.replaced + stats.renamed:
        text += "\n  `shenyu-data restore --undo` takes this back"
    call.finish(
        {"file": printable(file), **document, "safety_snapshot": safety, "dry_run": False},
        text,
        findings=bool(stats.refused or stats.damaged) or call.monitor.count("error") > 0,
        failed=bool(stats.failed or stats.busy),
    )


def _describe(plan: ImportPlan, head: str, data: str) -> str:
    where = printable(data) + (" (empty)" if plan.fresh else "")
    lines = [f"{head} into {where}:"]
    rows = [
        (
            f"CONFLICT {item.conflict}" if item.conflict else item.action,
            item.path,
            size(item.size_bytes),
        )
        for item in plan.items[:_SHOWN]
    ]
    if rows:
        lines += ["  " + line for line in table(("", "document", "size"), rows).split("\n")]
    told = sum(count for action, count in plan.counts.items() if action not in _NOT_LISTED)
    if told > len(rows):
        lines.append(f"  ... and {told - len(rows):,} more")
    words = {
        "create": "new",
        "replace": "replaced",
        "merge": "merged",
        "rename": "put beside what is there",
        "skip": "left as they are",
        "unchanged": "there already",
        "conflict": "in conflict",
    }
    counted = [f"{plan.counts[key]:,} {word}" for key, word in words.items() if key in plan.counts]
    lines.append(
        f"  {number(plan.documents, 'document')}, {size(plan.document_bytes)}: "
        f"{', '.join(counted) or 'nothing to do'}"
    )
    if plan.names:
        lines.append(_names(plan.names).lstrip("\n"))
    for count, word in (
        (plan.erased, "of users who were erased are left out"),
        (plan.refused, "unsafe entries are left out"),
        (plan.damaged, "damaged places"),
    ):
        if count:
            lines.append(f"  {count:,} {word}")
    return "\n".join(lines)


def _names(names: list[Chosen]) -> str:
    """Return the lines that say under which names histories come."""
    return "".join(
        f"\n  {number(item.histories, 'history', 'histories')} as {item.name} ({item.why})"
        for item in names
    )


_NOT_LISTED = frozenset(("create", "unchanged"))
