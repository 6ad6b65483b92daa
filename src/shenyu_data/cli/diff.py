"""``shenyu-data diff``."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.common import Call, common, limit_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import brief, fields, local, more, number, size, snapshot_json, table
from shenyu_data.model.findings import printable
from shenyu_data.operations.diff import DiffOptions, DiffStats, Target, diff
from shenyu_data.operations.diff_owner import OwnerDiff
from shenyu_data.operations.diff_tasks import DiffTotals
from shenyu_data.operations.diff_user import UserDiffStats, diff_user
from shenyu_data.repository.repository import Repository

LIVE = "live"


@click.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--user", metavar="U", help="Compare only this user, down to the chats.")
@limit_option("users; with --user: documents and chats")
@common
def diff_command(call: Call, a: str, b: str, user: str | None, limit: int) -> None:
    """Tell what differs between the snapshots A and B, in documents, chats and messages.

    Either may be `live`, the data directory as it is now. Exits with 0 whether there are
    differences or not, 1 if a side is degraded or something could not be compared, 4 if something
    is damaged.
    """
    repository = open_for(call, bulk=user is None)
    old, new = _target(call, repository, a), _target(call, repository, b)
    result: dict[str, Any] = {"before": _side_json(old), "after": _side_json(new)}
    head = f"From {_side_text(old)} to {_side_text(new)}"
    if user is not None:
        name = os.fsencode(user)
        found = diff_user(repository, old, new, name, call.monitor)
        result |= {
            "user": printable(name),
            "totals": fields(_totals([found.owner] if found.owner is not None else [])),
            "documents": [fields(item) for item in found.documents],
            "chats": [fields(item) for item in found.chats],
        }
        call.finish(
            result,
            f"{head}, user {printable(name)}:\n{_describe_user(found, limit)}",
            findings=found.degraded or bool(found.uncompared) or bool(call.monitor.codes),
            damaged=bool(found.damaged),
        )
        return
    options = DiffOptions(limit=limit or None, jobs=call.jobs)
    stats = diff(repository, old, new, options, call.monitor)
    result |= {
        "user": None,
        "totals": fields(stats.totals),
        "users": [fields(item) for item in stats.owners],
        "found": stats.found,
    }
    degraded = any(not isinstance(side, str) and side.degraded for side in (old, new))
    call.finish(
        result,
        f"{head}:\n{_describe(stats)}",
        findings=degraded or not stats.complete or call.monitor.count("error", "warning") > 0,
        damaged=bool(stats.damaged),
    )


def _target(call: Call, repository: Repository, name: str) -> Target:
    return call.data if name == LIVE else repository.find(name)


def _side_json(side: Target) -> dict[str, Any]:
    if isinstance(side, str):
        return {"live": True, "data": side, "snapshot": None}
    return {"live": False, "data": side.data, "snapshot": snapshot_json(side)}


def _side_text(side: Target) -> str:
    if isinstance(side, str):
        return f"the live directory {printable(side)}"
    return f"snapshot {side.id.hex()[:8]} of {local(side.time_ms)}"


def _totals(owners: list[OwnerDiff]) -> DiffTotals:
    totals = DiffTotals()
    for item in owners:
        totals.count(item)
    return totals


def _describe(stats: DiffStats) -> str:
    totals = stats.totals
    if not stats.found:
        lines = ["Nothing differs."]
    else:
        lines = [
            f"  users      {_changes(totals, 'users')}",
            f"  documents  {_changes(totals, 'documents')}; "
            f"{number(totals.other, 'other difference')} (folders, links, modes, owners, times)",
            f"  chats      +{totals.chats_added:,} -{totals.chats_removed:,} by their number in "
            "each document",
            f"  messages   {totals.messages_before:,} before, {totals.messages_after:,} after, in "
            "documents that differ",
        ]
    if totals.erased:
        lines.append(f"  {number(totals.erased, 'erased user')} could not be compared")
    if stats.owners:
        rows = [
            (
                brief(item.user, 72) if item.user is not None else "(nobody's)",
                item.change,
                f"+{item.documents_added} -{item.documents_removed} ~{item.documents_changed}",
                f"{item.chats_before:,} to {item.chats_after:,}",
                f"{item.messages_before:,} to {item.messages_after:,}",
            )
            for item in stats.owners
        ]
        lines += ["", table(("user", "", "documents", "chats", "messages"), rows)]
        lines.append(more(len(rows), stats.found, "user"))
    return "\n".join(line for index, line in enumerate(lines) if line or index < len(lines) - 1)


def _changes(totals: DiffTotals, what: str) -> str:
    counts = [(kind, getattr(totals, f"{what}_{kind}")) for kind in ("added", "removed", "changed")]
    return ", ".join(f"{count:,} {kind}" for kind, count in counts)


def _describe_user(found: UserDiffStats, limit: int) -> str:
    if found.owner is None:
        return "Nothing differs."
    documents = found.documents[:limit] if limit else found.documents
    rows = [
        (
            item.path,
            item.change if item.change != "attributes" else "mode, owner or time",
            _from_to(item.size_before_bytes, item.size_after_bytes),
            f"{item.chats_before:,} to {item.chats_after:,}" if item.kind == "history" else "",
            f"{item.messages_before:,} to {item.messages_after:,}" * (item.kind == "history"),
            " to ".join(
                dict.fromkeys(
                    state.upper()
                    for state in (item.state_before, item.state_after)
                    if state in ("torn", "unreadable")
                )
            ),
        )
        for item in documents
    ]
    lines = [table(("document", "", "size", "chats", "messages", ""), rows)]
    lines.append(more(len(documents), len(found.documents), "document"))
    chats = found.chats[:limit] if limit else found.chats
    if chats:
        rows_of_chats = [
            (
                brief(item.id, 40) if item.id is not None else "(no id)",
                item.change,
                f"{item.messages_before:,} to {item.messages_after:,}",
                item.history,
                brief(item.title),
            )
            for item in chats
        ]
        lines.append("\n" + table(("chat", "", "messages", "history", "title"), rows_of_chats))
        lines.append(more(len(chats), len(found.chats), "chat"))
    return "\n".join(filter(None, lines))


def _from_to(before: int | None, after: int | None) -> str:
    shown = [size(item) if item is not None else "-" for item in (before, after)]
    return " to ".join(shown) if before is not None or after is not None else ""
