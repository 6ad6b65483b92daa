"""``shenyu-data audit``: what the program changed, and whether the log of that is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, number, table
from shenyu_data.health.audit import entries
from shenyu_data.health.audit_check import check
from shenyu_data.health.audit_lines import Entry
from shenyu_data.health.audit_lost import accept, lost_lines
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.moments import parse_moment
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.repository.acceptances import Acceptance, read_acceptances
from shenyu_data.repository.anchors import read_anchors


@click.group("audit", context_settings={"help_option_names": ["-h", "--help"]})
def audit_command() -> None:
    """Show what the program changed, and check that the log of it is whole."""


@audit_command.command("show")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=100,
    show_default=True,
    help="Show at most N lines.",
)
@click.option("--after", type=click.IntRange(1), metavar="LINE", help="Go on after this line.")
@click.option("--since", metavar="TIME", help="Only what was noted at TIME or later.")
@common
def show_command(call: Call, limit: int, after: int | None, since: str | None) -> None:
    """Show what changed live data or deleted from a repository, newest first.

    Exits with 1 if a line was altered; `audit verify` says which.
    """
    since_ms = parse_moment(since, _now_ms()) if since is not None else None
    found: list[Entry] = []
    altered = 0
    more = None
    for entry in entries(_state(call), before=after):
        if entry is None:
            altered += 1
        elif since_ms is None or entry.time_ms >= since_ms:
            if len(found) == limit:
                more = found[-1].sequence
                break
            found.append(entry)
    if altered:
        call.monitor.report(
            Finding(
                code="audit-altered",
                severity="error",
                path="audit",
                message=f"{number(altered, 'line')} of the log altered, and not shown",
                hint="`shenyu-data audit verify` says which.",
            )
        )
    rows = [
        [str(one.sequence), local(one.time_ms), one.kind, one.verb, _who(one), _outcome(one)]
        for one in found
    ]
    text = table(["line", "time", "", "what", "who", "outcome"], rows) if rows else _NOTHING
    if more is not None:
        text += f"\nmore: --after {more}"
    call.finish(
        {"entries": [_document(one) for one in found], "after": more}, text, findings=bool(altered)
    )


@audit_command.command("verify")
@common
def verify_command(call: Call) -> None:
    """Check that no line of the audit log was changed, removed, moved or put in.

    With a repository in the configuration, also against what was noted there. Exits with 1 if a
    run has no end, with 4 if the log was altered. What was accepted as lost is told each time.
    """
    anchors, acceptances = None, list[Acceptance]()
    if call.settings.repository is not None:
        repository = open_for(call)
        anchors = read_anchors(repository.storage, repository.keys)
        acceptances = read_acceptances(repository.storage, repository.keys)
    stats = check(_state(call), anchors, call.monitor, acceptances)
    proven = (
        "no repository is set"
        if stats.anchors is None
        else f"up to line {stats.anchored}"
        if stats.anchored
        else "nothing is noted there"
    )
    text = "\n".join(
        [
            f"{number(stats.entries, 'line')}, {number(stats.altered, 'alteration')}, "
            f"{number(stats.unfinished, 'run')} without an end",
            f"proven by the repository: {proven}",
            *(
                f"lost, accepted on {local(item.time_ms)}: {item.what} of what was noted before: "
                f"{printable(item.reason) or 'the reason was taken away'}"
                for item in stats.accepted
            ),
        ]
    )
    call.finish(
        {
            "entries": stats.entries,
            "files": stats.files,
            "first": iso(stats.first_ms) if stats.first_ms is not None else None,
            "last": iso(stats.last_ms) if stats.last_ms is not None else None,
            "anchors": stats.anchors,
            "anchored": stats.anchored,
            "altered": stats.altered,
            "unfinished": stats.unfinished,
            "mended": stats.mended,
            "accepted": [_accepted(item) for item in stats.accepted],
        },
        text,
        findings=any(one.severity != "info" for one in call.monitor.findings),
        damaged=bool(stats.altered),
    )


@audit_command.command("accept")
@click.option("--reason", required=True, metavar="TEXT", help="How it was lost; name nobody in it.")
@click.option("--dry-run", is_flag=True, help="Say what would be accepted, and stop.")
@common
@yes_option
def accept_command(call: Call, reason: str, dry_run: bool) -> None:
    """Say for good that lines of the log are lost which the repository knows of, by an accident.

    It cannot be taken back. `audit verify` tells of it each time, and notices what is done to the
    log afterwards as before.
    """
    state, repository = _state(call), open_for(call)
    anchors = read_anchors(repository.storage, repository.keys)
    known = read_acceptances(repository.storage, repository.keys)
    lost = lost_lines(state, anchors, known)
    document: dict[str, Any] = {"dry_run": dry_run, "anchors": len(lost), "accepted": None}
    if not lost:
        call.finish(document, "Nothing is lost: the log has all lines that the repository knows.")
        return
    plan = "\n".join(
        f"up to line {line.sequence} of the log that began with {line.log.hex()[:8]}"
        for line in lost[:_MOST_SHOWN]
    )
    if len(lost) > _MOST_SHOWN:
        plan += f"\n… and {len(lost) - _MOST_SHOWN:,} more"
    if dry_run:
        call.finish(document, f"The repository knows of lines that the log does not have:\n{plan}")
        return
    if not call.yes and not call.as_json and not call.quiet:
        click.echo(f"The repository knows of lines that the log does not have:\n{plan}", err=True)
    confirm(call, "Say for good that they are lost?")
    item = accept(state, repository, anchors, lost, reason, _now_ms())
    call.finish(
        {**document, "accepted": _accepted(item)},
        f"Accepted as lost: {item.what}. `shenyu-data audit verify` tells of it from now on.",
    )


_MOST_SHOWN = 20
_AMOUNTS = ("users", "documents", "accesses", "dropped", "blind_s")
_NOTHING = "Nothing is noted: no command changed anything here."


def _state(call: Call) -> str:
    return state_of(state_folder(os.environ), call.data)


def _accepted(item: Acceptance) -> dict[str, Any]:
    return {
        "time": iso(item.time_ms),
        "reason": item.reason or None,
        "line": item.line.sequence,
        "lost": [{"first": first, "last": last} for first, last in item.stretches],
    }


def _who(entry: Entry) -> str:
    if entry.kind == "noticed":
        return printable(_touched_by(entry.figures))
    user = printable(entry.user) or str(entry.uid)
    return user if entry.login_uid is None else f"{user} (logged in as {entry.login_uid})"


def _touched_by(figures: Mapping[str, Any]) -> str:
    group, account, login = (figures.get(key) for key in ("who", "account", "login"))
    name = str(group) if group is not None else ""
    if account is not None and name in ("", f"account-{account}"):
        name = f"account {account}"
    if login is not None:
        name += f" (logged in as {login})"
    programs = figures.get("programs")
    names = [name, *map(str, programs[:1])] if isinstance(programs, list) else [name]
    return ", ".join(filter(None, names))


def _outcome(entry: Entry) -> str:
    if entry.kind == "noticed":
        figures = entry.figures
        amounts = [f"{key} {figures[key]}" for key in _AMOUNTS if key in figures]
        return printable(": ".join(filter(None, [entry.code, ", ".join(amounts)])))
    return f"{entry.outcome}: {printable(entry.code)}" if entry.code else entry.outcome


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "time": iso(entry.time_ms),
        "kind": entry.kind,
        "run": entry.run or None,
        "verb": entry.verb or None,
        "uid": entry.uid,
        "user": entry.user or None,
        "login_uid": entry.login_uid,
        "pid": entry.pid,
        "outcome": entry.outcome or None,
        "exit_status": entry.exit_status,
        "code": entry.code or None,
        "repository": entry.repository or None,
        "figures": entry.figures,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
