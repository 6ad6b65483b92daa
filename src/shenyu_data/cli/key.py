"""``shenyu-data key``: who can open the repository."""

from __future__ import annotations

import os

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.key_repository import export_command, rotate_command
from shenyu_data.cli.keys_shown import (
    new_passphrase,
    recovery_json,
    show_recovery_key,
    slot_json,
)
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import local, table
from shenyu_data.cli.terminal import say
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.keys import (
    KeySlot,
    RemovalPlan,
    add_key,
    check_label,
    list_keys,
    plan_remove,
    remove_key,
)
from shenyu_data.operations.last_use import remembered_uses
from shenyu_data.operations.places import state_folder
from shenyu_data.repository.keytext import new_recovery_key

STILL_KNOWN = (
    "Who kept a copy of this slot and knows its passphrase can still open a copy of the "
    "repository: the repository key is the same. `shenyu-data key rotate` makes a new one."
)


@click.group("key", context_settings={"help_option_names": ["-h", "--help"]})
def key_command() -> None:
    """List, add, remove, rotate and export the keys that open the repository."""


@key_command.command("list")
@common
def list_command(call: Call) -> None:
    """List the key slots, oldest first, and when each was last used.

    Exits with 4 if a slot is damaged.
    """
    repository = open_for(call)
    failures: list[RepositoryError] = []
    seen = remembered_uses(state_folder(os.environ), repository)
    slots = list_keys(repository, seen, failures)
    for error in failures:
        call.monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path="",
                message=error.message,
                hint="`shenyu-data key remove` removes it; `shenyu-data key add` adds a new one.",
            )
        )
    rows = [
        (
            item.id[:8],
            item.kind,
            item.label if item.label is not None else "?",
            local(item.created_ms) if item.created_ms is not None else "?",
            local(item.last_used_ms) if item.last_used_ms is not None else "never, seen from here",
            _remark(item),
        )
        for item in slots
    ]
    call.finish(
        {"slots": [slot_json(item) for item in slots]},
        table(("id", "kind", "label", "added", "last used", ""), rows),
        damaged=bool(failures),
    )


@key_command.command("add")
@click.option("--label", metavar="L", required=True, help="What to know the slot by.")
@click.option("--recovery", is_flag=True, help="Make a recovery key, and show it once.")
@click.option(
    "--new-passphrase-file",
    metavar="FILE",
    help="A file whose first line is the new passphrase.",
)
@common
@audited
def add_command(call: Call, label: str, recovery: bool, new_passphrase_file: str | None) -> None:
    """Add a key slot: a passphrase of somebody else's, or another recovery key.

    The new passphrase comes from --new-passphrase-file, else from SHENYU_DATA_NEW_PASSPHRASE, else
    it is asked for, twice, at a terminal.
    """
    check_label(label)
    repository = open_for(call)
    if not recovery:
        added = add_key(repository, new_passphrase(new_passphrase_file), label)
        call.finish({"slot": slot_json(added)}, f"Added the key slot {added.id[:8]}, {label}.")
        return
    key = new_recovery_key()
    added = add_key(repository, key, label)
    show_recovery_key(call, f"Added the key slot {added.id[:8]}, {label}.", key)
    call.finish({"slot": slot_json(added), **recovery_json(key)}, "")


@key_command.command("remove")
@click.argument("slot")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@audited
def remove_command(call: Call, slot: str, dry_run: bool) -> None:
    """Remove a key slot: SLOT is the beginning of its id, or its label.

    The last slot that opens the repository is not removed. Whoever kept a copy of the slot can
    still use it on a copy of the repository: `key rotate` puts an end to that.
    """
    repository = open_for(call)
    plan = plan_remove(repository, slot)
    document = {
        "slot": slot_json(plan.slot) if plan.slot is not None else None,
        "id": plan.name.partition("/")[2],
        "last_recovery": plan.last_recovery,
        "dry_run": dry_run,
    }
    what = _describe_removal(plan)
    if dry_run:
        call.finish(document, f"Would remove {what}")
        return
    if not call.yes and not call.as_json:
        say(f"Removing {what}")
    confirm(call, "Remove it?")
    remove_key(repository, plan)
    call.finish(document, f"Removed {what}\n{STILL_KNOWN}")


def _describe_removal(plan: RemovalPlan) -> str:
    name = plan.name.partition("/")[2][:8]
    if plan.slot is None:
        return f"the key slot {name}, which is damaged."
    lines = [f"the key slot {name}, {plan.slot.kind}, {plan.slot.label or 'without a label'}."]
    if plan.slot.yours:
        lines.append("It is the one that you are using.")
    if plan.last_recovery:
        lines.append(
            "It is the last recovery key: if the passphrases are lost, so are the backups."
        )
    return " ".join(lines)


def _remark(slot: KeySlot) -> str:
    if not slot.opens:
        return "opens nothing"
    return "in use" if slot.yours else ""


key_command.add_command(rotate_command)
key_command.add_command(export_command)
