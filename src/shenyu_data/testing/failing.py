"""Calls to the system that fail in this process: it dies at one of them, or the disk is full from
one on. For tests of whatever writes.

What is left in memory can be looked at afterwards; killed.py has a process that is really killed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from shenyu_data.datadir.exchange import exchange
from shenyu_data.testing.faulty import Crash

_WRITES = ("rename", "unlink", "link", "write", "writev", "fsync", "mkdir", "ftruncate", "fchmod")
_TAKES_ROOM = ("write", "writev", "fsync", "link", "mkdir", "pwrite")


class Death:
    """The process dies (Crash) at call number ``at`` that writes something; afterwards none works
    any more, as long as ``patches`` lasts.
    """

    def __init__(self, at: int, patches: pytest.MonkeyPatch) -> None:
        self._calls = 0
        self._at = at
        for name in _WRITES:
            patches.setattr(os, name, self._around(getattr(os, name)))
        patches.setattr("shenyu_data.datadir.replace.exchange", self._around(exchange))

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*words: Any, **more: Any) -> Any:
            self._calls += 1
            if self._calls > self._at:
                raise Crash
            return call(*words, **more)

        return around


def fill_up(patches: pytest.MonkeyPatch, room: int) -> list[str]:
    """Let all calls that take room fail from number ``room`` on; return the names of those that
    did, which come as they fail.
    """
    failed: list[str] = []
    calls = iter(range(10**9))

    def around(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def full(*words: Any, **more: Any) -> Any:
            if next(calls) >= room:
                failed.append(name)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*words, **more)

        return full

    for name in _TAKES_ROOM:
        patches.setattr(os, name, around(getattr(os, name), name))
    return failed
