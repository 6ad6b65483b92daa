"""What a recovery sees and remembers of it: the findings of a validation, and the documents that a
repair was changing when it was killed. Called by its steps.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor, Task
from shenyu_data.operations.journal import Step, open_journals
from shenyu_data.operations.looked import Looked
from shenyu_data.operations.recover_record import Count, Found, Recovery, Seen
from shenyu_data.operations.shrunken import LOSSES, report_shrunken, scope_of
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import Repository

MOST_DOCUMENTS = 10_000
"""A report lists this many documents; of the rest it gives the numbers."""

MOST_FINDINGS = 1000
"""The same for findings."""


def look(
    repository: Repository, data: str, state: str, jobs: int, monitor: Monitor, *, telling: bool
) -> tuple[Found, Looked]:
    """Validate the data directory, and look for histories that are whole and lost chats. With
    ``telling`` what a recovery should have mended is reported; the rest may be thousands. Return
    what was found, and what a repair needs of it.
    """
    looked = Looked()
    seen = Seeing(monitor, telling=telling, wrong=looked.wrong)
    stats = validate(data, ValidateOptions(jobs=jobs), seen)
    losses = report_shrunken(repository, data, scope_of(None), state, seen, looked=looked)
    return seen.found(stats.errors, stats.warnings + losses.shrunken + losses.gone), looked


class Seeing:
    """A Monitor that counts findings and keeps the first, those that should be mended before all;
    with ``telling`` it passes those on. ``wrong`` gets the paths of errors.
    """

    def __init__(self, monitor: Monitor, *, telling: bool, wrong: set[str]) -> None:
        self._paths = wrong
        self._monitor = monitor
        self._telling = telling
        self._codes: Counter[str] = Counter()
        self._wrong: list[Seen] = []
        self._others: list[Seen] = []

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """As the monitor behind it."""
        return self._monitor.task(title, total, unit)

    def report(self, finding: Finding) -> None:
        """Count a finding."""
        self._codes[finding.code] += 1
        if finding.severity == "error":
            self._paths.add(finding.path)
        is_wrong = finding.severity == "error" or finding.code in LOSSES
        first = self._wrong if is_wrong else self._others
        if len(first) < MOST_FINDINGS:
            first.append(Seen(finding.path, finding.code, finding.severity))
        if is_wrong and self._telling:
            self._monitor.report(finding)

    def found(self, errors: int, warnings: int) -> Found:
        """Return what was seen."""
        codes = [Count(code, count) for code, count in sorted(self._codes.items())]
        first = [*self._wrong, *self._others][:MOST_FINDINGS]
        return Found(errors=errors, warnings=warnings, codes=codes, first=first)


def documents_cut_off(state: str, recovery: Recovery) -> list[str]:
    """Return what repairs of this recovery had changed, or were about to, when they were killed."""
    began_ms = int(datetime.fromisoformat(recovery.began).timestamp() * 1000)
    found = set(recovery.cut_off)
    with open_journals(state) as journals:
        for journal in journals.newest_first():
            began = journal.began()
            if began is None:
                continue
            if began.time_ms < began_ms:
                break
            if began.operation == "repair" and not journal.is_ended():
                steps = (line for line in journal.read() if isinstance(line, Step))
                found |= {printable(step.path) for step in steps}
    return sorted(found)[:MOST_DOCUMENTS]
