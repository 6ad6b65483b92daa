"""``shenyu-data verify``."""

from __future__ import annotations

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.percent import Percent
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, number, size
from shenyu_data.operations.verify import VerifyOptions, verify


@click.command("verify")
@click.option(
    "--read-data",
    type=Percent(),
    metavar="[=PERCENT]",
    is_flag=False,
    flag_value="100",
    default=None,
    help="Also read every byte of documents, or of a random share of them: --read-data=10%.",
)
@common
@recorded
def verify_command(call: Call, read_data: float | None) -> None:
    """Check that everything the snapshots need is there and unaltered.

    Exits with 4 if anything is damaged or missing, naming it and what it affects.
    """
    options = VerifyOptions(read_percent=read_data or 0.0, jobs=call.jobs)
    stats = verify(open_for(call, bulk=True), options, call.monitor)
    sound = not stats.damaged_objects
    text = (
        f"{'Verified' if sound else 'DAMAGED:'} {number(stats.snapshots, 'snapshot')}, "
        f"{number(stats.objects, 'object')}, {size(stats.object_bytes)} "
        f"in {stats.elapsed_s:.1f} s\n"
        f"  checked  {number(stats.owners, 'owner record')}, "
        f"{number(stats.documents, 'document version')}, "
        f"{number(stats.segments, 'segment')}; read {size(stats.read_bytes)} of documents"
        + (f"\n  damaged  {number(stats.damaged_objects, 'object')}" if not sound else "")
        + (
            f"\n  unused   {number(stats.unused_objects, 'object')}, {size(stats.unused_bytes)}"
            if stats.unused_objects
            else ""
        )
    )
    document = fields(stats)
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    call.finish(
        {"verified": sound, **document},
        text,
        findings=bool(call.monitor.count("warning")),
        damaged=not sound,
    )
