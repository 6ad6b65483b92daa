"""The audit log: what the program itself changed, in a chain of lines to which lines are only
added.

It lies in the state folder of a data directory. Each line is JSON, holds the hash of the line
before and ends with its own. Names of users are never in it, so nothing has to be taken out when
one is erased. What the chain says is checked in audit_check.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import StateUnusable
from shenyu_data.storage.atomic import make_private, sync_folder

FOLDER = "audit"
LOCK = "audit.lock"
ASIDE = "audit.damaged-"
SEGMENT_BYTES = 4 << 20
"""A file that has grown to this is followed by a new one."""

MOST_LINE_BYTES = 32_768
LOCK_WAIT_S = 10.0
FIRST_PREVIOUS = "0" * 64
"""What the first line of a log names as the hash of the line before."""

_SEGMENT = re.compile(r"[0-9]{12}\.jsonl")
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES = len(b',"hash":""}') + 64
_BLOCK_BYTES = 1 << 16
_MOST_FIGURES_BYTES = 8192
_NO_LOGIN = 2**32 - 1  # what loginuid says of a process that no login began

Kind = Literal["log", "begun", "ended", "mended"]
"""``log``: the first line there is; ``mended``: a line that was cut off, as by a power cut, was
taken away before this one."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``time_ms``: since 1970. ``previous``: the hash of the line before, in hex.

    ``run`` joins the beginning of a run with its end. ``login_uid`` is who logged in, if ``uid``
    was taken on later, as by sudo; ``born`` tells the process from others with its number.
    ``code`` is that of an error, and ``repository`` the id of the one that was unlocked.
    """

    sequence: int
    time_ms: int
    kind: Kind
    previous: str
    run: str = ""
    verb: str = ""
    uid: int = 0
    user: str = ""
    login_uid: int | None = None
    pid: int = 0
    born: str = ""
    outcome: str = ""
    exit_status: int | None = None
    code: str = ""
    repository: str = ""
    figures: dict[str, Any] = {}


class Head(msgspec.Struct, frozen=True):
    """Where a log ends: ``log``, the hash of its first line, names it; ``digest`` is that of the
    line with this number.
    """

    log: str
    sequence: int
    digest: str


class Altered(Exception):
    """A line, or a file, is not as this program writes it."""


def append(state: str, now_ms: int, kind: Kind, **facts: Any) -> None:
    """Add a line, durably; fields of Entry as ``facts``. Who does it is found out here.

    A line that was cut off is named and taken away first. A log whose end was altered is set aside
    and a new one begun, which audit_check.py tells. Raise StateUnusable.
    """
    with _locked(state, fcntl.LOCK_EX):
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


def as_line(entry: Entry) -> tuple[bytes, str]:
    """Return an entry as a line with its end, and its hash."""
    body = msgspec.json.encode(entry)
    digest = blake3(body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', digest


def parse(line: bytes) -> tuple[Entry, str]:
    """Return the entry of a line without its end, and its hash. Raise Altered."""
    tail = _TAIL.fullmatch(line[-_TAIL_BYTES:])
    body = line[:-_TAIL_BYTES] + b"}"
    if tail is None or len(line) > MOST_LINE_BYTES or blake3(body).hexdigest() != tail[1].decode():
        raise Altered
    try:
        return msgspec.json.decode(body, type=Entry), tail[1].decode()
    except (ValueError, RecursionError):
        raise Altered from None


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
                    for line in _lines_backwards(descriptor):
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


def kept_figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of what a verb's ``--json`` says; texts and lists may name users."""

    def thinned(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, bool | int | float):
                kept[key] = value
            elif isinstance(value, Mapping) and depth:
                kept[key] = thinned(value, depth - 1)
        return kept

    figures = thinned(document, 1)
    return figures if len(msgspec.json.encode(figures)) <= _MOST_FIGURES_BYTES else {}


def segments(folder: int) -> list[str]:
    """Return the names of the log's files, oldest first. Raises OSError."""
    return sorted(name for name in os.listdir(folder) if _SEGMENT.fullmatch(name))


def segment_name(sequence: int) -> str:
    """Return the name of the file whose first line has this number."""
    return f"{sequence:012}.jsonl"


@contextmanager
def segment(folder: int, name: str) -> Iterator[int]:
    """Give a file of the log, open for reading. Raise Altered if it is a link or no file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise Altered from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Altered
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(state: str) -> Iterator[int]:
    """Give the folder of the log, open. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    folder = os.open(os.path.join(state, FOLDER), flags)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def reading(state: str) -> Iterator[int]:
    """Give the folder of the log while nobody adds to it. Raise StateUnusable."""
    with _locked(state, fcntl.LOCK_SH):
        make_private(os.path.join(state, FOLDER))
        with opened(state) as folder:
            yield folder


@contextmanager
def _locked(state: str, how: int) -> Iterator[None]:
    try:
        make_private(state)
        lock = os.open(
            os.path.join(state, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            _lock(lock, how)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise StateUnusable(
            f"the audit log cannot be used: {os.path.join(state, FOLDER)}: {error.strerror}",
            hint="See whether its disk is full, and who may write there.",
        ) from None


def _lock(descriptor: int, how: int) -> None:
    """Take a lock, but not wait for ever for who may have been stopped. Raises OSError."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(errno.EBUSY, "another process holds it") from None
            time.sleep(0.01)
        else:
            return


def _lines_backwards(descriptor: int) -> Iterator[bytes]:
    """Yield the whole lines of a file, last first; of one that is far too long only an end."""
    end = os.fstat(descriptor).st_size
    rest = b""
    ended = False  # what stands after the last line's end is cut off
    while end:
        start = max(end - _BLOCK_BYTES, 0)
        pieces = os.pread(descriptor, end - start, start).split(b"\n")
        pieces[-1] = (pieces[-1] + rest)[-2 * MOST_LINE_BYTES :]
        lines = pieces[:0:-1]
        yield from lines if ended else lines[1:]
        ended = ended or bool(lines)
        rest, end = pieces[0], start
    if ended:
        yield rest


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
