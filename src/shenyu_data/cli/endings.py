"""How a call of a verb ended: as an exit status, as an error for people, and as logs note it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click

from shenyu_data.model.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    ShenyuDataError,
    UsageError,
)

_INTERRUPTS = (KeyboardInterrupt, click.exceptions.Abort)


class Ending(NamedTuple):
    """The exit ``status`` of a call, and if it ended by an ``error``, its message and ``code``.

    Of an error that nobody foresaw there is its kind alone: its words may be a user's.
    """

    status: int
    error: str = ""
    code: str = ""


@contextmanager
def told_the_end(tell: Callable[[Ending], None]) -> Iterator[None]:
    """Tell how what is done inside ended, whatever way; exceptions go on."""
    try:
        yield
    except BaseException as raised:
        tell(_ending_by(raised))
        raise
    tell(Ending(EXIT_DONE))


def _ending_by(raised: BaseException) -> Ending:
    if isinstance(raised, click.exceptions.Exit):
        return Ending(raised.exit_code)
    if isinstance(raised, _INTERRUPTS):
        return Ending(EXIT_INTERRUPTED, "interrupted")
    error = explained(raised)
    if error is None:
        kind = type(raised).__name__
        return Ending(EXIT_FAILED, f"unexpected {kind}", kind)
    return Ending(error.exit_status, error.message, error.code)


def explained(raised: BaseException) -> ShenyuDataError | None:
    """Return what to tell a person of an exception; None if nobody foresaw it."""
    if isinstance(raised, ShenyuDataError):
        return raised
    if isinstance(raised, _INTERRUPTS):
        return _Interrupted()
    if isinstance(raised, click.ClickException):
        context = getattr(raised, "ctx", None)
        name = context.command_path if context is not None else "shenyu-data"
        return UsageError(raised.format_message(), hint=f"See `{name} --help`.")
    return None


class _Interrupted(ShenyuDataError):
    code = "interrupted"
    exit_status = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted; nothing is lost, and a next run starts afresh")
