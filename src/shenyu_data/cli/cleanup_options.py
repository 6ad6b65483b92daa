"""The flags that say what expires, for ``cleanup``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec

from shenyu_data.cli.common import Call
from shenyu_data.model.ages import parse_age
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.sizes import parse_size

F = TypeVar("F", bound=Callable[..., Any])


def _age(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    return parse_age(text) if text is not None else None


def _size(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    return parse_size(text) if text is not None else None


_OPTIONS = [
    click.option(
        "--older-than", callback=_age, metavar="AGE", help="Chats not active for this age: 90d, 1y."
    ),
    click.option(
        "--keep-newest",
        type=click.IntRange(0, 1_000_000_000),
        metavar="N",
        help="All but each user's N last active chats.",
    ),
    click.option(
        "--max-size",
        callback=_size,
        metavar="SIZE",
        help="Each user's oldest chats, until the others take up no more than this: 20MB.",
    ),
    click.option(
        "--max-total-size",
        callback=_size,
        metavar="SIZE",
        help="The oldest chats of all users, until the others take up no more: 10GB.",
    ),
    click.option(
        "--idle-users",
        callback=_age,
        metavar="AGE",
        help="All chats of users who were not active for this age.",
    ),
    click.option("--empty", is_flag=True, help="Histories without chats, folders without files."),
    click.option("--orphans", is_flag=True, help="Chats of users without a user document."),
    click.option(
        "--history",
        "only",
        multiple=True,
        metavar="KEY",
        help="Only in histories of this storage key. May be given several times.",
    ),
]


def policy_options(verb: F) -> F:
    """Give a verb the flags of a policy; it receives ``policy``.

    It stands below ``@common``, and the verb takes the Call first. Any rule that a flag gives
    replaces the whole policy of the file: a mixture would surprise. ``--history`` is no rule.
    """

    @wraps(verb)
    def with_policy(
        call: Call,
        *,
        older_than: int | None,
        keep_newest: int | None,
        max_size: int | None,
        max_total_size: int | None,
        idle_users: int | None,
        empty: bool,
        orphans: bool,
        only: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        policy = Policy(
            rule=Rule(older_than_s=older_than, keep_newest=keep_newest, max_bytes=max_size),
            idle_users_s=idle_users,
            max_total_bytes=max_total_size,
            empty=empty,
            orphans=orphans,
        )

        def chosen() -> Policy:
            found = policy if policy.expires else call.settings.cleanup
            return msgspec.structs.replace(found, only=frozenset(only))

        return verb(call, policy=chosen, **rest)

    wrapped: Any = with_policy
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]
