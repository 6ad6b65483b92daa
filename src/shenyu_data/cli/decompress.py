"""``shenyu-data decompress``: ``.json.gz`` become plain histories again."""

from __future__ import annotations

import os

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.compress import run_wish
from shenyu_data.cli.compress_archive import run_archive
from shenyu_data.cli.confirm import yes_option
from shenyu_data.cli.offline import offline_option
from shenyu_data.datadir.gzipped import USUAL_LEVEL
from shenyu_data.model.errors import UsageError
from shenyu_data.operations.compress_task import Wish


@click.command("decompress", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--user", metavar="U", help="Only this user's histories.")
@click.option("--history", metavar="KEY", help="Only histories of this storage key.")
@click.option("--archive", is_flag=True, help="Archived chats, back into their histories.")
@offline_option
@click.option("--dry-run", is_flag=True, help="Say what would be decompressed, and stop.")
@common
@yes_option
@audited
def decompress_command(
    call: Call,
    user: str | None,
    history: str | None,
    archive: bool,
    offline: bool,
    dry_run: bool,
) -> None:
    """Make plain histories of .json.gz again: what compress did, taken back, to the byte."""
    if archive and offline:
        raise UsageError(
            "--archive goes without --offline",
            hint="Chats come back out of archives beside the application, whether it runs or not.",
        )
    if archive:
        run_archive(call, None, USUAL_LEVEL, user, history, dry_run=dry_run)
        return
    key = os.fsencode(history) if history is not None else None
    run_wish(call, Wish(way="decompress", history=key, offline=offline), user, dry_run=dry_run)
