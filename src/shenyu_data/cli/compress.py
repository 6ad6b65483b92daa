"""``shenyu-data compress``: histories become ``.json.gz``. What it shares with ``decompress``."""

from __future__ import annotations

import os
import time

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.compress_archive import run_archive
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, number, size, table
from shenyu_data.cli.signals import signals_interrupt
from shenyu_data.cli.terminal import say
from shenyu_data.datadir.gzipped import FASTEST, SMALLEST, USUAL_LEVEL
from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError
from shenyu_data.operations.compress import (
    CompressOptions,
    CompressPlan,
    CompressStats,
    compress,
    plan_compress,
)
from shenyu_data.operations.compress_task import Wish
from shenyu_data.operations.places import state_folder, state_of

_SHOWN = 20


@click.command("compress", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--older-than", metavar="AGE", help="Only files not written for so long, like 30d.")
@click.option(
    "--level",
    type=click.IntRange(FASTEST, SMALLEST),
    metavar="N",
    default=USUAL_LEVEL,
    show_default=True,
    help="1, fast, to 9, small.",
)
@click.option("--user", metavar="U", help="Only this user's histories.")
@click.option("--history", metavar="KEY", help="Only histories of this storage key.")
@click.option("--offline", is_flag=True, help="The application is stopped: also what it reads.")
@click.option("--archive", is_flag=True, help="Cold chats of live histories into an archive.")
@click.option("--dry-run", is_flag=True, help="Say what would be compressed, and stop.")
@common
@yes_option
@recorded
@audited
def compress_command(
    call: Call,
    older_than: str | None,
    level: int,
    user: str | None,
    history: str | None,
    offline: bool,
    archive: bool,
    dry_run: bool,
) -> None:
    """Compress histories to .json.gz, as gzip reads them.

    Every verb reads them as before; the application does not, so what it reads is left alone. With
    --archive, chats not active for so long leave the live histories, beside the application.
    """
    age_s = parse_age(older_than) if older_than is not None else None
    if archive:
        if age_s is None or offline:
            raise UsageError(
                "--archive goes with --older-than, and without --offline",
                hint="`compress --archive --older-than 90d` takes chats that were not active for "
                "90 days out of their histories.",
            )
        run_archive(call, age_s, level, user, history, dry_run=dry_run)
        return
    wish = Wish(
        way="compress",
        history=os.fsencode(history) if history is not None else None,
        older_than_ns=time.time_ns() - age_s * 10**9 if age_s is not None else None,
        level=level,
        offline=offline,
    )
    run_wish(call, wish, user, dry_run=dry_run)


def run_wish(call: Call, wish: Wish, user: str | None, *, dry_run: bool) -> None:
    """Plan, ask, and do it."""
    options = CompressOptions(
        wish=wish,
        user=os.fsencode(user) if user is not None else None,
        state=state_of(state_folder(os.environ), call.data),
        jobs=call.jobs,
    )
    if dry_run or not call.yes:
        plan = plan_compress(call.data, options, call.monitor)
        if dry_run or not plan.documents:
            document = {"data": call.data, "dry_run": dry_run, **fields(plan)}
            document["documents"], document["items"] = plan.documents, _items(plan)
            findings = bool(call.monitor.codes)
            call.finish(document, _describe(plan, wish), findings=findings)
            return
        if not call.as_json and not call.quiet:
            say(_describe(plan, wish))
        confirm(call, f"{wish.way.capitalize()} {number(plan.documents, 'history', 'histories')}?")
    with signals_interrupt():
        stats = compress(call.data, options, call.monitor)
    document = {"data": call.data, "dry_run": False, **fields(stats)}
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    call.finish(
        document,
        _told(stats, wish),
        findings=bool(call.monitor.codes),
        failed=bool(stats.failed),
    )


def _items(plan: CompressPlan) -> list[dict[str, object]]:
    return [fields(item) for item in plan.items]


def _describe(plan: CompressPlan, wish: Wish) -> str:
    lines = [
        f"Would {wish.way} {number(plan.documents, 'history', 'histories')}, "
        f"{size(plan.before_bytes)}."
    ]
    if plan.items:
        rows = [(item.path, size(item.size_bytes)) for item in plan.items[:_SHOWN]]
        lines.append(table(("history", "size"), rows))
    if plan.documents > _SHOWN:
        lines.append(f"… and {plan.documents - _SHOWN:,} more: --json lists the first 1,000")
    return "\n".join([*lines, *_left(plan.in_use, plan.recent)])


def _told(stats: CompressStats, wish: Wish) -> str:
    done = "Compressed" if wish.way == "compress" else "Decompressed"
    lines = [
        f"{done} {number(stats.documents, 'history', 'histories')}, "
        f"{size(stats.before_bytes)} → {size(stats.after_bytes)}, in {stats.elapsed_s:.1f} s"
    ]
    return "\n".join([*lines, *_left(stats.in_use, stats.recent)])


def _left(in_use: int, recent: int) -> list[str]:
    lines = []
    if in_use:
        lines.append(
            f"{number(in_use, 'history', 'histories')} left, which the application reads: "
            "--offline if it is stopped."
        )
    if recent:
        lines.append(f"{number(recent, 'history', 'histories')} left, written since.")
    return lines
