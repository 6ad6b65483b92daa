"""``shenyu-data verify``."""

from __future__ import annotations

import os
import time

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.noted import note_repository
from shenyu_data.cli.open import open_for
from shenyu_data.cli.percent import Percent
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, number, size
from shenyu_data.health.read_parts import note_parts_read, parts_read
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.read_parts import PARTS, choose_parts, stalest_ms
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.verify import VerifyOptions, VerifyStats, verify
from shenyu_data.repository.repository import Repository


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
@click.option(
    "--read-every",
    metavar="AGE",
    help="Read the parts of all packs that were not read for longest, so that with regular runs "
    "none is older than this.",
)
@common
@recorded
def verify_command(call: Call, read_data: float | None, read_every: str | None) -> None:
    """Check that everything the snapshots need is there and unaltered.

    Exits with 4 if anything is damaged or missing, naming it and what it affects.
    """
    rotation = None
    if read_every is not None:
        if read_data is not None:
            raise UsageError(
                "--read-data and --read-every both say what is read", hint="Give one of them."
            )
        rotation = parse_age(read_every) * 1000
        if not rotation:
            raise UsageError("--read-every needs an age above 0", hint="Such as 30d.")
    repository = open_for(call, bulk=True)
    reading = _Rotation(call, repository, rotation) if rotation is not None else None
    options = VerifyOptions(
        read_percent=read_data or 0.0,
        read_parts=reading.parts if reading is not None else None,
        jobs=call.jobs,
    )
    stats = verify(repository, options, call.monitor)
    if reading is not None:
        reading.note(stats)
    note_repository(call, repository, size_bytes=stats.object_bytes)
    sound = not stats.damaged_objects
    text = (
        f"{'Verified' if sound else 'DAMAGED:'} {number(stats.snapshots, 'snapshot')}, "
        f"{number(stats.objects, 'object')}, {size(stats.object_bytes)} "
        f"in {stats.elapsed_s:.1f} s\n"
        f"  checked  {number(stats.owners, 'owner record')}, "
        f"{number(stats.documents, 'document version')}, "
        f"{number(stats.segments, 'segment')}; read {size(stats.read_bytes)} of documents"
        + (f"\n  parts    {reading.describe()}" if reading is not None else "")
        + (f"\n  damaged  {number(stats.damaged_objects, 'object')}" if not sound else "")
        + (
            f"\n  unused   {number(stats.unused_objects, 'object')}, {size(stats.unused_bytes)}"
            if stats.unused_objects
            else ""
        )
    )
    document = fields(stats)
    del document["damaged_parts"], document["elapsed_s"]
    document["read_parts"] = len(reading.parts) if reading is not None else None
    document["stalest_read_s"] = reading.stalest_s if reading is not None else None
    document["elapsed_s"] = round(stats.elapsed_s, 3)
    call.finish(
        {"verified": sound, **document},
        text,
        findings=bool(call.monitor.count("warning")),
        damaged=not sound,
    )


class _Rotation:
    """Which parts are to be read, by what is remembered; without that, by the clock alone."""

    def __init__(self, call: Call, repository: Repository, every_ms: int) -> None:
        self._call = call
        self._repository = repository.keys.repository_id.hex()
        self._now_ms = time.time_ns() // 1_000_000
        self._store: Store | None = None
        known: dict[int, int] = {}
        last_ms = None
        try:
            self._store = open_store(state_of(state_folder(os.environ), call.data))
            known, last_ms = parts_read(self._store, self._repository)
        except ShenyuDataError as error:
            self._report(error)
        self.parts = choose_parts(known, last_ms, every_ms, self._now_ms)
        if self._store is None:
            first = self._now_ms * PARTS // every_ms
            self.parts = frozenset((first + part) % PARTS for part in self.parts)
        self._known = known

    def note(self, stats: VerifyStats) -> None:
        """Remember what was read and found sound."""
        sound = self.parts - stats.damaged_parts
        self._known |= dict.fromkeys(sound, self._now_ms)
        if self._store is None:
            return
        try:
            note_parts_read(self._store, self._repository, sound, self._now_ms)
            self._store.close()
        except ShenyuDataError as error:
            self._report(error)

    @property
    def stalest_s(self) -> float | None:
        """How long ago that part was read that was not read for the longest; None if never."""
        oldest_ms = stalest_ms(self._known, self._now_ms)
        return None if oldest_ms is None else (self._now_ms - oldest_ms) / 1000

    def describe(self) -> str:
        """Return what was read, for people."""
        read = f"{len(self.parts)} of {PARTS} read"
        if self.stalest_s is None:
            return f"{read}; {PARTS - len(self._known)} were never read"
        return f"{read}; all were within {self.stalest_s / 86_400:.1f} days"

    def _report(self, error: ShenyuDataError) -> None:
        self._call.monitor.report(
            Finding(
                code="parts-not-kept",
                severity="warning",
                path="",
                message=f"which parts were read cannot be remembered: {error.message}",
                hint=f"{error.hint} Parts are taken by the clock until then.",
            )
        )
