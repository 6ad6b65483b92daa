"""What ``recover`` remembers between its steps, and reports in the end: one value, written whole
and durable before and after each step, so that a run that was killed goes on where it was.

It holds names of users, in paths of documents, and no words of theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec

from shenyu_data.model.amounts import counted
from shenyu_data.model.config import ServiceTable
from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.alone import is_locked, take_lock
from shenyu_data.operations.repair import RepairItem
from shenyu_data.operations.service import shown
from shenyu_data.operations.shrunken import LOSSES
from shenyu_data.storage.atomic import make_private, overwrite, write_file

StepName = Literal["stop", "snapshot", "validate", "repair", "validate-again", "start"]
STEPS: tuple[StepName, ...] = ("stop", "snapshot", "validate", "repair", "validate-again", "start")
"""The six steps of the guide, in their order."""

Outcome = Literal["done", "skipped", "failed", "interrupted"]
ServiceState = Literal["untouched", "stopping", "stopped", "starting", "running", "down"]

FOLDER = "recover"
RECORD = "record.json"
MOST_BYTES = 64 << 20
"""No record or report is larger."""


class StepTaken(msgspec.Struct, frozen=True, kw_only=True):
    """One step as it went. ``output`` is what its command printed last."""

    name: StepName
    began: str
    elapsed_s: float
    outcome: Outcome
    message: str
    output: str = ""


class Count(msgspec.Struct, frozen=True):
    """How many findings have a code."""

    code: str
    count: int


class Seen(msgspec.Struct, frozen=True):
    """One finding of a validation."""

    path: str
    code: str
    severity: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a validation found: ``first`` are the first of the findings, those to be mended before
    all.
    """

    errors: int
    warnings: int
    codes: list[Count]
    first: list[Seen]

    @property
    def text(self) -> str:
        """How many errors and warnings, as people read it."""
        return f"{counted(self.errors, 'error')}, {counted(self.warnings, 'warning')}"

    @property
    def is_mended(self) -> bool:
        """Whether nothing is left of what a recovery mends: warnings of other kinds may be."""
        return not self.errors and not any(one.code in LOSSES for one in self.codes)


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What the repair did, in the numbers of RepairStats; ``documents`` are the first of them."""

    safety_snapshot: str | None
    documents: list[RepairItem]
    changed: int
    removed: int
    left: int
    refused: int
    busy: int
    failed: int
    damaged: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The step that failed, and the code of the error that ended it."""

    step: StepName
    error: str
    message: str
    hint: str
    exit_status: int


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery. ``ended`` is None while it is under way, or was killed.

    ``runs`` counts how often it was begun or gone on with; ``done`` are the steps that hold since
    the service was last stopped, ``steps`` all that were taken. ``ours``: the service was stopped
    by a recovery, which therefore must start it. ``boot`` tells when the system was last started.
    ``cut_off`` are documents that a repair was changing when it was killed.
    """

    id: str
    began: str
    ended: str | None = None
    program: str
    data: str
    repository: str
    runs: int = 1
    service: ServiceTable | None
    service_state: ServiceState = "untouched"
    ours: bool = False
    boot: str = ""
    done: list[StepName] = []
    steps: list[StepTaken] = []
    safety_snapshots: list[str] = []
    before: Found | None = None
    repair: Mended | None = None
    cut_off: list[str] = []
    after: Found | None = None
    failure: Failure | None = None

    @property
    def is_cut_off(self) -> bool:
        """Whether it was killed when it had the service stopped, or may have begun to repair: then
        the next run goes on with it. One that had done nothing yet is none.
        """
        return self.ended is None and (self.is_down or "validate" in self.done)

    @property
    def is_down(self) -> bool:
        """Whether a recovery stopped the service, and none is known to have started it."""
        return self.ours and self.service_state not in ("untouched", "running")


def down_line(recovery: Recovery) -> str:
    """Return what to tell of a service that is down."""
    line = "THE SERVICE IS DOWN"
    if recovery.service is not None:
        line += f"; start it: {shown(recovery.service.start)}"
    return line


def left_down(recovery: Recovery | None, *, under_way: bool = False) -> Finding | None:
    """Return the finding about a recovery that stopped the service, after which none is known to
    have started it. ``under_way``: it may still go on, and is not to be disturbed.
    """
    if recovery is None or not recovery.is_down:
        return None
    if under_way:
        return Finding(
            code="service-down",
            severity="error",
            path="",
            message="a recovery stopped the service, and it, or an erasure, is under way: do not "
            "start it meanwhile",
            hint="Wait until that is done; a recovery starts the service at its end.",
        )
    return Finding(
        code="service-down",
        severity="error",
        path="",
        message=f"{down_line(recovery)}. A recovery stopped it, and none is known to have started "
        "it since",
        hint="Or run `shenyu-data recover`: it starts the service at its end.",
    )


def now() -> str:
    """Return the time, as the record has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def boot_id() -> str:
    """Return what tells one start of the system from the next; empty if nothing does."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read(100).strip()
    return ""


class Records:
    """The record about one data directory; ``state`` is the folder of its journals."""

    def __init__(self, state: str) -> None:
        self.folder = os.path.join(state, FOLDER)

    @property
    def path(self) -> str:
        """Where the record is, if there is one."""
        return os.path.join(self.folder, RECORD)

    def load(self) -> Recovery | None:
        """Return the recovery that is under way, was killed, or left the service down; else None.

        Raise ShenyuDataError if that cannot be told.
        """
        try:
            with open(self.path, "rb") as file:
                return msgspec.json.decode(file.read(MOST_BYTES), type=Recovery)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ShenyuDataError(
                f"cannot read {self.path}, which says how far the last recovery came: {error}",
                hint="See whether the application runs, start it if not, and remove that file.",
            ) from error

    def store(self, recovery: Recovery) -> None:
        """Write the record; it is durable when this returns. Raise ShenyuDataError."""
        write_private(self.folder, RECORD, msgspec.json.encode(recovery))

    def remove(self) -> None:
        """Forget the record: the recovery came to its end. Raise ShenyuDataError."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ShenyuDataError(
                f"cannot remove {self.path}: {error.strerror}", hint="Remove it by hand."
            ) from error

    @property
    def is_under_way(self) -> bool:
        """Whether somebody recovers, or erases a user, just now."""
        return is_locked(self.folder)

    def check_alone(self) -> None:
        """Raise UsageError if somebody recovers, or erases a user, just now."""
        if self.is_under_way:
            raise _not_alone()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else recover meanwhile. Raise UsageError if somebody does, ShenyuDataError if
        the folder cannot be used.
        """
        try:
            lock = take_lock(self.folder)
        except OSError as error:
            raise ShenyuDataError(
                f"cannot use {self.folder}: {error.strerror}; nothing was stopped",
                hint="Check its owner and mode, or set XDG_STATE_HOME.",
            ) from error
        if lock is None:
            raise _not_alone()
        try:
            yield
        finally:
            os.close(lock)


def _not_alone() -> UsageError:
    return UsageError(
        "another recovery or an erasure of this data directory is under way",
        hint="Wait until it is done; if there is none, its process is still there.",
    )


def write_private(folder: str, name: str, text: bytes) -> None:
    """Write a file for its owner alone, whole and durable, in place of one that is there. Raise
    ShenyuDataError.
    """
    try:
        make_private(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(name, [text], folder=descriptor, replace=True)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot write {os.path.join(folder, name)}: {error.strerror}",
            hint="Make room, or set XDG_STATE_HOME.",
        ) from error


def without(recovery: Recovery, user: bytes) -> Recovery:
    """Return the record without the paths that lead to a user's documents, and without what errors
    and commands said that may name the user.
    """
    is_named = re.compile(rf"(?<![\w@-]){re.escape(printable(user))}(?![\w@-])").search

    def told(text: str) -> str:
        return "(it named a user who was erased)" if is_named(text) else text

    def others(paths: list[str]) -> list[str]:
        return [path for path in paths if not _is_about(path, user)]

    def seen(found: Found | None) -> Found | None:
        if found is None:
            return None
        first = [one for one in found.first if not _is_about(one.path, user)]
        return msgspec.structs.replace(found, first=first)

    mended = recovery.repair
    if mended is not None:
        documents = [item for item in mended.documents if not _is_about(item.path, user)]
        mended = msgspec.structs.replace(mended, documents=documents)
    if (failure := recovery.failure) is not None:
        message, hint = told(failure.message), told(failure.hint)
        failure = msgspec.structs.replace(failure, message=message, hint=hint)
    return msgspec.structs.replace(
        recovery,
        before=seen(recovery.before),
        after=seen(recovery.after),
        repair=mended,
        cut_off=others(recovery.cut_off),
        steps=[
            msgspec.structs.replace(step, message=told(step.message), output=told(step.output))
            for step in recovery.steps
        ],
        failure=failure,
    )


def _is_about(path: str, user: bytes) -> bool:
    name = printable(user)
    return path.startswith((f"users/{name}.json", f"histories/{name}/")) or path == (
        f"histories/{name}"
    )


def rewrite(path: str, text: bytes) -> None:
    """Write a file anew, and overwrite what it held. Raise OSError."""
    folder, name = os.path.split(path)
    try:
        old = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        write_private(folder, name, text)
        return
    try:
        write_private(folder, name, text)
        overwrite(old)
    finally:
        os.close(old)
