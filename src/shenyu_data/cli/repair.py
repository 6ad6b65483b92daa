"""``shenyu-data repair``: shows the plan, asks, does it; lists and puts back what is kept."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, number, size, table
from shenyu_data.cli.terminal import say
from shenyu_data.model.errors import UsageError
from shenyu_data.operations.left_behind import report_left_behind
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.repair import (
    RepairItem,
    RepairOptions,
    RepairStats,
    plan_repair,
    repair,
)
from shenyu_data.operations.repair_put_back import put_back
from shenyu_data.operations.repair_values import GoneItem
from shenyu_data.operations.validate import locate
from shenyu_data.repository.repository import Repository

_SHOWN = 20
_SHOWN_GONE = 10


@click.command("repair")
@click.argument("path", required=False)
@click.option("--user", metavar="U", help="Only this user's documents.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option(
    "--normalise",
    is_flag=True,
    help="Take byte order marks and NUL bytes off documents that are whole otherwise.",
)
@click.option(
    "--every-chat",
    is_flag=True,
    help="Of PATH or --user, bring back every chat that a snapshot holds, deleted ones too.",
)
@click.option(
    "--gone",
    is_flag=True,
    help="Also bring back documents that are there no more and that snapshots hold.",
)
@click.option("--kept", is_flag=True, help="List the documents that repairs took away or replaced.")
@click.option("--put-back", "back", metavar="ID", help="Put a document that is kept back.")
@common
@yes_option
@audited
def repair_command(
    call: Call,
    path: str | None,
    user: str | None,
    dry_run: bool,
    normalise: bool,
    every_chat: bool,
    gone: bool,
    kept: bool,
    back: str | None,
) -> None:
    """Make documents that are torn, emptied or overwritten whole again; or those at PATH.

    Chats that are whole in the document are brought together with what snapshots hold, and so are
    histories that lost chats by accident. Chats that somebody deleted stay deleted. Documents that
    are gone are named, and come back with --gone. What holds nothing any more is taken away and
    kept. Without a repository, what can be had from the
    documents alone is. Exits with 1 if something could not be had back whole.
    """
    if kept + (back is not None) + (path is not None or user is not None) > 1:
        raise UsageError("PATH or --user, --kept and --put-back contradict", hint="Give one.")
    if every_chat and path is None and user is None:
        raise UsageError("--every-chat is for a PATH or a --user", hint="Say whose chats.")
    data, inside = (call.data, None) if path is None else locate(path, call.settings.data)
    other = call.settings.data if path is not None else None
    if other is not None and not _is_same(data, other):
        raise UsageError(
            f"{path} is not in the data directory {other}",
            hint="Name the data directory with --data, and the repository that belongs to it.",
        )
    options = RepairOptions(
        path=inside,
        user=os.fsencode(user) if user is not None else None,
        normalise=normalise,
        every_chat=every_chat,
        gone=gone,
        state=state_of(state_folder(os.environ), data),
        jobs=call.jobs,
    )
    if kept:
        _list(call, data, options)
    elif back is not None:
        _put_back(call, data, options, back, dry_run=dry_run)
    else:
        _repair(call, data, options, dry_run=dry_run)


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def repository_of(call: Call) -> Repository | None:
    """Open the repository; None if none is set."""
    return None if call.settings.repository is None else open_for(call)


def _repair(call: Call, data: str, options: RepairOptions, *, dry_run: bool) -> None:
    repository = repository_of(call)
    report_left_behind(repository, options.state, call.monitor)
    if dry_run or not call.yes:
        plan = plan_repair(repository, data, options, call.monitor)
        text = describe(plan.items, f"Would mend in {data}:", plan.left)
        text += describe_gone(plan.gone, plan.gone_documents)
        if dry_run or not plan.changes:
            document = {
                **_head(data, options, dry_run=dry_run),
                "documents": [fields(item) for item in plan.items],
                "changes": plan.changes,
                "left": plan.left,
                "damaged": plan.damaged,
                "gone": plan.gone,
                "gone_documents": [fields(item) for item in plan.gone_documents],
            }
            found = bool(plan.left or plan.gone)
            call.finish(document, text, findings=found, damaged=bool(plan.damaged))
            return
        if not call.as_json and not call.quiet:
            say(text)
        confirm(call, "Go ahead?")
    stats = repair(repository, data, options, call.monitor)
    document = {**_head(data, options, dry_run=False), **stats_json(stats)}
    call.finish(
        document,
        summary(stats, f"Mended in {data}:"),
        findings=bool(stats.left or stats.refused or stats.gone)
        or call.monitor.count("error", "warning") > 0,
        failed=bool(stats.failed or stats.busy),
        damaged=bool(stats.damaged),
    )


def _head(data: str, options: RepairOptions, *, dry_run: bool) -> dict[str, Any]:
    user = os.fsdecode(options.user) if options.user is not None else None
    return {"data": data, "path": options.path, "user": user, "dry_run": dry_run}


def stats_json(stats: RepairStats) -> dict[str, Any]:
    """Return what a repair did as ``--json`` shows it."""
    return {
        "safety_snapshot": stats.safety.hex() if stats.safety is not None else None,
        "documents": [fields(item) for item in stats.items],
        "changed": stats.changed,
        "removed": stats.removed,
        "unchanged": stats.unchanged,
        "left": stats.left,
        "refused": stats.refused,
        "busy": stats.busy,
        "failed": stats.failed,
        "damaged": stats.damaged,
        "gone": stats.gone,
        "gone_documents": [fields(item) for item in stats.gone_documents],
        "elapsed_s": round(stats.elapsed_s, 3),
    }


def summary(stats: RepairStats, head: str) -> str:
    """Return what a repair did as a person reads it."""
    text = describe(stats.items, head, stats.left)
    text += f"\n  {number(stats.changed, 'document')} mended in {stats.elapsed_s:.1f} s"
    for count, word in (
        (stats.removed, "taken away"),
        (stats.refused, "left alone for a conflict"),
        (stats.busy, "too busy"),
        (stats.failed, "not written"),
        (stats.damaged, "damaged in the repository"),
    ):
        if count:
            text += f", {count:,} {word}"
    if stats.safety is not None:
        text += f"\n  before   saved in snapshot {stats.safety.hex()[:8]}"
        if stats.changed + stats.removed:
            text += "; `shenyu-data restore --undo` takes this back"
    elif stats.changed + stats.removed:
        text += "\n  before   kept: `shenyu-data repair --kept` lists it"
    return text + describe_gone(stats.gone, stats.gone_documents)


def describe_gone(count: int, first: list[GoneItem]) -> str:
    """Return what to say of documents that are gone, below what a repair does; nothing of none."""
    if not count:
        return ""
    who = "1 document is" if count == 1 else f"{count:,} documents are"
    lines = [f"\n{who} gone that snapshots hold, and nobody can tell whether that was meant:"]
    lines += [f"  {item.path} (snapshot {item.snapshot[:8]})" for item in first[:_SHOWN_GONE]]
    if count > _SHOWN_GONE:
        lines.append(f"  … and {count - _SHOWN_GONE:,} more: --json lists them")
    lines.append("`shenyu-data repair --gone` brings back what is gone, --user only a user's;")
    lines.append("`shenyu-data findings ack USER --reason WHY` says that it was meant.")
    return "\n".join(lines)


def describe(items: list[RepairItem], head: str, left: int) -> str:
    """Return what a repair does or would do, under a head, as people read it."""
    if not items:
        return "Nothing to mend."
    rows = [
        (item.action if item.action != "none" else "LEFT", item.path, item.code, _chats(item))
        for item in items[:_SHOWN]
    ]
    lines = [head, *("  " + line for line in table(("", "document", "why", ""), rows).split("\n"))]
    if len(items) > _SHOWN:
        lines.append(f"  … and {len(items) - _SHOWN:,} more: --json lists them")
    if left:
        lines.append(f"  {number(left, 'document')} nothing can be done about")
    return "\n".join(lines)


def _chats(item: RepairItem) -> str:
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (item.salvaged, "from the document"),
            (item.partial, "cut off"),
            (item.restored, f"from {(item.snapshot or '')[:8]}"),
        )
        if count
    ]
    return ", ".join(parts)


def _list(call: Call, data: str, options: RepairOptions) -> None:
    found = Quarantine(options.state)
    kept = found.list()
    if not kept:
        report_left_behind(None, options.state, call.monitor)
    rows = [(one.id, one.path, one.time, one.code, size(one.size_bytes)) for one in kept]
    text = table(("id", "document", "kept", "why", "size"), rows) if kept else "Nothing is kept."
    document = {
        "data": data,
        "folder": found.folder,
        "documents": [fields(one) for one in kept],
    }
    call.finish(document, text)


def _put_back(call: Call, data: str, options: RepairOptions, name: str, *, dry_run: bool) -> None:
    kept, _ = Quarantine(options.state).get(name)
    if dry_run:
        call.finish({"data": data, "dry_run": True, **fields(kept)}, f"Would put back {kept.path}")
        return
    confirm(call, f"Put {kept.path} back as it was at {kept.time}?")
    stats = put_back(repository_of(call), data, name, options, call.monitor)
    call.finish(
        {"data": data, "dry_run": False, **stats_json(stats)},
        f"Put back {kept.path}" if stats.changed else f"{kept.path} was not changed",
        findings=bool(stats.refused),
        failed=bool(stats.failed or stats.busy),
    )
