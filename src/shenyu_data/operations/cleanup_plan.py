"""The plan of a cleanup: what goes of each user, with amounts and clocks. Writes nothing.

Users are dealt into the repository's buckets and go to workers in parts, so that memory grows
neither with users nor with chats; of both lists a plan holds so many as somebody may look at, or,
if all are wanted, keeps them in files.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.expiry import Policy
from shenyu_data.model.expiry_holds import Hold, Holds
from shenyu_data.model.findings import printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.cleanup_known import Looked, spared_users, usable_catalog
from shenyu_data.operations.cleanup_owner import OwnerPlan, OwnerPlanner
from shenyu_data.operations.cleanup_saved import SavedChats, Witnesses, find_witnesses
from shenyu_data.operations.cleanup_values import (
    Amounts,
    CleanupOptions,
    CleanupPlan,
    PlannedChat,
    PlannedUser,
)
from shenyu_data.operations.kept import Kept
from shenyu_data.operations.named_users import check_users
from shenyu_data.operations.prune_tasks import Stack
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import BUCKETS
from shenyu_data.repository.repository import Repository

MOST_ITEMS = 1000
"""A plan lists this many users, and this many chats; of the rest it gives the numbers."""

_MOST_USERS = 100_000
"""So many users a plan remembers for whoever carries it out; of more, all are looked at again."""

_TASK_USERS = 250
_MOST_TASK_USERS = 1000
_FEW_USERS = 500
_WAITING_A_JOB = 4


class CleanupTask(NamedTuple):
    """Users to plan, by bucket, and where each bucket stands in the verified snapshots. ``catalog``
    is the path of one that may tell of whom nothing expires.
    """

    repository: Repository
    data: str
    users: dict[int, list[bytes]]
    compressed: frozenset[bytes] | None
    stacks: dict[int, list[Stack]] | None
    policy: Policy
    holds: list[Hold]
    now_ms: int
    every: bool
    catalog: str | None = None


class PlannedPart(NamedTuple):
    """What a task found: the plans of users of whom something goes or something is to be said."""

    seen: int
    plans: list[OwnerPlan]


def plan_users(task: CleanupTask) -> PlannedPart:
    """Plan the users of a task."""
    plans = []
    seen = listed = 0
    with DataFolders(task.data) as folders:
        planner = planner_of(task, folders)
        spared = _spared(task, folders)
        for users in task.users.values():
            for user in users:
                seen += 1
                if user in spared:
                    continue
                with_gzip = task.compressed is None or user in task.compressed
                plan = planner.plan(user, compressed=with_gzip)
                if not task.every and listed + len(plan.chats) > MOST_ITEMS:
                    plan = plan._replace(chats=plan.chats[: MOST_ITEMS - listed])
                listed += len(plan.chats)
                amounts = plan.amounts
                if plan.changes or plan.findings or amounts.held or amounts.unsaved:
                    plans.append(plan)
    return PlannedPart(seen, plans)


def _spared(task: CleanupTask, folders: DataFolders) -> frozenset[bytes]:
    if task.catalog is None:
        return frozenset()
    users = [user for users in task.users.values() for user in users]
    return spared_users(task.catalog, folders, users, task.compressed, task.policy, task.now_ms)


def planner_of(task: CleanupTask, folders: DataFolders) -> OwnerPlanner:
    """Return what plans a task's users."""
    stacks, repository = task.stacks, task.repository
    opened: dict[int, SavedChats] = {}

    def saved(user: bytes) -> SavedChats:
        bucket = repository.keys.user_bucket(user)
        if bucket not in opened:
            opened.clear()  # one at a time: its rows may be many
            mine = (stacks or {}).get(bucket, [])
            opened[bucket] = SavedChats(repository, bucket, mine)
        return opened[bucket]

    holds = Holds(task.holds, task.now_ms)
    return OwnerPlanner(folders, task.policy, holds, task.now_ms, None if stacks is None else saved)


class Planner:
    """Plans all users, or some, on as many processes as there may be."""

    def __init__(
        self, repository: Repository, data: str, options: CleanupOptions, monitor: Monitor
    ) -> None:
        self._repository = repository
        self._data = data
        self._options = options
        self._monitor = monitor
        self.witnesses = (
            Witnesses({}, 0) if options.unsaved_too else find_witnesses(self._repository)
        )
        self._catalog = usable_catalog(options.state, data, options.now_ms)

    def task(
        self, users: dict[int, list[bytes]], compressed: frozenset[bytes] | None
    ) -> CleanupTask:
        """Return the task of planning these users."""
        options = self._options
        buckets = self.witnesses.buckets
        stacks = {bucket: buckets[bucket] for bucket in users if bucket in buckets}
        return CleanupTask(
            self._repository,
            self._data,
            users,
            compressed,
            None if options.unsaved_too else stacks,
            options.policy,
            options.holds,
            options.now_ms,
            options.every,
            self._catalog,
        )

    def plans(self, only: Iterable[bytes] | None) -> Iterator[PlannedPart]:
        """Yield the parts of the plan, of ``only`` these users if that is given, in an order that
        is always the same.
        """
        if only is None:
            keys = self._repository.keys
            with Survey(BUCKETS) as found:
                survey(
                    self._data,
                    found,
                    user_bucket=keys.user_bucket,
                    shared_bucket=lambda _: 0,
                    monitor=self._monitor,
                )
                yield from self._run(self._cut(self._surveyed(found)), found.names)
            return
        dealt: dict[int, list[bytes]] = {}
        for user in sorted(only):
            dealt.setdefault(self._repository.keys.user_bucket(user), []).append(user)
        parts = ((bucket, dealt[bucket], frozenset(dealt[bucket])) for bucket in sorted(dealt))
        yield from self._run(self._cut(parts), sum(map(len, dealt.values())))

    def _run(self, tasks: Iterator[CleanupTask], names: int) -> Iterator[PlannedPart]:
        jobs = self._options.jobs if names >= _FEW_USERS else 1
        with (
            open_executor(jobs) as executor,
            self._monitor.task("Looking for what expires", names, "users") as progress,
        ):
            waiting = _WAITING_A_JOB * max(jobs, 1)
            for part in run_tasks(executor, plan_users, tasks, waiting=waiting, in_order=True):
                progress.advance(part.seen)
                yield part

    def _surveyed(self, found: Survey) -> Iterator[tuple[int, list[bytes], frozenset[bytes]]]:
        for number in range(BUCKETS):
            owners = found.bucket(number)
            yield number, owners.users, owners.compressed

    def _cut(
        self, parts: Iterable[tuple[int, list[bytes], frozenset[bytes]]]
    ) -> Iterator[CleanupTask]:
        """Put small buckets together. A large one stays whole, as its index is read once; a very
        large one is cut, as its plans are in memory together.
        """
        users: dict[int, list[bytes]] = {}
        compressed: set[bytes] = set()
        count = 0
        pieces = (
            (bucket, mine[at : at + _MOST_TASK_USERS], gzipped)
            for bucket, mine, gzipped in parts
            for at in range(0, len(mine), _MOST_TASK_USERS)
        )
        for bucket, mine, gzipped in pieces:
            users.setdefault(bucket, []).extend(mine)
            compressed |= gzipped.intersection(mine)
            count += len(mine)
            if count >= _TASK_USERS:
                yield self.task(users, frozenset(compressed))
                users, compressed, count = {}, set(), 0
        if users:
            yield self.task(users, frozenset(compressed))


def plan_cleanup(
    repository: Repository,
    data: str,
    options: CleanupOptions,
    monitor: Monitor,
    looked: Looked | None = None,
) -> CleanupPlan:
    """Say what :func:`shenyu_data.operations.cleanup.cleanup` would do now. Writes nothing.
    ``looked``: it was told already of whom something may expire.

    Raise OwnerNotFound if one of the options' users is not there, DataDirectoryError if the
    directory cannot be listed, RepositoryError or StorageError if it cannot be told what is
    verified.
    """
    started = time.monotonic()
    check_users(data, options.users or frozenset())
    planner = Planner(repository, data, options, monitor)
    collected = _Collected(options.every)
    for part in planner.plans(options.users if looked is None else looked.left):
        collected.add(part)
        for plan in part.plans:
            for finding in plan.findings:
                monitor.report(finding)
    return CleanupPlan(
        users=collected.users(),
        chats=collected.chats,
        total=collected.total,
        users_losing=collected.losing,
        users_seen=collected.seen if looked is None else looked.seen,
        verified=planner.witnesses.snapshots,
        affected=collected.affected,
        elapsed_s=time.monotonic() - started,
    )


class _Collected:
    """Adds up what the workers found. Lists are kept short, or wait in files."""

    def __init__(self, every: bool) -> None:
        self._every = every
        self._users = _kept_users()
        self.chats = Kept(PlannedChat)
        self.total = Amounts()
        self.losing = self.seen = 0
        self.affected: frozenset[bytes] | None = frozenset()
        self._affected: set[bytes] = set()

    def add(self, part: PlannedPart) -> None:
        self.seen += part.seen
        for plan in part.plans:
            self.total.add(plan.amounts)
            if plan.changes:
                self.losing += 1
                if len(self._affected) <= _MOST_USERS:
                    self._affected.add(plan.user)
            self._users.append(PlannedUser(user=printable(plan.user), amounts=plan.amounts))
            room = None if self._every else max(0, MOST_ITEMS - len(self.chats))
            for chat in plan.chats[:room]:
                self.chats.append(chat)
        if not self._every and len(self._users) > 2 * MOST_ITEMS:
            self._users = self.users()
        many = len(self._affected) > _MOST_USERS
        self.affected = None if many else frozenset(self._affected)

    def users(self) -> Kept[PlannedUser]:
        """Return the users with most to lose."""
        if self._every:
            return self._users
        most = _kept_users()
        for user in islice(self._users, MOST_ITEMS):
            most.append(user)
        return most


def _kept_users() -> Kept[PlannedUser]:
    return Kept(PlannedUser, key=lambda item: (-item.amounts.size_bytes, item.user))
