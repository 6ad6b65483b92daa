"""The terminal as a Monitor, and printing text.

Progress and warnings go to standard error, results to standard output.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from shenyu_data.cli.log_lines import log_event, log_finding, logs_json
from shenyu_data.cli.stderr import write_anyway, write_stderr
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import SilentMonitor, Task
from shenyu_data.operations.kept import Kept

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


class TerminalMonitor:
    """Prints findings as they come, and shows progress at a terminal.

    ``quiet`` prints errors only. ``silent`` prints nothing: then findings are kept, for a JSON
    document; else only their codes are, as there may be millions. Findings of severity info are
    printed only if ``detailed``.
    """

    def __init__(self, *, quiet: bool, silent: bool, progress: bool, detailed: bool) -> None:
        self.findings = Kept(Finding)
        self.codes: set[str] = set()
        """The codes of all that was reported, kept or not."""
        self.left_out = 0
        """How many were not kept."""
        self._most: int | None = None
        self._counts: Counter[str] = Counter()
        self._quiet = quiet
        self._mute = silent
        self._detailed = detailed
        self._progress = progress and sys.stderr.isatty()
        self._silent = SilentMonitor()
        self._bars: Progress | None = None

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """Show a progress bar with rate and time left; in a pipe, nothing."""
        if not self._progress:
            return self._silent.task(title, total, unit)
        return _Bar(self, title, total, unit)

    def report(self, finding: Finding) -> None:
        """Print a finding, unless told otherwise, or keep it."""
        self.codes.add(finding.code)
        self._counts[finding.severity] += 1
        if self._mute:
            if self._most is None or len(self.findings) < self._most:
                self.findings.append(finding)
            else:
                self.left_out += 1
            return
        if self._quiet and finding.severity != "error":
            return
        if finding.severity == "info" and not self._detailed:
            return
        if logs_json():
            log_finding(finding)
            return
        pointer = f"#{finding.pointer}" if finding.pointer else ""
        where = f"{finding.path}{pointer}: " if finding.path else ""
        line = printable(f"{finding.severity}: {where}{finding.message} [{finding.code}]")
        if finding.hint and self._detailed:
            line += f"\n  {printable(finding.hint)}"
        if self._bars is not None:
            self._bars.console.print(
                line, markup=False, highlight=False, emoji=False, soft_wrap=True
            )
        else:
            write_stderr(_in(sys.stderr, line))

    def mute(self) -> None:
        """From now on keep findings, for a JSON document, and print nothing."""
        self._mute = True

    def keep_at_most(self, count: int) -> None:
        """Keep no more findings than the first ones: for what runs for years."""
        self._most = count

    def show_all(self) -> None:
        """From now on print findings of severity info, too."""
        self._detailed = True

    def count(self, *severities: str) -> int:
        """Return how many findings have one of the severities."""
        return sum(self._counts[severity] for severity in severities)


class _Bar:
    def __init__(self, monitor: TerminalMonitor, title: str, total: int | None, unit: str) -> None:
        self._monitor = monitor
        self._title = title
        self._total = total
        self._unit = unit

    def __enter__(self) -> _Bar:
        # rich takes 60 ms to import: only who watches pays for it.
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(
            *_columns(self._unit), console=Console(stderr=True), transient=True
        )
        self._monitor._bars = self._progress
        self._progress.start()
        self._task = self._progress.add_task(self._title, total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._progress.stop()
        self._monitor._bars = None

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)


def _columns(unit: str) -> list[ProgressColumn]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as Row
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units a second."""

        def render(self, task: Row) -> Text:
            return Text(f"{task.speed or 0:,.0f} {unit}/s")

    return [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
    ]


def say(text: str) -> None:
    """Print a result on standard output, whatever names stand in it."""
    text = "\n".join(map(printable, text.split("\n")))
    sys.stdout.write(_in(sys.stdout, text) + "\n")


def mention(text: str) -> None:
    """Print on standard output what happens meanwhile; if nobody reads it, it is lost."""
    write_anyway(sys.stdout, _in(sys.stdout, "\n".join(map(printable, text.split("\n")))))


def say_note(text: str) -> None:
    """Print a result on standard error: standard output is taken by something else."""
    write_stderr(_in(sys.stderr, "\n".join(map(printable, text.split("\n")))))


def say_error(message: str, hint: str = "") -> None:
    """Print an error and what to do about it on standard error."""
    if logs_json():
        log_event("error", "error", message, hint=hint)
        return
    write_stderr(_in(sys.stderr, f"shenyu-data: {printable(message)}"))
    if hint:
        write_stderr(_in(sys.stderr, f"  {printable(hint)}"))


def _in(stream: TextIO, text: str) -> str:
    # What the stream's encoding has no character for (half a one, Chinese in Latin-1) is escaped.
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
