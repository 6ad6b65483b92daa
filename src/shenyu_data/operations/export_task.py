"""What the workers of an export do: read every entry of some owners and put it into the format.

For ``export`` only. An owner with much to read is left to the main process, which need not hold it
in memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, TypedDict

import msgspec
from blake3 import blake3

from shenyu_data.datadir.capture import capture
from shenyu_data.datadir.folder import FILE_FLAGS, open_folder
from shenyu_data.datadir.replace import MOST_BYTES
from shenyu_data.datadir.scan import DataFolders, Found, Scan, scan_shared, scan_user, special_file
from shenyu_data.exchange.items import WHOLE_BYTES, Item
from shenyu_data.exchange.native import end_line, item_lines, piece_line
from shenyu_data.exchange.redact import Redactor
from shenyu_data.exchange.selection import Selection
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, USERS, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip

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
        above = path.rpartition(b"/")[0]
        if self._folder is None or self._folder[0] != above:
            opened = open_folder(self.folders.root, above)
            self.close()
            self._folder = (above, opened)
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
        seen = found.stat
        name = path.rpartition(b"/")[2]
        kind = kind_of(found.place, found.name)
        if self._chooses and not self.selection.wants(kind, found.name, seen.st_mtime_ns):
            return None
        same = _same(seen) if seen.st_nlink > 1 else None
        if seen.st_size > MOST_BYTES:
            self.counts.files += 1
            return Item(kind="file", path=path, data=None, same=same, **_attributes(seen))
        data, seen, outline, _ = capture(self.folder_of(path), name, kind, path, seen)
        self.moved |= seen.st_ino != found.stat.st_ino
        torn = outline.state == "torn"
        if self._chooses and kind == "history" and self.selection.by_time and not torn:
            chosen = self._chosen(path, data, seen.st_mtime_ns)
            if chosen is None:
                return None
            data = chosen
        if torn:
            self.torn(path)
        self.counts.files += 1
        self.counts.file_bytes += len(data)
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


class NativeForm:
    """The native format."""

    separator = b""
    users_only = False
    histories_only = False

    def owner(self, source: Source, scan: Scan, owner: bytes) -> Iterator[bytes]:
        """Yield the lines of an owner's entries."""
        for found in scan.entries:
            item = source.item(found, owner)
            if item is None:
                continue
            if item.data is not None or item.kind != "file":
                yield from item_lines(item)
            elif (descriptor := source.open_large(item)) is not None:
                try:
                    yield from _in_pieces(source, item, descriptor)
                finally:
                    os.close(descriptor)


def _in_pieces(source: Source, item: Item, descriptor: int) -> Iterator[bytes]:
    yield from item_lines(item)
    size, torn = 0, source.counts.torn
    for piece in source.pieces(item.path, descriptor):
        size += len(piece)
        yield piece_line(piece)
    yield end_line(size, torn=source.counts.torn > torn)


_FOLDER = Place.HISTORY_FOLDER
_KNOWN_FOLDERS = frozenset((b"", USERS, HISTORIES))


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
