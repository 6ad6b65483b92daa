"""What is done besides, after every run of a job and at every tick of ``serve``: rules are looked
at, messages sent, metrics written.

A hook is named in HOOKS as ``module:function`` and imported when it is called. It is handed the
:class:`Occasion`, must come back soon, and may raise: that is a finding, and the next is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Literal

import msgspec

from shenyu_data.health.runs import Run, run_with_id
from shenyu_data.health.store import Store
from shenyu_data.model.errors import StateUnusable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.configuration import Settings

Event = Literal["begin", "end", "tick"]


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """Why hooks are called: ``begin`` and ``end`` of a ``run``, or a ``tick``, at most a minute
    after the last one. ``run`` is its row as it is now, None of a tick or if it was not noted.
    """

    event: Event
    store: Store
    settings: Settings
    now_ms: int
    monitor: Monitor
    run: Run | None = None


Hook = Callable[[Occasion], None]

HOOKS: tuple[str, ...] = (
    "shenyu_data.health.alerts:after",
    "shenyu_data.health.notify_hook:notify_after",
    "shenyu_data.health.metrics_out:write_after",
)
"""The hooks, in the order in which they are called."""


def call_hooks(
    occasion: Occasion, hooks: Sequence[str] | None = None, failing: set[str] | None = None
) -> None:
    """Call the hooks, by default all; whatever one of them raises is reported.

    Of those that are named in ``failing`` it is not, until they have succeeded again: who calls
    them every minute keeps that set.
    """
    failing = set() if failing is None else failing
    for name in HOOKS if hooks is None else hooks:
        module, _, function = name.partition(":")
        try:
            hook: Hook = getattr(import_module(module), function)
            hook(occasion)
        except Exception as error:
            if name not in failing:
                failing.add(name)
                occasion.monitor.report(_failed(function, error))
        else:
            failing.discard(name)


def call_after_verb(
    store: Store, settings: Settings, run_id: str, now_ms: int, monitor: Monitor
) -> None:
    """Call the hooks after a run that nothing but its own process knows of, if somebody is to be
    told: else alerts would rise only when a person looks. A ``serve`` that is at work does so.
    """
    from shenyu_data.health.known import TICK, Tick, awake_since, recall

    if settings.notifications is None and settings.metrics_textfile is None:
        return
    try:
        if awake_since(recall(store, TICK, Tick), now_ms) is not None:
            return
        run = run_with_id(store, run_id)
    except StateUnusable:
        return  # whoever notes the run has said so
    call_hooks(
        Occasion(
            event="end", store=store, settings=settings, now_ms=now_ms, monitor=monitor, run=run
        )
    )


def _failed(function: str, error: Exception) -> Finding:
    return Finding(
        code="hook-failed",
        severity="warning",
        path="",
        message=f"{function} failed beside the jobs: {type(error).__name__}: {error}",
        hint="The jobs themselves are not affected. Report it.",
    )
