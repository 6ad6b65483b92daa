"""``restore --undo``: takes the last in-place operation back, document by document.

What still is as it was written goes back to what the safety snapshot holds. Of a history that the
application went on writing, only what the operation did is taken back, chat by chat.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import NamedTuple

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import read_live
from shenyu_data.model.errors import NothingToTakeBack, RepositoryError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.cleanup_undo import make_folders
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import (
    Began,
    Digests,
    Ended,
    Folder,
    FolderGone,
    Journal,
    Journals,
    Step,
    Swap,
    TakenBack,
    open_journals,
)
from shenyu_data.operations.journal import (
    Saved as SavedIn,
)
from shenyu_data.operations.left_behind import left_behind, taking_over
from shenyu_data.operations.live_document import Change, Edit, Refused
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.restore_edits import Action, Outline, outline_of
from shenyu_data.operations.restore_live import (
    MOST_ITEMS,
    LiveItem,
    LiveOptions,
    LivePlan,
    LiveStats,
)
from shenyu_data.operations.restore_undo_edits import UndoEdits, kind_of_step
from shenyu_data.operations.safety import save_first
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids

_OPPOSITES = {"compress": "decompress", "decompress": "compress"}


class _Past(NamedTuple):
    """The operation to take back: its journal, its beginning, its steps, the last of each first."""

    journal: Journal
    began: Began
    steps: list[Step]
    folders: list[bytes]
    gone: list[FolderGone]
    first_saved: bytes


def plan_undo(
    repository: Repository, data: str, options: LiveOptions, monitor: Monitor
) -> LivePlan:
    """Say what :func:`undo` would do now. Raise NothingToTakeBack."""
    items: list[LiveItem] = []
    counts = {"change": 0, "conflict": 0, "unchanged": 0}
    damaged = 0
    with open_journals(options.state) as journals, open_root(data) as folder:
        past = _last(repository, journals)
        edits = UndoEdits(repository, past.first_saved, folder, overwrite=options.overwrite)
        for step in past.steps:
            try:
                item = _plan_step(folder, step, edits.of(step))
            except RepositoryError as error:
                damaged += 1
                monitor.report(_unreadable(step, error))
                continue
            what = "conflict" if item.conflict else "change"
            what = "unchanged" if item.action == "unchanged" and not item.conflict else what
            counts[what] += 1
            if len(items) < MOST_ITEMS:
                items.append(item)
    return LivePlan(
        snapshot=past.first_saved,
        items=items,
        changes=counts["change"],
        conflicts=counts["conflict"],
        unchanged=counts["unchanged"],
        damaged=damaged,
    )


def undo(repository: Repository, data: str, options: LiveOptions, monitor: Monitor) -> LiveStats:
    """Take the last in-place operation back, after a safety snapshot of what is there now.

    Raise NothingToTakeBack if there is none, or if it was taken back.
    """
    started = time.monotonic()
    damaged = 0
    with open_journals(options.state) as journals, open_root(data) as folder:
        finish_interrupted(repository, folder, journals, options.quiet_s, monitor)
        past = _last(repository, journals)
        journal = journals.begin(
            Began(
                operation="undo",
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id,
                data=past.began.data,
                snapshot=None,
                takes_back=past.journal.name,
            )
        )
        users = {step.user for step in past.steps}
        only = next(iter(users)) if len(users) == 1 else None
        saved = save_first(
            data, repository, journal, monitor, only, options.jobs, tag="before-undo"
        )
        edits = UndoEdits(repository, past.first_saved, folder, overwrite=options.overwrite)
        make_folders(folder, past.gone)
        digests = Digests(repository)
        with LiveWriter(folder, journal, digests, options.quiet_s, monitor.report) as writer:
            for step in past.steps:
                try:
                    writer.apply(
                        step.path, kind_of_step(step), edits.of(step), make=step.before is not None
                    )
                except RepositoryError as error:
                    damaged += 1
                    monitor.report(_unreadable(step, error))
            writer.drain()
        _remove_folders(folder, past.folders)
        journal.write(Ended())
        if not writer.refused and not writer.failed and not writer.busy and not damaged:
            past.journal.write(TakenBack())
    return LiveStats(
        snapshot=past.began.snapshot,
        safety=saved.snapshot,
        changed=writer.changed,
        removed=writer.removed,
        unchanged=writer.unchanged,
        refused=writer.refused,
        busy=writer.busy,
        failed=writer.failed,
        damaged=damaged,
        elapsed_s=time.monotonic() - started,
    )


def _last(repository: Repository, journals: Journals) -> _Past:
    for journal in journals.newest_first():
        lines = journal.lines()
        began = next((line for line in lines if isinstance(line, Began)), None)
        steps = {(step.path, step.chat): step for step in lines if isinstance(step, Step)}
        if began is None or began.operation == "undo":
            continue
        if any(isinstance(line, TakenBack) for line in lines):
            break
        if other := _OPPOSITES.get(began.operation):
            raise NothingToTakeBack(
                f"the last in-place operation was a {began.operation}, which {other} takes back",
                hint=f"Run `shenyu-data {other}`. What was done before cannot be taken back now.",
            )
        of_repair = began.operation in ("repair", "put-back")
        if of_repair and not began.repository and any(isinstance(line, Swap) for line in lines):
            raise NothingToTakeBack(
                "the last in-place operation was a repair without a repository",
                hint="`shenyu-data repair --kept` lists what it replaced, and --put-back puts it "
                "back.",
            )
        gone = [line for line in lines if isinstance(line, FolderGone)]
        if not steps and not gone:
            continue
        if not began.repository:
            raise NothingToTakeBack(
                "the last in-place operation was an import without a repository, so what it "
                "replaced is saved nowhere",
                hint="Give imports a repository with --repo.",
            )
        if began.repository != repository.keys.repository_id:
            raise UsageError(
                "the last in-place operation saved what it replaced in another repository",
                hint="Name that one with --repo.",
            )
        saved = [line.snapshot for line in lines if isinstance(line, SavedIn)]
        folders = [line.path for line in lines if isinstance(line, Folder)]
        needed = {*saved[:1], *(step.before for step in steps.values() if step.before is not None)}
        _check_there(repository, needed)
        first = saved[0] if saved else b""  # an import into an empty directory saves nothing
        return _Past(journal, began, list(reversed(steps.values())), folders, gone, first)
    hint = "Only the last in-place operation on a data directory can be taken back, once."
    for one in left_behind(repository, journals.folder):
        hint += f" {one.folder} has journals of {one.data}, which is not there any more. "
        hint += taking_over(one, journals.folder)
    raise NothingToTakeBack("there is nothing to take back", hint=hint)


def _check_there(repository: Repository, needed: set[bytes]) -> None:
    if gone := needed - set(snapshot_ids(repository.storage)):
        names = ", ".join(sorted(snapshot.hex()[:8] for snapshot in gone))
        raise NothingToTakeBack(
            f"what the last in-place operation replaced was saved in snapshot {names}, which is "
            "in the repository no more",
            hint="A prune drops safety snapshots when the policy keeps them no longer. "
            "Restore from an earlier snapshot: `shenyu-data timeline --user U` lists versions.",
        )


def _unreadable(step: Step, error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path=printable(step.path),
        message=f"it cannot be put back: {error.message}",
        hint="`shenyu-data verify --read-data` names all that is affected.",
    )


def _plan_step(folder: int, step: Step, edit: Edit) -> LiveItem:
    above, _, name = step.path.rpartition(b"/")
    conflict, message = None, ""
    before, after = Outline(), Outline()
    action: Action = "unchanged"
    live = None
    try:
        descriptor = open_folder(folder, above)
        try:
            live = read_live(descriptor, name, kind_of_step(step))
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        live = None
    except OSError as error:
        conflict, message = "in-the-way", str(error.strerror or error)
    if live is not None:
        before = after = outline_of(live.data, live.stat.st_size)
    if conflict is None:
        try:
            change = edit(live)
            if change is not None:
                after = _outline_of(change)
                action = "remove" if change.remove else "replace" if live else "create"
        except Refused as refused:
            conflict, message = refused.code, refused.message
    return LiveItem(
        path=printable(step.path),
        chat=step.chat,
        action=action,
        conflict=conflict,
        message=message,
        before=before,
        after=after,
    )


def _outline_of(change: Change) -> Outline:
    if not change.is_streamed:
        return outline_of(change.data or b"", 0)
    size = 0

    def count(piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    change.fill(count)
    return Outline(size)


def _remove_folders(root: int, folders: list[bytes]) -> None:
    for path in sorted(folders, key=len, reverse=True):
        above, _, name = path.rpartition(b"/")
        with suppress(OSError):  # not empty: the application uses it
            descriptor = open_folder(root, above)
            try:
                os.rmdir(name, dir_fd=descriptor)
            finally:
                os.close(descriptor)
