"""Noting a verb's run in the log of runs, whoever called it."""

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
from shenyu_data.model.errors import ShenyuDataError

F = TypeVar("F", bound=Callable[..., Any])


def recorded(verb: F) -> F:
    """Have each run of a verb noted, but for those that only plan, or only lead to a verb below;
    stands below ``common``.

    The run itself never fails because it cannot be noted: that is a finding.
    """

    @wraps(verb)
    def with_record(call: Call, *args: Any, **rest: Any) -> Any:
        below = click.get_current_context().invoked_subcommand
        if below is not None or rest.get("dry_run") or call.settings.data is None:
            return verb(call, *args, **rest)
        with told_the_end(_Note(call).end):
            return verb(call, *args, **rest)

    return with_record  # type: ignore[return-value]


class _Note:
    def __init__(self, call: Call) -> None:
        from shenyu_data.health.runs import RUN_VARIABLE, begin_run
        from shenyu_data.health.store import open_store
        from shenyu_data.operations.places import state_folder, state_of

        self._call = call
        self._run: str | None = None
        try:
            self._store = open_store(state_of(state_folder(os.environ), call.data))
            # Taken away: what this run calls itself, as commands of the service, has its own row.
            mine = os.environ.pop(RUN_VARIABLE, "")
            self._is_job = bool(mine)
            self._run = mine or begin_run(self._store, _verb(), _now_ms())
        except ShenyuDataError as error:
            self._report(error)

    def end(self, ending: Ending) -> None:
        from shenyu_data.health.hooks import call_after_verb
        from shenyu_data.health.runs import end_run, forget_old_runs, outcome_of

        if self._run is None:
            return
        try:
            end_run(
                self._store,
                self._run,
                _now_ms(),
                outcome_of(ending.status),
                exit_status=ending.status,
                figures={"error_code": ending.code} if ending.code else self._call.document,
                error=ending.error,
            )
            forget_old_runs(self._store, _now_ms())
            if not self._is_job:  # who runs a job sees to that after it
                settings, monitor = self._call.settings, self._call.monitor
                call_after_verb(self._store, settings, self._run, _now_ms(), monitor)
        except ShenyuDataError as trouble:
            self._report(trouble)
        with suppress(Exception):
            self._store.close()

    def _report(self, error: ShenyuDataError) -> None:
        from shenyu_data.health.jobs import report_unnoted

        report_unnoted(self._call.monitor, error)


def _verb() -> str:
    """Return the words that call the verb: ``backup``, ``permissions check``."""
    words = []
    context: click.Context | None = click.get_current_context()
    while context is not None and context.parent is not None:
        words.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(words))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
