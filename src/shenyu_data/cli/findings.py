"""``shenyu-data findings``: what checks name and somebody meant: said, listed, taken back."""

from __future__ import annotations

import os

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, number, table
from shenyu_data.model.acknowledgements import Acknowledgement
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, JSON_SUFFIX, is_plain_name
from shenyu_data.operations.acknowledge import acknowledge
from shenyu_data.operations.acknowledged import read_acknowledgements, revoke
from shenyu_data.operations.gone import GONE
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.places import state_folder, state_of


@click.group("findings", context_settings={"help_option_names": ["-h", "--help"]})
def findings_command() -> None:
    """Say of what checks find missing that it was meant."""


@findings_command.command("ack")
@click.argument("user")
@click.option("--history", metavar="KEY", help="Only this history of the user.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; lists say it.")
@common
@audited
def ack_command(call: Call, user: str, history: str | None, reason: str) -> None:
    """Acknowledge what is missing of a user now: somebody meant to remove it.

    `validate --against-snapshots`, `repair` and `recover` pass over it from now on. What goes
    missing later is named again, and so is what comes back and goes again.
    """
    name = os.fsencode(user)
    path = b""
    if history is not None:
        file_name = os.fsencode(history) + JSON_SUFFIX
        if not is_plain_name(file_name):
            raise UsageError(
                f"{printable(history)!r} cannot be a history's name",
                hint="A history is named by its file's name without .json.",
            )
        path = b"/".join([HISTORIES, name, file_name])
    found = acknowledge(
        open_for(call),
        call.data,
        name,
        path=path,
        by=_by(),
        reason=reason,
        state=_state(call),
        monitor=call.monitor,
    )
    lines = [f"Acknowledged: {_what(one)}." for one in found]
    call.finish(
        {"acknowledged": [acknowledgement_json(one) for one in found]},
        "\n".join(lines) or f"Nothing is missing of {printable(name)}.",
    )


@findings_command.command("list")
@click.option("--user", metavar="U", help="Only what was acknowledged of this user.")
@common
def list_command(call: Call, user: str | None) -> None:
    """List what was acknowledged: by whom, when, and why."""
    kept = read_acknowledgements(_state(call))
    shown = [one for one in kept if user is None or one.user == user]
    rows = [
        (one.id, _path(one), _count(one), local(one.time_ms), printable(one.by), _reason(one))
        for one in shown
    ]
    head = ("id", "document", "missing", "when", "by", "reason")
    call.finish(
        {"acknowledged": [acknowledgement_json(one) for one in shown]},
        table(head, rows) if rows else "Nothing is acknowledged.",
    )


@findings_command.command("revoke")
@click.argument("ack")
@common
@audited
def revoke_command(call: Call, ack: str) -> None:
    """Take an acknowledgement back: what is still missing is named again.

    ACK is its id, as `findings list` shows it.
    """
    state = _state(call)
    with open_journals(state):
        gone = revoke(state, ack)
    call.finish({"revoked": acknowledgement_json(gone)}, f"Named again: {_what(gone)}.")


def _state(call: Call) -> str:
    return state_of(state_folder(os.environ), call.data)


def _by() -> str:
    """Return who gives the command: behind sudo, who called that."""
    if behind := os.environ.get("SUDO_USER"):
        return behind
    import pwd  # late: only acknowledging needs it

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _what(one: Acknowledgement) -> str:
    return _path(one) if one.code == GONE else f"{_count(one)} of {_path(one)}"


def _count(one: Acknowledgement) -> str:
    return "all of it" if one.code == GONE else number(len(one.missing), "chat")


def _path(one: Acknowledgement) -> str:
    return printable(os.fsencode(one.path))


def _reason(one: Acknowledgement) -> str:
    return printable(one.reason)


def acknowledgement_json(one: Acknowledgement) -> dict[str, object]:
    """Return an acknowledgement as ``--json`` has it."""
    return {
        "id": one.id,
        "code": one.code,
        "user": printable(os.fsencode(one.user)),
        "path": _path(one),
        "missing": len(one.missing),
        "by": printable(one.by),
        "time": iso(one.time_ms),
        "reason": _reason(one),
    }
