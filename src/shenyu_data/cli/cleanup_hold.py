"""``shenyu-data cleanup hold``: what no cleanup touches."""

from __future__ import annotations

import os
import time
from datetime import datetime

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.render import iso, local, table
from shenyu_data.model.errors import UsageError
from shenyu_data.model.expiry_holds import Hold, joined
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.holds import (
    HoldFiles,
    hold_files,
    is_user_there,
    read_any_holds,
    write_holds,
)
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.places import state_folder, state_of


@click.group("hold", context_settings={"help_option_names": ["-h", "--help"]})
def hold_command() -> None:
    """Hold users or chats: no cleanup touches them."""


@hold_command.command("add")
@click.argument("user")
@click.option("--chat", metavar="ID", help="Only this chat of the user.")
@click.option("--until", metavar="DATE", help="Only until this day, such as 2027-01-31.")
@click.option("--reason", metavar="TEXT", default="", help="Why; lists say it.")
@common
@audited
def add_command(call: Call, user: str, chat: str | None, until: str | None, reason: str) -> None:
    """Hold everything of a user, or one chat.

    The user or the chat need not be there. A hold that is there already is replaced.
    """
    now_ms = time.time_ns() // 1_000_000
    until_ms = _moment(until) if until is not None else None
    if until_ms is not None and until_ms <= now_ms:
        raise UsageError(f"{until} is past", hint="Give a day that is to come.")
    hold = Hold(user=user, chat=chat, until_ms=until_ms, reason=reason, added_ms=now_ms)
    there = is_user_there(call.data, os.fsencode(user))
    state, files = _places(call)
    with open_journals(state):
        holds, _ = read_any_holds(files)
        kept = [other for other in holds if other.what != hold.what]
        write_holds(files, joined(kept, [hold]))
    missing = "" if there else " There is no such user now: see that the name is right."
    document = {"hold": hold_json(hold, now_ms), "user_is_there": there}
    call.finish(document, f"Held: {hold_name(hold)}.{missing}")


@hold_command.command("list")
@common
def list_command(call: Call) -> None:
    """List the holds, and where they are kept."""
    now_ms = time.time_ns() // 1_000_000
    _, files = _places(call)
    holds, missing = read_any_holds(files)
    for path in missing:
        call.monitor.report(
            Finding(
                code="holds-missing",
                severity="error",
                path=printable(path),
                message="this copy of the holds is gone; its other copy is listed",
                hint="If the list is right, any `cleanup hold add` or `remove` writes both anew.",
            )
        )
    rows = [
        (
            _user(hold),
            printable(hold.chat) if hold.chat is not None else "(all)",
            "over" if hold.is_over(now_ms) else _until(hold),
            printable(hold.reason),
        )
        for hold in holds
    ]
    text = table(("user", "chat", "until", "reason"), rows) if rows else "Nothing is held."
    call.finish(
        {
            "holds": [hold_json(hold, now_ms) for hold in holds],
            "files": [files.state, files.beside],
        },
        text,
        findings=bool(missing),
    )


@hold_command.command("remove")
@click.argument("user")
@click.option("--chat", metavar="ID", help="The hold on this chat of the user.")
@common
@audited
def remove_command(call: Call, user: str, chat: str | None) -> None:
    """Remove a hold: the next cleanup goes by the policy alone."""
    state, files = _places(call)
    wanted = Hold(user=user, chat=chat)
    with open_journals(state):
        holds, _ = read_any_holds(files)
        kept = [hold for hold in holds if hold.what != wanted.what]
        if len(kept) == len(holds):
            raise UsageError(
                f"there is no such hold: {hold_name(wanted)}",
                hint="`shenyu-data cleanup hold list` lists them.",
            )
        write_holds(files, kept)
    call.finish({"removed": len(holds) - len(kept)}, f"Not held any more: {hold_name(wanted)}.")


def _places(call: Call) -> tuple[str, HoldFiles]:
    state = state_of(state_folder(os.environ), call.data)
    return state, hold_files(state, call.data, call.settings.config_file, os.environ)


def _moment(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)  # local time, as people mean it
    except (ValueError, OverflowError):
        raise UsageError(f"{text} is not a date", hint="Write it like 2027-01-31.") from None


def hold_name(hold: Hold) -> str:
    """Say what is held, and until when."""
    chat = f"chat {printable(hold.chat)} of " if hold.chat is not None else ""
    until = f" until {_until(hold)}" if hold.until_ms is not None else ""
    return f"{chat}user {_user(hold)}{until}"


def _user(hold: Hold) -> str:
    return printable(os.fsencode(hold.user))


def _until(hold: Hold) -> str:
    return local(hold.until_ms) if hold.until_ms is not None else ""


def hold_json(hold: Hold, now_ms: int) -> dict[str, object]:
    """Return a hold as ``--json`` has it."""
    return {
        "user": _user(hold),
        "chat": printable(hold.chat) if hold.chat is not None else None,
        "until": iso(hold.until_ms) if hold.until_ms is not None else None,
        "reason": printable(hold.reason),
        "added": iso(hold.added_ms),
        "over": hold.is_over(now_ms),
    }
