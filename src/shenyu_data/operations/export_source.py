"""The documents of one data directory as an export reads them, and what is to be told of them.

For ``export``, its workers and its formats.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TypedDict

import msgspec
from blake3 import blake3

from shenyu_data.datadir.capture import capture
from shenyu_data.datadir.folder import FILE_FLAGS, open_folder
from shenyu_data.datadir.replace import MOST_BYTES
from shenyu_data.datadir.scan import DataFolders, Found, special_file
from shenyu_data.exchange.items import WHOLE_BYTES, Item
from shenyu_data.exchange.redact import Redactor
from shenyu_data.exchange.selection import Selection
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, USERS, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip

_FOLDER = Place.HISTORY_FOLDER
_KNOWN_FOLDERS = frozenset((b"", USERS, HISTORIES))


class Counts(msgspec.Struct):
    """What was exported, and what could not be."""

    folders: int = 0
    files: int = 0
    links: int = 0
    file_bytes: int = 0
    torn: int = 0
    unreadable: int = 0
    skipped: int = 0

    def add(self, other: Counts) -> None:
        """Add what another part of the export counted."""
        for name in self.__struct_fields__:
            if count := getattr(other, name):
                setattr(self, name, getattr(self, name) + count)


class Source:
    """Reads documents of one data directory; keeps the folder it read from last open."""

    def __init__(
        self, folders: DataFolders, selection: Selection, redactor: Redactor | None = None
    ) -> None:
        self.folders = folders
        self._redactor = redactor
        self.selection = selection
        self._chooses = not selection.everything
        self.counts = Counts()
        self.lost: dict[str, int] = {}
        self.findings: list[Finding] = []
        self.moved = False
        """Whether something vanished or was exchanged since it was listed: what it held may stand
        elsewhere by now, in a file that was not listed, or that was read before."""
        self._folder: tuple[bytes, int] | None = None

    def close(self) -> None:
        """Close the folder."""
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def folder_of(self, path: bytes) -> int:
        """Return the open folder a path stands in. Raises OSError."""
        return self._folder_at(path.rpartition(b"/")[0])

    def _folder_at(self, path: bytes) -> int:
        if self._folder is None or self._folder[0] != path:
            opened = open_folder(self.folders.root, path)
            self.close()
            self._folder = (path, opened)
        return self._folder[1]

    def item(self, found: Found, owner: bytes) -> Item | None:
        """Return an entry as an item; None if it is gone, is not wanted, or cannot be read.

        Of a file too large for memory ``data`` is None.
        """
        path = path_of(owner, found.place, found.name)
        regular = stat.S_ISREG(found.stat.st_mode)
        if not regular and (special := special_file(found, owner)):
            self.findings.append(special)
            self.counts.skipped += 1
            return None
        try:
            item = self._file(path, found) if regular else self._folder_or_link(path, found)
            if item is None or self._redactor is None:
                return item
            return self._redacted(item, found, owner, self._redactor)
        except FileNotFoundError:
            self.moved = True
            return None
        except OSError as error:
            self.counts.unreadable += 1
            self.findings.append(_unreadable(path, error))
            return None

    def _folder_or_link(self, path: bytes, found: Found) -> Item:
        seen = found.stat
        if stat.S_ISDIR(seen.st_mode):
            self.counts.folders += 1
            return Item(kind="folder", path=path, data=None, **_attributes(seen))
        target = os.readlink(path.rpartition(b"/")[2], dir_fd=self.folder_of(path))
        self.counts.links += 1
        return Item(kind="link", path=path, data=target, **_attributes(seen))

    def _file(self, path: bytes, found: Found) -> Item | None:
        place, inside, seen = found
        above, _, name = path.rpartition(b"/")
        kind = kind_of(place, inside)
        if self._chooses and not self.selection.wants(kind, found.name, seen.st_mtime_ns):
            return None
        same = _same(seen) if seen.st_nlink > 1 else None
        if seen.st_size > MOST_BYTES:
            self.counts.files += 1
            return Item(kind="file", path=path, data=None, same=same, **_attributes(seen))
        listed = seen.st_ino
        data, seen, outline, _ = capture(self._folder_at(above), name, kind, path, seen)
        if seen.st_ino != listed:
            self.moved = True
        torn = outline.state == "torn"
        if self._chooses and kind == "history" and self.selection.by_time and not torn:
            chosen = self._chosen(path, data, seen.st_mtime_ns)
            if chosen is None:
                return None
            data = chosen
        if torn:
            self.torn(path)
        counts = self.counts
        counts.files += 1
        counts.file_bytes += len(data)
        # Written out: this is done for every document.
        return Item(
            kind="file",
            path=path,
            data=data,
            mode=stat.S_IMODE(seen.st_mode),
            mtime_ns=seen.st_mtime_ns,
            owner=(seen.st_uid, seen.st_gid),
            same=same,
            torn=torn,
        )

    def name_of(self, owner: bytes) -> bytes:
        """Return the name of a user as the export is to have it."""
        return owner if self._redactor is None else self._redactor.user(owner)

    def lose(self, field: str, path: bytes | None = None, why: str = "", *, count: int = 1) -> None:
        """Take note of something that is not carried, so many times; without a path it is only
        counted.
        """
        if count:
            self.lost[field] = self.lost.get(field, 0) + count
        if path is not None:
            self.findings.append(
                Finding(
                    code="not-carried",
                    severity="warning",
                    path=printable(path) or ".",
                    message=why,
                    hint="The native format, without --redact, carries everything.",
                )
            )

    def _redacted(self, item: Item, found: Found, owner: bytes, redactor: Redactor) -> Item | None:
        """Return what may be shared of an entry; None, told, if nobody knows what is in it."""
        name = found.name
        if item.kind == "folder" and (item.path in _KNOWN_FOLDERS or found.place == _FOLDER):
            path = path_of(redactor.user(owner), found.place, name) if owner else item.path
            return msgspec.structs.replace(item, path=path, owner=None)
        kind = kind_of(found.place, name)
        if item.kind == "file" and kind != "other" and item.data is not None and not item.torn:
            packed = item.path.endswith(GZIP_SUFFIX)
            try:
                plain = gunzip(item.data, MAX_PARSED_BYTES) if packed else item.data
                data = redactor.document(kind, plain or b"")
            except (Unparsable, ValueError):
                data = b""
            if data:
                if packed:
                    import gzip  # late: few need it

                    data = gzip.compress(data, mtime=0)
                place = path_of(redactor.user(owner), found.place, redactor.file(name))
                self.counts.file_bytes += len(data) - len(item.data)
                return msgspec.structs.replace(item, path=place, data=data, owner=None, same=None)
        self._uncount(item)
        self.lose("not_redacted", item.path, "nobody knows what is in it, so it is not shared")
        return None

    def _uncount(self, item: Item) -> None:
        if item.kind == "file":
            self.counts.files -= 1
            self.counts.file_bytes -= len(item.data or b"")
        elif item.kind == "link":
            self.counts.links -= 1
        else:
            self.counts.folders -= 1

    def _chosen(self, path: bytes, data: bytes, mtime_ns: int) -> bytes | None:
        """Return what is wanted of a history; of a compressed one, plain, unless it is all."""
        plain = gunzip(data, MAX_PARSED_BYTES) if path.endswith(GZIP_SUFFIX) else data
        chosen = self.selection.chats_of(plain or data, mtime_ns)
        if chosen is None or chosen == plain:
            return data if chosen is not None else None
        import gzip  # late: few need it

        return gzip.compress(chosen, mtime=0) if path.endswith(GZIP_SUFFIX) else chosen

    def open_large(self, item: Item) -> int | None:
        """Open a file that is too large for memory; None, told, if it is gone, or another thing, or
        cannot be read.
        """
        name = item.path.rpartition(b"/")[2]
        try:
            descriptor = os.open(name, FILE_FLAGS, dir_fd=self.folder_of(item.path))
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            self.moved = True
        except FileNotFoundError:
            self.moved = True
        except OSError as error:
            self.counts.unreadable += 1
            self.findings.append(_unreadable(item.path, error))
        self._uncount(item)
        return None

    def pieces(self, path: bytes, descriptor: int) -> Iterator[bytes]:
        """Yield an open file that is too large for memory, up to the size it has now."""
        before = os.fstat(descriptor)
        left = before.st_size
        try:
            while left and (piece := os.read(descriptor, min(left, WHOLE_BYTES))):
                left -= len(piece)
                yield piece
        except OSError as error:
            self.findings.append(_unreadable(path, error))
        self.counts.file_bytes += before.st_size - left
        if left or _version(before) != _version(os.fstat(descriptor)):
            self.torn(path)

    def tell_moved(self, owner: bytes) -> None:
        """Take note that documents of an owner moved while they were written out."""
        self.findings.append(
            Finding(
                code="moved-meanwhile",
                severity="error",
                path=printable(path_of(owner, Place.HISTORY_FOLDER, b"")),
                message="documents of it were moved or removed while they were exported: some may "
                "be missing in the export",
                hint="Export again when no compress or decompress is at work.",
            )
        )

    def torn(self, path: bytes) -> None:
        """Take note of a document that is torn."""
        self.counts.torn += 1
        self.findings.append(
            Finding(
                code="torn-document",
                severity="error",
                path=printable(path),
                message="it is torn, or was rewritten all the while",
                hint="`shenyu-data validate` says what is wrong with it.",
            )
        )


class _Attributes(TypedDict):
    mode: int
    mtime_ns: int
    owner: tuple[int, int]


def _attributes(seen: os.stat_result) -> _Attributes:
    return {
        "mode": stat.S_IMODE(seen.st_mode),
        "mtime_ns": seen.st_mtime_ns,
        "owner": (seen.st_uid, seen.st_gid),
    }


def _same(seen: os.stat_result) -> str:
    """Return what names of one file have in common."""
    return blake3(f"{seen.st_dev}:{seen.st_ino}".encode()).hexdigest(length=8)


def _version(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _unreadable(path: bytes, error: OSError) -> Finding:
    return Finding(
        code="unreadable-document",
        severity="error",
        path=printable(path),
        message=f"it cannot be read: {error.strerror}",
        hint="Check its owner and mode, or run as the user the application runs as.",
    )
