"""The lines of the jobs in a crontab, between two lines that mark them as ours. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from shenyu_data.health.units import owner_line
from shenyu_data.model.cron import SHORTHANDS
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.findings import printable
from shenyu_data.model.schedule import Job

_BEGIN = "# >>> shenyu-data schedule install: do not edit between these lines"
_END = "# <<< shenyu-data schedule install"


def lines_for(
    jobs: Sequence[Job], command: Sequence[str], environment: Mapping[str, str], data: str
) -> list[str]:
    """Return the lines of all jobs, with their marks. Raise ConfigError if no line can hold one."""
    lines = []
    settings = [f"{name}={value}" for name, value in environment.items()]
    for job in jobs:
        words = [*(["env", *settings] if settings else []), *command, job.name]
        # cron takes an unescaped % for the end of the line.
        text = shlex.join(words).replace("%", "\\%")
        if printable(text) != text:
            raise ConfigError(
                f"no crontab can hold {printable(text)}",
                hint="Give what it names names without control characters.",
            )
        at = SHORTHANDS.get(job.cron.text.strip().lower(), job.cron.text)
        lines.append(f"{' '.join(at.split())} {text}")
    owner = owner_line(data)
    return [f"{_BEGIN}", owner, *lines, f"{_END}"]


def without_lines(crontab: str, data: str) -> tuple[str, list[str]]:
    """Return a crontab without our lines of a data directory, and these lines.

    A begin without an end was edited by somebody: nothing is taken out then.
    """
    kept: list[str] = []
    taken: list[str] = []
    lines = crontab.split("\n")
    place = 0
    while place < len(lines):
        if lines[place] == _BEGIN and lines[place + 1 : place + 2] == [owner_line(data)]:
            rest = lines[place:]
            ends = rest.index(_END) if _END in rest else -1
            if ends > 0 and _BEGIN not in rest[1:ends]:
                taken += rest[: ends + 1]
                place += ends + 1
                continue
        kept.append(lines[place])
        place += 1
    return "\n".join(kept), taken


def with_lines(crontab: str, wanted: Sequence[str], data: str) -> str:
    """Return a crontab with our lines, at its end, instead of those it has."""
    kept, _ = without_lines(crontab, data)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + "\n".join(wanted) + "\n"
