"""``shenyu-data cleanup``: shows the plan, asks, carries it out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.cleanup_hold import hold_command
from shenyu_data.cli.cleanup_options import policy_options
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import iso, local, number, size, table
from shenyu_data.cli.terminal import say
from shenyu_data.model.errors import UsageError
from shenyu_data.model.expiry import Policy
from shenyu_data.model.findings import printable
from shenyu_data.operations.cleanup_known import Looked, look_at_all
from shenyu_data.operations.cleanup_values import (
    Amounts,
    CleanupOptions,
    CleanupPlan,
    PlannedChat,
    nothing_expires,
)
from shenyu_data.operations.holds import hold_files, read_holds
from shenyu_data.operations.places import state_folder, state_of

if TYPE_CHECKING:
    from shenyu_data.operations.cleanup import CleanupStats

_SHOWN = 20

_CLOCKS = {
    "message": "messages",
    "timestamp": "the chat's timestamp",
    "id": "the chat's id",
    "mtime": "the file's time",
}


@click.group(
    "cleanup",
    invoke_without_command=True,
    subcommand_metavar="[hold ...]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--user", "users", multiple=True, metavar="U", help="Of this user and nobody else.")
@click.option("--unsaved-too", is_flag=True, help="Also what no verified snapshot holds.")
@click.option(
    "--clock-is-right", is_flag=True, help="Go by the clock whatever snapshots say of the time."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@policy_options
@recorded
@audited
def cleanup_command(
    call: Call,
    policy: Callable[[], Policy],
    users: tuple[str, ...],
    unsaved_too: bool,
    clock_is_right: bool,
    dry_run: bool,
) -> None:
    """Remove expired chats from the live data, beside the running application.

    What expires is said by rules, of the flags or of the table [cleanup] of the configuration. A
    chat's age is told by its own clock. What is held stays, and so does what no verified snapshot
    holds. `shenyu-data restore --undo` takes the last cleanup back.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    rules = policy()
    if not rules.expires:
        raise UsageError(
            "nothing says what expires",
            hint="Give a rule such as --older-than 90d, or set [cleanup] in the configuration.",
        )
    state = state_of(state_folder(os.environ), call.data)
    files = hold_files(state, call.data, call.settings.config_file, os.environ)
    options = CleanupOptions(
        policy=rules,
        holds=read_holds(files),
        hold_files=files,
        users=frozenset(map(os.fsencode, users)) if users else None,
        unsaved_too=unsaved_too,
        every=call.as_json,
        now_ms=time.time_ns() // 1_000_000,
        state=state,
        jobs=call.jobs,
    )
    started = time.monotonic()
    looked = None if users else look_at_all(call.data, options, call.monitor)
    if looked is not None and not looked.left:
        plan = nothing_expires(looked.seen, time.monotonic() - started)
        _finish_plan(call, options, plan, dry_run=dry_run)
    else:
        _clean_up(call, options, looked, clock_is_right=clock_is_right, dry_run=dry_run)


def _clean_up(
    call: Call,
    options: CleanupOptions,
    looked: Looked | None,
    *,
    clock_is_right: bool,
    dry_run: bool,
) -> None:
    # Late: where nothing expires, these and the passphrase would take half of the time.
    from shenyu_data.cli.open import open_for
    from shenyu_data.operations.cleanup import cleanup
    from shenyu_data.operations.cleanup_clock import check_clock
    from shenyu_data.operations.cleanup_plan import plan_cleanup
    from shenyu_data.operations.cleanup_total import with_room

    repository = open_for(call, bulk=True)
    if not clock_is_right:
        check_clock(repository, call.data, options.now_ms)
    options = with_room(call.data, options, call.monitor)
    plan = plan_cleanup(repository, call.data, options, call.monitor, looked)
    if dry_run or plan.empty:
        _finish_plan(call, options, plan, dry_run=dry_run)
        return
    if not call.yes:
        if not call.as_json and not call.quiet:
            say(_describe(plan, options, printable(call.data)))
        confirm(call, "Go ahead?")
    stats = cleanup(repository, call.data, options, call.monitor, plan)
    call.finish(
        _document(plan, stats, dry_run=False),
        _summary(plan, stats, printable(call.data)),
        findings=bool(stats.refused) or _is_left(plan) or call.monitor.count("error") > 0,
        failed=bool(stats.failed or stats.busy),
        damaged=bool(stats.damaged),
        lists=_lists(plan),
    )


cleanup_command.add_command(hold_command)


def _finish_plan(call: Call, options: CleanupOptions, plan: CleanupPlan, *, dry_run: bool) -> None:
    """Say what was planned: nothing more is done."""
    call.finish(
        _document(plan, None, dry_run=dry_run),
        "" if call.as_json else _describe(plan, options, printable(call.data)),
        findings=_is_left(plan) or call.monitor.count("error") > 0,
        lists=_lists(plan),
    )


def _is_left(plan: CleanupPlan) -> bool:
    """Whether something could not be looked into: torn, or too large, which is no error."""
    return plan.total.unreadable > 0


def _describe(plan: CleanupPlan, options: CleanupOptions, where: str) -> str:
    total = plan.total
    head = f"Would remove from {where}: {_amounts(total)}"
    if plan.empty:
        head = f"There is nothing to clean up in {where}"
    lines = [f"{head}, of {number(plan.users_losing, 'user')} of {plan.users_seen:,}."]
    losing = (item for item in plan.users if item.amounts.documents or item.amounts.folders)
    rows = [
        (
            item.user,
            f"{item.amounts.chats:,}",
            f"{item.amounts.messages:,}",
            size(item.amounts.size_bytes),
            f"{item.amounts.files:,}",
        )
        for item in islice(losing, _SHOWN)
    ]
    if rows:
        header = ("user", "chats", "messages", "bytes", "files removed")
        lines += ["  " + line for line in table(header, rows).split("\n")]
        lines += _more(len(rows), plan.users_losing, "user")
    going = (item for item in plan.chats if item.kept is None)
    if rows := [_chat_row(item) for item in islice(going, _SHOWN)]:
        header = ("history", "chat", "last active", "by", "because")
        lines += ["  " + line for line in table(header, rows).split("\n")]
        lines += _more(len(rows), total.chats, "chat")
    if total.clocks:
        by = ", ".join(
            f"{number(total.clocks[name], 'chat')} by {text}"
            for name, text in _CLOCKS.items()
            if name in total.clocks
        )
        lines.append(f"  clocks   {by}")
    lines += _stays(plan, options)
    return "\n".join(lines)


def _more(shown: int, found: int, one: str) -> list[str]:
    return [f"  ... and {number(found - shown, 'more ' + one)}"] if found > shown else []


def _chat_row(item: PlannedChat) -> tuple[str, str, str, str, str]:
    return (
        item.path,
        item.chat if item.chat is not None else "(no id)",
        local(item.active_ms),
        item.source,
        "; ".join(item.reasons),
    )


def _stays(plan: CleanupPlan, options: CleanupOptions) -> list[str]:
    total, lines = plan.total, []
    if total.held:
        lines.append(f"  held     {number(total.held, 'chat')} would expire and stay")
    if total.unsaved:
        why = f"{number(plan.verified or 0, 'verified snapshot')} looked at"
        lines.append(
            f"  unsaved  {number(total.unsaved, 'chat')} would expire and stay: no verified "
            f"snapshot holds them ({why}). `shenyu-data backup`, then `shenyu-data verify "
            "--read-data`, or --unsaved-too."
        )
    if total.unreadable:
        lines.append(f"  left     {number(total.unreadable, 'history', 'histories')} not readable")
    if options.unsaved_too and not plan.empty:
        lines.append("  It is not asked whether a verified snapshot holds what goes.")
    return lines


def _amounts(item: Amounts) -> str:
    parts = [
        f"{number(item.chats, 'chat')} with {number(item.messages, 'message')}, "
        f"{size(item.size_bytes)}"
    ]
    if item.files:
        parts.append(number(item.files, "file"))
    if item.folders:
        parts.append(number(item.folders, "folder"))
    return ", ".join(parts)


def _summary(plan: CleanupPlan, stats: CleanupStats, where: str) -> str:
    lines = [f"Cleaned up {where} in {stats.elapsed_s:.1f} s: removed {_amounts(stats.done)}"]
    for count, word in (
        (stats.refused, "left alone for a conflict"),
        (stats.busy, "too busy"),
        (stats.failed, "not written"),
        (stats.damaged, "with a damaged safety copy"),
    ):
        if count:
            lines[0] += f", {number(count, 'document')} {word}"
    different = plan.total.chats - stats.done.chats
    if different > 0:
        lines.append(f"  {number(different, 'chat')} of the plan stayed: they changed meanwhile")
    if stats.safety is not None:
        lines.append(
            f"  before   saved in snapshot {stats.safety.hex()[:8]}; `shenyu-data restore --undo` "
            "takes this back"
        )
    return "\n".join(lines)


def _document(plan: CleanupPlan, stats: CleanupStats | None, *, dry_run: bool) -> dict[str, Any]:
    """Return the JSON document; what the lists hold is told by :func:`_lists`."""
    return {
        "users": [],
        "chats": [],
        "planned": {**_amounts_json(plan.total), **_kept_json(plan.total)},
        "removed": _amounts_json(stats.done) if stats is not None else None,
        "users_losing": plan.users_losing,
        "users_seen": plan.users_seen,
        "verified_snapshots": plan.verified,
        "safety_snapshot": stats.safety.hex() if stats and stats.safety else None,
        "refused": stats.refused if stats else None,
        "busy": stats.busy if stats else None,
        "failed": stats.failed if stats else None,
        "damaged": stats.damaged if stats else None,
        "elapsed_s": round(stats.elapsed_s if stats else plan.elapsed_s, 3),
        "dry_run": dry_run,
    }


def _lists(plan: CleanupPlan) -> tuple[Iterator[dict[str, Any]], Iterator[dict[str, Any]]]:
    """Yield the users and the chats of the JSON document: there may be millions."""
    users = (
        {"user": item.user, **_amounts_json(item.amounts), **_kept_json(item.amounts)}
        for item in plan.users
    )
    chats = (
        {
            "user": item.user,
            "path": item.path,
            "chat": item.chat,
            "messages": item.messages,
            "size_bytes": item.size_bytes,
            "last_active": iso(item.active_ms),
            "clock": item.source,
            "reasons": item.reasons,
            "kept": item.kept,
        }
        for item in plan.chats
    )
    return users, chats


def _amounts_json(item: Amounts) -> dict[str, Any]:
    return {
        "chats": item.chats,
        "messages": item.messages,
        "size_bytes": item.size_bytes,
        "documents": item.documents,
        "files": item.files,
        "folders": item.folders,
    }


def _kept_json(item: Amounts) -> dict[str, Any]:
    return {
        "held": item.held,
        "unsaved": item.unsaved,
        "unreadable": item.unreadable,
        "clocks": {name: item.clocks.get(name, 0) for name in _CLOCKS},
    }
