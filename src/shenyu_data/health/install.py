"""``schedule install`` and ``schedule remove``: the system runs the jobs, by systemd timers or a
crontab, for those who want no daemon.

What is there already is compared first: a plan says what would change, and nothing that is not ours
is touched.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from shenyu_data.health.crontab import with_lines, without_lines
from shenyu_data.health.units import MARK, owner_line
from shenyu_data.model.errors import ConfigError, ShenyuDataError
from shenyu_data.model.findings import printable
from shenyu_data.storage.atomic import write_file

Scope = Literal["system", "user"]

SYSTEM_FOLDER = "/etc/systemd/system"
_MOST_BYTES = 1 << 20
_PATIENCE_S = 60


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would change in a folder of units: ``writes`` by file name, ``removes``; ``timers`` that
    are to run afterwards.
    """

    folder: str
    scope: Scope
    writes: dict[str, str]
    removes: list[str]
    timers: list[str]

    @property
    def empty(self) -> bool:
        """Whether all is as it should be."""
        return not self.writes and not self.removes


class CronPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A crontab as it is and as it would be; the lines that come and go."""

    before: str
    after: str
    adds: list[str]
    takes: list[str]

    @property
    def empty(self) -> bool:
        """Whether all is as it should be."""
        return self.before == self.after


def unit_folder(scope: Scope, environment: Mapping[str, str]) -> str:
    """Return where units lie: the system's, or this user's."""
    if scope == "system":
        return SYSTEM_FOLDER
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME", "/"), ".config"
    )
    return os.path.join(home, "systemd", "user")


def plan_units(wanted: Mapping[str, str], folder: str, scope: Scope, data: str) -> UnitPlan:
    """Say what makes the units of a data directory the ``wanted`` ones; none of them removes all.

    Raise ConfigError if a file of such a name is somebody else's.
    """
    ours = _our_units(folder, data)
    for name in wanted:
        if name not in ours and os.path.lexists(os.path.join(folder, name)):
            raise ConfigError(
                f"{os.path.join(folder, name)} was not made for this data directory",
                hint="Give --prefix NAME for other names, or move that file away.",
            )
    return UnitPlan(
        folder=folder,
        scope=scope,
        writes={name: text for name, text in wanted.items() if ours.get(name) != text},
        removes=sorted(set(ours) - set(wanted)),
        timers=sorted(name for name in wanted if name.endswith(".timer")),
    )


def _our_units(folder: str, data: str) -> dict[str, str]:
    found = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    for name in names:
        if name.endswith((".service", ".timer")):
            text = _text_of(os.path.join(folder, name))
            if text.split("\n")[:2] == [MARK, owner_line(data)]:
                found[name] = text
    return found


def _text_of(path: str) -> str:
    """Return what a file holds; nothing of what is no file. A pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(_MOST_BYTES).decode("utf-8", "replace")


def apply_units(plan: UnitPlan) -> None:
    """Write and remove the units, and have the service manager read and start them. Raise
    ShenyuDataError, after which the call can be made again.
    """
    manager = ["systemctl", *(["--user"] if plan.scope == "user" else [])]
    gone = [name for name in plan.removes if name.endswith(".timer")]
    if gone:
        _call([*manager, "disable", "--now", *gone])
    try:
        os.makedirs(plan.folder, exist_ok=True)
        folder = os.open(plan.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, text in plan.writes.items():
                write_file(name, [text.encode()], folder=folder, mode=0o644, replace=True)
            for name in plan.removes:
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot change the units in {plan.folder}: {error.strerror}",
            hint="See who may write there; `--scope user` needs no rights.",
        ) from None
    _call([*manager, "daemon-reload"])
    if plan.timers:
        _call([*manager, "enable", "--now", *plan.timers])


def read_crontab() -> str:
    """Return this user's crontab, empty if there is none. Raise ConfigError without cron, or
    ShenyuDataError.
    """
    done = _run(["crontab", "-l"])
    if done.returncode == 0:
        return done.stdout
    if "no crontab for" in done.stderr:
        return ""
    raise _failed(["crontab", "-l"], done)


def plan_crontab(crontab: str, wanted: Sequence[str], data: str) -> CronPlan:
    """Say what makes our lines the ``wanted`` ones; none of them removes all."""
    without, takes = without_lines(crontab, data)
    if list(wanted) == takes:
        return CronPlan(before=crontab, after=crontab, adds=[], takes=[])
    after = with_lines(crontab, wanted, data) if wanted else without
    return CronPlan(before=crontab, after=after, adds=list(wanted), takes=takes)


def apply_crontab(plan: CronPlan) -> None:
    """Write the crontab. Raise ShenyuDataError if it was changed meanwhile, or if it is refused."""
    if read_crontab() != plan.before:
        raise ShenyuDataError(
            "the crontab was changed meanwhile: nothing was done", hint="Run it again."
        )
    command = ["crontab", "-"]
    done = _run(command, plan.after)
    if done.returncode:
        raise _failed(command, done)


def _call(command: Sequence[str]) -> None:
    done = _run(command)
    if done.returncode:
        raise _failed(command, done)


def _run(command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if "PASSPHRASE" not in name}
    try:
        return subprocess.run(
            list(command),
            input=given,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**environment, "LC_ALL": "C"},
            timeout=_PATIENCE_S,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError(
            f"there is no program {command[0]} here",
            hint="`shenyu-data serve` runs the jobs without it; or give --cron or --systemd.",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not come to its end"
        raise ShenyuDataError(
            f"{command[0]} cannot be run: {reason}", hint="Run it by hand."
        ) from None


def _failed(command: Sequence[str], done: subprocess.CompletedProcess[str]) -> ShenyuDataError:
    said = " ".join(done.stderr.split())[:300]
    return ShenyuDataError(
        f"`{' '.join(command[:3])}` exited with {done.returncode}: {printable(said)}",
        hint="Mend what it says, and run it again: what is done already is left as it is.",
    )
