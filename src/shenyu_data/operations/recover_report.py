"""The report of a recovery: a file of JSON and one for people, for their owner alone; written by
``recover``, and anew without a user by that user's erasure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.recover_record import (
    MOST_BYTES,
    Found,
    Mended,
    Records,
    Recovery,
    down_line,
    rewrite,
    without,
    write_private,
)
from shenyu_data.storage.atomic import remove_for_good, remove_temporaries

KEPT_REPORTS = 50
"""Older ones are removed from the state folder."""

FOLDER = "recoveries"
_SHOWN = 200


def check_report(path: str, data: str) -> None:
    """Raise UsageError if a report could not be written to ``path``, or would replace anything but
    an older one.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"the report cannot be written: {folder} is no folder, or not writable",
            hint="Name another place with --report FILE. Nothing was done.",
        )
    inside = os.path.realpath(data)
    if os.path.commonpath([inside, os.path.realpath(folder)]) == inside:
        raise UsageError(
            f"the report {path} would lie inside the data directory",
            hint="Name another place with --report FILE. Nothing was done.",
        )
    if not _is_report(path) and (os.path.lexists(path) or os.path.lexists(text_name(path))):
        raise UsageError(
            f"{path} or {text_name(path)} is already there, and is no report",
            hint="Name another file with --report. Nothing was done.",
        )


def _is_report(path: str) -> bool:
    try:
        # Without waiting for a writer, should it be a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            msgspec.json.decode(file.read(MOST_BYTES), type=Recovery)
    except (OSError, ValueError, TypeError, RecursionError):
        return False
    return True


def write_report(recovery: Recovery, state: str, path: str | None) -> str:
    """Write the report to ``path``, or if that is None into the state folder; return where the JSON
    is. The text is beside it, and ends in ``.txt``. Raise ShenyuDataError if it cannot be written.
    """
    if path is None:
        folder, name = os.path.join(state, FOLDER), f"{recovery.id}.json"
    else:
        folder, name = os.path.split(os.path.abspath(path))
    document, text = _written(recovery)
    write_private(folder, name, document)
    write_private(folder, text_name(name), text)
    if path is None:
        # This one stays whatever the clock says: names begin with times.
        others = [other for other in _names(folder) if other != name]
        for old in others[: len(others) + 1 - KEPT_REPORTS]:
            for gone in (text_name(old), old):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, gone))
    return os.path.join(folder, name)


def text_name(name: str) -> str:
    """Return the name of the text beside a report."""
    return name.removesuffix(".json") + ".txt"


def forget_user(state: str, user: bytes) -> None:
    """Take a user out of the record and of the reports in the state folder, and remove what was
    left there half written. Nobody may recover, or change the directory, meanwhile.

    Raise ShenyuDataError if that cannot be done, or if it cannot be told whom a report names.
    """
    records, folder = Records(state), os.path.join(state, FOLDER)
    unknown = []
    try:
        for place in (state, records.folder, folder):
            remove_temporaries(place)
        for name in _names(folder, ".txt"):
            if not os.path.lexists(os.path.join(folder, name.removesuffix(".txt") + ".json")):
                remove_for_good(os.path.join(folder, name))
        for name in _names(folder):
            path = os.path.join(folder, name)
            try:
                with open(path, "rb") as file:
                    recovery = msgspec.json.decode(file.read(MOST_BYTES), type=Recovery)
            except (ValueError, RecursionError):
                unknown.append(path)
                continue
            if (kept := without(recovery, user)) != recovery:
                document, text = _written(kept)
                rewrite(os.path.join(folder, text_name(name)), text)
                rewrite(path, document)
        recovery_now = records.load()
        if recovery_now is not None and (kept := without(recovery_now, user)) != recovery_now:
            rewrite(records.path, msgspec.json.encode(kept))
    except OSError as error:
        raise ShenyuDataError(
            f"cannot take the user out of the reports in {folder}: {error.strerror}",
            hint="Check its owner and mode, then erase again.",
        ) from error
    if unknown:
        raise ShenyuDataError(
            f"whom the report {unknown[0]} names cannot be told: it is damaged "
            f"({len(unknown)} such)",
            hint="See what it says; if it may go, remove it and the text beside it. Then erase "
            "again.",
        )


def _names(folder: str, suffix: str = ".json") -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(suffix))
    except FileNotFoundError:
        return []


def _written(recovery: Recovery) -> tuple[bytes, bytes]:
    document = msgspec.json.format(msgspec.json.encode(recovery), indent=2) + b"\n"
    text = "\n".join([*map(printable, lines(recovery)), ""])
    return document, text.encode("utf-8", "backslashreplace")


def lines(recovery: Recovery) -> Iterator[str]:
    """Yield the report as people read it."""
    yield f"Recovery {recovery.id} of {recovery.data}"
    yield f"began {recovery.began}, ended {recovery.ended or '(not yet)'}"
    if recovery.runs > 1:
        yield f"It was cut off and gone on with: {recovery.runs} runs."
    yield ""
    for step in recovery.steps:
        yield f"{step.began}  {step.name:<14}  {step.outcome:<11}  {step.elapsed_s:8.1f} s  " + (
            step.message
        )
        yield from (f"    | {line}" for line in step.output.splitlines())
    yield ""
    yield from _service_lines(recovery)
    if recovery.failure is not None:
        yield f"Failed at the step {recovery.failure.step}: {recovery.failure.message}"
        yield f"  {recovery.failure.hint}"
    yield from undo_lines(recovery)
    yield from _found_lines("Findings before", recovery.before)
    yield from _mended_lines(recovery.repair)
    if recovery.cut_off:
        yield ""
        yield "Documents that a run changed before it was cut off:"
        yield from (f"  {path}" for path in recovery.cut_off)
    yield from _found_lines("Findings after", recovery.after)


def undo_lines(recovery: Recovery) -> Iterator[str]:
    """Yield how to take the recovery back."""
    mended = recovery.repair
    if (mended is not None and mended.changed + mended.removed) or recovery.cut_off:
        yield "To take the repair back: shenyu-data restore --undo"
    if recovery.safety_snapshots:
        first = recovery.safety_snapshots[0]
        yield f"All as it was before: shenyu-data restore {first[:8]} --to DIR"


def _service_lines(recovery: Recovery) -> Iterator[str]:
    if recovery.service_state == "untouched":
        yield "The service was neither stopped nor started."
    elif recovery.service_state == "running":
        yield "The service runs."
    else:
        yield down_line(recovery)


def _found_lines(title: str, found: Found | None) -> Iterator[str]:
    yield ""
    if found is None:
        yield f"{title}: not looked for"
        return
    yield f"{title}: {found.text}"
    yield from (f"  {one.count:8,} {one.code}" for one in found.codes)
    for one in found.first[:_SHOWN]:
        yield f"  {one.severity}: {one.path} [{one.code}]"
    if len(found.first) > _SHOWN:
        yield "  … the JSON beside this lists more"


def _mended_lines(mended: Mended | None) -> Iterator[str]:
    if mended is None:
        return
    yield ""
    yield f"Mended: {mended.changed:,} changed, {mended.removed:,} taken away, {mended.left:,} left"
    for item in mended.documents[:_SHOWN]:
        yield f"  {item.action:<10}  {item.path}  {item.code}"
    if len(mended.documents) > _SHOWN:
        yield "  … the JSON beside this lists more"
