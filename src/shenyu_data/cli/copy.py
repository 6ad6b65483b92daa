"""``shenyu-data copy``."""

from __future__ import annotations

import os
import sys

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for, open_location
from shenyu_data.cli.render import iso, local, number, size
from shenyu_data.model.errors import (
    ConfigError,
    ObjectMissing,
    StorageError,
    UsageError,
    WrongKey,
)
from shenyu_data.operations.configuration import find_other_passphrase
from shenyu_data.operations.copy import CopyOptions, CopyPlan, CopyStats, copy, plan_copy
from shenyu_data.operations.last_use import remember_use
from shenyu_data.operations.places import state_folder
from shenyu_data.repository.repository import Repository


@click.command("copy")
@click.argument("snapshot", nargs=-1)
@click.option("--to-repo", required=True, metavar="LOCATION", help="The repository to copy into.")
@click.option("--all", "everything", is_flag=True, help="Copy every snapshot.")
@click.option(
    "--to-passphrase-file",
    metavar="FILE",
    help="A file whose first line is the passphrase of --to-repo.",
)
@click.option(
    "--damaged-too",
    is_flag=True,
    help="Copy damaged snapshots, too; what cannot be read is left out.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
def copy_command(
    call: Call,
    snapshot: tuple[str, ...],
    to_repo: str,
    everything: bool,
    to_passphrase_file: str | None,
    damaged_too: bool,
    dry_run: bool,
) -> None:
    """Copy snapshots into another repository, sealed anew under its keys.

    Those that are there already are passed over, so that the same call, again and again, keeps a
    second repository up to date. Cut off, it goes on where it was.
    """
    if bool(snapshot) == everything:
        raise UsageError(
            "say which snapshots to copy",
            hint="Name one or more, or give --all; `shenyu-data snapshots` lists them.",
        )
    source = open_for(call, bulk=True)
    destination = _open_destination(call, to_repo, to_passphrase_file)
    plan = plan_copy(source, destination, None if everything else snapshot)
    if dry_run:
        for finding in plan.failures:
            call.monitor.report(finding)
        stats = None
    else:
        options = CopyOptions(
            state=state_folder(os.environ), damaged_too=damaged_too, jobs=call.jobs
        )
        stats = copy(source, destination, plan, options, call.monitor)
    damaged = bool(plan.failures) or (stats is not None and bool(stats.damaged))
    call.finish(
        {
            "dry_run": dry_run,
            "repository": destination.storage.location,
            "snapshots": [
                {"id": item.id.hex(), "time": iso(item.time_ms), "state": _state(item.id, stats)}
                for item in plan.snapshots
            ]
            + [
                {"id": item.id.hex(), "time": iso(item.time_ms), "state": "present"}
                for item in plan.present
            ],
            "documents": stats.documents if stats else 0,
            "read_bytes": stats.read_bytes if stats else 0,
            "stored_bytes": stats.stored_bytes if stats else 0,
            "erased_users": stats.erased_users if stats else 0,
            "elapsed_s": round(stats.elapsed_s, 3) if stats else 0.0,
        },
        _planned(plan) if stats is None else _summary(stats),
        damaged=damaged,
        findings=bool(call.monitor.count("error")),
    )


def _open_destination(call: Call, location: str, file: str | None) -> Repository:
    secret = find_other_passphrase(file, os.environ)
    if secret is None:
        if not sys.stdin.isatty():
            raise ConfigError(
                f"no passphrase is set for {location}",
                hint="Give --to-passphrase-file FILE, or set SHENYU_DATA_TO_PASSPHRASE.",
            )
        secret = str(click.prompt(f"Passphrase of {location}", hide_input=True, err=True))
    try:
        repository = open_location(call, location, secret)
    except (ObjectMissing, StorageError) as error:
        raise type(error)(
            error.message,
            hint=f"{error.hint} If it is yet to be made: `shenyu-data init --repo {location}`.",
        ) from None
    except WrongKey as error:
        raise WrongKey(
            error.message,
            hint="Check --to-passphrase-file or SHENYU_DATA_TO_PASSPHRASE: each repository has "
            "its own passphrase and recovery key.",
        ) from None
    remember_use(state_folder(os.environ), repository)
    return repository


def _state(snapshot: bytes, stats: CopyStats | None) -> str:
    if stats is None:
        return "planned"
    if snapshot in stats.damaged:
        return "damaged"
    return "copied" if snapshot in stats.copied else "present"


def _planned(plan: CopyPlan) -> str:
    lines = [
        f"Would copy {number(len(plan.snapshots), 'snapshot')}; "
        f"{len(plan.present):,} are there already"
    ]
    for item in plan.snapshots:
        held = f"{number(item.totals.documents, 'document')}, {size(item.totals.document_bytes)}"
        lines.append(f"  {item.id.hex()[:8]}  {local(item.time_ms)}  {held}")
    return "\n".join(lines)


def _summary(stats: CopyStats) -> str:
    lines = [
        f"Copied {number(len(stats.copied), 'snapshot')} in {stats.elapsed_s:.1f} s; "
        f"{len(stats.present):,} were there already",
        f"  read     {number(stats.documents, 'document')}, {size(stats.read_bytes)}; "
        f"stored {size(stats.stored_bytes)}",
    ]
    if stats.damaged:
        ids = ", ".join(item.hex()[:8] for item in stats.damaged)
        lines.append(f"  DAMAGED  {number(len(stats.damaged), 'snapshot')} not copied: {ids}")
    if stats.erased_users:
        lines.append(f"  erased   {number(stats.erased_users, 'user')}: not copied")
    return "\n".join(lines)
