"""``shenyu-data users``: who is in the data directory."""

from __future__ import annotations

from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.listing import (
    catalog_options,
    list_options,
    next_line,
    page_options,
    stale_option,
)
from shenyu_data.cli.render import brief, iso, local, size, table
from shenyu_data.datadir.catalog_pages import Listing, UserEntry
from shenyu_data.model.findings import printable
from shenyu_data.operations.listings import PageOptions, list_users


@click.group("users", context_settings={"help_option_names": ["-h", "--help"]})
def users_command() -> None:
    """List the users of the data directory."""


@users_command.command("list")
@list_options
@page_options
@stale_option
@common
def list_command(call: Call, listing: Listing, page: PageOptions, stale: bool) -> None:
    """List users, page by page: last active, number of chats, size.

    TIME is a date, a date and time, or how long ago it was (3d); SIZE like 10MB. A page ends with
    the cursor that the next one is asked for with. Exits with 1 if a folder could not be listed.
    """
    found = list_users(catalog_options(call, stale=stale), listing, page, call.monitor)
    rows = [
        (
            brief(printable(item.user), 64),
            local(item.activity_ms),
            item.activity_source,
            f"{item.histories:,}",
            f"{item.chats:,}",
            f"{item.messages:,}",
            size(item.document_bytes),
        )
        for item in found.entries
    ]
    header = ("user", "last active", "by its", "histories", "chats", "messages", "size")
    text = table(header, rows) if rows else "No users."
    call.finish(
        {"users": [user_json(item) for item in found.entries], "next": found.after},
        "\n".join(filter(None, [text, next_line(found.after)])),
        findings=bool(call.monitor.count("error")),
    )


def user_json(item: UserEntry) -> dict[str, Any]:
    """Return a user as ``--json`` shows it."""
    return {
        "user": printable(item.user),
        "last_activity": iso(item.activity_ms),
        "last_activity_source": item.activity_source,
        "began": iso(item.began_ms) if item.began_ms is not None else None,
        "documents_count": item.documents,
        "histories_count": item.histories,
        "chats_count": item.chats,
        "messages_count": item.messages,
        "document_bytes": item.document_bytes,
    }
