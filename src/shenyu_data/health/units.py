"""systemd units for the jobs: a service and a timer for each. Pure: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from shenyu_data.model.cron import Cron
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.findings import printable
from shenyu_data.model.schedule import Job

MARK = "# Made by `shenyu-data schedule install`; `shenyu-data schedule remove` takes it away."
"""The first line of every unit that is ours. The second one names the data directory."""

_DAYS = "Sun Mon Tue Wed Thu Fri Sat".split()


class UnitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the units of one data directory have in common.

    ``command`` is this program with all flags; ``environment`` what it needs besides; ``writable``
    the folders that it writes to. ``zone`` is empty for the system's. ``system``: for the system's
    service manager, which may shut out more than a user's.
    """

    prefix: str
    data: str
    command: Sequence[str]
    environment: Mapping[str, str]
    writable: Sequence[str]
    zone: str
    jitter_s: int
    system: bool


def owner_line(data: str) -> str:
    """Return the line by which a unit says whose it is. Raise ConfigError if no line can."""
    if not printable(data) == data:
        raise ConfigError(
            f"no unit and no crontab can name the data directory {printable(data)}",
            hint="Give it a name without control characters, or a link with such a name.",
        )
    return f"# data: {data}"


def units(jobs: Sequence[Job], options: UnitOptions) -> dict[str, str]:
    """Return the texts of all units, by file name."""
    found = {}
    for job in jobs:
        found[f"{options.prefix}-{job.name}.service"] = _service(job, options)
        found[f"{options.prefix}-{job.name}.timer"] = _timer(job, options)
    return found


def calendar(cron: Cron, zone: str) -> list[str]:
    """Return an expression as those of systemd.time(7); it is due when any of them is."""
    times = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}:00"
    months = _listed(sorted(cron.months), 12, first=1)
    days = _listed(sorted(cron.days), 31, first=1)
    names = ",".join(_DAYS[number] for number in sorted(cron.weekdays))
    week = f"{names} " if len(cron.weekdays) < 7 else ""
    suffix = f" {zone}" if zone else ""
    dates = [f"{week}*-{months}-{days}"]
    if cron.either and week and days != "*":
        dates = [f"*-{months}-{days}", f"{week}*-{months}-*"]
    return [f"{date} {times}{suffix}" for date in dates]


def _listed(numbers: Sequence[int], count: int, first: int = 0) -> str:
    if len(numbers) == count:
        return "*"
    steps = {later - number for number, later in pairwise(numbers)}
    if len(numbers) > 2 and len(steps) == 1:
        (step,) = steps
        if numbers[-1] + step >= count + first:  # up to the end, as */15 means it
            return f"{numbers[0]:02d}/{step}"
    return ",".join(f"{number:02d}" for number in numbers)


def _service(job: Job, options: UnitOptions) -> str:
    lines = [
        MARK,
        owner_line(options.data),
        "[Unit]",
        f"Description=shenyu-data job {job.name}",
        "Wants=network-online.target",
        "After=network-online.target time-sync.target",
        "",
        "[Service]",
        "Type=oneshot",
        "ExecStart=" + " ".join(map(_quoted, [*options.command, job.name])),
        *(
            f"Environment={_quoted(f'{name}={value}', command=False)}"
            for name, value in options.environment.items()
        ),
        # A retry waits for its time in the same process.
        "TimeoutStartSec=infinity",
        "TimeoutStopSec=90",
        "KillMode=mixed",
        "Nice=10",
        "IOSchedulingPriority=7",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "SystemCallArchitectures=native",
    ]
    if options.system:
        lines += [
            "ProtectSystem=strict",
            "ProtectHome=read-only",
            *(f"ReadWritePaths={_quoted(f'-{path}', command=False)}" for path in options.writable),
            "PrivateDevices=yes",
            *(["PrivateTmp=yes"] if not any(map(_is_temporary, options.writable)) else []),
            "ProtectClock=yes",
            "ProtectControlGroups=yes",
            "ProtectHostname=yes",
            "ProtectKernelLogs=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelTunables=yes",
            "RestrictNamespaces=yes",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER",
        ]
    return "\n".join([*lines, ""])


def _timer(job: Job, options: UnitOptions) -> str:
    lines = [
        MARK,
        owner_line(options.data),
        "[Unit]",
        f"Description=When the shenyu-data job {job.name} is due",
        "",
        "[Timer]",
        *(f"OnCalendar={text}" for text in calendar(job.cron, options.zone)),
        "AccuracySec=1min",
        f"RandomizedDelaySec={options.jitter_s}s",
        "FixedRandomDelay=yes",
        "Persistent=yes",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join([*lines, ""])


def _is_temporary(path: str) -> bool:
    """Whether a private /tmp would hide it."""
    return path.startswith(("/tmp/", "/var/tmp/"))  # noqa: S108 - nothing is written there


def _quoted(word: str, *, command: bool = True) -> str:
    """Return a word as systemd.syntax(7) quotes it; % begins a specifier, $ in a command a
    variable.
    """
    if printable(word) != word:
        raise ConfigError(
            f"no unit can hold {printable(word)}", hint="Give it a name without control characters."
        )
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + (escaped.replace("$", "$$") if command else escaped) + '"'
