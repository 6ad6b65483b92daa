"""``shenyu-data snapshots`` and ``shenyu-data show``."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, iso, local, number, size, snapshot_json, table
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.show import DocumentInfo, show_degraded, show_user
from shenyu_data.repository.format import Root, Snapshot


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
            _kind(item),
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


def _kind(item: Snapshot) -> str:
    words = [item.kind]
    if item.partial:
        words.append("partial")
    if item.safety:
        words.append("safety")
    if item.degraded:
        words.append("DEGRADED")
    return " ".join(words)


@click.command("show")
@click.argument("snapshot")
@click.option("--user", metavar="U", help="List the documents of this user.")
@common
def show_command(call: Call, snapshot: str, user: str | None) -> None:
    """Show what a snapshot holds.

    SNAPSHOT is the beginning of an id, `latest`, a date, or an age (3d).

    Exits with 1 if the snapshot is degraded; its torn and unreadable documents are listed.
    """
    repository = open_for(call)
    root = repository.find(snapshot)
    if user is not None:
        documents = show_user(repository, root, os.fsencode(user))
    else:
        documents = list(show_degraded(repository, root)) if root.degraded else []
    heads = [item for item in repository.snapshots() if item.id == root.id]
    result = {
        "snapshot": snapshot_json(heads[0]),
        "user": printable(os.fsencode(user)) if user is not None else None,
        "documents": [_document_json(item) for item in documents],
    }
    degraded = any(item.state in ("torn", "unreadable") for item in documents)
    call.finish(
        result,
        _describe(root, documents, user),
        findings=degraded if user is not None else root.degraded,
    )


def _describe(root: Root, documents: list[DocumentInfo], user: str | None) -> str:
    totals = root.totals
    lines = [
        f"Snapshot {root.id.hex()}",
        f"  taken    {local(root.time_ms)}, {_kind(root)}, "
        f"in {root.elapsed_ms / 1000:.1f} s, by shenyu-data {root.program}",
        f"  of       {root.data}",
        f"  parent   {root.parent.hex()[:8] if root.parent else 'none'}",
        f"  tag      {root.tag or 'none'}",
        f"  holds    {number(totals.users, 'user')}, "
        f"{number(totals.histories, 'history', 'histories')}, {number(totals.chats, 'chat')}, "
        f"{number(totals.messages, 'message')}; {number(totals.documents, 'document')}, "
        f"{size(totals.document_bytes)}",
    ]
    if root.incomplete:
        lines.append("  some folder could not be listed; what was known of it is kept")
    if documents:
        whose = f"User {printable(os.fsencode(user))}:" if user is not None else None
        lines += ["", whose or "Degraded documents:"]
        rows = [
            (
                item.path,
                item.state,
                size(item.size_bytes),
                str(item.chats),
                str(item.messages),
                local(item.mtime_ms),
                f"last good in {item.good_from[:8]}" if item.good_from else "",
            )
            for item in documents
        ]
        header = ("document", "state", "size", "chats", "messages", "modified", "")
        lines.append(table(header, rows))
    return "\n".join(lines)


def _document_json(item: DocumentInfo) -> dict[str, Any]:
    document = fields(item)
    document["mtime"] = iso(document.pop("mtime_ms"))
    return document
