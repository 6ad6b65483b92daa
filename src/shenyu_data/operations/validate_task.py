"""What the workers of a validation do: look at every entry of some owners. For ``validate`` only.

An owner whose entries are all ordinary and sound costs one listing and, for each document, one read
and one typed pass. Anything else makes the worker begin again with that owner, closely.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from shenyu_data.datadir.folder import FILE_FLAGS, FOLDER_FLAGS
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.entry_rules import name_finding
from shenyu_data.model.history_rules import Held, count_sound_history
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, kind_of
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.rules import APPLICATION_KEYS, is_unread_name, prove
from shenyu_data.model.user_rules import is_application_name
from shenyu_data.operations.validate_closely import CloseLook, Tally

if TYPE_CHECKING:
    from shenyu_data.datadir.catalog_known import KnownUser

_READ_BYTES = 1 << 16  # nearly every document, in one read
_APPLICATION_FILES = {os.fsdecode(key + JSON_SUFFIX) for key in APPLICATION_KEYS}
_is_plain_history = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.@-]{0,100}\.json").fullmatch


class ValidateTask(NamedTuple):
    """Owners and shared paths to look at.

    ``scope`` limits the look to one path and what is below; ``infos``: findings of no consequence
    are wanted too. ``catalog`` is the path of one that may know what documents are; then
    ``compressed`` are the users of whom there may be a ``users/NAME.json.gz``.
    """

    data: str
    users: list[bytes]
    shared: list[bytes]
    scope: bytes
    infos: bool
    catalog: str | None = None
    compressed: frozenset[bytes] = frozenset()


def validate_owners(task: ValidateTask) -> Tally:
    """Look at every entry of the task's owners and shared paths; the findings' order is fixed."""
    tally = Tally(infos_wanted=task.infos)
    with DataFolders(task.data) as folders:
        look = CloseLook(folders, task.data, task.scope, tally)
        users = task.users
        if task.catalog is not None:
            users = _look_at_changes(task, task.catalog, folders, look, tally)
        for owner in users:
            if task.scope or not _look_quickly(folders, owner, tally):
                look.at_user(owner)
        look.at_shared(task.shared)
    tally.owners = len(task.users) + len(task.shared)
    return tally


def _look_at_changes(
    task: ValidateTask, catalog: str, folders: DataFolders, look: CloseLook, tally: Tally
) -> list[bytes]:
    """Count the task's users and tell what is wrong with them, reading only what the catalog does
    not know; return those for whom it is of no use: if it is damaged, the rest.
    """
    # Late: SQLite takes 10 ms, which a validation without a catalog does not pay.
    import sqlite3

    from shenyu_data.datadir.catalog_known import KnownUsers
    from shenyu_data.datadir.catalog_owners import Looker

    now_ms = time.time_ns() // 1_000_000
    done = 0
    try:
        with closing(KnownUsers(catalog)) as known:
            users = known.users(task.users)
            looker = Looker(folders, known, now_ms, check=True)
            for owner in task.users:
                compressed, user = owner in task.compressed, users.get(owner)
                if (
                    user is not None
                    and user.seen.sound
                    and looker.is_as_before(owner, user, compressed=compressed)
                ):
                    _count(user, tally)
                else:
                    found = looker.look(owner, user, compressed=compressed)
                    checked = found.checked()
                    if found.change is not None:
                        tally.changes.append(found.change)
                    look.at_user(owner, found.scan, checked)
                done += 1
    except (sqlite3.Error, ValueError, TypeError, OverflowError):
        pass
    return task.users[done:]


def _count(user: KnownUser, tally: Tally) -> None:
    """Count a user in whom nothing is worth telling."""
    tally.users += 1
    tally.histories += user.histories
    tally.documents += user.documents
    tally.document_bytes += user.document_bytes
    tally.held(Held(user.chats, user.messages))


def _look_quickly(folders: DataFolders, owner: bytes, tally: Tally) -> bool:
    """Count an owner in whom nothing is worth telling; return false, nothing counted, otherwise."""
    users, histories = folders.users, folders.histories
    user_file = owner + JSON_SUFFIX
    if users is None or histories is None or name_finding(user_file, b"") is not None:
        return False
    try:
        data = _read_file(users, user_file, links_count=tally.infos_wanted)
        if data is None or prove("user", owner, user_file, data) is None:
            return False
        if os.access(owner + GZIP_SUFFIX, os.F_OK, dir_fd=users, follow_symlinks=False):
            return False
        folder = os.open(owner, FOLDER_FLAGS, dir_fd=histories)
        try:
            counted = _count_histories(folder, owner, links_count=tally.infos_wanted)
        finally:
            os.close(folder)
    except OSError:
        return False  # missing, a link, not ours to read: a closer look tells
    if counted is None:
        return False
    histories_seen, size, held = counted
    tally.users += 1
    tally.histories += histories_seen
    tally.documents += 1 + histories_seen
    tally.document_bytes += len(data) + size
    tally.held(held)
    return True


def _count_histories(
    folder: int, owner: bytes, *, links_count: bool
) -> tuple[int, int, Held] | None:
    """Return number, bytes and content of the histories in a folder, or None to look closer."""
    documents = size = chats = messages = 0
    of_application = is_application_name(owner)
    with os.scandir(folder) as listing:
        for entry in listing:
            name = entry.name
            if not (_is_plain_history(name) or _is_ordinary_history(name)):
                return None
            if not entry.is_file(follow_symlinks=False):
                return None
            if of_application and is_unread_name(owner, os.fsencode(name)):
                return None
            data = _read_file(folder, name, links_count=links_count)
            if data is None:
                return None
            array_only = of_application and name in _APPLICATION_FILES
            held = count_sound_history(data, array_only=array_only)
            if held is None:
                return None
            documents += 1
            size += len(data)
            chats += held.chats
            messages += held.messages
    return documents, size, Held(chats, messages)


def _is_ordinary_history(name: str) -> bool:
    """Whether a name that is not plain ASCII is a history's all the same, and a harmless one."""
    raw = os.fsencode(name)
    return (
        kind_of(Place.IN_HISTORY_FOLDER, raw) == "history"
        and raw.endswith(JSON_SUFFIX)
        and name_finding(raw, b"") is None
    )


def _read_file(folder: int, name: bytes | str, *, links_count: bool) -> bytes | None:
    """Return a file's bytes; None if it is large or, if ``links_count``, has several names.

    Without a stat, which costs as much as the reading: whether the bytes are whole, they tell
    themselves, and a FIFO is empty.
    """
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        if links_count and os.fstat(descriptor).st_nlink != 1:
            return None
        data = os.read(descriptor, _READ_BYTES)
        if len(data) < _READ_BYTES:
            return data
        rest = os.read(descriptor, MAX_PARSED_BYTES)
    finally:
        os.close(descriptor)
    return data + rest if len(rest) < MAX_PARSED_BYTES - _READ_BYTES else None
