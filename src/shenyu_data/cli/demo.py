"""``shenyu-data demo``."""

from __future__ import annotations

import os
import shutil
import tempfile

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.render import fields
from shenyu_data.cli.terminal import say
from shenyu_data.operations.demo import demo


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the folder, to look at what was made.")
@common
def demo_command(call: Call, keep: bool) -> None:
    """Tour the main job on a small data directory in a temporary folder.

    Validates, backs up, changes, backs up, damages, finds, restores, compares. Touches nothing of
    yours.
    """
    folder = tempfile.mkdtemp(prefix="shenyu-data-demo-")
    steps = []
    try:
        for number, step in enumerate(demo(folder), 1):
            steps.append(step)
            if not (call.as_json or call.quiet):
                say(f"{number:2}. {step.title}")
                say("\n".join(f"      {line}" for line in step.lines))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    ok = all(step.ok for step in steps)
    kept = f"\nKept: {folder}" if keep and os.path.isdir(folder) else ""
    verdict = "All as it should be." if ok else "SOMETHING IS NOT AS IT SHOULD BE."
    call.finish(
        {"steps": [fields(step) for step in steps], "ok": ok, "folder": folder if keep else None},
        f"\n{verdict} `shenyu-data --help` lists the verbs.{kept}",
        failed=not ok,
    )
