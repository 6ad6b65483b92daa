"""``shenyu-data export``."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.render import fields, number, size
from shenyu_data.cli.terminal import say_note
from shenyu_data.exchange.redact import KEY_BYTES, Redaction, Redactor, key_of
from shenyu_data.exchange.selection import Selection
from shenyu_data.exchange.streams import STANDARD
from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.export import ExportOptions, ExportStats, Format, export


def moment(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Given a date or an age, return the moment in ms since 1970. Raise BadParameter."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        return int((time.time() - parse_age(text)) * 1000)
    except UsageError:
        raise click.BadParameter(
            "write 2025-02-10, 2025-02-10T03:00, or an age: 90d", ctx, param
        ) from None


@click.command("export")
@click.argument("file", metavar="FILE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["native", "guide"]),
    default="native",
    metavar="F",
    help="native (the default) or guide: the export.json of the data migration guide.",
)
@click.option("--user", multiple=True, metavar="U", help="Only this user; may be repeated.")
@click.option("--history", metavar="KEY", help="Only histories of this storage key.")
@click.option(
    "--since", callback=moment, metavar="DATE", help="Only chats active since: a date or an age."
)
@click.option("--until", callback=moment, metavar="DATE", help="Only chats not active since.")
@click.option(
    "--redact",
    type=click.Choice(["ids", "text"]),
    metavar="R",
    help="For sharing: ids takes out who it is, text also what they wrote.",
)
@click.option(
    "--redact-key-file",
    metavar="FILE",
    help="A file with a secret: the same one gives the same names. Default: new ones each time.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@common
def export_command(
    call: Call,
    file: str,
    form: Format,
    user: tuple[str, ...],
    history: str | None,
    since: int | None,
    until: int | None,
    redact: Redaction | None,
    redact_key_file: str | None,
    overwrite: bool,
) -> None:
    """Write users, histories and whatever else is there into FILE, to be imported elsewhere.

    FILE must be new; .gz or .zst at its end compresses it, and - is standard output. Exits with 1
    if something is missing in it, or is not as it should be: torn documents, for one.
    """
    if file == STANDARD and call.as_json:
        raise UsageError(
            "standard output cannot be both the export and a JSON document",
            hint="Name a file instead of -.",
        )
    options = ExportOptions(
        form=form,
        selection=Selection(
            users=frozenset(map(os.fsencode, user)) or None,
            history=os.fsencode(history) if history is not None else None,
            since_ms=since,
            until_ms=until,
        ),
        overwrite=overwrite,
        redactor=_redactor(redact, redact_key_file),
        jobs=call.jobs,
    )
    stats = export(call.data, file, sys.stdout.buffer, options, call.monitor)
    text = _summary(stats, file)
    if file == STANDARD:
        if not call.quiet:
            say_note(text)
        text = ""
    call.finish(
        {
            "file": printable(file),
            "format": options.form,
            **fields(stats.counts),
            "lost": stats.lost,
            "complete": stats.complete,
            "written_bytes": stats.written_bytes,
            "elapsed_s": round(stats.elapsed_s, 3),
        },
        text,
        findings=not stats.whole or call.monitor.count("error") > 0,
    )


def _redactor(level: Redaction | None, key_file: str | None) -> Redactor | None:
    if level is None:
        if key_file is not None:
            raise UsageError("--redact-key-file is of no use alone", hint="Give --redact, too.")
        return None
    if key_file is None:
        return Redactor(os.urandom(KEY_BYTES), level)
    try:
        with open(key_file, "rb") as file:
            secret = file.read(_MOST_SECRET_BYTES).strip()
    except OSError as error:
        raise UsageError(
            f"cannot read {key_file}: {error.strerror}", hint="Check its name, owner and mode."
        ) from error
    if len(secret) < _LEAST_SECRET_BYTES:
        raise UsageError(
            f"the secret in {key_file} is shorter than {_LEAST_SECRET_BYTES} bytes: names could be "
            "guessed by trying",
            hint="Make one: head -c 32 /dev/urandom | base64 > FILE",
        )
    return Redactor(key_of(secret), level)


_LEAST_SECRET_BYTES = 16
_MOST_SECRET_BYTES = 4096


def _summary(stats: ExportStats, file: str) -> str:
    counts = stats.counts
    where = "" if file == STANDARD else f" to {file}"
    lines = [
        f"Exported {number(counts.files, 'document')}, {size(counts.file_bytes)}{where} in "
        f"{stats.elapsed_s:.1f} s"
    ]
    missing = [
        f"{count:,} {word}"
        for count, word in (
            (counts.torn, "torn"),
            (counts.unreadable, "unreadable"),
            (counts.skipped, "no documents (FIFOs, sockets, devices)"),
        )
        if count
    ]
    if missing:
        lines.append(f"  not as it should be: {', '.join(missing)}")
    if stats.lost:
        words = [f"{count:,} {field.replace('_', ' ')}" for field, count in stats.lost.items()]
        lines.append(f"  not carried: {', '.join(words)}")
    if not stats.complete:
        lines.append("  some folders could not be listed")
    return "\n".join(lines)
