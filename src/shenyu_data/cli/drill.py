"""``shenyu-data drill``, and ``drill show``: what its ledger says."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.percent import Percent
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import iso, local, number, size
from shenyu_data.cli.signals import signals_interrupt
from shenyu_data.health.drill_ledger import DAY_MS, LedgerSummary, ledgers
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.errors import StateUnusable, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.places import state_folder, state_of

if TYPE_CHECKING:
    from shenyu_data.health.drill import DrillOptions, DrillStats
    from shenyu_data.health.drill_ledger import Share
    from shenyu_data.repository.format import Root
    from shenyu_data.repository.repository import Repository


@click.group(
    "drill",
    invoke_without_command=True,
    subcommand_metavar="[show]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--users", type=click.IntRange(1), metavar="N", help="At least N users whose turn it is."
)
@click.option("--percent", type=Percent(), metavar="P", help="The same as a share of all: 2%.")
@click.option("--all", "everyone", is_flag=True, help="All users.")
@click.option("--user", metavar="U", help="This user.")
@click.option("--snapshot", metavar="S", default="latest", help="Of this snapshot. [latest]")
@click.option("--sandbox", metavar="DIR", help="Where to restore; a folder is made in it.")
@click.option("--keep", is_flag=True, help="Leave what was restored.")
@common
@recorded
def drill_command(
    call: Call,
    users: int | None,
    percent: float | None,
    everyone: bool,
    user: str | None,
    snapshot: str,
    sandbox: str | None,
    keep: bool,
) -> None:
    """Prove that users can be restored: restore some, check them, remove them.

    By default 10 % of the users, at least 50, those first who were not drilled for longest. Every
    document is restored as `restore` does it, parsed, counted, and compared with the snapshot's
    record and with the live document if nobody changed that. Each time, copies are damaged on
    purpose: if one of them is not noticed, the drill itself has failed. Exits with 1 if something
    degraded was restored or a live document differs, 4 if something is damaged.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    share = _share(users, percent, everyone, user)
    name = os.fsencode(user) if user is not None else None
    repository = open_for(call, "shenyu_data.health.drill", bulk=user is None)
    from shenyu_data.health.drill import DEFAULT_SHARE, DrillOptions

    root = repository.find(snapshot)
    is_latest = snapshot == "latest" or root.id == repository.find("latest").id
    options = DrillOptions(
        share=share or DEFAULT_SHARE,
        user=name,
        sandbox=sandbox,
        keep=keep,
        live=call.data if os.path.isdir(call.data) else None,
        noted=is_latest,
        jobs=call.jobs,
    )
    _run(call, repository, root, options)


@drill_command.command("show")
@common
def show_command(call: Call) -> None:
    """Show how many users were proven restorable, and when, without drilling."""
    now_ms = time.time_ns() // 1_000_000
    with open_store(state_of(state_folder(os.environ), call.data)) as store:
        found = ledgers(store, now_ms)
    text = "\n".join(
        f"{item.location}: last drill {local(item.drilled_ms)}\n  {_ledger_text(item, now_ms)}"
        for item in found
    )
    call.finish(
        {"ledgers": [_ledger_json(item, now_ms) for item in found]},
        text or "There was no drill yet: `shenyu-data drill` makes one.",
    )


def _share(
    users: int | None, percent: float | None, everyone: bool, user: str | None
) -> Share | None:
    from shenyu_data.health.drill_ledger import Share

    given = [users is not None, percent is not None, everyone, user is not None]
    if sum(given) > 1:
        raise UsageError(
            "--users, --percent, --all and --user exclude each other",
            hint="See `shenyu-data drill --help`.",
        )
    if users is not None:
        return Share(users=users)
    if percent is not None:
        return Share(percent=percent)
    return Share() if everyone else None


def _run(call: Call, repository: Repository, root: Root, options: DrillOptions) -> None:
    from shenyu_data.health.drill import drill

    now_ms = time.time_ns() // 1_000_000
    store = _open_store(call)
    try:
        with signals_interrupt():  # what is restored is not sealed: it goes first
            stats = drill(repository, root, store, options, call.monitor, now_ms)
    finally:
        if store is not None:
            store.close()
    call.finish(
        _json(root, options, stats, now_ms),
        _text(root, options, stats, now_ms),
        findings=bool(call.monitor.count("warning", "error")),
        failed=bool(stats.counts.failed),
        damaged=bool(stats.counts.damaged),
    )


def _open_store(call: Call) -> Store | None:
    """Open what is remembered between drills; a drill is a drill without it."""
    try:
        return open_store(state_of(state_folder(os.environ), call.data))
    except StateUnusable as error:
        call.monitor.report(
            Finding(
                code="ledger-not-kept",
                severity="warning",
                path="",
                message=f"who was proven cannot be noted: {error.message}",
                hint=error.hint,
            )
        )
        return None


def _json(root: Root, options: DrillOptions, stats: DrillStats, now_ms: int) -> dict[str, Any]:
    counts = stats.counts
    return {
        "snapshot": root.id.hex(),
        "snapshot_time": iso(root.time_ms),
        "proven": not (counts.damaged or counts.failed),
        "users": stats.users,
        "chosen_users": stats.chosen,
        "proven_users": stats.proven,
        "erased_users": counts.erased,
        "documents": counts.documents,
        "document_bytes": counts.document_bytes,
        "chats": stats.totals.chats,
        "messages": stats.totals.messages,
        "degraded": counts.degraded,
        "failed": counts.failed,
        "damaged": counts.damaged,
        "live": None
        if options.live is None
        else {
            "same": counts.same,
            "changed": counts.changed,
            "differing": counts.differing,
            "unread": counts.unread,
        },
        "controls": [{"name": item.name, "result": item.result} for item in stats.controls],
        "ledger": _ledger_json(stats.ledger, now_ms) if stats.ledger is not None else None,
        "kept": stats.kept,
        "elapsed_s": round(stats.elapsed_s, 3),
    }


def _ledger_json(ledger: LedgerSummary, now_ms: int) -> dict[str, Any]:
    oldest_ms = ledger.oldest_ms
    return {
        "repository": ledger.repository.hex(),
        "location": ledger.location,
        "drilled": iso(ledger.drilled_ms),
        "users": ledger.users,
        "never_proven": ledger.never_proven,
        "proven_30d": ledger.proven_30d,
        "proven_90d": ledger.proven_90d,
        "failing": ledger.failing,
        "oldest_proof": iso(oldest_ms) if oldest_ms is not None else None,
        "oldest_proof_age_s": (now_ms - oldest_ms) // 1000 if oldest_ms is not None else None,
    }


def _text(root: Root, options: DrillOptions, stats: DrillStats, now_ms: int) -> str:
    counts, totals = stats.counts, stats.totals
    sound = stats.proven == stats.chosen and not (counts.damaged or counts.failed)
    noticed = sum(item.result == "noticed" for item in stats.controls)
    lines = [
        f"{'Proven' if sound else 'NOT ALL PROVEN'}: {stats.proven:,} of "
        f"{number(stats.chosen, 'user')} came back whole from snapshot {root.id.hex()[:8]} of "
        f"{local(root.time_ms)}, in {stats.elapsed_s:.1f} s",
        f"  restored  {number(counts.documents, 'document')}, {size(counts.document_bytes)}, with "
        f"{number(totals.chats, 'chat')} and {number(totals.messages, 'message')}; compared with "
        "the snapshot's record"
        + (f"; {counts.degraded} torn or unreadable when backed up" if counts.degraded else "")
        + (f"; {counts.failed} not written" if counts.failed else "")
        + (f"; {counts.damaged} damaged" if counts.damaged else ""),
        "  live      " + _live_text(options, stats),
        f"  control   {number(noticed, 'damage')} made on purpose: "
        + ("noticed" if noticed else "there was nothing to damage"),
    ]
    if stats.ledger is not None and options.noted:
        lines.append(f"  ledger    {_ledger_text(stats.ledger, now_ms)}")
    elif not options.noted:
        lines.append("  ledger    not noted: there is a newer snapshot")
    if stats.kept is not None:
        lines.append(f"  kept      {printable(stats.kept)}: users' documents, unsealed; remove it")
    return "\n".join(lines)


def _live_text(options: DrillOptions, stats: DrillStats) -> str:
    counts = stats.counts
    if options.live is None:
        return "there is no live directory here to compare with"
    text = f"{counts.same:,} the same in the live directory, {counts.changed:,} changed since"
    return text + (f"; {counts.differing:,} DIFFER unchanged" if counts.differing else "")


def _ledger_text(ledger: LedgerSummary, now_ms: int) -> str:
    text = (
        f"of {number(ledger.users, 'user')} {ledger.proven_30d:,} proven within 30 days, "
        f"{ledger.proven_90d:,} within 90, {ledger.never_proven:,} never"
    )
    if ledger.oldest_ms is not None:
        days = (now_ms - ledger.oldest_ms) // DAY_MS
        text += f"; the oldest proof is {number(days, 'day')} old"
    return text + (f"; {ledger.failing:,} FAILED last time" if ledger.failing else "")
