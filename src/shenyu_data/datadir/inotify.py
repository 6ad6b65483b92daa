"""inotify(7): accesses to a data directory, without the process that made them: what anybody may
have who may read the folders.

Each folder has a watch of its own. One that is made later is watched when that is told, and what
already stands in it then counts as written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from collections import deque
from contextlib import suppress

from shenyu_data.datadir.touches import MOST_READ_BYTES, CannotWatch, Touch
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN

_MODIFY, _CLOSE_WRITE, _OPEN = 0x2, 0x8, 0x20
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT = 0x400, 0x800, 0x2000
_OVERFLOW, _IGNORED, _ONLYDIR, _ISDIR = 0x4000, 0x8000, 0x100_0000, 0x4000_0000
_WRITES = _MODIFY | _CLOSE_WRITE | _CREATE | _MOVED_TO
_REMOVES = _DELETE | _MOVED_FROM
_MASK = _OPEN | _WRITES | _REMOVES | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_ARRIVES = _CREATE | _MOVED_TO
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EACCES)  # no watch is left, or the folder is not for us to read
_MOST_DEPTH = 32
_READ_EVERY = 256
_MOST_AT_ONCE = 4096
_MOST_FOUND = 100_000
_RESCAN_S = 5.0
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """The kernel's queue of accesses to all folders of ``data``; see touches.py.

    Raise CannotWatch if there can be none.
    """

    name = "inotify"
    tells_process = False

    def __init__(self, data: str) -> None:
        self.overflows = 0
        self.unwatched = 0
        self.seen_root = False
        self._paths: dict[int, bytes] = {}
        self._found: list[Touch] = []
        self._root_watch = -1
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._left: set[bytes] = set()
        self._rescan_s: float | None = None
        self._queue = self._root = -1
        try:
            # A link is followed here alone: a person named it.
            self._root = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._queue = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
            self._waiting.append((b"", False))
            while self._waiting:
                self._watch_waiting()
            if self._root_watch < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except (OSError, AttributeError) as error:
            self.close()
            why = getattr(error, "strerror", None) or "this system has no inotify"
            raise CannotWatch(why) from None

    @property
    def folders(self) -> int:
        """How many folders are watched."""
        return len(self._paths)

    def fileno(self) -> int:
        """Return the descriptor that can be read when something is there."""
        return self._queue

    def close(self) -> None:
        """Watch no more."""
        for descriptor in (self._queue, self._root):
            if descriptor >= 0:
                os.close(descriptor)
        self._queue = self._root = -1

    def read(self) -> list[Touch] | None:
        """Return some accesses; None if there is nothing more to read now.

        Raises OSError if the directory itself was moved, removed or unmounted.
        """
        more = self._read_events()
        if not more and self._rescan_s is not None and time.monotonic() >= self._rescan_s:
            self._rescan_s = None
            self.unwatched = 0
            self._waiting.append((b"", False))
        self._watch_waiting()
        found, self._found = self._found, []
        return found if more or found or self._waiting else None

    def _read_events(self) -> bool:
        """Read what is there of the queue; return whether there was anything."""
        try:
            events = os.read(self._queue, MOST_READ_BYTES)
        except BlockingIOError:
            return False
        place, end = 0, len(events)
        while place < end:
            watch, mask, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size
            self._event(watch, mask, events[place : place + length].partition(b"\0")[0])
            place += length
        if self._left:
            self._leave()
        return True

    def _event(self, watch: int, mask: int, name: bytes) -> None:
        if mask & _OVERFLOW:
            self.overflows += 1
            if self._rescan_s is None:  # folders may have been made that nobody told of
                self._rescan_s = time.monotonic() + (_RESCAN_S if self.overflows > 1 else 0)
            return
        if watch == self._root_watch:
            if mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED):
                raise OSError(errno.ENOENT, "the data directory was moved, removed or unmounted")
            self.seen_root = self.seen_root or bool(mask & _OPEN and not name)
        if mask & _IGNORED:
            self._paths.pop(watch, None)
            return
        folder = self._paths.get(watch)
        if folder is None or not name:
            return
        path = folder + b"/" + name if folder else name
        what = OPENED if mask & _OPEN and not mask & _ISDIR else 0
        if mask & _WRITES:
            what |= WRITTEN
        if mask & _REMOVES:
            what |= REMOVED
        if what:
            self._tell(what, path)
        if mask & _ISDIR and mask & _MOVED_FROM:
            self._left.add(path)
        if mask & _ISDIR and mask & _ARRIVES:
            self._waiting.append((path, True))

    def _leave(self) -> None:
        """Watch no more what was moved away; if it went elsewhere in here, that is told. Once for
        all that was read at once: each folder that is watched is looked at.
        """
        left, self._left = self._left, set()
        for watch, known in list(self._paths.items()):
            place = known
            while place and place not in left:
                place = place.rpartition(b"/")[0]
            if place:
                del self._paths[watch]
                _libc.inotify_rm_watch(self._queue, watch)

    def _tell(self, what: int, path: bytes) -> None:
        if len(self._found) >= _MOST_FOUND:  # while folders are looked through
            self.overflows += 1
            return
        self._found.append(Touch(what, path, 0, gone=False))

    def _watch_waiting(self) -> None:
        """Watch some of the folders that wait for it, and have those below them wait."""
        for count in range(_MOST_AT_ONCE):
            if not self._waiting:
                return
            path, arrived = self._waiting.popleft()
            with suppress(OSError):  # it has gone meanwhile
                below = self._watch(path, arrived=arrived)
                self._waiting.extend((one, arrived) for one in below)
            if count % _READ_EVERY == 0:  # our own looking fills the queue as well
                self._read_events()

    def _watch(self, path: bytes, *, arrived: bool) -> list[bytes]:
        """Watch one folder; return those below it. Raises OSError."""
        descriptor = self._open(path)
        try:
            place = b"/proc/self/fd/%d" % descriptor
            watch = _libc.inotify_add_watch(self._queue, place, _MASK)
            if watch >= 0:
                self._paths[watch] = path
                if not path:
                    self._root_watch = watch
            elif ctypes.get_errno() in _FULL:
                self.unwatched += 1
            else:
                return []
            if path.count(b"/") >= _MOST_DEPTH:
                return []
            listed = os.open(b".", _LISTED, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        below = []
        try:
            # After the watch: what is made from now on is told.
            with os.scandir(listed) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    inside = path + b"/" + name if path else name
                    if entry.is_dir(follow_symlinks=False):
                        below.append(inside)
                    elif arrived:
                        self._tell(WRITTEN, inside)
        finally:
            os.close(listed)
        return below

    def _open(self, path: bytes) -> int:
        """Open a folder without following a link. Raises OSError."""
        descriptor = os.dup(self._root)
        for part in path.split(b"/") if path else ():
            try:
                below = os.open(part, _FOLDER, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
