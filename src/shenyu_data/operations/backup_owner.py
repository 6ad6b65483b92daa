"""One owner's part of a backup: from what the scan found, and the record before, to the new record.

Called by the workers of operations/backup_tasks.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from shenyu_data.datadir.capture import capture, is_settled, stream
from shenyu_data.datadir.folder import FOLDER_FLAGS, open_folder
from shenyu_data.datadir.scan import DataFolders, Found, Scan, describe
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import JSON_SUFFIX, USERS, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.backup_entries import file_entry, same_stat, storable, unlisted
from shenyu_data.operations.backup_tally import Tally
from shenyu_data.operations.tripwire_signs import OwnerSigns
from shenyu_data.repository.crypto import DIGEST_BYTES, OwnerKeys
from shenyu_data.repository.documents import DocumentWriter
from shenyu_data.repository.format import (
    Entry,
    FileEntry,
    FileState,
    FolderEntry,
    LastGood,
    LinkEntry,
    OwnerRecord,
)

UNSETTLED = b""
"""Instead of a description: the next backup must look at this owner again."""


class Before(NamedTuple):
    """An owner's record in the parent snapshot."""

    snapshot: bytes
    record: OwnerRecord


class Taken(NamedTuple):
    """An owner's new record; None if nothing of the owner is left. ``signs`` for tripwires are
    there if anything changed, and somebody watches.
    """

    record: OwnerRecord | None
    description: bytes
    findings: list[Finding]
    signs: OwnerSigns | None


class OwnerBackup:
    """Takes the entries of one owner into a snapshot.

    ``reread`` ignores what stat says, reads every file, and trusts no segment that it has not seen
    authenticate. ``usable`` holds the packs that are really there: what lies in others is stored
    again. ``watching``: take note of what tripwires want to know.
    """

    def __init__(
        self,
        folders: DataFolders,
        owner: bytes,
        shared: bool,
        before: Before | None,
        writer: DocumentWriter,
        keys: list[OwnerKeys],
        *,
        usable: frozenset[bytes] | None,
        reread: bool,
        tally: Tally,
        watching: bool = False,
    ) -> None:
        self._watching = watching
        self._signs: OwnerSigns | None = None
        self._folders = folders
        self._owner = owner
        self._shared = shared
        self._writer = writer
        self._keys = keys
        self._reread = reread
        self._tally = tally
        self._findings: list[Finding] = []
        self._settled = True
        self.moved = False
        """Whether something vanished or was exchanged since it was listed: what it held may stand
        elsewhere by now, in a file that was not listed, or that was read before."""
        self._snapshot_before = b""
        self._files_before: dict[tuple[int, bytes], FileEntry] = {}
        self._other_before: list[Entry] = []
        self._unusable: set[int] = set()
        if before is not None:
            self._snapshot_before = before.snapshot
            for entry in before.record.entries:
                if isinstance(entry, FileEntry):
                    self._files_before[entry.place, entry.name] = entry
                else:
                    self._other_before.append(entry)
            if usable is not None:
                self._unusable = {
                    index
                    for index, segment in enumerate(before.record.segments)
                    if segment.pack not in usable or (reread and not writer.is_sound(segment))
                }

    def take(self, scan: Scan) -> Taken:
        """Read what changed and return the new record."""
        self._findings += scan.findings
        entries: list[Entry] = []
        seen: list[Found] = []
        self._history = self._open_history_folder()
        try:
            scan.entries.sort()  # by place and name
            for found in scan.entries:
                taken = self._take_entry(found)
                if taken is not None:
                    entries.append(taken[0])
                    seen.append(taken[1])
        finally:
            if self._history is not None:
                os.close(self._history)
        if not scan.complete:
            self._settled = False
            entries += self._keep_unlisted(entries)
        if self._files_before:
            self._count_gone(entries)
        record = self._writer.finish(self._owner, self._shared, entries) if entries else None
        description = describe(seen) if self._settled else UNSETTLED
        return Taken(record, description, self._findings, self._signs)

    def _open_history_folder(self) -> int | None:
        if self._shared or self._folders.histories is None:
            return None
        try:
            return os.open(self._owner, FOLDER_FLAGS, dir_fd=self._folders.histories)
        except OSError:
            return None  # there is none, or the scan has told

    def _take_entry(self, found: Found) -> tuple[Entry, Found] | None:
        place, name, seen = found
        mode = seen.st_mode
        if stat.S_ISREG(mode):
            return self._take_file(found)
        if stat.S_ISDIR(mode):
            mtime_ns = storable(seen.st_mtime_ns)
            folder = FolderEntry(
                place, name, stat.S_IMODE(mode), seen.st_uid, seen.st_gid, mtime_ns
            )
            return folder, found
        if stat.S_ISLNK(mode):
            try:
                with self._folder_of(found) as (descriptor, base):
                    target = os.readlink(base, dir_fd=descriptor)
            except OSError:
                self._settled = False  # it vanished or is no link any more
                return None
            mtime_ns = storable(seen.st_mtime_ns)
            link = LinkEntry(place, name, seen.st_uid, seen.st_gid, mtime_ns, target)
            return link, found
        return None  # FIFOs, sockets and devices are reported by the scan's caller

    def _take_file(self, found: Found) -> tuple[Entry, Found] | None:
        place, name, seen = found
        before = self._files_before.get((place, name))
        if (
            before is not None
            and not self._reread
            and before.state <= FileState.UNPARSED
            and not self._leans_on_missing(before)
            and same_stat(before, seen)
        ):
            return before, found
        try:
            if place == Place.IN_HISTORY_FOLDER and self._history is not None and b"/" not in name:
                entry, read = self._read_file(found, self._history, name, before)
            elif place == Place.USER_FILE and self._folders.users is not None:
                base = self._owner + JSON_SUFFIX
                entry, read = self._read_file(found, self._folders.users, base, before)
            else:
                with self._folder_of(found) as (folder, base):
                    entry, read = self._read_file(found, folder, base, before)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._settled = False  # it vanished since it was listed
            self.moved = True
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._settled = False  # it is a link now
                return None
            return self._unreadable(found, before, error), found
        self.moved |= read.st_ino != seen.st_ino
        tally = self._tally
        tally.read_files += 1
        tally.read_bytes += entry.size
        if before is None:
            tally.new += 1
        elif before.digest != entry.digest or before.size != entry.size:
            tally.changed += 1
        else:
            return entry, Found(place, name, read)
        if self._watching:
            self._noticed().changed(before, entry)
        return entry, Found(place, name, read)

    def _read_file(
        self, found: Found, folder: int, base: bytes, before: FileEntry | None
    ) -> tuple[FileEntry, os.stat_result]:
        if found.stat.st_size > MAX_PARSED_BYTES:
            return self._stream(found, folder, base, before)
        place, name, seen = found
        captured = capture(folder, base, kind_of(place, name), name or base, seen)
        data, read, outline, settled = captured
        digest = self._digest(data, before)
        good = None
        if outline.state == "whole":
            state = FileState.WHOLE
            self._settled &= settled
        elif outline.state == "unparsed":
            state = FileState.UNPARSED
            self._settled &= settled
        else:
            state = FileState.TORN
            good = self._last_good(before)
            self._settled = False
            self._report(
                found,
                "torn-document",
                "it is cut off, not JSON, or changed whenever it was read",
                "The snapshot holds it as it is, and its last good version where there is one; "
                "`shenyu-data validate` says what is wrong with it.",
            )
        if before is None:
            extents = self._writer.append(data)
        elif self._leans_on_missing(before):
            extents = self._writer.append(data)
            self._tally.stored_again += 1
        elif before.digest == digest and before.size == len(data):
            extents = before.extents
        else:
            extents = self._writer.add(data, before)
            if self._watching:
                signs = self._noticed()
                signs.look(self._owner, before, data, outline, self._writer.read_old)
        entry = FileEntry(
            place,
            name,
            state,
            stat.S_IMODE(read.st_mode),
            read.st_uid,
            read.st_gid,
            storable(read.st_mtime_ns),
            read.st_ctime_ns if settled else 0,
            read.st_ino,
            read.st_nlink,
            len(data),
            digest,
            outline.chats,
            outline.messages,
            extents,
            good,
        )
        return entry, read

    def _stream(
        self, found: Found, folder: int, base: bytes, before: FileEntry | None
    ) -> tuple[FileEntry, os.stat_result]:
        extents: list[tuple[int, int, int]] = []
        digests = [keys.new_digest() for keys in self._keys]

        def store(piece: bytes) -> None:
            for digest in digests:
                digest.update(piece)
            extents.extend(self._writer.append(piece))

        streamed = stream(folder, base, store)
        settled = streamed.stable and is_settled(streamed.stat)
        self._settled &= settled
        if not streamed.stable:
            self._report(
                found,
                "torn-document",
                "it changed while it was read",
                "Back up again when nobody writes to it.",
            )
        entry = file_entry(
            found,
            streamed.stat,
            state=FileState.UNPARSED if streamed.stable else FileState.TORN,
            settled=settled,
            size=sum(length for _, _, length in extents),
            digest=_known_digest([digest.digest(DIGEST_BYTES) for digest in digests], before),
            chats=0,
            messages=0,
            extents=extents,
            good=None,
        )
        return entry, streamed.stat

    def _digest(self, data: bytes, before: FileEntry | None) -> bytes:
        digest = self._keys[0].digest(data)
        if len(self._keys) == 1 or before is None or before.size != len(data):
            return digest
        return _known_digest([digest, *(keys.digest(data) for keys in self._keys[1:])], before)

    def _unreadable(self, found: Found, before: FileEntry | None, error: OSError) -> FileEntry:
        self._settled = False
        if self._watching and before is not None and before.state <= FileState.UNPARSED:
            self._noticed().unreadable()
        self._report(
            found,
            "unreadable-document",
            f"it cannot be read: {error.strerror}",
            "Check its owner and mode; the snapshot holds its last good version, if any.",
        )
        return file_entry(
            found,
            found.stat,
            state=FileState.UNREADABLE,
            settled=False,
            size=0,
            digest=b"",
            chats=0,
            messages=0,
            extents=[],
            good=self._last_good(before),
        )

    def _last_good(self, before: FileEntry | None) -> LastGood | None:
        if before is None or self._leans_on_missing(before):
            return None
        if before.state > FileState.UNPARSED:
            return before.good
        return LastGood(
            self._snapshot_before,
            before.mode,
            before.mtime_ns,
            before.size,
            before.digest,
            before.chats,
            before.messages,
            before.extents,
        )

    def _keep_unlisted(self, entries: list[Entry]) -> list[Entry]:
        """Return what the record before held and an incomplete scan did not meet: it may well be
        there still.
        """
        met = {(entry.place, entry.name) for entry in entries}
        kept: list[Entry] = [
            entry for entry in self._other_before if (entry.place, entry.name) not in met
        ]
        for key, before in self._files_before.items():
            if key not in met:
                kept.append(unlisted(before, self._last_good(before)))
        return kept

    def _count_gone(self, entries: Iterable[Entry]) -> None:
        here = {(entry.place, entry.name) for entry in entries if isinstance(entry, FileEntry)}
        gone = self._files_before.keys() - here
        self._tally.gone += len(gone)
        for key in gone if self._watching else ():
            self._noticed().gone(self._files_before[key])

    def _noticed(self) -> OwnerSigns:
        if self._signs is None:
            self._signs = OwnerSigns()
        return self._signs

    def _leans_on_missing(self, before: FileEntry) -> bool:
        return bool(self._unusable) and any(
            index in self._unusable for index, _, _ in before.extents
        )

    @contextmanager
    def _folder_of(self, found: Found) -> Iterator[tuple[int, bytes]]:
        """Give the open folder that an entry stands in, and its name there."""
        path = path_of(self._owner, found.place, found.name)
        folder, _, base = path.rpartition(b"/")
        if folder == USERS and self._folders.users is not None:
            yield self._folders.users, base
            return
        descriptor = open_folder(self._folders.root, folder)
        try:
            yield descriptor, base
        finally:
            os.close(descriptor)

    def _report(self, found: Found, code: str, message: str, hint: str) -> None:
        path = printable(path_of(self._owner, found.place, found.name))
        self._findings.append(
            Finding(code=code, severity="error", path=path, message=message, hint=hint)
        )


def _known_digest(digests: list[bytes], before: FileEntry | None) -> bytes:
    """Return the digest under the newest key or, of an unchanged document, the one it had: the key
    that made that one may be older.
    """
    return before.digest if before is not None and before.digest in digests else digests[0]
