"""One line of JSON for each event, on standard error: for whoever gathers what ``serve`` and its
jobs have to say.

Such logs are kept, and read by others: what is about one document leaves out which, as its name
tells of a user.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import msgspec

from shenyu_data.cli.stderr import write_stderr
from shenyu_data.model.findings import Finding, printable

LOG_VARIABLE = "SHENYU_DATA_LOG_FORMAT"
"""The environment variable by which jobs know how to log; it is ``json`` or not set."""

log_format_option = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    metavar="FORMAT",
    default="text",
    show_default=True,
    help="How to log: text, or json, a line for each event on standard error.",
)
"""The flag of verbs that go on until they are stopped."""


def logs_json() -> bool:
    """Whether what goes to standard error is to be lines of JSON."""
    return os.environ.get(LOG_VARIABLE) == "json"


@contextmanager
def json_log(wanted: bool) -> Iterator[None]:
    """Have what is logged inside, by this process and those it starts, be lines of JSON."""
    before = os.environ.get(LOG_VARIABLE)
    if wanted:
        os.environ[LOG_VARIABLE] = "json"
    try:
        yield
    finally:
        if wanted:
            os.environ.pop(LOG_VARIABLE)
            if before is not None:
                os.environ[LOG_VARIABLE] = before


def log_event(level: str, event: str, message: str, **fields: str | int | float | None) -> None:
    """Print one line: its time in UTC, its level (info, warning, error), what happened, and what
    belongs to it.
    """
    from datetime import UTC, datetime  # late: most calls log nothing so

    moment = datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)
    document = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "event": event,
        "message": printable(message),
        **fields,
    }
    write_stderr(msgspec.json.encode(document).decode())


def log_finding(finding: Finding) -> None:
    """Print what a finding is; of one about a document not which, and so not its words."""
    message = finding.message
    if finding.path:
        message = "about one document: run the verb by hand to see which"
    hint = None if finding.path else finding.hint
    log_event(finding.severity, "finding", message, code=finding.code, hint=hint)
