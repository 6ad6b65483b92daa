"""``restore --in-place`` and ``restore --undo``: shows the plan, asks, carries it out."""

from __future__ import annotations

import os
from typing import Any

from shenyu_data.cli.common import Call
from shenyu_data.cli.confirm import confirm
from shenyu_data.cli.offline import quiet_s
from shenyu_data.cli.render import fields, number, size, table
from shenyu_data.cli.terminal import say
from shenyu_data.model.findings import printable
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.restore_live import (
    LiveItem,
    LiveOptions,
    LivePlan,
    LiveStats,
    plan_in_place,
    restore_in_place,
)
from shenyu_data.operations.restore_undo import plan_undo, undo
from shenyu_data.repository.format import Root
from shenyu_data.repository.repository import Repository

_SHOWN = 20


def live_options(
    call: Call,
    *,
    user: str | None,
    history: str | None,
    chat: str | None,
    overwrite: bool,
    last_good: bool,
    offline: bool,
) -> LiveOptions:
    """Return the options of an in-place restore."""
    return LiveOptions(
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
        chat=chat,
        overwrite=overwrite,
        last_good=last_good,
        state=state_of(state_folder(os.environ), call.data),
        quiet_s=quiet_s(offline),
        jobs=call.jobs,
    )


def run_in_place(
    call: Call,
    repository: Repository,
    root: Root,
    options: LiveOptions,
    what: str,
    *,
    dry_run: bool,
) -> None:
    """Plan an in-place restore, ask, and do it."""
    if call.yes and not dry_run:
        plan = None  # nobody is going to look at it
    else:
        plan = plan_in_place(repository, root, call.data, options, call.monitor)
    where = printable(call.data)
    if plan is not None and (dry_run or not plan.changes):
        head = f"Would restore {what} into {where}:"
        _finish_plan(call, plan, options, head, dry_run=dry_run)
        return
    if plan is not None:
        _ask(call, plan, f"Restore {what} into {where}:")
    stats = restore_in_place(repository, root, call.data, options, call.monitor)
    _finish(call, stats, options, f"Restored {what} into {where}", undone=False)


def run_undo(call: Call, repository: Repository, options: LiveOptions, *, dry_run: bool) -> None:
    """Plan an undo, ask, and do it."""
    where = printable(call.data)
    if dry_run:
        plan = plan_undo(repository, call.data, options, call.monitor)
        _finish_plan(call, plan, options, f"Would take back in {where}:", dry_run=True)
        return
    if not call.yes:
        plan = plan_undo(repository, call.data, options, call.monitor)
        _ask(call, plan, f"Take the last operation on {where} back:")
    stats = undo(repository, call.data, options, call.monitor)
    _finish(call, stats, options, f"Took the last operation on {where} back", undone=True)


def _ask(call: Call, plan: LivePlan, head: str) -> None:
    if not call.as_json and not call.quiet:
        say(_describe(plan, head))
    confirm(call, "Go ahead?")


def _finish_plan(
    call: Call, plan: LivePlan, options: LiveOptions, head: str, *, dry_run: bool
) -> None:
    document = {
        "snapshot": plan.snapshot.hex(),
        "in_place": True,
        **_scope(options),
        "documents": [_item_json(item) for item in plan.items],
        "changes": plan.changes,
        "conflicts": plan.conflicts,
        "unchanged": plan.unchanged,
        "dry_run": dry_run,
    }
    call.finish(
        document,
        _describe(plan, head),
        findings=bool(plan.conflicts) or call.monitor.count("error") > 0,
        damaged=bool(plan.damaged),
    )


def _finish(call: Call, stats: LiveStats, options: LiveOptions, done: str, *, undone: bool) -> None:
    safety = stats.safety.hex() if stats.safety is not None else None
    document = {
        "snapshot": stats.snapshot.hex() if stats.snapshot is not None else None,
        "in_place": True,
        "undone": undone,
        **_scope(options),
        "safety_snapshot": safety,
        "changed": stats.changed,
        "removed": stats.removed,
        "unchanged": stats.unchanged,
        "refused": stats.refused,
        "busy": stats.busy,
        "failed": stats.failed,
        "damaged": stats.damaged,
        "elapsed_s": round(stats.elapsed_s, 3),
        "dry_run": False,
    }
    text = f"{done} in {stats.elapsed_s:.1f} s: {number(stats.changed, 'document')} changed"
    for count, word in (
        (stats.removed, "removed"),
        (stats.unchanged, "as it should be already"),
        (stats.refused, "left alone for a conflict"),
        (stats.busy, "too busy"),
        (stats.failed, "not written"),
        (stats.damaged, "damaged"),
    ):
        if count:
            text += f", {count:,} {word}"
    if safety is not None:
        text += f"\n  before   saved in snapshot {safety[:8]}"
        if not undone and stats.changed + stats.removed:
            text += "; `shenyu-data restore --undo` takes this back"
    call.finish(
        document,
        text,
        findings=bool(stats.refused) or call.monitor.count("error") > 0,
        failed=bool(stats.failed or stats.busy),
        damaged=bool(stats.damaged),
    )


def _scope(options: LiveOptions) -> dict[str, Any]:
    return {
        "user": printable(options.user) if options.user is not None else None,
        "history": printable(options.history) if options.history is not None else None,
        "chat": options.chat,
    }


def _item_json(item: LiveItem) -> dict[str, Any]:
    document = fields(item)
    document["before"] = fields(item.before)
    document["after"] = fields(item.after)
    return document


def _describe(plan: LivePlan, head: str) -> str:
    rows = [
        (
            f"CONFLICT {item.conflict}" if item.conflict else item.action,
            item.path,
            _held(item.before.chats, item.before.messages, item.before.size_bytes),
            "->",
            _held(item.after.chats, item.after.messages, item.after.size_bytes),
        )
        for item in plan.items[:_SHOWN]
    ]
    lines = [head]
    if rows:
        lines += [
            "  " + line for line in table(("", "document", "now", "", "then"), rows).split("\n")
        ]
    more = plan.changes + plan.conflicts + plan.unchanged - len(rows)
    if more > 0 and plan.changes + plan.conflicts > len(rows):
        lines.append(f"  ... and {plan.changes + plan.conflicts - len(rows):,} more")
    for item in plan.items[:_SHOWN]:
        if item.message:
            lines.append(f"  {item.path}: {item.message}")
    if any(item.user_deleted for item in plan.items):
        lines.append("  The user's own document is not there; only what was asked for is restored.")
    lines.append(
        f"  {number(plan.changes, 'change')}, {number(plan.conflicts, 'conflict')}, "
        f"{plan.unchanged:,} as it should be already"
    )
    return "\n".join(lines)


def _held(chats: int, messages: int, size_bytes: int) -> str:
    if chats or messages:
        return f"{number(chats, 'chat')}, {number(messages, 'message')}"
    return size(size_bytes)
