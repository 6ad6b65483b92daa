"""A bandwidth limit that all processes of a call share, by a small file that says when the line is
free again.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_TIME = struct.Struct("<d")
_STEP_S = 0.25  # how much may go at once, so that little things do not wait for each other


class Throttle:
    """Holds its users to ``bytes_s`` bytes a second on average; picklable to other processes.

    The file goes with the object that made it. On Linux it has no name but that of this process's
    descriptor, so that nothing is left even of a process that is killed.
    """

    def __init__(self, bytes_s: int, path: str = "") -> None:
        self.bytes_s = bytes_s
        if not path and hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("shenyu-data-line")
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
            weakref.finalize(self, _at_home, os.getpid(), os.close, descriptor)
        elif not path:
            descriptor, path = tempfile.mkstemp(prefix="shenyu-data-line-")
            os.close(descriptor)
            weakref.finalize(self, _at_home, os.getpid(), os.unlink, path)
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Throttle, (self.bytes_s, self._path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Throttle) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self._path)

    def take(self, size_bytes: int) -> None:
        """Wait until ``size_bytes`` more may go over the line."""
        now = time.monotonic()  # the same clock in every process
        try:
            free = self._book(now, size_bytes / self.bytes_s)
        except OSError:  # somebody tidied up: go on with what this call knows
            free = now + size_bytes / self.bytes_s
        time.sleep(max(0.0, free - now - _STEP_S))

    def _book(self, now: float, duration_s: float) -> float:
        # In a folder for everybody a link may be put in its place; the other is one by its nature.
        follows = 0 if self._path.startswith("/proc/") else os.O_NOFOLLOW
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | follows)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            known = os.pread(descriptor, _TIME.size, 0)
            booked = _TIME.unpack(known)[0] if len(known) == _TIME.size else now
            free: float = max(now, booked) + duration_s
            os.pwrite(descriptor, _TIME.pack(free), 0)
            return free
        finally:
            os.close(descriptor)


def _at_home(process: int, do: Callable[[Any], None], what: int | str) -> None:
    """Do something in the process that made the file, and in no copy of it."""
    if os.getpid() == process:
        with suppress(OSError):
            do(what)
