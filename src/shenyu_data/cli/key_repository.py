"""``shenyu-data key rotate`` and ``key export``: the repository key itself."""

from __future__ import annotations

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.keys_shown import (
    new_passphrase,
    recovery_json,
    show_qr,
    show_recovery_key,
    slot_json,
)
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import number
from shenyu_data.cli.terminal import say
from shenyu_data.model.errors import UsageError
from shenyu_data.operations.key_rotation import (
    RotationPlan,
    begin_rotation,
    finish_rotation,
    plan_rotation,
)
from shenyu_data.operations.keys import check_secret, export_key

_CHANGED_LABEL = "passphrase given at the rotation"
_ABOUT_EXPORT = (
    "Whoever has this key and a copy of the repository can read everything, past and to come. It "
    "is in no list, and removing key slots does not take it back: only `key rotate` does, for what "
    "is stored after it."
)


@click.command("rotate")
@click.option(
    "--new-passphrase", "change", is_flag=True, help="Let another passphrase open it from now on."
)
@click.option(
    "--new-passphrase-file",
    metavar="FILE",
    help="A file whose first line is that passphrase.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@audited
def rotate_command(
    call: Call, change: bool, new_passphrase_file: str | None, dry_run: bool
) -> None:
    """Make a new repository key, without rewriting packs.

    Your passphrase goes on opening the repository, and a new recovery key is shown; all other key
    slots go. Old keys open nothing that is stored from then on. A rotation that was interrupted is
    ended by calling this again.
    """
    repository = open_for(call)
    plan = plan_rotation(repository)
    change = change or new_passphrase_file is not None
    if plan.unfinished and change:
        raise UsageError(
            "a rotation was interrupted: it must be ended first, without a new passphrase",
            hint="`shenyu-data key rotate`; then rotate again, or add the passphrase.",
        )
    document = {
        "generation": plan.generation,
        "unfinished": plan.unfinished,
        "removed_slots": [slot_json(slot) for slot in plan.leaving],
        "keyrings": plan.keyrings,
        "dry_run": dry_run,
    }
    text = _describe(plan)
    if dry_run:
        call.finish({**document, **recovery_json(None)}, text)
        return
    secret = new_passphrase(new_passphrase_file) if change else call.passphrase()
    if not plan.unfinished:
        check_secret(secret)
    if not call.yes and not call.as_json:
        say(text)
    confirm(call, "Rotate it?")
    own = next((slot.label for slot in plan.leaving if slot.yours), None)
    begun = begin_rotation(repository, plan, secret, _CHANGED_LABEL if change or not own else own)
    if begun.recovery_key is not None:
        show_recovery_key(call, "The repository has a new key.", begun.recovery_key)
    stats = finish_rotation(begun.repository, call.monitor)
    call.finish(
        {**document, "keyrings": stats.keyrings, **recovery_json(begun.recovery_key)},
        f"Rotated: {number(stats.keyrings, 'keyring object')} sealed again, "
        f"{number(stats.slots, 'key slot')} removed. Old keys open nothing stored from now on.\n"
        "`shenyu-data key add` adds the slots of others again.",
        damaged=bool(call.monitor.count("error")),
    )


@click.command("export")
@click.argument("file", required=False)
@common
@yes_option
def export_command(call: Call, file: str | None) -> None:
    """Show the repository key itself, or write it into a new FILE.

    It opens the repository when every key slot is lost or damaged, wherever a passphrase is asked
    for. It belongs in a safe.
    """
    repository = open_for(call)
    if not call.yes and not call.as_json:
        say(_ABOUT_EXPORT)
    confirm(call, f"Write it into {file}?" if file is not None else "Show it?")
    text = export_key(repository, file)
    if file is None and not call.as_json:
        say(text)
        if not call.quiet:
            show_qr(text)
    call.finish(
        {
            "repository_key": text if file is None else None,
            "repository_id": repository.keys.repository_id.hex(),
            "generation": repository.keys.generation,
            "file": file,
        },
        f"Wrote the repository key into {file}. Keep it in a safe." if file is not None else "",
    )


def _describe(plan: RotationPlan) -> str:
    slots = "\n".join(
        f"    {slot.id[:8]}  {slot.kind:10}  {slot.label or ''}" for slot in plan.leaving
    )
    if plan.unfinished:
        return (
            f"A rotation was interrupted, and is ended: {number(plan.keyrings, 'keyring object')} "
            f"are sealed again; these key slots, of the key before, go:\n{slots}"
        )
    return (
        "Making a new repository key. Packs and manifests stay as they are; "
        f"{number(plan.keyrings, 'keyring object')} are sealed again. What you use now goes on "
        "opening the repository, and a new recovery key is shown. These key slots go; whose they "
        f"are must be given new ones:\n{slots}\n"
        "Exported repository keys open nothing that is stored from then on."
    )
