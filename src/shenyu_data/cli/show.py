"""``shenyu-data show``."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.common import Call, common, limit_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import (
    brief,
    fields,
    iso,
    kind_of_snapshot,
    local,
    message_lines,
    more,
    number,
    size,
    table,
)
from shenyu_data.cli.render import snapshot_json as head_json
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.conversations import ChatInfo
from shenyu_data.operations.show import (
    ChatShown,
    DocumentInfo,
    show_chat,
    show_degraded,
    show_history,
    show_user,
)
from shenyu_data.repository.format import Root
from shenyu_data.repository.repository import Repository


@click.command("show")
@click.argument("snapshot")
@click.option("--user", metavar="U", help="List the documents of this user.")
@click.option("--history", metavar="KEY", help="List the chats of this history of the user.")
@click.option("--chat", metavar="ID", help="Print the messages of this chat of the user.")
@click.option("--last-good", is_flag=True, help="Of a torn history, show the last good version.")
@limit_option("chats, or of a chat the last N messages")
@common
def show_command(
    call: Call,
    snapshot: str,
    user: str | None,
    history: str | None,
    chat: str | None,
    last_good: bool,
    limit: int,
) -> None:
    """Show what a snapshot holds; with --user, --history, --chat ever more closely.

    SNAPSHOT is the beginning of an id, `latest`, a date, or an age (3d). Exits with 1 if the
    snapshot, or what is shown of it, is degraded; torn and unreadable documents are listed.
    """
    if user is None and (history is not None or chat is not None):
        raise UsageError(
            "--history and --chat need --user", hint="Histories and chats belong to users."
        )
    repository = open_for(call)
    root = repository.find(snapshot)
    if user is not None and (history is not None or chat is not None):
        _show_inside(call, repository, root, os.fsencode(user), history, chat, last_good, limit)
        return
    if user is not None:
        documents = show_user(repository, root, os.fsencode(user))
    else:
        documents = list(show_degraded(repository, root)) if root.degraded else []
    result = {
        "snapshot": head_json(root),
        "user": printable(os.fsencode(user)) if user is not None else None,
        "documents": [_document_json(item) for item in documents],
    }
    degraded = any(item.state in ("torn", "unreadable") for item in documents)
    call.finish(
        result,
        _describe(root, documents, user),
        findings=degraded if user is not None else root.degraded,
    )


def _show_inside(
    call: Call,
    repository: Repository,
    root: Root,
    user: bytes,
    history: str | None,
    chat: str | None,
    last_good: bool,
    limit: int,
) -> None:
    key = os.fsencode(history) if history is not None else None
    result: dict[str, Any] = {"snapshot": head_json(root), "user": printable(user)}
    head = f"Snapshot {root.id.hex()[:8]} of {local(root.time_ms)}, user {printable(user)}"
    if chat is None and key is not None:
        document, chats = show_history(
            repository, root, user, key, call.monitor, last_good=last_good
        )
        result |= {
            "document": _document_json(document),
            "chats": [_chat_json(item) for item in chats],
        }
        text = f"{head}, {document.path}\n{_chats_table(chats, limit)}"
    else:
        shown = show_chat(
            repository, root, user, chat or "", call.monitor, key=key, last_good=last_good
        )
        result["chats"] = [
            {
                "document": _document_json(item.document),
                **_chat_json(item.chat),
                "messages": [fields(message) for message in item.messages],
            }
            for item in shown
        ]
        text = "\n\n".join(f"{head}, {_chat_text(item, limit)}" for item in shown)
    damaged = any(code.startswith("object-") for code in call.monitor.codes)
    call.finish(result, text, findings=bool(call.monitor.codes), damaged=damaged)


def _chats_table(chats: list[ChatInfo], limit: int) -> str:
    if not chats:
        return "No chats."
    shown = chats[:limit] if limit else chats
    rows = [
        (
            brief(item.id, 40) if item.id is not None else "(no id)",
            local(item.time_ms) if item.time_ms is not None else "",
            f"{item.messages:,}",
            brief(item.model, 24),
            brief(item.title),
        )
        for item in shown
    ]
    lines = [table(("chat", "began", "messages", "model", "title"), rows)]
    return "\n".join(filter(None, [*lines, more(len(shown), len(chats), "chat")]))


def _chat_text(item: ChatShown, limit: int) -> str:
    chat = item.chat
    about = [
        f"chat {brief(chat.id) if chat.id is not None else '(no id)'}",
        brief(chat.title),
        local(chat.time_ms) if chat.time_ms is not None else "",
        number(chat.messages, "message"),
        f"model {brief(chat.model)}" if chat.model else "",
    ]
    lines = [item.document.path, "  " + ", ".join(filter(None, about))]
    shown = item.messages[-limit:] if limit else item.messages
    lines.append(more(len(shown), len(item.messages), "earlier message"))
    lines += message_lines(shown)
    return "\n".join(line for index, line in enumerate(lines) if line or index > 2)


def _describe(root: Root, documents: list[DocumentInfo], user: str | None) -> str:
    totals = root.totals
    lines = [
        f"Snapshot {root.id.hex()}",
        f"  taken    {local(root.time_ms)}, {kind_of_snapshot(root)}, "
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


def _chat_json(item: ChatInfo) -> dict[str, Any]:
    document = fields(item)
    document["messages_count"] = document.pop("messages")
    began = document.pop("time_ms")
    document["time"] = iso(began) if began is not None else None
    return document
