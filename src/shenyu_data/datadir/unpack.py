"""Unpacking an archive into a private folder: nothing is written outside it, no link is followed,
and no more than the disk can hold. For operations/import_archive.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EDQUOT, EIO, EMFILE, ENFILE, ENOSPC, EROFS
from typing import BinaryIO

import msgspec

from shenyu_data.datadir.folder import make_folder, open_folder
from shenyu_data.datadir.tar import Member, TarReader
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.findings import printable
from shenyu_data.storage.atomic import NEW_FILE_FLAGS, set_attributes, write_all

MAX_DEPTH = 100
"""Folders nested deeper are refused: the data directory itself may have 64."""

MIN_FREE_BYTES = 256 << 20
MIN_FREE_FILES = 1000
"""What is left of the disk that is unpacked to."""

_MOST_SHOWN_BYTES = 300
_CHECK_EVERY = 64 << 20  # bytes, and each member counts for a few kB
_MEMBER_BYTES = 16 << 10
_OUR_FAULT = (ENOSPC, EDQUOT, EIO, EMFILE, ENFILE, EROFS)


class Unpacked(msgspec.Struct, kw_only=True):
    """What came out of an archive. ``refused`` members were left out, being unsafe."""

    files: int = 0
    file_bytes: int = 0
    refused: int = 0
    special: int = 0


class _Folder(msgspec.Struct, array_like=True):
    path: bytes
    mode: int
    uid: int | None
    gid: int | None
    mtime_ns: int


class Unpacker:
    """Unpacks members into the open folder ``root``; what it remembers goes into ``notes``.

    ``refuse(name, why)`` is told of an unsafe member; it may raise. ``skip(name)`` is told of a
    FIFO, socket or device.
    """

    def __init__(
        self,
        root: int,
        notes: BinaryIO,
        *,
        refuse: Callable[[str, str], None],
        skip: Callable[[str], None],
    ) -> None:
        self.done = Unpacked()
        self._root = root
        self._notes = notes
        self._refuse = refuse
        self._skip = skip
        self._folder: tuple[bytes, int] | None = None  # the one last written to
        self._unchecked = 0
        self._is_root = os.geteuid() == 0

    def take_all(self, reader: TarReader) -> None:
        """Unpack every member. Raise ArchiveDamaged, after what was whole, or ArchiveError."""
        try:
            for member in reader:
                self._check_room(_MEMBER_BYTES)
                path = safe_path(member.name)
                if path is None:
                    self._tell(member.name, "it leads out of the archive, or is no path")
                    continue
                try:
                    self._take(path, member, reader)
                except OSError as error:
                    if error.errno in _OUR_FAULT:
                        raise ArchiveError(
                            f"cannot unpack {_shown(path)}: {error.strerror}",
                            hint="Give a folder with more room, with --temp.",
                        ) from error
                    self._tell(member.name, error.strerror or "it cannot be written")
        finally:
            if self._folder is not None:
                os.close(self._folder[1])
                self._folder = None
            self._set_folders()

    def _take(self, path: bytes, member: Member, reader: TarReader) -> None:
        if member.kind == "folder":
            self._make_folder(path)
            note = _Folder(path, member.mode, member.uid, member.gid, member.mtime_ns)
            encoded = msgspec.msgpack.encode(note)
            self._notes.write(len(encoded).to_bytes(4, "little") + encoded)
        elif not path or member.kind == "sparse":
            self._tell(member.name, "it is a sparse file" if path else "it has no name")
        elif b"\0" in member.target:
            self._tell(member.name, "it is a link to what can be no name")
        elif member.kind == "special":
            self.done.special += 1
            self._skip(_shown(path))
        else:
            above, _, name = path.rpartition(b"/")
            folder = self._open(above)
            if member.kind == "file":
                self._write(folder, name, member, reader.body)
            elif member.kind == "link":
                self._link(folder, name, member)
            else:
                self._join(folder, name, path, member, reader)

    def _tell(self, name: bytes, why: str) -> None:
        self.done.refused += 1
        self._refuse(_shown(name), why)

    def _open(self, path: bytes) -> int:
        if self._folder is None or self._folder[0] != path:
            opened = make_folder(self._root, path)
            if self._folder is not None:
                os.close(self._folder[1])
            self._folder = (path, opened)
        return self._folder[1]

    def _make_folder(self, path: bytes) -> None:
        if path:
            above, _, name = path.rpartition(b"/")
            folder = self._open(above)
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
            except FileExistsError:
                os.close(open_folder(folder, name))  # a link or a file is no folder

    def _write(
        self, folder: int, name: bytes, member: Member, body: Callable[[], Iterator[bytes]]
    ) -> None:
        descriptor = _create(folder, name)
        try:
            try:
                for piece in body():
                    self._check_room(len(piece))
                    write_all(descriptor, [piece])
                set_attributes(
                    descriptor,
                    mode=member.mode & 0o777 | 0o400,  # set-id bits have no business here
                    owner=self._owner(member.uid, member.gid),
                    mtime_ns=member.mtime_ns,
                )
            except BaseException:
                os.unlink(name, dir_fd=folder)  # half a document is worse than none
                raise
        finally:
            os.close(descriptor)
        self.done.files += 1
        self.done.file_bytes += member.size

    def _link(self, folder: int, name: bytes, member: Member) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        os.symlink(member.target, name, dir_fd=folder)
        if owner := self._owner(member.uid, member.gid):
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        times = (member.mtime_ns, member.mtime_ns)
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _join(
        self, folder: int, name: bytes, path: bytes, member: Member, reader: TarReader
    ) -> None:
        target = safe_path(member.target)
        if not target:
            self._tell(member.name, "it is a hard link out of the archive")
            return
        if target == path:
            return
        above, _, existing = target.rpartition(b"/")
        source = open_folder(self._root, above)
        try:
            there = os.stat(existing, dir_fd=source, follow_symlinks=False)
            if not stat.S_ISREG(there.st_mode):
                self._tell(member.name, "it is a hard link to what is no file")
                return
            reader.count(there.st_size)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.link(existing, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)
        self.done.files += 1

    def _owner(self, uid: int | None, gid: int | None) -> tuple[int, int] | None:
        if not self._is_root:
            return None
        return (-1 if uid is None else uid, -1 if gid is None else gid)

    def _set_folders(self) -> None:
        """Give folders their attributes, once nothing is written into them any more."""
        self._notes.seek(0)
        while size := self._notes.read(4):
            note = msgspec.msgpack.decode(
                self._notes.read(int.from_bytes(size, "little")), type=_Folder
            )
            with suppress(OSError):  # a later member may have taken its place
                folder = open_folder(self._root, note.path)
                try:
                    set_attributes(
                        folder,
                        mode=note.mode & 0o777 | 0o700,
                        owner=self._owner(note.uid, note.gid),
                        mtime_ns=note.mtime_ns,
                    )
                finally:
                    os.close(folder)

    def _check_room(self, count: int) -> None:
        self._unchecked += count
        if self._unchecked < _CHECK_EVERY:
            return
        self._unchecked = 0
        free = os.fstatvfs(self._root)
        files_run_out = bool(free.f_files) and free.f_favail < MIN_FREE_FILES
        if files_run_out or free.f_bavail * free.f_frsize < MIN_FREE_BYTES:
            raise ArchiveError(
                "unpacking it would fill the disk",
                hint="Give a folder with more room, with --temp.",
            )


def _shown(name: bytes) -> str:
    """Return a name to be told: archives may have names of a megabyte."""
    return printable(name[:_MOST_SHOWN_BYTES]) + "…" * (len(name) > _MOST_SHOWN_BYTES)


def safe_path(name: bytes) -> bytes | None:
    """Given a member's name, return the path it means, relative and without ``.``; None if it could
    lead anywhere else. A leading ``/`` is dropped, as tar itself does.
    """
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in name or len(parts) > MAX_DEPTH:
        return None
    return b"/".join(parts)


def _create(folder: int, name: bytes) -> int:
    try:
        return os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
    except FileExistsError:  # the last of two wins
        os.unlink(name, dir_fd=folder)
        return os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
