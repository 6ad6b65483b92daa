"""``import``: brings an export into the live data directory, beside the running application.

First a plan, for which the whole export is read and checked; then, if documents are to be replaced,
a safety snapshot; then new documents in batches, and those that are there one after another as a
restore replaces them. All of it is journaled. Killed at any moment, the next import of the same
export goes on: what is there already is recognised by its bytes.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.folder import open_root
from shenyu_data.exchange.guide_stretch import CutWithinError
from shenyu_data.exchange.streams import changed_meanwhile
from shenyu_data.model.amounts import counted
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.erased import Gone, gone_users
from shenyu_data.operations.import_apply import ImportWriter
from shenyu_data.operations.import_checks import Entry, Part
from shenyu_data.operations.import_items import Chosen, ImportItems
from shenyu_data.operations.import_parts import work_through
from shenyu_data.operations.import_plan import ImportOptions, ImportPlan, Source, items_of
from shenyu_data.operations.import_task import WriteTask, write_part
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import (
    IMPORT,
    IMPORT_FRESH,
    Began,
    Digests,
    Ended,
    Journals,
    Step,
    local_key,
    open_journals,
)
from shenyu_data.operations.safety import save_first
from shenyu_data.repository.repository import Repository

_ROUNDS = 4


class ImportStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. ``safety`` is the snapshot of what was there before, if one was taken;
    ``refused`` entries are unsafe or stand against what is there.
    """

    safety: bytes | None
    created: int
    replaced: int
    renamed: int
    skipped: int
    unchanged: int
    folders: int
    links: int
    erased: int
    refused: int
    busy: int
    failed: int
    damaged: int
    names: list[Chosen]
    elapsed_s: float


def import_data(
    source: Source,
    data: str,
    repository: Repository | None,
    options: ImportOptions,
    monitor: Monitor,
    *,
    plan: ImportPlan | None,
    again: bool = True,
) -> ImportStats:
    """Bring an export into ``data``, which is made if it is missing.

    ``plan`` None: nobody looked yet, so that a damaged export is noticed only when a part of it is
    there. ``again``: it can be read more than once. Raise as ``plan_import`` does, UsageError
    if another operation is changing the directory, and what a backup raises.
    """
    started = time.monotonic()
    gone = gone_users(None if options.erased_too else repository)
    work = _Work(data, options, monitor, plan)
    _make_if_missing(data)
    with open_journals(options.state) as journals, open_root(data) as root:
        key: Repository | bytes = repository or local_key(options.state)
        unfinished = _unfinished(journals)
        fresh = not os.listdir(root) or (unfinished is not None and unfinished.fresh)
        finish_interrupted(key, root, journals, options.quiet_s, monitor)
        journal = journals.begin(
            Began(
                operation=IMPORT_FRESH if fresh else IMPORT,
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id if repository is not None else b"",
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        with tempfile.TemporaryFile() as notes, tempfile.TemporaryFile() as watched:
            writer = ImportWriter(
                root,
                journal,
                Digests(key),
                options,
                monitor.report,
                fresh=fresh,
                saves=repository is not None,
                resumed=unfinished.made if unfinished is not None else None,
                notes=notes,
                watched=watched,
            )
            only: frozenset[bytes] | None = None
            stretches = plan is not None and plan.stretches
            try:
                for number in range(_ROUNDS):
                    last = number + 1 == _ROUNDS or not again
                    replaces = not fresh and (plan is None or plan.replaces)
                    if repository is not None and (writer.unsaved if number else replaces):
                        writer.unsaved = False
                        writer.saved = save_first(
                            data,
                            repository,
                            journal,
                            monitor,
                            None,
                            options.jobs,
                            tag="before-import",
                        )
                    later: set[bytes] = set()
                    with source() as file:
                        report = monitor.report if number == 0 else _forget
                        items = items_of(file, options, report, stretches=stretches)
                        if number == 0:
                            first = items
                        missed = None if last else later
                        try:
                            if only is None:
                                _first_round(items, gone, writer, work, missed)
                            else:
                                _next_round(items, gone, writer, only, missed)
                        finally:
                            writer.flush(missed)
                    if not later:
                        break
                    only = frozenset(later)
                writer.finish()
                journal.write(Ended())
            except CutWithinError as error:  # it was read in stretches for the plan
                raise changed_meanwhile() from error
            finally:
                writer.close()
            if writer.erased:
                monitor.report(_erased(len(writer.erased)))
            return writer.stats(first, elapsed_s=time.monotonic() - started)


class _Work(NamedTuple):
    data: str
    options: ImportOptions
    monitor: Monitor
    plan: ImportPlan | None


def _first_round(
    items: ImportItems, gone: Gone, writer: ImportWriter, work: _Work, later: set[bytes] | None
) -> None:
    """Take every entry, most of them as workers have written them."""

    def task_of(part: Part) -> WriteTask:
        return writer.task(part, work.data, gone)

    plan = work.plan
    total = plan.documents + plan.folders + plan.links if plan is not None else None
    with (
        work.monitor.task("Importing", total, "entries") as progress,
        closing(work_through(items, write_part, task_of, work.options.jobs)) as parts,
    ):
        for done in parts:
            if isinstance(done, Entry):
                writer.settle(later)
                _take(done, gone, writer, later)
                progress.advance(1)
            else:
                items.add(done.looked)
                writer.take_part(done, later)
                progress.advance(done.entries)
    writer.settle(later)
    items.finish()


def _next_round(
    items: ImportItems,
    gone: Gone,
    writer: ImportWriter,
    only: frozenset[bytes],
    later: set[bytes] | None,
) -> None:
    """Take those entries that a safety snapshot had to be taken for, and those that the application
    wrote since they were made.
    """
    for entry in items:
        if entry.path in only:
            _take(entry, gone, writer, later)


def _take(entry: Entry, gone: Gone, writer: ImportWriter, later: set[bytes] | None) -> None:
    if entry.user is not None and gone(entry.user):
        writer.erased.add(entry.user)
    else:
        writer.take(entry, later)


def _erased(count: int) -> Finding:
    return Finding(
        code="user-erased",
        severity="info",
        path="",
        message=f"left out, as they were erased: {counted(count, 'user')}",
        hint="--erased-too brings them back.",
    )


def _forget(finding: Finding) -> None:
    """It was told in the first round."""


class _Unfinished(NamedTuple):
    """An import that was killed: whether it began in an empty directory, and what it had made."""

    fresh: bool
    made: frozenset[bytes]


def _unfinished(journals: Journals) -> _Unfinished | None:
    """Return what is known of the last operation if it is an import that was killed."""
    journal = next(journals.newest_first(), None)
    began = journal.began() if journal is not None else None
    if journal is None or began is None or began.operation not in (IMPORT, IMPORT_FRESH):
        return None
    if journal.is_ended():
        return None
    steps = (line for line in journal.read() if isinstance(line, Step))
    made = frozenset(step.path for step in steps if step.before is None)
    return _Unfinished(began.operation == IMPORT_FRESH, made)


def _make_if_missing(data: str) -> None:
    if not os.path.lexists(data):
        try:
            os.mkdir(data, 0o700)
        except OSError as error:
            raise DataDirectoryError(
                f"cannot make the data directory {data}: {error.strerror}",
                hint="Make the folder it is to lie in, or give another one with --data.",
            ) from error
