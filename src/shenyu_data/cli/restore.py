"""``shenyu-data restore``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import yes_option
from shenyu_data.cli.offline import offline_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import number, size
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.repository.format import Root
from shenyu_data.repository.repository import Repository

if TYPE_CHECKING:
    from shenyu_data.operations.restore import RestoreOptions


@click.command("restore")
@click.argument("snapshot", required=False)
@click.option("--to", "target", metavar="DIR", help="The folder to restore into.")
@click.option("--in-place", is_flag=True, help="Restore into the live data directory.")
@click.option("--undo", is_flag=True, help="Take the last in-place restore or cleanup back.")
@click.option("--user", metavar="U", help="Restore only this user.")
@click.option("--history", metavar="KEY", help="Restore only this history of the user.")
@click.option("--chat", metavar="ID", help="Restore only this chat of the user.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the way or changed since.")
@click.option("--last-good", is_flag=True, help="Of torn documents, restore the last good version.")
@offline_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@common
@yes_option
@audited
def restore_command(
    call: Call,
    snapshot: str | None,
    target: str | None,
    in_place: bool,
    undo: bool,
    user: str | None,
    history: str | None,
    chat: str | None,
    overwrite: bool,
    last_good: bool,
    offline: bool,
    dry_run: bool,
) -> None:
    """Put a snapshot, or one user, history or chat of it, into a folder or back in its place.

    SNAPSHOT is the beginning of an id, `latest`, an age or a date. A folder must be empty or new.
    In place, the application may go on writing; a safety snapshot is taken first, and --undo takes
    the last such restore back. Exits with 1 if a document was torn or unreadable when it was backed
    up or was left alone for a conflict, 4 if the repository is damaged; what is not affected is
    restored all the same.
    """
    _check_flags(snapshot, target, in_place, undo, user, history, chat, offline)
    if undo or in_place:
        bulk = user is None and in_place
        repository = open_for(call, "shenyu_data.cli.restore_live", "hashlib", bulk=bulk)
        from shenyu_data.cli.restore_live import live_options, run_in_place, run_undo

        options = live_options(
            call,
            user=user,
            history=history,
            chat=chat,
            overwrite=overwrite,
            last_good=last_good,
            offline=offline,
        )
        if undo:
            run_undo(call, repository, options, dry_run=dry_run)
            return
        root = repository.find(snapshot or "")
        what = f"{_what(options.user, options.history, chat)} {root.id.hex()[:8]}"
        run_in_place(call, repository, root, options, what, dry_run=dry_run)
        return
    repository = open_for(call, "shenyu_data.operations.restore", bulk=user is None)
    from shenyu_data.operations.restore import RestoreOptions

    root = repository.find(snapshot or "")
    to_options = RestoreOptions(
        user=os.fsencode(user) if user is not None else None,
        history=os.fsencode(history) if history is not None else None,
        chat=chat,
        overwrite=overwrite,
        last_good=last_good,
        jobs=call.jobs,
    )
    _restore_to(call, repository, root, target or "", to_options, dry_run)


def _check_flags(
    snapshot: str | None,
    target: str | None,
    in_place: bool,
    undo: bool,
    user: str | None,
    history: str | None,
    chat: str | None,
    offline: bool,
) -> None:
    see = "See `shenyu-data restore --help`."
    if undo:
        if snapshot or target or in_place or user or history or chat:
            raise UsageError("--undo takes the last in-place operation back, whole", hint=see)
        return
    if snapshot is None:
        raise UsageError("which snapshot?", hint="Name one: `latest`, an id, an age or a date.")
    if (target is None) == (not in_place):
        raise UsageError(
            "where to?", hint="Give either --to DIR or --in-place, the live data directory."
        )
    if offline and target is not None:
        raise UsageError("--offline is for what is done in place", hint=see)
    if user is None and (history is not None or chat is not None):
        raise UsageError("whose history or chat?", hint="Name the user with --user.")


def _what(user: bytes | None, history: bytes | None, chat: str | None) -> str:
    """Return what is restored, for people: ``chat 17 of user ben of snapshot``."""
    parts = []
    if chat is not None:
        parts.append(f"chat {printable(chat)}")
    if history is not None:
        parts.append(f"history {printable(history)}")
    if user is not None:
        parts.append(f"user {printable(user)}")
    return " of ".join([*parts, "snapshot"])


def _restore_to(
    call: Call,
    repository: Repository,
    root: Root,
    target: str,
    options: RestoreOptions,
    dry_run: bool,
) -> None:
    from shenyu_data.operations.restore import plan_restore, restore

    plan = plan_restore(root, target, options)
    where = printable(plan.target)
    what = f"{_what(options.user, options.history, options.chat)} {root.id.hex()[:8]}"
    scope = {
        "snapshot": root.id.hex(),
        "target": plan.target,
        "user": printable(options.user) if options.user is not None else None,
        "history": printable(options.history) if options.history is not None else None,
        "chat": options.chat,
    }
    if dry_run:
        document = {
            **scope,
            "documents": plan.documents,
            "document_bytes": plan.document_bytes,
            "dry_run": True,
        }
        call.finish(document, f"Would restore {what} into {where}.")
        return
    stats = restore(repository, root, target, options, call.monitor)
    call.finish(
        {
            **scope,
            "documents": stats.documents,
            "document_bytes": stats.document_bytes,
            "folders": stats.folders,
            "links": stats.links,
            "torn": stats.torn,
            "failed": stats.failed,
            "damaged": stats.damaged,
            "erased": stats.erased,
            "elapsed_s": round(stats.elapsed_s, 3),
            "dry_run": False,
        },
        f"Restored {what} into {where} in {stats.elapsed_s:.1f} s: "
        f"{number(stats.documents, 'document')}, {size(stats.document_bytes)}"
        + (f"; {stats.torn} torn or unreadable" if stats.torn else "")
        + (f"; {stats.failed} not written" if stats.failed else "")
        + (f"; {stats.damaged} damaged" if stats.damaged else "")
        + (f"; {number(stats.erased, 'user')} erased since, left out" if stats.erased else ""),
        findings=bool(stats.torn),
        failed=bool(stats.failed),
        damaged=bool(stats.damaged),
    )
