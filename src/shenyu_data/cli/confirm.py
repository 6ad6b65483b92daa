"""Asking before something is changed or deleted that cannot be had back by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from shenyu_data.cli.common import Call
from shenyu_data.model.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def yes_option(verb: F) -> F:
    """Give a verb the flag ``--yes``; :func:`confirm` heeds it. Goes below ``@common``."""

    @click.option("--yes", is_flag=True, help="Do not ask.")
    @wraps(verb)
    def with_yes(call: Call, *, yes: bool, **rest: Any) -> Any:
        call.yes = yes
        return verb(call, **rest)

    return with_yes  # type: ignore[return-value]


def confirm_by_name(call: Call, name: str) -> None:
    """As :func:`confirm`, for what nothing can take back: the name must be typed."""
    if call.yes:
        return
    _check_somebody_is_there()
    typed = click.prompt("Type the name to go ahead", default="", show_default=False, err=True)
    if typed != name:
        raise UsageError(f"that is not {name}: nothing was done")


def confirm(call: Call, question: str) -> None:
    """Ask at a terminal; elsewhere ``--yes`` must have answered. Raise UsageError if the answer is
    not yes: then nothing may be done.
    """
    if call.yes:
        return
    _check_somebody_is_there()
    if not click.confirm(question, err=True):
        raise UsageError("not confirmed: nothing was done")


def _check_somebody_is_there() -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "this needs to be confirmed, and nobody can be asked: nothing was done",
            hint="Give --yes to go ahead, or --dry-run to see what it would do.",
        )
