"""``compress --archive`` and ``decompress --archive``: shows the plan, asks, carries it out."""

from __future__ import annotations

import os
import time

from shenyu_data.cli.common import Call
from shenyu_data.cli.confirm import confirm
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, number, size, table
from shenyu_data.cli.signals import signals_interrupt
from shenyu_data.cli.terminal import say
from shenyu_data.operations.archive import ArchivePlan, archive, plan_archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.places import state_folder, state_of

_SHOWN = 20


def run_archive(
    call: Call,
    age_s: int | None,
    level: int,
    user: str | None,
    history: str | None,
    *,
    dry_run: bool,
) -> None:
    """Move chats older than ``age_s`` into archives or, without it, all archived ones back."""
    now_ms = time.time_ns() // 1_000_000
    options = ArchiveOptions(
        before_ms=now_ms - age_s * 1000 if age_s is not None else None,
        now_ms=now_ms,
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
        level=level,
        state=state_of(state_folder(os.environ), call.data),
        jobs=call.jobs,
    )
    way = "into archives" if age_s is not None else "out of archives"
    document: dict[str, object] = {"data": call.data, "dry_run": dry_run, "archive": True}
    if dry_run or not call.yes:
        plan = plan_archive(call.data, options)
        if dry_run or not plan.chats:
            for finding in plan.left:
                call.monitor.report(finding)
            document |= {**fields(plan), "items": [fields(item) for item in plan.items]}
            document["left"] = len(plan.left)
            call.finish(document, _describe(plan, way), findings=bool(plan.left))
            return
        if not call.as_json and not call.quiet:
            say(_describe(plan, way))
        confirm(call, f"Move {number(plan.chats, 'chat')}?")
    repository = open_for(call)
    with signals_interrupt():
        stats = archive(repository, call.data, options, call.monitor)
    safety = stats.safety.hex() if stats.safety is not None else None
    document |= {**fields(stats), "safety": safety, "elapsed_s": round(stats.elapsed_s, 3)}
    text = (
        f"Moved {number(stats.chats, 'chat')} of {number(stats.histories, 'history', 'histories')} "
        f"{way}, {size(stats.size_bytes)}, in {stats.elapsed_s:.1f} s"
    )
    findings = bool(stats.refused + stats.busy) or bool(call.monitor.codes)
    call.finish(document, text, findings=findings, failed=bool(stats.failed))


def _describe(plan: ArchivePlan, way: str) -> str:
    lines = [
        f"Would move {number(plan.chats, 'chat')} of "
        f"{number(plan.histories, 'history', 'histories')} {way}, {size(plan.size_bytes)}."
    ]
    if plan.items:
        rows = [
            (item.path, f"{item.chats:,}", size(item.size_bytes)) for item in plan.items[:_SHOWN]
        ]
        lines.append(table(("history", "chats", "size"), rows))
    if plan.histories > _SHOWN:
        lines.append(f"… and {plan.histories - _SHOWN:,} more: --json lists the first 1,000")
    return "\n".join(lines)
