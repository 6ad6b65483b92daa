"""The catalog as a cleanup uses it: of whom nothing can expire is told without reading anything.

It decides nothing else. Whoever may lose something is looked at and read, and so is whoever changed
since the catalog was brought up to date; the catalog is not written.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from shenyu_data.datadir.catalog_files import CATALOG_NAME, NotACatalog, open_catalog
from shenyu_data.datadir.catalog_known import KnownUsers, is_as_seen
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.expiry import Policy, may_expire

_UNUSABLE = (OSError, NotACatalog, sqlite3.Error, ValueError, TypeError, OverflowError)


def usable_catalog(state: str, data: str, now_ms: int) -> str | None:
    """Return the path of the catalog of the directory ``data`` in the folder ``state``; None if
    there is none, or if some clock in it was read later than ``now_ms``: it may have been thought
    right then and be wrong now.
    """
    try:
        with open_catalog(state, os.fsencode(os.path.realpath(data))) as catalog:
            _, read_ms = catalog.about()
    except _UNUSABLE:
        return None
    return os.path.join(state, CATALOG_NAME) if read_ms <= now_ms else None


def spared_users(
    catalog: str,
    folders: DataFolders,
    users: Sequence[bytes],
    compressed: frozenset[bytes] | None,
    policy: Policy,
    now_ms: int,
) -> frozenset[bytes]:
    """Return those of the users who are as the catalog says, and of whom nothing expires then."""
    spared = set()
    try:
        with closing(KnownUsers(catalog)) as known:
            for name, user in known.users(users).items():
                with_gzip = compressed is None or name in compressed
                if not may_expire(user.summary, policy, now_ms=now_ms) and is_as_seen(
                    folders, name, user.seen, compressed=with_gzip
                ):
                    spared.add(name)
    except _UNUSABLE:
        pass  # then all others are looked at
    return frozenset(spared)
