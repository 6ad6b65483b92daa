"""Comparing what was restored with the live directory: what nobody changed since must be the same.

A document whose bytes changed though size and times did not was altered below the file system, or
by somebody who set the times back. No backup notices that: it goes by the times.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from itertools import zip_longest

from shenyu_data.health.drill_tree import Tree, blocks, read_all
from shenyu_data.repository.format import FileEntry

Likeness = str
"""``same``, ``changed`` since, ``unread``; or else what is wrong, for people."""

_ROTTEN = (
    "the live document differs from the backup, though its size and all its times say that nobody "
    "changed it"
)
_SET_BACK = (
    "the live document differs from the backup, though its size and modification time say that it "
    "is the same"
)


class Live:
    """The live directory, or a folder that stands for it. ``unsettled_too``: compare also what was
    written in the moment of the backup, where a later write may hide behind the same times. If it
    is not there any more, as when its disk was unmounted, nothing of it is read.
    """

    def __init__(self, path: str, *, unsettled_too: bool = False) -> None:
        self._tree: Tree | None = None
        with suppress(OSError):
            self._tree = Tree(path)
        self._unsettled_too = unsettled_too

    def close(self) -> None:
        """Close its folders."""
        if self._tree is not None:
            self._tree.close()

    def compare(self, path: bytes, entry: FileEntry, data: bytes) -> Likeness:
        """Compare the live document at ``path`` with the bytes that a snapshot has of it."""
        if self._tree is None:
            return "unread"
        try:
            seen = self._unchanged(self._tree, path, entry)
            if seen is None:
                return "changed"
            with self._tree.file(path) as descriptor:
                if read_all(descriptor, entry.size) == data:
                    return "same"
                return self._told(entry, seen, os.fstat(descriptor))
        except FileNotFoundError:
            return "changed"
        except OSError:
            return "unread"

    def compare_large(self, path: bytes, entry: FileEntry, restored: int) -> Likeness:
        """As :meth:`compare`, with what is in an open file."""
        if self._tree is None:
            return "unread"
        try:
            seen = self._unchanged(self._tree, path, entry)
            if seen is None:
                return "changed"
            os.lseek(restored, 0, os.SEEK_SET)
            with self._tree.file(path) as descriptor:
                pairs = zip_longest(blocks(descriptor), blocks(restored))
                if all(one == other for one, other in pairs):
                    return "same"
                return self._told(entry, seen, os.fstat(descriptor))
        except FileNotFoundError:
            return "changed"
        except OSError:
            return "unread"

    def _unchanged(self, tree: Tree, path: bytes, entry: FileEntry) -> os.stat_result | None:
        """Return the live document's stat if that is as it was then."""
        if not entry.ctime_ns and not self._unsettled_too:
            return None
        found = tree.stat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        as_then = (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns)
        return found if as_then else None

    def _told(self, entry: FileEntry, before: os.stat_result, after: os.stat_result) -> Likeness:
        if _version(before) != _version(after):
            return "changed"  # while it was read
        return _ROTTEN if before.st_ctime_ns == entry.ctime_ns else _SET_BACK


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
