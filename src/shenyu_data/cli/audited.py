"""Noting in the audit log what a verb changes, and in the repository where that log ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

import click

from shenyu_data.cli.common import Call
from shenyu_data.cli.endings import Ending, told_the_end
from shenyu_data.model.errors import (
    EXIT_DONE,
    EXIT_FINDINGS,
    RepositoryError,
    ShenyuDataError,
)
from shenyu_data.model.findings import Finding

F = TypeVar("F", bound=Callable[..., Any])

_DONE = (EXIT_DONE, EXIT_FINDINGS)


def audited(verb: F) -> F:
    """Have a verb that changes live data, or deletes from a repository, noted before and after;
    stands right above it. Not noted is what only plans, leads to a verb below, restores into a
    folder of its own, or concerns no data directory.

    The run itself never fails because it cannot be noted: that is a finding.
    """

    @wraps(verb)
    def with_audit(call: Call, *args: Any, **rest: Any) -> Any:
        below = click.get_current_context().invoked_subcommand
        elsewhere = "target" in rest and rest["target"] is not None
        if below is not None or elsewhere or rest.get("dry_run") or call.settings.data is None:
            return verb(call, *args, **rest)
        log = _Log(call)
        log.begin()
        with told_the_end(log.end):
            return verb(call, *args, **rest)

    return with_audit  # type: ignore[return-value]


def anchored(verb: F) -> F:
    """Have a verb note in the repository where the audit log ends; stands right above it."""

    @wraps(verb)
    def with_anchor(call: Call, *args: Any, **rest: Any) -> Any:
        def anchor(ending: Ending) -> None:
            if ending.status in _DONE and call.settings.data is not None:
                _Log(call).anchor()

        with told_the_end(anchor):
            return verb(call, *args, **rest)

    return with_anchor  # type: ignore[return-value]


class _Log:
    def __init__(self, call: Call) -> None:
        from shenyu_data.operations.places import state_folder, state_of

        self._call = call
        self._state = state_of(state_folder(os.environ), call.data)
        path = click.get_current_context().command_path
        self._facts = {"verb": path.partition(" ")[2], "run": os.urandom(8).hex()}

    def begin(self) -> None:
        from shenyu_data.health.audit import append

        try:
            append(self._state, _now_ms(), "begun", **self._facts)
        except ShenyuDataError as error:
            self._report(error)

    def end(self, ending: Ending) -> None:
        from shenyu_data.health.audit import append
        from shenyu_data.health.audit_lines import kept_figures
        from shenyu_data.health.runs import outcome_of

        facts: dict[str, Any] = {
            **self._facts,
            "outcome": outcome_of(ending.status),
            "exit_status": ending.status,
            "code": ending.code,
            "figures": kept_figures(self._call.document),
        }
        if self._call.repository is not None:
            facts["repository"] = self._call.repository.keys.repository_id.hex()
        try:
            append(self._state, _now_ms(), "ended", **facts)
        except ShenyuDataError as error:
            self._report(error)
        if (
            ending.status in _DONE
        ):  # a call that is refused, or fails, leaves the repository as it is
            self.anchor()

    def anchor(self) -> None:
        if self._call.repository is None:
            return
        from shenyu_data.health.audit_check import anchor

        try:
            with suppress(RepositoryError):  # that is for `verify` to tell
                anchor(self._state, self._call.repository, _now_ms())
        except ShenyuDataError as error:
            self._report(error, "where the audit log ends could not be noted in the repository")

    def _report(
        self,
        error: ShenyuDataError,
        what: str = "the audit log does not tell of this whole run",
    ) -> None:
        self._call.monitor.report(
            Finding(
                code="not-audited",
                severity="warning",
                path="",
                message=f"{what}: {error.message}",
                hint=error.hint,
            )
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
