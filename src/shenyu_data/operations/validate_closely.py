"""The slow and exact part of a validation: every entry of an owner, with its stat. For its tasks.

Nothing is followed: of a link, only what it says is read.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shenyu_data.datadir.capture import TRIES, capture
from shenyu_data.datadir.catalog_checks import check_document
from shenyu_data.datadir.catalog_rows import Slot
from shenyu_data.datadir.folder import open_folder, target_inside
from shenyu_data.datadir.large import file_blocks, structure_trouble
from shenyu_data.datadir.scan import (
    DataFolders,
    Found,
    Scan,
    scan_shared,
    scan_user,
    special_file,
)
from shenyu_data.model.entry_rules import (
    compressed_finding,
    dangling_link_finding,
    hard_link_finding,
    imported_finding,
    link_finding,
    name_finding,
    other_finding,
    outside_link_finding,
    twin_finding,
    without_history_finding,
    without_user_finding,
)
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.history_rules import Held
from shenyu_data.model.layout import GZIP_SUFFIX, HISTORIES, USERS, Kind, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.rules import Checked, is_unread_name, too_large

if TYPE_CHECKING:
    from shenyu_data.datadir.catalog_owners import OwnerChange

_TOO_DEEP = "json-too-deep"
_BEING_WRITTEN_S = 2.0
_FIRST_PAUSE_S = 0.01  # doubled at every try, as in a capture
_EXAMPLE = b"example"
_EXAMPLE_USER = b"example/user.json"
_EXAMPLE_HISTORY = b"example/history"
_KNOWN_FOLDERS = (b"", USERS, HISTORIES, _EXAMPLE, _EXAMPLE_HISTORY)


@dataclass(kw_only=True)
class Tally:
    """What one task counted and found; infos are kept only if they are wanted. ``changes`` are what
    is new for the catalog.
    """

    infos_wanted: bool
    findings: list[Finding] = field(default_factory=list)
    users: int = 0
    histories: int = 0
    chats: int = 0
    messages: int = 0
    documents: int = 0
    document_bytes: int = 0
    errors: int = 0
    warnings: int = 0
    infos: int = 0
    owners: int = 0
    changes: list[OwnerChange] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings and keep those that are wanted."""
        for finding in findings:
            if finding.severity == "error":
                self.errors += 1
            elif finding.severity == "warning":
                self.warnings += 1
            else:
                self.infos += 1
                if not self.infos_wanted:
                    continue
            self.findings.append(finding)

    def held(self, held: Held) -> None:
        """Count what a history holds."""
        self.chats += held.chats
        self.messages += held.messages


class CloseLook:
    """Looks at owners and shared paths of an open data directory, and counts into ``tally``.

    ``scope`` is a path under the data directory; what is not at or below it is passed over.
    """

    def __init__(self, folders: DataFolders, data: str, scope: bytes, tally: Tally) -> None:
        self._folders = folders
        self._data = data
        self._scope = scope
        self._tally = tally
        self._known: Mapping[Slot, Checked] = {}

    def at_user(
        self, owner: bytes, scan: Scan | None = None, known: Mapping[Slot, Checked] | None = None
    ) -> None:
        """Look at everything of one user. ``scan`` is one that was just made; ``known`` is what
        documents are known to be that did not change since they were judged.
        """
        scan = scan_user(self._folders, owner) if scan is None else scan
        self._known = known or {}
        self._tally.add(scan.findings)
        entries = sorted(scan.entries, key=lambda found: found[:2])
        places = {found.place for found in entries}
        names = {found.name for found in entries if found.place == Place.IN_HISTORY_FOLDER}
        if Place.USER_FILE in places and self._covers(path_of(owner, Place.USER_FILE, b"")):
            self._tally.users += 1
        for found in entries:
            path = path_of(owner, found.place, found.name)
            if not self._covers(path):
                continue
            self._at_entry(owner, found, path)
            if (found.place == Place.USER_FILE_GZIP and Place.USER_FILE in places) or (
                found.name.endswith(GZIP_SUFFIX) and found.name.removesuffix(b".gz") in names
            ):
                self._tally.add([twin_finding(path)])
        self._compare_folders(owner, places, has_entries=bool(names))

    def at_shared(self, paths: Iterable[bytes]) -> None:
        """Look at paths that belong to nobody."""
        scan = scan_shared(self._folders, [path for path in paths if self._covers(path)])
        self._tally.add(scan.findings)
        for found in scan.entries:
            self._at_entry(None, found, found.name)

    def _covers(self, path: bytes) -> bool:
        return not self._scope or path == self._scope or path.startswith(self._scope + b"/")

    def _compare_folders(self, owner: bytes, places: set[Place], *, has_entries: bool) -> None:
        has_user = Place.USER_FILE in places or Place.USER_FILE_GZIP in places
        user_path = path_of(owner, Place.USER_FILE, b"")
        folder_path = path_of(owner, Place.HISTORY_FOLDER, b"")
        if has_user and Place.HISTORY_FOLDER not in places and self._covers(user_path):
            self._tally.add([without_history_finding(user_path)])
        if not has_user and has_entries and self._covers(folder_path):
            self._tally.add([without_user_finding(folder_path)])

    def _at_entry(self, owner: bytes | None, found: Found, path: bytes) -> None:
        tally = self._tally
        name = path.rpartition(b"/")[2]
        mode = found.stat.st_mode
        if name and (finding := name_finding(name, path)):
            tally.add([finding])
        if stat.S_ISLNK(mode):
            tally.add([self._at_link(path)])
        elif stat.S_ISDIR(mode):
            if found.place != Place.HISTORY_FOLDER and path not in _KNOWN_FOLDERS:
                tally.add([other_finding(name, path, folder=True)])
        elif (special := special_file(found, owner or b"")) is not None:
            tally.add([special])
        else:
            tally.documents += 1
            tally.document_bytes += found.stat.st_size
            if found.stat.st_nlink > 1 and tally.infos_wanted:
                tally.add([hard_link_finding(found.stat.st_nlink, path)])
            kind = kind_of(found.place, found.name) if owner is not None else _shared_kind(path)
            if kind == "other":
                tally.add([other_finding(name, path, folder=False)])
            else:
                known = self._known.get((int(found.place), found.name))
                self._at_document(kind, owner, name, path, found.stat, known)

    def _at_document(
        self,
        kind: Kind,
        owner: bytes | None,
        name: bytes,
        path: bytes,
        seen: os.stat_result,
        known: Checked | None,
    ) -> None:
        tally = self._tally
        if kind == "history" and owner is not None:
            tally.histories += 1
            if is_unread_name(owner, name):
                tally.add([imported_finding(path)])
        if name.endswith(GZIP_SUFFIX):
            tally.add([compressed_finding(path)])
        if seen.st_size > MAX_PARSED_BYTES:
            tally.add([too_large(seen.st_size).finding(printable(path))])
            if kind == "history":
                self._at_structure(path, seen)
            return
        try:
            checked = known or self._read_and_check(kind, owner, name, path)
        except FileNotFoundError:
            return  # it vanished since it was listed
        except OSError as error:
            tally.add([_unreadable(path, error)])
            return
        tally.add(checked.findings)
        if kind == "history" and any(one.code == _TOO_DEEP for one in checked.findings):
            self._at_structure(path, seen)
        if owner is not None:
            tally.held(checked.held)

    def _at_structure(self, path: bytes, seen: os.stat_result) -> None:
        """Say whether a history that was not unfolded is torn. One that was written a moment ago
        is looked at again a few times, as it may be being written.
        """
        if path.endswith(GZIP_SUFFIX):
            return
        blocks = file_blocks(self._folders.root, path)
        pause_s, left = _FIRST_PAUSE_S, TRIES
        try:
            why = structure_trouble(blocks)
            while why is not None and abs(time.time() - seen.st_mtime) < _BEING_WRITTEN_S and left:
                time.sleep(pause_s)
                pause_s, left = 2 * pause_s, left - 1
                why = structure_trouble(blocks)
        except FileNotFoundError:
            return  # it vanished since it was listed
        except OSError as error:
            self._tally.add([_unreadable(path, error)])
            return
        if why is not None:
            self._tally.add([why.finding(printable(path))])

    def _read_and_check(self, kind: Kind, owner: bytes | None, name: bytes, path: bytes) -> Checked:
        folder = open_folder(self._folders.root, path.rpartition(b"/")[0])
        try:
            captured = capture(folder, name, kind, path)
        finally:
            os.close(folder)
        checked = check_document(kind, owner, name, path, captured.data)
        if captured.outline.state == "torn" and not checked.findings:
            checked.findings.append(_changing(path))
        return checked

    def _at_link(self, path: bytes) -> Finding:
        root = self._folders.root
        folder, _, name = path.rpartition(b"/")
        try:
            descriptor = open_folder(root, folder)
            try:
                target = os.readlink(name, dir_fd=descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return _unreadable(path, error)
        inside = target_inside(os.path.realpath(os.fsencode(self._data)), folder, target)
        if inside is None:
            return outside_link_finding(path, target)
        if not _exists(root, inside):
            return dangling_link_finding(path, target)
        return link_finding(path, target)


def _exists(root: int, path: bytes) -> bool:
    """Whether something is at ``path``, without following a link on the way or at its end."""
    folder, _, name = path.rpartition(b"/")
    try:
        descriptor = open_folder(root, folder)
        try:
            os.stat(name or b".", dir_fd=descriptor, follow_symlinks=False)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _shared_kind(path: bytes) -> Kind:
    """Return what a path that belongs to nobody holds: the guide's examples are documents too."""
    if path == _EXAMPLE_USER:
        return "user"
    folder, _, name = path.rpartition(b"/")
    return kind_of(Place.IN_HISTORY_FOLDER, name) if folder == _EXAMPLE_HISTORY else "other"


def _unreadable(path: bytes, error: OSError) -> Finding:
    return Finding(
        code="unreadable-file",
        severity="error",
        path=printable(path),
        message=f"the file cannot be read: {error.strerror}",
        hint="Check its owner and mode, or run as the user the application runs as.",
    )


def _changing(path: bytes) -> Finding:
    return Finding(
        code="changing-file",
        severity="warning",
        path=printable(path),
        message="it changed each time it was read",
        hint="The application is writing it: validate it again when it is quiet.",
    )
