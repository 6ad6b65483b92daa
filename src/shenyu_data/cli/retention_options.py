"""The flags that say what to keep, for ``prune``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from shenyu_data.cli.common import Call
from shenyu_data.model.ages import parse_age
from shenyu_data.model.retention import Retention

F = TypeVar("F", bound=Callable[..., Any])


def _seconds(ctx: click.Context, param: click.Parameter, age: str | None) -> int | None:
    return parse_age(age) if age is not None else None


_COUNTS = {
    "keep-last": "Keep this many of the newest.",
    "keep-hourly": "Keep the last one of each of this many hours that have one.",
    "keep-daily": "The same for days.",
    "keep-weekly": "The same for weeks.",
    "keep-monthly": "The same for months.",
    "keep-yearly": "The same for years.",
    "keep-verified": "Keep at least this many verified ones; never fewer than 1.",
}


def retention_options(verb: F) -> F:
    """Give a verb the flags ``--keep-…`` and ``--grace``; it receives ``retention`` and
    ``grace_s``.

    It stands below ``@common``, and the verb takes the Call first. Any ``--keep-…`` flag replaces
    the whole policy of the file or the default: a mixture would surprise. ``--grace`` alone does
    not.
    """

    @wraps(verb)
    def with_retention(call: Call, *, grace: int | None, **rest: Any) -> Any:
        keep = {name: rest.pop(name) for name in list(rest) if name.startswith("keep_")}
        keep["keep_tagged"] = list(keep["keep_tagged"])
        given = any(value is not None and value != [] for value in keep.values())
        return verb(
            call,
            retention=Retention(**keep) if given else call.settings.retention,
            grace_s=grace if grace is not None else call.settings.grace_s,
            **rest,
        )

    options = [
        click.option(f"--{name}", type=click.IntRange(0, 1_000_000), metavar="N", help=about)
        for name, about in _COUNTS.items()
    ]
    options[-1:-1] = [
        click.option(
            "--keep-within",
            callback=_seconds,
            metavar="AGE",
            help="Keep everything no older than this: 12h, 30d, 4w.",
        ),
        click.option(
            "--keep-tagged",
            multiple=True,
            metavar="T",
            help="Keep those with this tag; * means any tag. May be given several times.",
        ),
    ]
    options.append(
        click.option(
            "--grace",
            callback=_seconds,
            metavar="AGE",
            help="How long what is to be deleted waits. Default: 24h.",
        )
    )
    wrapped: Any = with_retention
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]
