"""``shenyu-data chats``: the chats of the live data directory."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec

from shenyu_data.cli.common import Call, common, limit_option
from shenyu_data.cli.listing import (
    catalog_options,
    list_options,
    next_line,
    page_options,
    stale_option,
)
from shenyu_data.cli.render import (
    brief,
    fields,
    iso,
    local,
    message_lines,
    more,
    number,
    size,
    table,
)
from shenyu_data.datadir.catalog_pages import ChatEntry, Listing
from shenyu_data.model.findings import printable
from shenyu_data.operations.chats_search import SearchPage, search_chats
from shenyu_data.operations.chats_show import LiveChat, WantedChats, show_chats
from shenyu_data.operations.listings import PageOptions, list_chats


@click.group("chats", context_settings={"help_option_names": ["-h", "--help"]})
def chats_command() -> None:
    """List, show and search the chats of the data directory."""


@chats_command.command("list")
@click.option("--user", metavar="U", help="Only chats of this user.")
@click.option("--history", metavar="KEY", help="Only chats of histories of this storage key.")
@click.option("--model", metavar="M", help="Only chats with this model.")
@list_options
@page_options
@stale_option
@common
def list_command(
    call: Call,
    user: str | None,
    history: str | None,
    model: str | None,
    listing: Listing,
    page: PageOptions,
    stale: bool,
) -> None:
    """List chats, page by page: title, when last active, size, where they are.

    TIME is a date, a date and time, or how long ago it was (3d); SIZE like 10MB. A page ends with
    the cursor that the next one is asked for with. Exits with 1 if a folder or a history could not
    be looked into.
    """
    listing = msgspec.structs.replace(
        listing,
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
        model=model,
    )
    found = list_chats(catalog_options(call, stale=stale), listing, page, call.monitor)
    call.finish(
        {"chats": [chat_json(item) for item in found.entries], "next": found.after},
        "\n".join(filter(None, [chats_table(found.entries), next_line(found.after)])),
        findings=incomplete(call),
    )


@chats_command.command("show")
@click.argument("chat", nargs=-1, required=True)
@click.option("--user", metavar="U", help="A chat of this user.")
@click.option("--history", metavar="KEY", help="A chat of a history of this storage key.")
@limit_option("of the last messages of each chat")
@stale_option
@common
def show_command(
    call: Call,
    chat: tuple[str, ...],
    user: str | None,
    history: str | None,
    limit: int,
    stale: bool,
) -> None:
    """Print the messages of chats.

    CHAT is an id, as `chats list` gives it. A chat is read from its place in the history, however
    large that is, and checked; if the application wrote the history since, it is looked for anew.
    """
    wanted = WantedChats(
        ids=chat,
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
    )
    shown = show_chats(catalog_options(call, stale=stale), wanted, call.monitor)
    call.finish(
        {
            "chats": [
                {**chat_json(item.entry), "messages": [fields(each) for each in item.messages]}
                for item in shown
            ]
        },
        "\n\n".join(_chat_text(item, limit) for item in shown),
        findings=incomplete(call),
    )


@chats_command.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("--user", metavar="U", help="Only chats of this user.")
@click.option("--history", metavar="KEY", help="Only chats of histories of this storage key.")
@click.option("--model", metavar="M", help="Only chats with this model.")
@click.option("--index", is_flag=True, help="Make an index of words; later searches keep it.")
@list_options
@page_options
@stale_option
@common
def search_command(
    call: Call,
    words: tuple[str, ...],
    user: str | None,
    history: str | None,
    model: str | None,
    index: bool,
    listing: Listing,
    page: PageOptions,
    stale: bool,
) -> None:
    """Find the chats in which all WORDS occur, in the title or a message, page by page.

    A word may be part of a longer one; upper and lower case are not told apart. Exits with 1 if a
    folder or a history could not be looked into.
    """
    listing = msgspec.structs.replace(
        listing,
        words=" ".join(words),
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
        model=model,
    )
    options = catalog_options(call, stale=stale)
    found = search_chats(options, listing, page, call.monitor, index=index)
    document = {
        "chats": [{**chat_json(item.entry), "excerpt": item.excerpt} for item in found.chats],
        "next": found.after,
        "read_count": found.read,
        "indexed": found.indexed,
    }
    call.finish(document, _found_text(found), findings=incomplete(call))


def _found_text(found: SearchPage) -> str:
    if not found.chats:
        return "No chat holds these words."
    lines = []
    for item in found.chats:
        entry = item.entry
        whose = f"{printable(entry.user)} {printable(entry.history)}"
        lines += [
            f"{brief(entry.id, 40)}  {local(entry.activity_ms)}  {whose}  {brief(entry.title)}",
            f"  {printable(' '.join(item.excerpt.split()))}",
        ]
    return "\n".join([*lines, *filter(None, [next_line(found.after)])])


def _chat_text(item: LiveChat, limit: int) -> str:
    entry = item.entry
    about = [
        f"chat {brief(entry.id)}",
        brief(entry.title),
        f"last active {local(entry.activity_ms)} by its {entry.activity_source}",
        number(entry.messages, "message"),
        f"model {brief(entry.model)}" if entry.model else "",
    ]
    shown = item.messages[-limit:] if limit else item.messages
    left_out = more(len(shown), len(item.messages), "earlier message")
    head = [printable(entry.path), "  " + ", ".join(filter(None, about)), left_out]
    return "\n".join([*filter(None, head), *message_lines(shown)])


def chats_table(entries: list[ChatEntry]) -> str:
    """Return chats as text."""
    rows = [
        (
            brief(item.id, 40),
            brief(printable(item.user), 20),
            brief(printable(item.history), 20),
            local(item.activity_ms),
            item.activity_source,
            f"{item.messages:,}",
            size(item.size_bytes),
            brief(item.title, 50),
        )
        for item in entries
    ]
    header = ("chat", "user", "history", "last active", "by its", "messages", "size", "title")
    return table(header, rows) if rows else "No chats."


def chat_json(item: ChatEntry) -> dict[str, Any]:
    """Return a chat as ``--json`` shows it."""
    return {
        "id": item.id,
        "user": printable(item.user),
        "history": printable(item.history),
        "document": printable(item.path),
        "offset_bytes": item.offset,
        "size_bytes": item.size_bytes,
        "title": item.title,
        "model": item.model,
        "messages_count": item.messages,
        "began": iso(item.began_ms) if item.began_ms is not None else None,
        "last_activity": iso(item.activity_ms),
        "last_activity_source": item.activity_source,
    }


def incomplete(call: Call) -> bool:
    """Whether something could not be looked into, so that an answer may lack something."""
    codes = {"catalog-not-kept", "catalog-busy", "catalog-rebuilt"}
    return bool(call.monitor.codes - codes)
