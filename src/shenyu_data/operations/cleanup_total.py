"""How far back there is room for chats, if those of all users may take up only so much in all: one
look at everybody, before a cleanup is planned.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import UsageError
from shenyu_data.model.expiry import Policy, room_since
from shenyu_data.model.expiry_holds import Holds
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.cleanup_owner import OwnerPlanner
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.workers import open_executor, run_tasks

_HOUR_MS = 3_600_000
_PARTS = 256
_FEW_USERS = 500
_WAITING_A_JOB = 4


class WeighTask(NamedTuple):
    """Users whose chats are to be weighed, those of the histories that the policy covers."""

    data: str
    users: list[bytes]
    compressed: frozenset[bytes]
    policy: Policy
    now_ms: int


class Weighed(NamedTuple):
    """How many users were looked at; the bytes of their chats, by the hour of last activity."""

    users: int
    weights: dict[int, int]


def weigh(task: WeighTask) -> Weighed:
    """Add up the chats of some users. What cannot be read weighs nothing: it is left alone."""
    weights: dict[int, int] = {}
    with DataFolders(task.data) as folders:
        planner = OwnerPlanner(folders, task.policy, Holds([], task.now_ms), task.now_ms, None)
        for user in task.users:
            for chat in planner.chats(user, compressed=user in task.compressed):
                if task.policy.covers(chat.key):
                    hour = chat.activity.ms // _HOUR_MS
                    weights[hour] = weights.get(hour, 0) + chat.size
    return Weighed(len(task.users), weights)


def with_room(data: str, options: CleanupOptions, monitor: Monitor) -> CleanupOptions:
    """Return the options with a policy that says for which chats there is room, to the hour, if
    the policy is one of a total size.

    Raise UsageError if only some users are to be cleaned up, DataDirectoryError if the directory
    cannot be listed.
    """
    policy = options.policy
    if policy.max_total_bytes is None:
        return options
    if options.users is not None:
        raise UsageError(
            "a total size is of all users together, not of some",
            hint="Leave --user out, or give each user --max-size.",
        )
    weights: dict[int, int] = {}
    with Survey(_PARTS) as found:
        survey(data, found, user_bucket=_part, shared_bucket=_part, monitor=monitor)
        jobs = options.jobs if found.names >= _FEW_USERS else 1
        with (
            open_executor(jobs) as executor,
            monitor.task("Weighing chats", found.names, "users") as progress,
        ):
            tasks = _tasks(found, data, options)
            for result in run_tasks(executor, weigh, tasks, waiting=_WAITING_A_JOB * jobs):
                progress.advance(result.users)
                for hour, size in result.weights.items():
                    weights[hour] = weights.get(hour, 0) + size
    since = room_since(weights, policy.max_total_bytes)
    if since is None:
        return options
    policy = msgspec.structs.replace(policy, room_since_ms=since * _HOUR_MS)
    return msgspec.structs.replace(options, policy=policy)


def _tasks(found: Survey, data: str, options: CleanupOptions) -> Iterator[WeighTask]:
    for number in range(_PARTS):
        owners = found.bucket(number)
        if owners.users:
            compressed = frozenset(owners.compressed)
            yield WeighTask(data, owners.users, compressed, options.policy, options.now_ms)


def _part(name: bytes) -> int:
    return zlib.crc32(name) % _PARTS
