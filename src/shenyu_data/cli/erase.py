"""``shenyu-data erase-user``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from shenyu_data.cli.audited import audited
from shenyu_data.cli.cleanup_hold import hold_json, hold_name
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm_by_name, yes_option
from shenyu_data.cli.noted import note_repository
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import iso, local, number, size
from shenyu_data.cli.terminal import say
from shenyu_data.model.findings import printable
from shenyu_data.operations.places import state_folder, state_of

if TYPE_CHECKING:
    from shenyu_data.model.expiry_holds import Hold
    from shenyu_data.operations.erase import ErasePlan, EraseStats
    from shenyu_data.repository.receipts import Receipt

_LISTED = 20


@click.command("erase-user")
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and stop.")
@click.option("--receipt", metavar="FILE", help="Where to write the receipt.")
@click.option("--reason", metavar="TEXT", help="Why, to be written into the receipt.")
@click.option("--held-too", is_flag=True, help="Also a user who is held, or has a chat that is.")
@common
@yes_option
@audited
def erase_user_command(
    call: Call, user: str, dry_run: bool, receipt: str | None, reason: str | None, held_too: bool
) -> None:
    """Erase a user for good: the live documents and, by key, every backup.

    USER is the name as in users/NAME.json. Nothing brings the user back: no key, no older snapshot,
    no import. At a terminal the name is asked for; elsewhere it needs --yes. A signed receipt is
    written, by default into the current folder; `receipt verify` checks it. Whoever is held, by
    `cleanup hold`, is not erased without --held-too; the holds then go as well. Exits with 1 if
    something that it names remains elsewhere, 3 if something could not be erased: then there is no
    receipt, and running it again goes on.
    """
    repository = open_for(call, "shenyu_data.operations.erase")
    from shenyu_data.health.alerts import forget_in_alerts
    from shenyu_data.health.drill_ledger import forget_user
    from shenyu_data.health.runs import forget_in_runs
    from shenyu_data.health.store import open_store
    from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
    from shenyu_data.operations.holds import hold_files, read_any_holds, refuse_held
    from shenyu_data.operations.receipts import check_place, receipt_name

    name = os.fsencode(user)
    state, now_ms = state_of(state_folder(os.environ), call.data), time.time_ns() // 1_000_000
    files = hold_files(state, call.data, call.settings.config_file, os.environ)
    plan = plan_erase(call.data, repository, name, read_any_holds(files)[0])
    place = receipt or receipt_name(name, plan.pseudonym, iso(now_ms))
    check_place(place)
    if dry_run:
        refused = bool(plan.held(now_ms)) and not held_too
        text = "Would refuse to erase" if refused else "Would erase"
        document = {**_plan_json(plan, now_ms), "dry_run": True}
        call.finish(document, text + _plan_text(plan, now_ms), findings=refused)
        return
    refuse_held(files, name, now_ms, held_too=held_too)
    if not call.yes and not call.as_json:
        say("About to erase" + _plan_text(plan, now_ms))
    confirm_by_name(call, printable(name))
    options = EraseOptions(
        receipt=place,
        state=state,
        reason=reason,
        versions_kept_s=call.settings.versions_kept_s,
        hold_files=files,
        held_too=held_too,
    )
    with open_store(state) as store:
        forget_in_runs(store, printable(name))
        forget_in_alerts(store, printable(name))
        forget_user(store, plan.pseudonym)
    stats = erase(call.data, repository, plan, options, call.monitor)
    note_repository(call, repository)  # an alarm may be resolved by it
    call.finish(
        {**_plan_json(plan, now_ms), **_stats_json(stats, place), "dry_run": False},
        _stats_text(plan, stats, place),
        findings=bool(call.monitor.count("warning", "error")),
        failed=not stats.complete,
        damaged=bool(plan.failures),
    )


def _plan_json(plan: ErasePlan, now_ms: int) -> dict[str, Any]:
    return {
        "user": printable(plan.user),
        "pseudonym": plan.pseudonym.hex(),
        "documents": [printable(path) for path in plan.documents],
        "document_bytes": plan.document_bytes,
        "snapshots_count": plan.snapshots,
        "keys_count": plan.keys,
        "keyring_objects_count": plan.keyring_objects,
        "erased_before": iso(plan.erased_ms) if plan.erased_ms is not None else None,
        "holds": [hold_json(hold, now_ms) for hold in plan.holds],
    }


def _stats_json(stats: EraseStats, place: str) -> dict[str, Any]:
    from shenyu_data.repository.receipts import public_key_fingerprint

    receipt = stats.receipt
    return {
        "complete": stats.complete,
        "live": msgspec.structs.asdict(stats.live),
        "came_back": stats.came_back,
        "keys_destroyed": stats.keys,
        "destroyed_objects": stats.destroyed_objects,
        "receipt": os.path.abspath(place) if receipt is not None else None,
        "public_key_sha256": public_key_fingerprint(receipt.public_key) if receipt else None,
        "erased_for_good_at": receipt.erased_for_good_at if receipt else None,
        "elapsed_s": round(stats.elapsed_s, 3),
    }


def _plan_text(plan: ErasePlan, now_ms: int) -> str:
    lines = [f" the user {printable(plan.user)}, for good:"]
    lines.append(
        f"  live      {number(len(plan.documents), 'document')}, {size(plan.document_bytes)}"
    )
    lines += [f"    {printable(path)}" for path in plan.documents[:_LISTED]]
    if len(plan.documents) > _LISTED:
        lines.append(f"    and {len(plan.documents) - _LISTED:,} more")
    lines.append(
        f"  backups   {number(plan.snapshots, 'snapshot')}, made unreadable by destroying "
        f"{number(plan.keys, 'key')} in {number(plan.keyring_objects, 'keyring object')}"
    )
    lines += [f"  held      {hold_name(hold)}{_why(hold)}" for hold in plan.held(now_ms)]
    if plan.erased_ms is not None:
        lines.append(f"  before    erased on {local(plan.erased_ms)}; what came since goes as well")
    lines.append("This cannot be undone, by nobody and with no key.")
    return "\n".join(lines)


def _why(hold: Hold) -> str:
    return f": {printable(hold.reason)}" if hold.reason else ""


def _stats_text(plan: ErasePlan, stats: EraseStats, place: str) -> str:
    from shenyu_data.repository.receipts import public_key_fingerprint

    who = f"the user {printable(plan.user)}"
    if stats.receipt is None:
        return f"NOT all of {who} is erased: mend what is named above, and run it again."
    live = stats.live
    return "\n".join(
        [
            f"Erased {who} in {stats.elapsed_s:.1f} s",
            f"  live      {number(live.documents, 'document')}, {size(live.document_bytes)}, "
            f"{live.overwritten:,} overwritten first",
            f"  backups   {number(plan.snapshots, 'snapshot')}, by {number(stats.keys, 'key')}",
            f"  for good  {_for_good(stats.receipt)}",
            f"  receipt   {printable(place)}",
            f"  signed by {public_key_fingerprint(stats.receipt.public_key)} (SHA-256)",
        ]
    )


def _for_good(receipt: Receipt) -> str:
    if receipt.erased_for_good_at is None:
        return "nobody can say: it is not known for how long the storage keeps old versions"
    return f"at {receipt.erased_for_good_at}"
