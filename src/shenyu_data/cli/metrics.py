"""``shenyu-data metrics``."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.health.metric_names import METRICS
from shenyu_data.health.metrics import measure, text_of
from shenyu_data.health.metrics_out import write_textfile
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.store import open_store
from shenyu_data.model.errors import StateUnusable
from shenyu_data.operations.places import state_folder, state_of


@click.command("metrics")
@click.option(
    "--textfile", metavar="FILE", help="Write them into a file; its name ends with .prom."
)
@common
def metrics_command(call: Call, textfile: str | None) -> None:
    """Print figures of the data directory, its jobs and backups, in Prometheus's text format.

    They are those that serve answers at /metrics. Nothing is unlocked.
    """
    if textfile is not None and not textfile.endswith(".prom"):
        raise click.BadParameter("its name must end with .prom", param_hint="--textfile")
    data, settings = call.data, call.settings
    state = state_of(state_folder(os.environ), data)
    schedule = open_schedule(settings.schedule, state, os.environ)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(state))
        except StateUnusable:
            store = None  # one of the metrics says so
        samples = measure(store, schedule, settings, state, time.time_ns() // 1_000_000)
    text = text_of(samples)
    said = text.decode().rstrip("\n")
    if textfile is not None:
        write_textfile(textfile, text, data)
        said = f"wrote {len(samples)} figures to {textfile}"
    document = {
        "textfile": os.path.abspath(textfile) if textfile is not None else None,
        "metrics": [
            {
                "name": name,
                "type": METRICS[name].kind,
                "labels": dict(zip(METRICS[name].labels, labels, strict=True)),
                "value": float(value),
            }
            for name, labels, value in samples
        ],
    }
    call.finish(document, said)
