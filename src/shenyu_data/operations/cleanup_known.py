"""The catalog as a cleanup uses it: of whom nothing can expire is told without reading anything; if
that is everybody, without a repository.

It decides nothing else. Whoever may lose something is looked at and read, and so is whoever changed
since the catalog was brought up to date; the catalog is not written.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from shenyu_data.datadir.catalog_known import BUCKETS, KnownUsers, bucket_of, is_as_seen
from shenyu_data.datadir.catalog_tables import CATALOG_NAME
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import Owners, Survey, survey
from shenyu_data.model.expiry import Policy, may_expire
from shenyu_data.model.monitor import Monitor, SilentMonitor
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.workers import open_executor, run_tasks

MOST_LEFT = 100_000
"""Of more users than this it is told again with each, as only so many names are kept."""

_MANY_USERS = 5_000
"""Of fewer, several processes take longer to start than they save."""

_TASK_USERS = 250
_WAITING_A_JOB = 4

_UNUSABLE = (OSError, sqlite3.Error, ValueError, TypeError, OverflowError)


class Looked(NamedTuple):
    """How many users there are, and those of whom something may expire."""

    seen: int
    left: frozenset[bytes]


def usable_catalog(state: str, data: str, now_ms: int) -> str | None:
    """Return the path of the catalog of the directory ``data`` in the folder ``state``; None if
    there is none, or if some clock in it was read later than ``now_ms``: it may have been thought
    right then and be wrong now.
    """
    path = os.path.join(state, CATALOG_NAME)
    try:
        with closing(KnownUsers(path)) as known:
            about, read_ms = known.about()
    except _UNUSABLE:
        return None
    usable = about == os.fsencode(os.path.realpath(data)) and read_ms <= now_ms
    return path if usable else None


def look_at_all(data: str, options: CleanupOptions, monitor: Monitor) -> Looked | None:
    """Say of whom something may expire, by the catalog alone. None if it does not serve, if the
    directory could not be listed as a whole, or if it is very many.

    Raise DataDirectoryError if the directory is not there.
    """
    if options.policy.max_total_bytes is not None:  # for that everybody is to be weighed first
        return None
    catalog = usable_catalog(options.state, data, options.now_ms)
    if catalog is None:
        return None
    seen, left = 0, set[bytes]()
    with Survey(BUCKETS) as found:
        survey(
            data,
            found,
            user_bucket=bucket_of,
            shared_bucket=lambda _: 0,
            monitor=SilentMonitor(),  # whoever looks closely lists it again, and tells
        )
        if not found.complete:
            return None
        jobs = options.jobs if found.names >= _MANY_USERS else 1
        tasks = _tasks(data, catalog, found, options)
        waiting = _WAITING_A_JOB * max(jobs, 1)
        with (
            open_executor(jobs) as executor,
            monitor.task("Looking for what expires", found.names, "users") as progress,
        ):
            for part in run_tasks(executor, look_at_part, tasks, waiting=waiting):
                if part is None or len(left) + len(part.left) > MOST_LEFT:
                    return None
                seen += part.seen
                left |= part.left
                progress.advance(part.seen)
    return Looked(seen, frozenset(left))


class LookTask(NamedTuple):
    """Some parts of the users, as they were listed, to be looked at by a catalog."""

    data: str
    catalog: str
    parts: list[tuple[int, Owners]]
    policy: Policy
    now_ms: int


def _tasks(data: str, catalog: str, found: Survey, options: CleanupOptions) -> Iterator[LookTask]:
    parts, users = list[tuple[int, Owners]](), 0
    for number in range(BUCKETS):
        owners = found.bucket(number)
        parts.append((number, owners))
        users += len(owners.users)
        if users >= _TASK_USERS or number == BUCKETS - 1:
            yield LookTask(data, catalog, parts, options.policy, options.now_ms)
            parts, users = [], 0


def look_at_part(task: LookTask) -> Looked | None:
    """Say of whom of a task something may expire; None if the catalog cannot be read."""
    seen, left = 0, set[bytes]()
    try:
        with DataFolders(task.data) as folders, closing(KnownUsers(task.catalog)) as known:
            for number, owners in task.parts:
                mine = set(owners.users)
                seen += len(mine)
                for name, user, summary in known.summaries(number):
                    if (
                        name in mine
                        and not may_expire(summary, task.policy, now_ms=task.now_ms)
                        and is_as_seen(folders, name, user, compressed=name in owners.compressed)
                    ):
                        mine.discard(name)
                left |= mine
    except _UNUSABLE:
        return None
    return Looked(seen, frozenset(left))


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
