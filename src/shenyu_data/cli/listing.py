"""What ``users`` and ``chats`` have in common: flags of lists and the catalog they ask."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from shenyu_data.cli.common import Call
from shenyu_data.datadir.catalog_pages import Listing
from shenyu_data.model.moments import parse_moment
from shenyu_data.model.sizes import parse_size
from shenyu_data.operations.catalog import CatalogOptions
from shenyu_data.operations.listings import PageOptions
from shenyu_data.operations.places import state_folder, state_of

F = TypeVar("F", bound=Callable[..., Any])

ORDERS = ("activity", "size", "age", "name")

stale_option = click.option(
    "--stale",
    is_flag=True,
    help="Answer from the catalog as it is, without a look at what changed since.",
)


def page_options(verb: F) -> F:
    """Give a verb ``--limit`` and ``--after``, as ``page``."""

    @click.option(
        "--limit",
        type=click.IntRange(1, 100_000),
        metavar="N",
        default=100,
        show_default=True,
        help="Show at most N.",
    )
    @click.option("--after", metavar="CURSOR", help="Go on after a page that ended with CURSOR.")
    @wraps(verb)
    def with_page(*args: Any, limit: int, after: str | None, **rest: Any) -> Any:
        return verb(*args, page=PageOptions(limit=limit, after=after), **rest)

    return with_page  # type: ignore[return-value]


def list_options(verb: F) -> F:
    """Give a verb the flags of order, time and size, as ``listing``."""

    @click.option(
        "--order",
        type=click.Choice(ORDERS),
        default="activity",
        show_default=True,
        help="Last active, largest, oldest, or by name, first.",
    )
    @click.option("--reverse", is_flag=True, help="Turn the order round.")
    @click.option("--since", metavar="TIME", help="Only what was active at TIME or later.")
    @click.option("--until", metavar="TIME", help="Only what was last active before TIME.")
    @click.option("--larger-than", metavar="SIZE", help="Only what is larger than SIZE.")
    @click.option("--smaller-than", metavar="SIZE", help="Only what is smaller than SIZE.")
    @wraps(verb)
    def with_listing(
        *args: Any,
        order: Any,
        reverse: bool,
        since: str | None,
        until: str | None,
        larger_than: str | None,
        smaller_than: str | None,
        **rest: Any,
    ) -> Any:
        now_ms = time.time_ns() // 1_000_000
        listing = Listing(
            order=order,
            backwards=reverse,
            since_ms=parse_moment(since, now_ms) if since is not None else None,
            until_ms=parse_moment(until, now_ms) if until is not None else None,
            larger_than=parse_size(larger_than) if larger_than is not None else None,
            smaller_than=parse_size(smaller_than) if smaller_than is not None else None,
        )
        return verb(*args, listing=listing, **rest)

    return with_listing  # type: ignore[return-value]


def catalog_options(call: Call, *, stale: bool) -> CatalogOptions:
    """Return which catalog to ask, and how."""
    return CatalogOptions(
        data=call.data,
        state=state_of(state_folder(os.environ), call.data),
        jobs=call.jobs,
        stale=stale,
    )


def next_line(after: str | None) -> str:
    """Return the line that says how to go on; empty if there is nothing more."""
    return f"more: --after {after}" if after is not None else ""
