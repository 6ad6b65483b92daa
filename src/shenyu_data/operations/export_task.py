"""What the workers of an export do: read every entry of some owners and put it into the format.

For ``export`` only. An owner with much to read is left to the main process, which need not hold it
in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from shenyu_data.datadir.scan import DataFolders, Scan, scan_shared, scan_user
from shenyu_data.exchange.redact import Redactor
from shenyu_data.exchange.selection import Selection
from shenyu_data.model.findings import Finding
from shenyu_data.operations.export_source import Counts, Source

_TRIES = 4  # of an owner whose documents move from one file into another meanwhile

MOST_TASK_BYTES = 4 << 20
"""Of documents in one task; what is more the main process reads itself."""


class ExportTask(NamedTuple):
    """Owners and shared paths of one data directory to be written in one format."""

    data: str
    users: list[bytes]
    shared: list[bytes]
    selection: Selection
    form: Form
    redactor: Redactor | None = None


class ExportPart(msgspec.Struct):
    """What a task made: text of the format, what is to be told, and what is left to do."""

    text: bytes
    counts: Counts
    lost: dict[str, int]
    findings: list[Finding]
    owners: int
    left: list[tuple[bytes, bool]]
    """Users, and shared paths (True), that the main process must read."""


class Form(Protocol):
    """A format as the export writes it; ``separator`` stands between what owners become."""

    separator: bytes
    users_only: bool
    """Whether it looks at users' files alone, and nothing else need be listed."""
    histories_only: bool
    """Whether it looks at anything but users' files."""

    def owner(self, source: Source, scan: Scan, owner: bytes) -> Iterator[bytes]:
        """Yield what an owner's entries become; of shared ones ``owner`` is empty."""
        ...


def export_owners(task: ExportTask) -> ExportPart:
    """Read some owners and return what the format makes of them; those with much are left."""
    with DataFolders(task.data) as folders:
        limit(folders, task.form)
        source = Source(folders, task.selection, task.redactor)
        texts: list[bytes] = []
        left: list[tuple[bytes, bool]] = []
        size = 0
        names = [(user, False) for user in task.users] + [(path, True) for path in task.shared]
        try:
            for (name, shared), (scan, owner) in zip(
                names, scans(folders, task.users, task.shared), strict=True
            ):
                count = sum(found.stat.st_size for found in scan.entries)
                if count > MOST_TASK_BYTES - size:
                    left.append((name, shared))
                    continue
                size += count
                texts.append(_text(task, folders, source, scan, owner))
        finally:
            source.close()
        return ExportPart(
            text=task.form.separator.join(filter(None, texts)),
            counts=source.counts,
            lost=source.lost,
            findings=source.findings,
            owners=len(task.users),
            left=left,
        )


def _text(
    task: ExportTask, folders: DataFolders, source: Source, scan: Scan, owner: bytes
) -> bytes:
    """Return what an owner becomes, looked at anew if documents moved while they were read."""
    counts, lost, findings = source.counts, source.lost, source.findings
    for attempt in range(1, _TRIES + 1):
        source.moved = False
        source.counts, source.lost, source.findings = Counts(), {}, list(scan.findings)
        text = b"".join(task.form.owner(source, scan, owner))
        if not (source.moved and owner) or attempt == _TRIES:
            break
        scan = scan_user(folders, owner)
    counts.add(source.counts)
    for field, count in source.lost.items():
        lost[field] = lost.get(field, 0) + count
    findings += source.findings
    source.counts, source.lost, source.findings = counts, lost, findings
    return text


def limit(folders: DataFolders, form: Form) -> None:
    """Let scans list no more than a form looks at."""
    if form.users_only and folders.histories is not None:
        os.close(folders.histories)
        folders.histories = None
    if form.histories_only and folders.users is not None:
        os.close(folders.users)
        folders.users = None


def scans(
    folders: DataFolders, users: Iterable[bytes], shared: Iterable[bytes]
) -> Iterator[tuple[Scan, bytes]]:
    """Yield the entries of each user and of each shared path, with whose they are."""
    for user in users:
        yield scan_user(folders, user), user
    for path in shared:
        yield scan_shared(folders, [path]), b""
