"""The second look: every entry of one owner, with its stat, no link followed and no file opened.

Called by workers, which hold the three folders of :class:`DataFolders` open while they work.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple

from shenyu_data.datadir.folder import FOLDER_FLAGS, open_folder
from shenyu_data.datadir.survey import MAX_DEPTH, unreadable_folder
from shenyu_data.model.entry_rules import special_finding
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import (
    GZIP_SUFFIX,
    HISTORIES,
    JSON_SUFFIX,
    USERS,
    Place,
    is_passing,
    path_of,
)

LEFT_BEHIND_S = 3600.0
"""What a replacement under way has beside a document is there for seconds, or it was killed."""


class Found(NamedTuple):
    """One entry of an owner as the scan met it."""

    place: Place
    name: bytes  # relative to the place, b"" where the place says it all
    stat: os.stat_result


class DataFolders:
    """A data directory's folders, held open; a missing one is None and holds nothing."""

    def __init__(self, path: str) -> None:
        self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.listed = True
        """Whether the folders that are there could be opened; the survey says which could not."""
        self.users = self._open(USERS)
        self.histories = self._open(HISTORIES)

    def close(self) -> None:
        """Close the folders."""
        for descriptor in (self.users, self.histories, self.root):
            if descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> DataFolders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, name: bytes) -> int | None:
        try:
            return os.open(name, FOLDER_FLAGS, dir_fd=self.root)
        except FileNotFoundError:
            return None
        except OSError:
            self.listed = False  # a link, or not ours to list
            return None


class Scan:
    """What a scan of one owner gave: the entries, and what could not be listed.

    ``complete`` is false if something may be there that is not among the entries. ``passing`` are
    paths of what a replacement under way, or one that was killed, has there: no documents.
    """

    __slots__ = ("complete", "entries", "findings", "passing")

    def __init__(self, complete: bool = True) -> None:
        self.entries: list[Found] = []
        self.passing: list[bytes] = []
        self.findings: list[Finding] = []
        self.complete = complete

    def note_unlisted(self, path: bytes, error: OSError) -> None:
        """Take note of a folder that cannot be listed."""
        self.findings.append(unreadable_folder(path, error))
        self.complete = False

    def note_passing(self, path: bytes, found: os.stat_result) -> None:
        """Take note of what a replacement has there; of one that was killed long ago, tell."""
        self.passing.append(path)
        if time.time() - found.st_ctime > LEFT_BEHIND_S:
            self.findings.append(_left_behind(path))


def scan_user(folders: DataFolders, owner: bytes, *, compressed: bool = True) -> Scan:
    """List everything of one user: the user file, plain or compressed, and the history folder.

    ``compressed`` false: the survey met no ``.json.gz`` of this user, so none is looked for.
    """
    scan = Scan(folders.listed)
    if folders.users is not None:
        _scan_user_file(folders.users, Place.USER_FILE, owner + JSON_SUFFIX, scan)
        if compressed:
            _scan_user_file(folders.users, Place.USER_FILE_GZIP, owner + GZIP_SUFFIX, scan)
    if folders.histories is not None:
        _scan_history_folder(folders.histories, owner, scan)
    return scan


def _scan_user_file(users: int, place: Place, name: bytes, scan: Scan) -> None:
    try:
        found = os.stat(name, dir_fd=users, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # such a file cannot be
            scan.note_unlisted(USERS, error)
        return
    if not stat.S_ISDIR(found.st_mode):  # users/x.json/ is a shared folder
        scan.entries.append(Found(place, b"", found))


def _scan_history_folder(histories: int, owner: bytes, scan: Scan) -> None:
    try:
        descriptor = os.open(owner, FOLDER_FLAGS, dir_fd=histories)
    except FileNotFoundError:
        return
    except OSError as error:
        _note_unopened(histories, owner, error, scan)
        return
    try:
        scan.entries.append(Found(Place.HISTORY_FOLDER, b"", os.fstat(descriptor)))
        subfolders = _scan_folder(descriptor, b"", owner, scan)
    finally:
        os.close(descriptor)
    depth = 1
    while subfolders:  # the application makes none; whatever lies there is kept all the same
        below: list[bytes] = []
        for name in subfolders:
            below += _scan_subfolder(histories, owner, name, depth, scan)
        subfolders, depth = below, depth + 1


def _scan_subfolder(
    histories: int, owner: bytes, name: bytes, depth: int, scan: Scan
) -> list[bytes]:
    path = path_of(owner, Place.IN_HISTORY_FOLDER, name)
    if depth > MAX_DEPTH:
        scan.note_unlisted(path, OSError(0, "nested too deep"))
        return []
    try:
        descriptor = open_folder(histories, b"%b/%b" % (owner, name))
    except FileNotFoundError:
        return []
    except OSError as error:
        scan.note_unlisted(path, error)
        return []
    try:
        return _scan_folder(descriptor, name + b"/", owner, scan)
    finally:
        os.close(descriptor)


def _scan_folder(descriptor: int, prefix: bytes, owner: bytes, scan: Scan) -> list[bytes]:
    """Add a folder's entries to the scan; return the names of the folders among them."""
    subfolders = []
    add = scan.entries.append
    place = Place.IN_HISTORY_FOLDER
    try:
        # For the few files of a history folder this is faster than os.scandir.
        for name in map(os.fsencode, os.listdir(descriptor)):
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if name[:1] == b"." and is_passing(name):
                path = path_of(owner, Place.IN_HISTORY_FOLDER, prefix + name)
                scan.note_passing(path, found)
                continue
            if prefix:
                name = prefix + name
            add(Found(place, name, found))
            if stat.S_ISDIR(found.st_mode):
                subfolders.append(name)
    except OSError as error:
        path = path_of(owner, Place.IN_HISTORY_FOLDER, prefix.rstrip(b"/"))
        scan.note_unlisted(path, error)
    return subfolders


def _note_unopened(histories: int, owner: bytes, error: OSError, scan: Scan) -> None:
    try:
        found = os.stat(owner, dir_fd=histories, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError:  # neither opened nor looked at: it may be there
        scan.note_unlisted(path_of(owner, Place.HISTORY_FOLDER, b""), error)
        return
    if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):  # else it is nobody's
        scan.entries.append(Found(Place.HISTORY_FOLDER, b"", found))
    if stat.S_ISDIR(found.st_mode):
        scan.note_unlisted(path_of(owner, Place.HISTORY_FOLDER, b""), error)


def scan_shared(folders: DataFolders, paths: Iterable[bytes], *, complete: bool = True) -> Scan:
    """Stat paths that belong to nobody; those that vanished since the survey are left out.

    ``complete`` false: the survey could not list every folder, so there may be more of them.
    """
    scan = Scan(complete)
    for path in paths:
        folder, _, name = path.rpartition(b"/")
        try:
            descriptor = open_folder(folders.root, folder)
            try:
                found = os.stat(name or b".", dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            continue
        except OSError as error:
            scan.note_unlisted(path, error)
            continue
        if is_passing(name):
            scan.note_passing(path, found)
        else:
            scan.entries.append(Found(Place.ANYWHERE, path, found))
    return scan


def _left_behind(path: bytes) -> Finding:
    return Finding(
        code="left-behind",
        severity="warning",
        path=printable(path),
        message="an operation that was killed left it; it is in no backup",
        hint="The next compress or decompress, or any other change of live data, whichever left "
        "it, tidies it up. If it stays, compare it with the document, take over what is missing, "
        "and remove it.",
    )


def special_file(found: Found, owner: bytes) -> Finding | None:
    """Given an entry that is a FIFO, socket or device, return the finding that names it; else
    None.
    """
    mode = found.stat.st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return None
    return special_finding(path_of(owner, found.place, found.name), mode)


_STAT = struct.Struct("<BIIIQQQQQ").pack
_64_BITS = (1 << 64) - 1  # times before 1970 are negative, those after 2262 need the 64th bit


def describe(entries: Iterable[Found]) -> bytes:
    """Serialize what a scan saw, so that two scans that saw the same give the same bytes.

    Of a folder only mode, owner and mtime count: its size and links say nothing that its entries do
    not. Entries must come in a fixed order; FIFOs, sockets and devices are left out.
    """
    parts = []
    for place, name, found in entries:
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            mtime_ns = found.st_mtime_ns & _64_BITS
            packed = _STAT(place, mode, found.st_uid, found.st_gid, mtime_ns, 0, 0, 0, 0)
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            packed = _STAT(
                place,
                mode,
                found.st_uid,
                found.st_gid,
                found.st_mtime_ns & _64_BITS,
                found.st_ctime_ns & _64_BITS,
                found.st_size,
                found.st_ino,
                found.st_nlink,
            )
        else:
            continue
        parts.append(packed + name)
    return b"\0".join(parts)
