"""fanotify(7): accesses to a data directory together with the process that made them.

The mark is on the whole file system, so there is no limit on folders and no race with new ones;
what does not lie under the data directory is left out here. The kernel names the folder of a file
by a handle. It needs CAP_SYS_ADMIN, and CAP_DAC_READ_SEARCH to find out which folder a handle is.
"""

from __future__ import annotations

import errno
import os
import resource
import struct
from contextlib import suppress

from shenyu_data.datadir.fanotify_calls import (
    close_all,
    handle_of,
    mark_file_system,
    open_by_handle,
    open_queue,
)
from shenyu_data.datadir.touches import MOST_READ_BYTES, CannotWatch, Touch
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN

_REPORT_PIDFD, _REPORT_DFID_NAME = 0x80, 0xC00
_MODIFY, _CLOSE_WRITE, _OPEN = 0x2, 0x8, 0x20
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _RENAME, _ONDIR = 0x4000, 0x1000_0000, 0x4000_0000
_DFID_NAME, _DFID, _PIDFD, _OLD_NAME, _NEW_NAME = 2, 3, 4, 10, 12
_NO_PIDFD = -1

_USUAL = _MODIFY | _CLOSE_WRITE | _OPEN | _CREATE | _DELETE | _ONDIR
_WAYS = (
    (_REPORT_DFID_NAME | _REPORT_PIDFD, _USUAL | _RENAME),  # Linux 5.17
    (_REPORT_DFID_NAME, _USUAL | _MOVED_FROM | _MOVED_TO),  # Linux 5.9
)
_WRITES = _MODIFY | _CLOSE_WRITE | _CREATE | _MOVED_TO
_REMOVES = _DELETE | _MOVED_FROM

_HEADER = struct.Struct("=IBBHQii")  # length, version, reserved, header's length, mask, fd, pid
_RECORD = struct.Struct("=BBH")  # type, pad, length; then 8 bytes of fsid, and the handle
_HANDLE = struct.Struct("=Ii")  # length, type
_NAMED = struct.Struct("=BBH8sIi")
_WITH_PIDFD = struct.Struct("=BBHi")
_NUMBER = struct.Struct("=i")
_VERSION = 3
_FSID_END = _RECORD.size + 8
_MOST_FOLDERS = 65_536
_LEAST_EVENT = 64
_LEAST_READ_BYTES = 2048
_NO_FOLDER = (errno.ESTALE, errno.ENOENT, errno.ENOTDIR)


class Fanotify:
    """The kernel's queue of accesses to the file system of ``data``; see touches.py.

    Raise CannotWatch if the system does not let this process have one.
    """

    name = "fanotify"
    tells_process = True
    folders = 0
    unwatched = 0

    def __init__(self, data: str) -> None:
        self.overflows = 0
        self.seen_root = False
        self._queue = -1
        try:
            self._root = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CannotWatch(f"{error.strerror}") from None
        self._known: dict[bytes, bytes | None] = {}
        self._own = os.getpid()
        self._read_bytes = _bytes_at_once()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        why = "this system has no fanotify"
        for flags, mask in _WAYS:
            try:
                self._queue = open_queue(flags)
                mark_file_system(self._queue, mask, self._root)
                os.close(open_by_handle(self._root, handle_of(self._root)))
                return
            except (OSError, AttributeError) as error:
                why = getattr(error, "strerror", None) or why
                self._close_queue()
        raise CannotWatch(why)

    def fileno(self) -> int:
        """Return the descriptor that can be read when something is there."""
        return self._queue

    def close(self) -> None:
        """Watch no more."""
        self._close_queue()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _close_queue(self) -> None:
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def read(self) -> list[Touch] | None:
        """Return some accesses; None if there is nothing more to read now. Raises OSError."""
        try:
            events = os.read(self._queue, self._read_bytes)
        except BlockingIOError:
            return None
        found: list[Touch] = []
        held: list[int] = []
        place, end = 0, len(events)
        try:
            while place < end:
                length, version, _, header, mask, _, pid = _HEADER.unpack_from(events, place)
                if version != _VERSION or length < header:
                    raise OSError(errno.EPROTO, "fanotify speaks another version")
                after = place + length
                if mask & _OVERFLOW:
                    self.overflows += 1
                elif not self._is_elsewhere(events, place + header, after, mask, held):
                    self._event(events, place + header, after, mask, pid, found, held)
                place = after
        finally:
            close_all(held)
        return found

    def _is_elsewhere(
        self, events: bytes, place: int, end: int, mask: int, held: list[int]
    ) -> bool:
        """Whether an event is about a folder that is known to be none of ours, as nearly all are on
        a busy disk; what the kernel opened with it is held then.
        """
        kind, _, length, _, size, _ = _NAMED.unpack_from(events, place)
        if kind not in (_DFID_NAME, _DFID) or mask & _RENAME:
            return False
        handle = events[place + _FSID_END : place + _NAMED.size + size]
        if self._known.get(handle, handle) is not None:
            return False
        place += length
        if place < end:
            kind, _, _, descriptor = _WITH_PIDFD.unpack_from(events, place)
            if kind == _PIDFD and descriptor >= 0:
                held.append(descriptor)
        return True

    def _event(
        self,
        events: bytes,
        place: int,
        end: int,
        mask: int,
        pid: int,
        found: list[Touch],
        held: list[int],
    ) -> None:
        """Read one event: its records, that lie between ``place`` and ``end``."""
        path = moved_to = None
        gone = False
        while place < end:
            kind, _, length = _RECORD.unpack_from(events, place)
            if kind == _PIDFD:
                descriptor = _NUMBER.unpack_from(events, place + _RECORD.size)[0]
                gone = descriptor == _NO_PIDFD
                if descriptor >= 0:
                    held.append(descriptor)
            elif kind == _NEW_NAME:
                moved_to = self._path(events, place, place + length)
            elif kind in (_DFID_NAME, _DFID, _OLD_NAME):
                path = self._path(events, place, place + length)
            place += max(length, _RECORD.size)
        if pid == self._own:
            self.seen_root = self.seen_root or path == b""
            return
        if mask & _RENAME:
            self._renamed(path, moved_to, mask, pid, gone, found)
        elif path is not None:
            what = OPENED if mask & _OPEN else 0  # of a folder, too: who lists it sees who is there
            if mask & _WRITES:
                what |= WRITTEN
            if mask & _REMOVES:
                what |= REMOVED
            if mask & _ONDIR and mask & (_REMOVES | _MOVED_TO):
                self._known.clear()
            if what:
                found.append(Touch(what, path, pid, gone))

    def _renamed(
        self,
        path: bytes | None,
        moved_to: bytes | None,
        mask: int,
        pid: int,
        gone: bool,
        found: list[Touch],
    ) -> None:
        if path is None and moved_to is None:
            return
        if mask & _ONDIR:
            self._known.clear()  # what lies below it has another path now
        if path is not None:
            found.append(Touch(REMOVED, path, pid, gone))
        if moved_to is not None:
            found.append(Touch(WRITTEN, moved_to, pid, gone))

    def _path(self, events: bytes, place: int, end: int) -> bytes | None:
        """Return the path that a record names; None if it is none of ours."""
        start = place + _FSID_END
        name_at = start + _HANDLE.size + _HANDLE.unpack_from(events, start)[0]
        handle = events[start:name_at]
        try:
            folder = self._known[handle]
        except KeyError:
            folder = self._find(handle)
        if folder is None:
            return None
        name = events[name_at:end].partition(b"\0")[0]
        if name in (b".", b""):
            return folder
        return folder + b"/" + name if folder else name

    def _find(self, handle: bytes) -> bytes | None:
        """Find out which folder a handle is, and keep it; None if it is gone, or none of ours. What
        cannot be found out now counts as dropped, and is tried again.
        """
        if len(self._known) >= _MOST_FOLDERS:
            self._known.clear()
        found = None
        try:
            descriptor = open_by_handle(self._root, handle)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                self._known[handle] = None
            else:
                self.overflows += 1
            return None
        with suppress(OSError):
            try:
                root = os.readlink(b"/proc/self/fd/%d" % self._root)
                path = os.readlink(b"/proc/self/fd/%d" % descriptor)
            finally:
                os.close(descriptor)
            if path == root:
                found = b""
            elif path.startswith(root.rstrip(b"/") + b"/"):
                found = path[len(root.rstrip(b"/")) + 1 :]
        self._known[handle] = found
        return found


def _bytes_at_once() -> int:
    """Return how much to read at once: the kernel opens a descriptor for each event that is read.
    Without one left it could not tell the process, nor could a folder be found.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(MOST_READ_BYTES, max(_LEAST_READ_BYTES, allowed // 2 * _LEAST_EVENT))
