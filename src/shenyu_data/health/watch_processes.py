"""Who a process is that touched the data: its account, its program, whether it is the application,
or a run of this very program.

What a process says of itself, as its name and its arguments, decides nothing. A program counts by
the file that runs, a unit by the control group that systemd put the process into, and a run of ours
by its row in the log of runs or its line in the audit log: process number and birth.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

import msgspec

from shenyu_data.health.runs import boot_id
from shenyu_data.model.config_watch import WatchTable, is_unit
from shenyu_data.model.findings import printable
from shenyu_data.model.watch_terms import Actor, Standing

MOST_KNOWN = 4096
"""So many processes are remembered; whoever was seen longest ago is forgotten first."""

CHECKED_MS = 1000
"""After so long it is looked again who a process is: its number may be another one's."""

BELIEVED_MS = 10_000
"""So long what was seen of a number is believed of a process that is gone now."""

_MOST_ANCESTORS = 8
_MOST_PROGRAM = 200
_MOST_WORDS = 12
_WORD = re.compile(r"[^\W_]+")
_DELETED = " (deleted)"
_NO_LOGIN = 2**32 - 1

GONE = Actor(standing="gone")
UNSEEN = Actor(standing="unseen")

Registered = Callable[[], frozenset[tuple[int, str]]]
"""Gives the runs of this program that are under way, as process numbers and births."""


class _Known(msgspec.Struct):
    actor: Actor
    checked_ms: int


class _Seen(msgspec.Struct, frozen=True):
    """What /proc says of a process."""

    born: str
    parent: int
    account: int
    login: int | None
    program: str
    is_that_file: bool
    unit: str


class Processes:
    """Tells who processes are. ``table`` names the application and others; ``data`` is the data
    directory: a program in it is not named, as its path may name a user.
    """

    def __init__(self, table: WatchTable, registered: Registered, data: str) -> None:
        self._application = table.application or []
        self._allowed = table.programs or []
        self._registered = registered
        self._data = os.path.realpath(data)
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def actor_of(self, pid: int, now_ms: int, *, gone: bool) -> Actor:
        """Return who a process is or was; ``gone``: it has ended since."""
        known = self._known.get(pid)
        age_ms = now_ms - known.checked_ms if known is not None else -1
        if known is not None and 0 <= age_ms < (BELIEVED_MS if gone else CHECKED_MS):
            return known.actor
        seen = None if gone else look_at(pid)
        if seen is None:
            is_recent = known is not None and 0 <= age_ms < BELIEVED_MS
            return known.actor if known is not None and is_recent else GONE
        actor = self._judge(pid, seen)
        self._known[pid] = _Known(actor, now_ms)
        self._known.move_to_end(pid)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return actor

    def _judge(self, pid: int, seen: _Seen) -> Actor:
        standing: Standing = "other"
        if self._is_own(pid, seen):
            standing = "own"
        elif self._is_listed(seen, self._application):
            standing = "application"
        elif self._is_listed(seen, self._allowed):
            standing = "allowed"
        return Actor(
            standing=standing,
            account=seen.account,
            login=seen.login if seen.login != seen.account else None,
            program=printable(self._without_users(seen.program))[:_MOST_PROGRAM],
        )

    def _without_users(self, program: str) -> str:
        """Return a program's path without what names a user of the application: it is kept where
        nothing is taken out when somebody is erased.
        """
        if program.startswith(self._data + "/"):
            return "a program within the data directory"
        return "/".join(self._without_user(part) for part in program.split("/"))

    def _without_user(self, part: str) -> str:
        """Return a part of a path with "…" for each of its words, or of those that follow one
        another, that is a user.
        """
        words = list(_WORD.finditer(part))
        if len(words) > _MOST_WORDS or (part and self._is_user(part)):
            return "…"
        shown, place, first = "", 0, 0
        while first < len(words):
            start = words[first].start()
            for last in reversed(range(first, len(words))):
                end = words[last].end()
                if self._is_user(part[start:end]):
                    shown, place, first = f"{shown}{part[place:start]}…", end, last
                    break
            first += 1
        return shown + part[place:]

    def _is_user(self, name: str) -> bool:
        places = (f"users/{name}", f"users/{name}.json", f"users/{name}.json.gz")
        return any(
            os.path.lexists(os.path.join(self._data, place))
            for place in (*places, f"histories/{name}")
        )

    def _is_own(self, pid: int, seen: _Seen) -> bool:
        """Whether it is a run of this program, or descends from one, as its workers do."""
        runs = self._registered()
        if not runs:
            return False
        born, parent = seen.born, seen.parent
        for _ in range(_MOST_ANCESTORS):
            if (pid, born) in runs:
                return True
            pid = parent
            try:
                born, parent = _birth(f"/proc/{pid}")
            except (OSError, IndexError, ValueError):
                return False
        return False

    def _is_listed(self, seen: _Seen, entries: Sequence[str]) -> bool:
        for entry in entries:
            if is_unit(entry):
                if seen.unit and fnmatchcase(seen.unit, entry):
                    return True
            elif seen.program == os.path.realpath(entry) and seen.is_that_file:
                return True
        return False


def look_at(pid: int) -> _Seen | None:
    """Look at a process; return None if there is none of that number."""
    folder = f"/proc/{pid}"
    try:
        born, parent = _birth(folder)
        account = _effective_account(folder)
    except (OSError, IndexError, ValueError):
        return None
    program, is_that_file = _program(folder)
    return _Seen(
        born=born,
        parent=parent,
        account=account,
        login=_login(folder),
        program=program,
        is_that_file=is_that_file,
        unit=_unit(folder),
    )


def _birth(folder: str) -> tuple[str, int]:
    """Return what tells a process from others of its number (runs.py), and its parent's number."""
    with open(f"{folder}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return f"{boot_id()} {fields[19].decode('ascii')}", int(fields[1])


def _effective_account(folder: str) -> int:
    with open(f"{folder}/status", "rb") as file:
        for line in file:
            if line.startswith(b"Uid:"):
                return int(line.split()[4])  # by which the kernel decides about files
    raise ValueError(folder)


def _login(folder: str) -> int | None:
    with suppress(OSError, ValueError), open(f"{folder}/loginuid", "rb") as file:
        number = int(file.read())
        return None if number == _NO_LOGIN else number
    return None


def _program(folder: str) -> tuple[str, bool]:
    """Return the path of the program that runs, and whether it is what has that path here: whoever
    may mount, as in a namespace of their own, can give any file any path.
    """
    try:
        path = os.readlink(f"{folder}/exe")
    except OSError:
        return "", False
    if path.endswith(_DELETED):  # it was replaced while it ran, as by an update
        path = path[: -len(_DELETED)]
        return path, _same(f"{folder}/ns/mnt", "/proc/self/ns/mnt")
    return path, _same(f"{folder}/exe", path)


def _same(one: str, other: str) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(one), os.stat(other))
    return False


def _unit(folder: str) -> str:
    """Return the unit of the system's manager that a process belongs to; "" if to none. The manager
    of an account's own units lets everybody call one as they like.
    """
    with suppress(OSError), open(f"{folder}/cgroup", encoding="utf-8", errors="replace") as file:
        for line in file:
            number, _, rest = line.rstrip("\n").partition(":")
            path = rest.partition(":")[2]
            if number != "0" and "name=systemd" not in line:
                continue
            parts = path.split("/")
            if "user.slice" in parts:
                return ""
            return next((part for part in parts if is_unit(part)), "")
    return ""
