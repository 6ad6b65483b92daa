"""Entries of files as a backup makes them, and whether an old one still holds. Pure.

Called by operations/backup_owner.py.
"""

from __future__ import annotations

import os
import stat

from shenyu_data.datadir.scan import Found
from shenyu_data.repository.format import FileEntry, FileState, LastGood

_FIRST_NS = -(1 << 63)  # in 1677
_LAST_NS = (1 << 64) - 1  # in 2554


def storable(time_ns: int) -> int:
    """Return a time as the format can hold it: some file systems know years that it does not."""
    return min(max(time_ns, _FIRST_NS), _LAST_NS)


def same_stat(before: FileEntry, seen: os.stat_result) -> bool:
    """Whether a file's stat says that it is as it was when ``before`` was made."""
    return (
        before.ctime_ns == seen.st_ctime_ns
        and before.mtime_ns == seen.st_mtime_ns
        and before.size == seen.st_size
        and before.inode == seen.st_ino
        and before.mode == stat.S_IMODE(seen.st_mode)
        and before.uid == seen.st_uid
        and before.gid == seen.st_gid
        and before.links == seen.st_nlink
    )


def file_entry(
    found: Found,
    seen: os.stat_result,
    *,
    state: FileState,
    settled: bool,
    size: int,
    digest: bytes,
    chats: int,
    messages: int,
    extents: list[tuple[int, int, int]],
    good: LastGood | None,
) -> FileEntry:
    """Return the entry of a file that was read, or could not be; one not settled is read again."""
    return FileEntry(
        found.place,
        found.name,
        state,
        stat.S_IMODE(seen.st_mode),
        seen.st_uid,
        seen.st_gid,
        storable(seen.st_mtime_ns),
        seen.st_ctime_ns if settled else 0,
        seen.st_ino,
        seen.st_nlink,
        size,
        digest,
        chats,
        messages,
        extents,
        good,
    )


def unlisted(before: FileEntry, good: LastGood | None) -> FileEntry:
    """Return the entry of a file that a scan did not meet because its folder cannot be listed."""
    return FileEntry(
        before.place,
        before.name,
        FileState.UNREADABLE,
        before.mode,
        before.uid,
        before.gid,
        before.mtime_ns,
        0,
        before.inode,
        before.links,
        0,
        b"",
        0,
        0,
        [],
        good,
    )
