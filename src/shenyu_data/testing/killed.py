"""A process that is killed before any of its steps on files. For tests of whatever writes.

The storages that die are in faulty.py; here it is the process itself, with the real disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

from shenyu_data.datadir import aside, exchange, new_files, replace, twins
from shenyu_data.operations import import_place

STEPS = (
    "fchmod",
    "fsync",
    "link",
    "mkdir",
    "rename",
    "rmdir",
    "symlink",
    "unlink",
    "utime",
    "write",
    "writev",
)
"""The functions of ``os`` of which each call is a step; so is an ``open`` that may create."""


def dies_at(
    number: int,
    act: Callable[[], object],
    *,
    steps: Collection[str] = STEPS,
    after: tuple[ModuleType, str] | None = None,
) -> bool:
    """Call ``act`` in a process that is killed right before its ``number``-th step on files, from
    0; return whether it was, and False if it came to its end before.

    Of the functions of ``os`` only calls of those in ``steps`` count. With ``after``, a module and
    the name of a function in it, counting begins when that function has returned for the first
    time.
    """
    child = os.fork()
    if child == 0:
        try:
            _arm(number, steps) if after is None else _arm_after(number, steps, *after)
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def _arm_after(number: int, steps: Collection[str], module: ModuleType, name: str) -> None:
    call = module.__dict__[name]

    def call_and_arm(*words: Any, **more: Any) -> Any:
        setattr(module, name, call)
        result = call(*words, **more)
        _arm(number, steps)
        return result

    setattr(module, name, call_and_arm)


def _arm(left: int, steps: Collection[str]) -> None:
    """Let this process die before its ``left``-th step from now on."""

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(9)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*words: Any, **more: Any) -> Any:
            step()
            return call(*words, **more)

        return stepping

    real_open = os.open

    def open_(path: Any, flags: int, *words: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            step()
        return real_open(path, flags, *words, **more)

    for name in steps:
        setattr(os, name, dying(getattr(os, name)))
    vars(os)["open"] = open_
    vars(replace)["exchange"] = dying(exchange.exchange)
    for module in (aside, new_files, twins):
        vars(module)["rename_new"] = dying(exchange.rename_new)
    for module in (import_place, new_files, twins):
        # What a killed process wrote the system still has: to wait for the disk proves nothing.
        vars(module)["sync_all"] = dying(lambda folder: None)
