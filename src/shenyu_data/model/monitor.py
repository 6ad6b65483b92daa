"""How the library speaks: progress and findings go to a Monitor, never to a terminal.

The command line renders one kind, tests collect another, most callers pass :class:`SilentMonitor`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from shenyu_data.model.findings import Finding


class Task(Protocol):
    """One stretch of work whose progress can be told; used as a context manager."""

    def __enter__(self) -> Task: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def advance(self, amount: int) -> None:
        """Say that ``amount`` more units are done."""
        ...


class Monitor(Protocol):
    """Receives what an operation has to say while it runs."""

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """Begin a stretch of work of ``total`` units (None: not known), e.g. ``"users"``."""
        ...

    def report(self, finding: Finding) -> None:
        """Take note of something that a person should see; the operation goes on."""
        ...


class _SilentTask:
    def __enter__(self) -> _SilentTask:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        return None

    def advance(self, amount: int) -> None:
        return None


class SilentMonitor:
    """Shows nothing and forgets everything."""

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """Return a task that tells nobody."""
        return _SilentTask()

    def report(self, finding: Finding) -> None:
        """Forget the finding."""


class CollectingMonitor(SilentMonitor):
    """Keeps every finding in ``findings``; what tests and ``--json`` use."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def report(self, finding: Finding) -> None:
        """Keep the finding."""
        self.findings.append(finding)
