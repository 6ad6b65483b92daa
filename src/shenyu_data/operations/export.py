"""``export``: the live data directory, or what is chosen of it, as one stream in a portable format.

Owners are dealt into buckets, so that memory does not grow with their number, and go to workers in
parts; what those make is written in the order of the parts.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec
from blake3 import blake3

from shenyu_data.datadir.folder import check_outside
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.exchange import guide
from shenyu_data.exchange.native import DIGEST_BYTES, Closing, closing_line, header_line
from shenyu_data.exchange.redact import Redactor
from shenyu_data.exchange.selection import Selection
from shenyu_data.exchange.streams import STANDARD, Write, open_output
from shenyu_data.model.errors import OwnerNotFound
from shenyu_data.model.findings import printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.export_guide import GuideHistories, GuideUsers
from shenyu_data.operations.export_native import NativeForm
from shenyu_data.operations.export_source import Counts, Source
from shenyu_data.operations.export_task import (
    ExportPart,
    ExportTask,
    Form,
    export_owners,
    limit,
    scans,
)
from shenyu_data.operations.workers import open_executor, run_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

Format = Literal["native", "guide"]

_BUCKETS = 256
_TASK_NAMES = 64
_FEW_NAMES = 500  # done before another process would have started
_WAITING_A_JOB = 4


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose. ``overwrite``: a file of that name gives way. ``redactor`` takes
    out what tells who wrote it.
    """

    form: Format = "native"
    selection: Selection = Selection()
    overwrite: bool = False
    redactor: Redactor | None = None
    jobs: int = 1


class ExportStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported. ``lost``: how much of what the format cannot carry, by its field.

    ``complete`` is false if a folder could not be listed.
    """

    counts: Counts
    lost: dict[str, int]
    complete: bool
    written_bytes: int
    elapsed_s: float

    @property
    def whole(self) -> bool:
        """Whether everything that was chosen is in it as it should be."""
        counts = self.counts
        missing = counts.torn or counts.unreadable or counts.skipped or not self.complete
        return not missing and not (set(self.lost) - TOLD_ONLY)


TOLD_ONLY = frozenset(("times", "modes"))
"""Fields that no export of the guide's has: told, but not counted as a loss."""


def export(
    data: str, path: str, standard: BinaryIO, options: ExportOptions, monitor: Monitor
) -> ExportStats:
    """Write an export of the data directory to the new file ``path`` (``-``: to ``standard``).

    Raise UsageError if the file is there or would lie in the data directory, OwnerNotFound if a
    chosen user is not there, DataDirectoryError, ShenyuDataError if it cannot be written.
    """
    begun = time.monotonic()
    if path != STANDARD:
        check_outside(data, os.path.abspath(path))
    with Survey(_BUCKETS) as found:
        complete = _survey(data, found, options.selection, monitor)
        with open_output(path, standard, overwrite=options.overwrite) as write:
            work = _Export(data, found, options, monitor, write)
            work.run()
    return ExportStats(
        counts=work.counts,
        lost=work.lost,
        complete=complete,
        written_bytes=work.written_bytes,
        elapsed_s=time.monotonic() - begun,
    )


class _Export:
    """One export under way."""

    def __init__(
        self, data: str, found: Survey, options: ExportOptions, monitor: Monitor, write: Write
    ) -> None:
        self._data = data
        self._found = found
        self._options = options
        self._monitor = monitor
        self._sink = write
        self._digest = blake3()
        self.counts = Counts()
        self.lost: dict[str, int] = {}
        self.written_bytes = 0
        self._some = False
        self._jobs = options.jobs if found.names >= _FEW_NAMES else 1

    def run(self) -> None:
        """Write the whole export."""
        with open_executor(self._jobs) as executor:
            if self._options.form == "guide":
                self._run_guide(executor)
            else:
                self._run_native(executor)

    def _run_guide(self, executor: Executor | None) -> None:
        self._write(guide.OPENING)
        self._write(guide.ending(some=self._section(GuideUsers(), executor)))
        self._write(guide.MIDDLE)
        self._write(guide.ending(some=self._section(GuideHistories(), executor)))
        self._write(guide.closing())

    def _run_native(self, executor: Executor | None) -> None:
        selection = self._options.selection
        redactor = self._options.redactor
        redacted = redactor.level if redactor is not None else None
        self._write(header_line(selection.told(), redacted))
        self._section(NativeForm(), executor)
        counts = self.counts
        closing = Closing(
            folders=counts.folders,
            files=counts.files,
            links=counts.links,
            file_bytes=counts.file_bytes,
        )
        self._write(closing_line(closing, self._digest.digest(length=DIGEST_BYTES)))

    def _write(self, text: bytes) -> None:
        if self._options.form == "native":
            self._digest.update(text)
        self.written_bytes += len(text)
        self._sink(text)

    def _section(self, form: Form, executor: Executor | None) -> bool:
        """Write what a form makes of all owners; return whether that is anything."""
        self._some = False
        with (
            self._monitor.task("Exporting", self._found.names, "users") as progress,
            DataFolders(self._data) as folders,
        ):
            limit(folders, form)
            tasks = self._tasks(form)
            waiting = _WAITING_A_JOB * max(self._jobs, 1)
            for part in run_tasks(executor, export_owners, tasks, waiting=waiting, in_order=True):
                self._add(part)
                self._write_entry(form, [part.text])
                for name, shared in part.left:
                    self._write_large(folders, form, name, shared)
                progress.advance(part.owners)
        return self._some

    def _write_large(self, folders: DataFolders, form: Form, name: bytes, shared: bool) -> None:
        """Write what becomes of an owner with much to read, piece by piece."""
        source = Source(folders, self._options.selection, self._options.redactor)
        try:
            for scan, owner in scans(folders, [] if shared else [name], [name] if shared else []):
                source.findings += scan.findings
                self._write_entry(form, form.owner(source, scan, owner))
                if source.moved and owner:  # too much to be written out once more
                    source.tell_moved(owner)
        finally:
            source.close()
        self._add(source)

    def _write_entry(self, form: Form, texts: Iterable[bytes]) -> None:
        """Write what becomes of owners, apart from those before them."""
        first = self._some
        for text in filter(None, texts):
            if first:
                self._write(form.separator)
                first = False
            self._write(text)
            self._some = True

    def _add(self, part: ExportPart | Source) -> None:
        self.counts.add(part.counts)
        for field, count in part.lost.items():
            self.lost[field] = self.lost.get(field, 0) + count
        for finding in part.findings:
            self._monitor.report(finding)

    def _tasks(self, form: Form) -> Iterator[ExportTask]:
        selection = self._options.selection
        for number in range(_BUCKETS):
            bucket = self._found.bucket(number)
            chosen = selection.users
            users = [user for user in bucket.users if chosen is None or user in chosen]
            alone = chosen is not None or form.users_only
            shared = [] if alone else bucket.shared
            for start in range(0, max(len(users), len(shared)), _TASK_NAMES):
                end = start + _TASK_NAMES
                yield ExportTask(
                    self._data,
                    users[start:end],
                    shared[start:end],
                    selection,
                    form,
                    self._options.redactor,
                )


def _survey(data: str, found: Survey, selection: Selection, monitor: Monitor) -> bool:
    """Deal the chosen names into buckets; return whether every folder could be listed."""
    survey(data, found, user_bucket=_bucket, shared_bucket=_bucket, monitor=monitor)
    if selection.users is None:
        return found.complete
    met = {user for user in selection.users if user in found.bucket(_bucket(user)).users}
    for user in sorted(selection.users - met):
        raise OwnerNotFound(
            f"there is no user {printable(user)} in {data}", hint="Check the name given to --user."
        )
    return found.complete


def _bucket(name: bytes) -> int:
    return zlib.crc32(name) % _BUCKETS
