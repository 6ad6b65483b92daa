"""Replacing a live document under the eyes of the application, which knows no lock. The only code
that writes into the data directory; docs/design/live.md says why it is as it is.

A document is read until stable, its successor written beside it, and the two exchanged if the live
one still is what was read. The displaced file stays aside under a name of ours: the application may
have it open and write to it yet. Who called us looks at it until it is quiet.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from shenyu_data.datadir.capture import capture
from shenyu_data.datadir.exchange import exchange, is_open_for_writing
from shenyu_data.datadir.folder import FILE_FLAGS, make_folder, owner_of_new
from shenyu_data.model.layout import (
    DISPLACED_PREFIX,
    KEPT_PREFIX,
    NEW_PREFIX,
    Kind,
    folder_for_kept,
)
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.storage.atomic import NEW_FILE_FLAGS, set_attributes, write_all

MOST_BYTES = 2 * MAX_PARSED_BYTES
"""A document larger than this is never in memory whole."""


class Changed(Exception):
    """The live document is not what was read any more: read it again and think again."""


class InTheWay(OSError):
    """Where the document belongs there is a link, a folder, or something else that is no file."""


_NO_FILE = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EISDIR))


def is_in_the_way(error: OSError) -> bool:
    """Whether an error says that something that is no file stands where a document belongs."""
    return isinstance(error, InTheWay) or error.errno in _NO_FILE


class Live(NamedTuple):
    """A live document as it was read. ``whole``: it was stable, and parses if it should.

    Of one too large for memory (``data`` None) only the stat is known.
    """

    data: bytes | None
    stat: os.stat_result
    whole: bool


class Attributes(NamedTuple):
    """What the new document gets; ``mtime_ns`` None: the time it is written. ``owner`` None: ours
    or, as root, that of the document before or else of the folder.
    """

    mode: int
    owner: tuple[int, int] | None
    mtime_ns: int | None


Fill = Callable[[Callable[[bytes], object]], object]
"""Writes a document's bytes, piece by piece, to the function it is given."""


def read_live(folder: int, name: bytes, kind: Kind) -> Live | None:
    """Read a live document until it is stable; None if there is none.

    Raise InTheWay if something else is there, OSError as the system does.
    """
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode):
            raise InTheWay(f"{name!r} is no regular file")
        if seen.st_size > MOST_BYTES:
            return Live(None, seen, True)
        data, found, outline, _ = capture(folder, name, kind, name, seen)
    except FileNotFoundError:
        return None
    return Live(data, found, outline.state != "torn")


def new_token() -> str:
    """Return a name for one replacement, by which what it leaves is found after a crash."""
    return os.urandom(8).hex()


def put(
    folder: int,
    name: bytes,
    token: str,
    live: Live | None,
    fill: Fill,
    attributes: Attributes,
    *,
    is_wanted: Callable[[], bool] = lambda: False,
) -> bool:
    """Put a document in the place of ``live`` (None: where nothing is); return whether one was
    displaced, which then is ``displaced_name(token)``.

    Raise Changed, with everything as it was, if the place does not hold what was read, or if at
    the last moment ``is_wanted`` says that somebody waits to write to it; OSError if it cannot be
    written.
    """
    new = NEW_PREFIX + token.encode()
    try:
        descriptor = os.open(new, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
        try:
            fill(lambda piece: write_all(descriptor, [piece]))
            mode, owner, mtime_ns = attributes
            if owner is None and os.geteuid() == 0:
                owner = owner_of_new(folder) if live is None else _owner(live)
            set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if live is None:
            _create(folder, new, name)
        else:
            if is_wanted():
                raise Changed
            _displace(folder, new, name, displaced_name(token), live)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    os.fsync(folder)
    return live is not None


def take_away(folder: int, name: bytes, token: str, live: Live) -> None:
    """Displace a document and put nothing in its place. Raise Changed as :func:`put` does."""
    check_same(folder, name, live)
    try:
        os.rename(name, displaced_name(token), src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        raise Changed from None
    os.fsync(folder)


def displaced_name(token: str) -> bytes:
    """Return the name of what a replacement displaced."""
    return DISPLACED_PREFIX + token.encode()


def replacement_names(token: str, name: bytes) -> list[bytes]:
    """Return every name that a replacement of the document ``name`` may leave beside it."""
    return [NEW_PREFIX + token.encode(), displaced_name(token), kept_name(token, name)]


def kept_name(token: str, name: bytes) -> bytes:
    """Return the name under which what could not be merged is kept beside the document ``name``."""
    return (KEPT_PREFIX + token.encode() + b"-" + name)[:250]


def keep(folder: int, token: str, name: bytes) -> bytes:
    """Give a displaced document a name that backups keep and people find; return it."""
    kept = kept_name(token, name)
    os.rename(displaced_name(token), kept, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    return kept


def keep_for_owner(root: int, folder: int, token: str, path: bytes) -> bytes:
    """As :func:`keep`, of the document ``path`` under ``root``, in the folder where its owner's
    documents are; return its path there.
    """
    above, _, name = path.rpartition(b"/")
    into = folder_for_kept(path)
    if into != above:
        kept = kept_name(token, name)
        with suppress(OSError):  # something stands in its way, or another file system
            other = make_folder(root, into)
            try:
                os.rename(displaced_name(token), kept, src_dir_fd=folder, dst_dir_fd=other)
                os.fsync(other)
            finally:
                os.close(other)
            os.fsync(folder)
            return b"%b/%b" % (into, kept)
    return b"%b/%b" % (above, keep(folder, token, name))


def is_quiet(folder: int, name: bytes, quiet_ns: int, now_ns: int) -> bool:
    """Whether nobody is writing to a document: nobody has it open for that or, where the system
    does not tell, it has not been written to for ``quiet_ns``. Raise OSError as the system does.
    """
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        written = is_open_for_writing(descriptor)
        if written is None:
            return now_ns - os.fstat(descriptor).st_mtime_ns > quiet_ns
        return not written
    finally:
        os.close(descriptor)


def check_same(folder: int, name: bytes, live: Live) -> None:
    """Raise Changed if the place does not hold the document that was read, to the last byte."""
    try:
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    except OSError:
        raise Changed from None
    try:
        found = os.fstat(descriptor)
        if identity_of(found) != identity_of(live.stat):
            raise Changed
        if live.data is not None and not _holds(descriptor, live.data):
            raise Changed
    finally:
        os.close(descriptor)


def _owner(live: Live) -> tuple[int, int]:
    return live.stat.st_uid, live.stat.st_gid


def _holds(descriptor: int, data: bytes) -> bool:
    """Whether an open file holds exactly these bytes."""
    view, position = memoryview(data), 0
    while piece := os.read(descriptor, 1 << 20):
        if piece != view[position : position + len(piece)]:
            return False
        position += len(piece)
    return position == len(data)


def identity_of(found: os.stat_result) -> tuple[int, ...]:
    """Return what of a stat becomes another when the file is written or replaced."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _create(folder: int, new: bytes, name: bytes) -> None:
    # A hard link fails if the name is taken, where a rename would silently replace the file.
    try:
        os.link(new, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise Changed from None
    os.unlink(new, dir_fd=folder)


def _displace(folder: int, new: bytes, name: bytes, displaced: bytes, live: Live) -> None:
    os.rename(new, displaced, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        check_same(folder, name, live)
        try:
            exchanged = exchange(folder, displaced, name)
        except FileNotFoundError:
            raise Changed from None
        if not exchanged:
            # In two steps, and with a name for the old document first: it must not vanish.
            os.rename(displaced, new, src_dir_fd=folder, dst_dir_fd=folder)
            os.link(name, displaced, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            if os.stat(displaced, dir_fd=folder, follow_symlinks=False).st_ino != live.stat.st_ino:
                raise Changed
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except (Changed, OSError):  # an interrupt may come after the exchange: then it is the old one
        with suppress(OSError):
            os.unlink(displaced, dir_fd=folder)
        raise
