"""Checking the audit log: whether it says what was written, and all of it.

The chain alone tells of a change only by who did not make all hashes after it anew. What was
anchored in a repository cannot be made anew without its key.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from blake3 import blake3

from shenyu_data.health.audit import digests, head
from shenyu_data.health.audit_files import (
    ASIDE,
    FOLDER,
    reading,
    segment,
    segment_name,
    segments,
)
from shenyu_data.health.audit_lines import (
    FIRST_PREVIOUS,
    MOST_LINE_BYTES,
    Altered,
    Entry,
    parse,
)
from shenyu_data.health.runs import birth_of
from shenyu_data.model.errors import ObjectExists, RepositoryError, ShenyuDataError
from shenyu_data.model.findings import Finding, Severity, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.repository.acceptances import Acceptance, Line
from shenyu_data.repository.anchors import (
    Anchor,
    anchor_name,
    anchor_names,
    older_names,
    read_anchor,
    write_anchor,
)
from shenyu_data.repository.repository import Repository

_MOST_SAID = 100
_MOST_OPEN = 10_000
_MOST_OLDER = 8
_ALTERED = "The lines before it stand. See who can write in the state folder, and docs/audit.md."
_GONE = "if the state folder was lost by accident, `shenyu-data audit accept` says so for good"
_CUT_OFF = "Nothing, if the machine lost power or its disk was full then."


class CheckStats(msgspec.Struct, kw_only=True):
    """What a check saw. ``anchored`` is the greatest number that an anchor proves, 0 for none;
    ``anchors`` is None if no repository was at hand. ``altered`` counts what is not as it was
    written, ``unfinished`` runs that have no end and do not run any more, ``mended`` lines that
    were cut off. ``accepted`` is what somebody said of lines that are lost.
    """

    entries: int = 0
    files: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    anchors: int | None = None
    anchored: int = 0
    altered: int = 0
    unfinished: int = 0
    mended: int = 0
    accepted: list[Acceptance] = []


def place_of(state: str) -> bytes:
    """Return what tells the logs of machines and data directories apart: 16 bytes."""
    machine = socket.gethostname().encode()
    with suppress(OSError), open("/etc/machine-id", "rb") as file:
        machine = file.read().strip() or machine
    return blake3(b"audit " + machine + b" " + os.path.basename(state).encode()).digest(16)


def anchor(state: str, repository: Repository, now_ms: int) -> bool:
    """Note in the repository where the log ends, unless that is noted, or there is none; return
    whether. Anchors that this one proves as well are removed where the storage lets them go, those
    that contradict the log stay.

    Raise StateUnusable, StorageError; of a log whose end was altered nothing is noted.
    """
    storage, keys = repository.storage, repository.keys
    try:
        end = head(state)
    except Altered:
        return False
    if end is None:
        return False
    log, digest = bytes.fromhex(end.log), bytes.fromhex(end.digest)
    new = Anchor(place_of(state), log, end.sequence, digest, now_ms)
    name, names = anchor_name(keys, new), anchor_names(storage)
    if name in names:
        return False
    with suppress(ObjectExists):  # another process was as quick
        write_anchor(storage, keys, new)
    older: dict[str, Anchor] = {}
    for one in older_names(name, names, _MOST_OLDER):
        with suppress(RepositoryError):
            older[one] = read_anchor(storage, keys, one)
    stands = digests(state, {one.sequence for one in older.values()})
    for one, known in older.items():
        if stands.get(known.sequence) == known.digest.hex():
            with suppress(ShenyuDataError):  # storage that never forgets is the best there is
                storage.destroy(one)
    return True


def check(
    state: str,
    anchors: Iterable[Anchor] | None,
    monitor: Monitor,
    acceptances: Iterable[Acceptance] = (),
) -> CheckStats:
    """Read the whole log and tell what in it is not as it was written. ``anchors`` are those of the
    repository, None if it is not at hand, and ``acceptances`` explain some of them. Raise
    StateUnusable.
    """
    return _Check(state, anchors, acceptances, monitor).run()


class _Check:
    def __init__(
        self,
        state: str,
        anchors: Iterable[Anchor] | None,
        acceptances: Iterable[Acceptance],
        monitor: Monitor,
    ) -> None:
        self.stats = CheckStats(anchors=None if anchors is None else 0)
        self._state = state
        self._monitor = monitor
        place = place_of(state)
        self.stats.accepted = [item for item in acceptances if item.place == place]
        self._lost = {line for item in self.stats.accepted for line in item.lost}
        self._anchors = [one for one in anchors or () if one.place == place]
        self._log = ""
        self._previous = FIRST_PREVIOUS
        self._next = 1
        self._open: dict[str, Entry] = {}

    def run(self) -> CheckStats:
        with reading(self._state) as folder:
            names = segments(folder)
            for name in sorted(set(os.listdir(folder)) - set(names)):
                self._altered(name, "no file of the audit log has such a name")
            self.stats.files = len(names)
            for name in names:
                self._file(folder, name, is_last=name == names[-1])
        for name in sorted(os.listdir(self._state)):
            if name.startswith(ASIDE):
                self._altered(name, "the end of an earlier log was altered; it was set aside")
        self._match_anchors()
        for item in self.stats.accepted:
            self._accepted(item)
        for entry in self._open.values():
            if not entry.born or birth_of(entry.pid) != entry.born:
                self._unfinished(entry)
        return self.stats

    def _file(self, folder: int, name: str, *, is_last: bool) -> None:
        if name != segment_name(self._next):
            self._altered(name, f"here line {self._next} should stand: a file is missing, or more")
        try:
            with (
                segment(folder, name) as descriptor,
                open(descriptor, "rb", closefd=False) as file,
            ):
                number = 0
                while line := file.readline(MOST_LINE_BYTES):
                    number += 1
                    if line.endswith(b"\n"):
                        self._line(name, number, line[:-1])
                    elif is_last and not file.read(1):
                        self._cut_off(name)
                    else:
                        self._altered(name, f"line {number} has no end")
                if not number and not is_last:
                    self._altered(name, "it is empty")
        except Altered:
            self._altered(name, "it is no file that can be read")

    def _line(self, name: str, number: int, line: bytes) -> None:
        try:
            entry, digest = parse(line)
        except Altered:
            self._altered(name, f"line {number} was altered")
            return
        if (entry.sequence, entry.previous) != (self._next, self._previous):
            self._altered(
                name,
                f"line {number} does not follow the line before: "
                "lines were altered, removed, moved or put in",
            )
        if self.stats.entries == 0:
            self._log = digest
            self.stats.first_ms = entry.time_ms
        self.stats.entries += 1
        self.stats.last_ms = entry.time_ms
        self._next, self._previous = entry.sequence + 1, digest
        for one in self._anchors:
            if (one.log.hex(), one.sequence) == (self._log, entry.sequence):
                if one.digest.hex() == digest:
                    self.stats.anchored = max(self.stats.anchored, entry.sequence)
                elif not self._is_lost(one):
                    self._altered(name, f"line {number} is not the one the repository knows")
        if entry.kind == "mended":
            self.stats.mended += 1
            self._say(
                code="audit-mended",
                severity="info",
                path=name,
                message=f"before line {number} a line was cut off, as by a power cut",
                hint=_CUT_OFF,
            )
        elif entry.kind == "begun" and len(self._open) < _MOST_OPEN:
            self._open[entry.run] = entry
        elif entry.kind == "ended":
            self._open.pop(entry.run, None)

    def _match_anchors(self) -> None:
        if self.stats.anchors is not None:
            self.stats.anchors = len(self._anchors)
        for one in self._anchors:
            if self._is_lost(one):
                continue
            if one.log.hex() != self._log:
                self._altered(
                    FOLDER,
                    f"the repository knows of another log here, of {one.sequence} lines: "
                    f"it was removed or replaced; {_GONE}",
                )
            elif one.sequence >= self._next:
                self._altered(
                    FOLDER,
                    f"the repository knows of line {one.sequence}, and the log ends before it: "
                    f"its end was removed; {_GONE}",
                )

    def _is_lost(self, one: Anchor) -> bool:
        return Line(one.log, one.sequence, one.digest) in self._lost

    def _accepted(self, item: Acceptance) -> None:
        day = datetime.fromtimestamp(item.time_ms / 1000, UTC).date()
        self._say(
            code="audit-lost",
            severity="info",
            path=FOLDER,
            message=f"{item.what} of what was noted before: lost, accepted on {day}: "
            f"{item.reason or 'the reason was taken away'}",
            hint=f"Line {item.line.sequence} of the log that goes on says who accepted it.",
        )

    def _cut_off(self, name: str) -> None:
        self.stats.mended += 1
        self._say(
            code="audit-mended",
            severity="warning",
            path=name,
            message="its last line is cut off; the next command that is noted takes it away",
            hint=_CUT_OFF,
        )

    def _unfinished(self, entry: Entry) -> None:
        self.stats.unfinished += 1
        self._say(
            code="audit-unfinished",
            severity="warning",
            path=FOLDER,
            message=f"line {entry.sequence}: {entry.verb} began and has no end: it was killed, "
            "or its end could not be noted",
            hint="What it left of changes to live data, the next such command finishes.",
        )

    def _altered(self, path: str, message: str) -> None:
        self.stats.altered += 1
        if self.stats.altered <= _MOST_SAID:
            self._say(
                code="audit-altered", severity="error", path=path, message=message, hint=_ALTERED
            )

    def _say(self, *, code: str, severity: Severity, path: str, message: str, hint: str) -> None:
        self._monitor.report(
            Finding(
                code=code,
                severity=severity,
                path=printable(path),
                message=printable(message),
                hint=hint,
            )
        )
