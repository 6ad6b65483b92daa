"""The audit log: what the program itself changed, in a chain of lines to which lines are only
added.

It lies in the state folder of a data directory. Each line is JSON, holds the hash of the line
before and ends with its own. Names of users are never in it, so nothing has to be taken out when
one is erased. What the chain says is checked in audit_check.py.
"""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from shenyu_data.health.audit_files import (
    ASIDE,
    FOLDER,
    lines_backwards,
    locked,
    opened,
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
    Kind,
    as_line,
    parse,
)
from shenyu_data.model.errors import StateUnusable
from shenyu_data.storage.atomic import make_private, sync_folder

SEGMENT_BYTES = 4 << 20
"""A file that has grown to this is followed by a new one."""

_NO_LOGIN = 2**32 - 1  # what loginuid says of a process that no login began


class Head(msgspec.Struct, frozen=True):
    """Where a log ends: ``log``, the hash of its first line, names it; ``digest`` is that of the
    line with this number.
    """

    log: str
    sequence: int
    digest: str


def append(state: str, now_ms: int, kind: Kind, **facts: Any) -> None:
    """Add a line, durably; fields of Entry as ``facts``. Who does it is found out here.

    A line that was cut off is named and taken away first. A log whose end was altered is set aside
    and a new one begun, which audit_check.py tells. Raise StateUnusable.
    """
    with locked(state, fcntl.LOCK_EX):
        try:
            _append(state, now_ms, kind, facts)
        except Altered:
            os.rename(os.path.join(state, FOLDER), os.path.join(state, f"{ASIDE}{now_ms}"))
            sync_folder(state)
            _append(state, now_ms, kind, facts)


def _append(state: str, now_ms: int, kind: Kind, facts: Mapping[str, Any]) -> None:
    make_private(os.path.join(state, FOLDER))
    who = _who()
    with opened(state) as folder:
        place, entry, digest = _end(folder)
        if entry is None:
            figures = {"random": int.from_bytes(os.urandom(8)) >> 1}  # no two logs begin alike
            place, entry, digest = _write(
                folder, place, None, digest, {"kind": "log", "figures": figures, **who}, now_ms
            )
        elif place.torn:
            torn = {"torn_bytes": place.torn}
            place, entry, digest = _write(
                folder, place, entry, digest, {"kind": "mended", "figures": torn, **who}, now_ms
            )
        _write(folder, place, entry, digest, {"kind": kind, **who, **facts}, now_ms)


class _Place(msgspec.Struct):
    """Where the next line goes: a file, and how many bytes of whole lines it has; after them lie
    ``torn`` bytes of a line that was cut off.
    """

    name: str
    size: int
    torn: int


def _end(folder: int) -> tuple[_Place, Entry | None, str]:
    """Find where a log ends, its last entry and that one's hash. Raise Altered, OSError."""
    names = segments(folder)
    if not names:
        return _Place(segment_name(1), 0, 0), None, FIRST_PREVIOUS
    place = _Place(names[-1], 0, 0)
    with segment(folder, names[-1]) as descriptor:
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, 2 * MOST_LINE_BYTES, max(size - 2 * MOST_LINE_BYTES, 0))
        whole, _, torn = tail.rpartition(b"\n")
        place.torn, place.size = len(torn), size - len(torn)
        if place.size:
            entry, digest = parse(whole[whole.rfind(b"\n") + 1 :])
            return place, entry, digest
    if size > MOST_LINE_BYTES:
        raise Altered
    if len(names) == 1:
        if names[0] != segment_name(1):
            raise Altered
        return place, None, FIRST_PREVIOUS
    with segment(folder, names[-2]) as descriptor:
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, MOST_LINE_BYTES, max(size - MOST_LINE_BYTES, 0))
    if not tail.endswith(b"\n"):
        raise Altered
    entry, digest = parse(tail[tail.rfind(b"\n", 0, -1) + 1 : -1])
    if names[-1] != segment_name(entry.sequence + 1):
        raise Altered
    return place, entry, digest


def _write(
    folder: int,
    place: _Place,
    before: Entry | None,
    previous: str,
    facts: Mapping[str, Any],
    now_ms: int,
) -> tuple[_Place, Entry, str]:
    sequence = 1 if before is None else before.sequence + 1
    entry = Entry(sequence=sequence, time_ms=now_ms, previous=previous, **facts)
    line, digest = as_line(entry)
    if place.size >= SEGMENT_BYTES and not place.torn:
        place = _Place(segment_name(sequence), 0, 0)
    descriptor = os.open(
        place.name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder
    )
    try:
        try:
            # Over what was cut off, which goes only when that is said.
            if os.pwrite(descriptor, line, place.size) != len(line):
                raise StateUnusable("a line of the audit log could not be written whole")
            os.ftruncate(descriptor, place.size + len(line))
            os.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, place.size)
            raise
    finally:
        os.close(descriptor)
    if place.size == 0:
        os.fsync(folder)
    return _Place(place.name, place.size + len(line), 0), entry, digest


def entries(state: str, *, before: int | None = None) -> Iterator[Entry | None]:
    """Yield the entries, newest first, of those with a number less than ``before``; None for a line
    that was altered. Needs no more memory for many. Raise StateUnusable.
    """
    for line in _parsed(state, before):
        if line is None:
            yield None
        elif before is None or line[0].sequence < before:
            yield line[0]


def _parsed(state: str, before: int | None = None) -> Iterator[tuple[Entry, str] | None]:
    """Yield entries with their hashes, newest first, from the file on that has those before."""
    with reading(state) as folder:
        for name in reversed(segments(folder)):
            if before is not None and int(name[:12]) >= before:
                continue
            try:
                with segment(folder, name) as descriptor:
                    for line in lines_backwards(descriptor):
                        yield _parsed_line(line)
            except Altered:
                yield None


def _parsed_line(line: bytes) -> tuple[Entry, str] | None:
    try:
        return parse(line)
    except Altered:
        return None


def head(state: str) -> Head | None:
    """Return where the log ends; None if there is none. Raise Altered, or StateUnusable."""
    with reading(state) as folder:
        names = segments(folder)
        if not names:
            return None
        with segment(folder, names[0]) as descriptor:
            first = os.pread(descriptor, MOST_LINE_BYTES, 0).partition(b"\n")
        if not first[1]:
            return None
        _, entry, digest = _end(folder)
        return Head(parse(first[0])[1], entry.sequence, digest) if entry is not None else None


def digests(state: str, numbers: set[int]) -> dict[int, str]:
    """Return the hashes of the lines with these numbers, where they are. Raise StateUnusable."""
    found: dict[int, str] = {}
    for line in _parsed(state, max(numbers, default=0) + 1):
        if len(found) == len(numbers):
            break
        if line is not None and line[0].sequence in numbers:
            found[line[0].sequence] = line[1]
    return found


def _who() -> dict[str, Any]:
    from shenyu_data.health.runs import birth_of

    uid = os.getuid()
    login: int | None = None
    with suppress(OSError, ValueError), open("/proc/self/loginuid", encoding="ascii") as file:
        login = int(file.read())
    try:
        user = pwd.getpwuid(uid).pw_name.encode("ascii", "backslashreplace").decode()
    except KeyError:
        user = ""
    return {
        "uid": uid,
        "user": user,
        "login_uid": login if login not in (uid, _NO_LOGIN) else None,
        "pid": os.getpid(),
        "born": birth_of(os.getpid()) or "",
    }
