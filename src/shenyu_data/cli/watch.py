"""``shenyu-data watch``."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.log_lines import json_log, log_event, log_format_option, logs_json
from shenyu_data.cli.render import iso, number
from shenyu_data.cli.terminal import say
from shenyu_data.datadir.touches import Touch
from shenyu_data.health.events import Tell
from shenyu_data.health.serve import only_one
from shenyu_data.health.systemd import Manager
from shenyu_data.health.wakeups import Wakeups
from shenyu_data.health.watch import WatchOptions, WatchStats, watch
from shenyu_data.health.watch_sight import MECHANISMS
from shenyu_data.health.watcher import Show, Watcher
from shenyu_data.health.zones import open_zone
from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import CannotWatchData, ConfigError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN, Actor, Noticed
from shenyu_data.operations.places import state_folder, state_of

_PRIORITY = -10
_WORDS = ((OPENED, "opened"), (WRITTEN, "written"), (REMOVED, "removed"))


@click.command("watch")
@click.option("--check", is_flag=True, help="See that an access is told, and end.")
@click.option("--for", "length", metavar="AGE", help="Watch for so long, and end.")
@click.option(
    "--mechanism",
    type=click.Choice(["auto", *MECHANISMS]),
    metavar="NAME",
    default="auto",
    show_default=True,
    help="fanotify, which tells who it is, inotify, or auto: the first that can be had.",
)
@click.option("--events", is_flag=True, help="Show each access, with the path and who it is.")
@log_format_option
@common
@audited
def watch_command(
    call: Call, check: bool, length: str | None, mechanism: str, events: bool, log_format: str
) -> None:
    """Watch who touches the data directory, in the foreground, until it is told to stop.

    Bulk reads, bulk removals, and accesses by whom the configuration does not allow are noticed,
    told, and kept in the audit log. SIGTERM and SIGINT stop it. Exits with 1 if something was
    noticed or missed, with 3 if nothing can be watched, or another watch is at work.
    """
    data = call.data
    state = state_of(state_folder(os.environ), data)
    settings = call.settings
    options = WatchOptions(check=check, for_s=parse_age(length) if length is not None else None)
    if check and length is not None:
        raise UsageError("--check and --for exclude each other", hint="Give one of them.")

    def tell(line: str, event: str, /, **fields: str | int | float | None) -> None:
        if logs_json():
            log_event("info", event, line, **fields)
        elif not call.quiet and not call.as_json:
            say(line)
            sys.stdout.flush()

    timezone = settings.schedule.timezone if settings.schedule is not None else None
    with (
        json_log(log_format == "json"),
        only_one(state, call.monitor, "watch", "watches this data directory"),
        Wakeups(reloads_on_hangup=False) as wakeups,
        _before_others(),
    ):
        watcher = Watcher(
            *(data, state, settings, open_zone(timezone, os.environ)[0]),
            _numbers(settings.watch.accounts),
            call.monitor,
            tell,
            mechanisms={
                name: one for name, one in MECHANISMS.items() if mechanism in ("auto", name)
            },
            show=_shower(tell) if events else None,
        )
        stats = watch(watcher, options, wakeups, Manager(os.environ), _now_ms)
        tell(_text(stats), "watch-ends", accesses=stats.accesses, noticed=len(stats.noticed))
    if check and not stats.proven:
        raise CannotWatchData(
            "an access of its own was not told", hint="See docs/watch.md for what it takes."
        )
    call.finish(
        _document(stats), "", findings=bool(stats.noticed) or bool(call.monitor.count("error"))
    )


@contextmanager
def _before_others() -> Iterator[None]:
    """Have this process run before others, if it may: so that short ones are seen while they are
    there.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, min(_PRIORITY, before))
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _numbers(accounts: list[str] | None) -> frozenset[int] | None:
    """Return accounts of the system as numbers. Raise ConfigError if there is none of a name."""
    if accounts is None:
        return None
    numbers = set()
    for account in accounts:
        try:
            numbers.add(int(account) if account.isdecimal() else pwd.getpwnam(account).pw_uid)
        except KeyError:
            raise ConfigError(
                f"`watch.accounts`: this system has no account {printable(account)}",
                hint="Write its name, or its number, as `id -u` prints it.",
            ) from None
    return frozenset(numbers)


def _shower(tell: Tell) -> Show:
    def show(touch: Touch, actor: Actor) -> None:
        what = "+".join(word for bit, word in _WORDS if touch.what & bit)
        path = printable(touch.path)
        who = actor.program or actor.standing
        if actor.account is not None:
            who = f"{_account_name(actor.account)} {who}"
        tell(
            f"{what} {path} by {who}" + (f" [{touch.pid}]" if touch.pid else ""),
            "access",
            what=what,
            path=path,
            pid=touch.pid or None,
            account=actor.account,
            login=actor.login,
            program=actor.program or None,
            standing=actor.standing,
        )

    return show


def _account_name(number_: int) -> str:
    try:
        return printable(pwd.getpwuid(number_).pw_name)
    except KeyError:
        return str(number_)


def _text(stats: WatchStats) -> str:
    text = f"stopped after {number(stats.accesses, 'access', 'accesses')} by others"
    if stats.noticed:
        text += f"; {number(len(stats.noticed), 'thing')} noticed"
    return text


def _document(stats: WatchStats) -> dict[str, Any]:
    return {
        "mechanism": stats.mechanism,
        "process_known": stats.tells_process,
        "folders": stats.folders or None,
        "unwatched_folders": stats.unwatched,
        "accesses": stats.accesses,
        "dropped": stats.dropped,
        "proven": stats.proven,
        "noticed": [_noticed(item) for item in stats.noticed],
        "elapsed_s": round(stats.elapsed_s, 3),
    }


def _noticed(item: Noticed) -> dict[str, Any]:
    return {
        "cause": item.cause,
        "who": printable(item.who),
        "first": iso(item.first_ms),
        "last": iso(item.last_ms),
        "account": item.account,
        "login": item.login,
        "programs": item.programs,
        "accesses": item.accesses,
        "users": item.users,
        "documents": item.documents,
        "dropped": item.dropped,
        "blind_s": item.blind_s,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
