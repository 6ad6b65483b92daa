"""``users list`` and ``chats list``: pages of what the catalog knows."""

from __future__ import annotations

import msgspec

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_pages import (
    Listing,
    Page,
    chats_page,
    count_unlisted,
    has_user,
    users_page,
)
from shenyu_data.model.errors import OwnerNotFound
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.catalog import CatalogOptions, ask


class PageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which page: of at most ``limit`` entries, after the cursor that the one before ended with."""

    limit: int = 100
    after: str | None = None


def list_users(
    options: CatalogOptions, listing: Listing, page: PageOptions, monitor: Monitor
) -> Page:
    """Return a page of users. Raise UsageError if the cursor is not of this list."""
    return ask(
        options, lambda catalog: users_page(catalog, listing, page.limit, page.after), monitor
    )


def list_chats(
    options: CatalogOptions, listing: Listing, page: PageOptions, monitor: Monitor
) -> Page:
    """Return a page of chats; histories that could not be looked into are reported.

    Raise UsageError if the cursor is not of this list, OwnerNotFound if there is no such user.
    """

    def query(catalog: Catalog) -> tuple[Page, int]:
        if listing.user is not None and not has_user(catalog, listing.user):
            raise user_not_found(listing.user, options.data)
        found = chats_page(catalog, listing, page.limit, page.after)
        return found, count_unlisted(catalog, listing.user)

    found, unlisted = ask(options, query, monitor)
    report_unlisted(unlisted, monitor)
    return found


def report_unlisted(count: int, monitor: Monitor) -> None:
    """Report that the chats of some histories are not known, if there are such."""
    if count:
        monitor.report(
            Finding(
                code="histories-unlisted",
                severity="warning",
                path="",
                message=f"{count:,} {'history is' if count == 1 else 'histories are'} torn, "
                "unreadable, too large or of another shape: chats in there are not listed",
                hint="`shenyu-data validate` names them.",
            )
        )


def user_not_found(user: bytes, data: str) -> OwnerNotFound:
    """Return the error that says that the directory has no such user."""
    return OwnerNotFound(
        f"there is no user {printable(user)} in {data}",
        hint="A user is named as in users/NAME.json; `shenyu-data users list` lists them.",
    )
