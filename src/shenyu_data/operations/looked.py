"""What somebody who looked at the whole data directory leaves to a repair right afterwards, so that
it need not look again. Made by recoveries.

It names candidates, and decides nothing: whatever is repaired is read and judged anew at that
moment. What came to be torn since is left to whoever looks next.
"""

from __future__ import annotations

from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor, Task
from shenyu_data.operations.gone import Gone
from shenyu_data.operations.repair_document import Target

MOST_GONE = 1000
"""So many documents that are gone are kept; of the rest, the number."""


class Looked:
    """``wrong`` are the paths at which validate found errors, ``suspects`` the histories that may
    have lost chats, ``gone`` how many documents are there no more, ``failures`` what could not be
    read of snapshots.
    """

    def __init__(self) -> None:
        self.wrong: set[str] = set()
        self.suspects: list[Target] = []
        self.gone = 0
        self.first_gone: list[Gone] = []
        self.failures: list[Finding] = []

    def add_gone(self, gone: Gone) -> None:
        """Note a document that is gone, and that nothing explains."""
        self.gone += 1
        if len(self.first_gone) < MOST_GONE:
            self.first_gone.append(gone)


class KeepingFailures:
    """A Monitor that passes everything on, and keeps what is reported in ``looked``."""

    def __init__(self, monitor: Monitor, looked: Looked) -> None:
        self._monitor = monitor
        self._looked = looked

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """As the monitor behind it."""
        return self._monitor.task(title, total, unit)

    def report(self, finding: Finding) -> None:
        """Keep a finding and pass it on."""
        self._looked.failures.append(finding)
        self._monitor.report(finding)
