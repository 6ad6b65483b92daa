"""Looking at users for the catalog: who is as before, and what is new of the others. For workers.

Only documents whose stat is another than when they were last read are opened.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from shenyu_data.datadir.catalog_checks import SOUND, kept_check
from shenyu_data.datadir.catalog_known import (
    KnownDocument,
    KnownUser,
    KnownUsers,
    Seen,
    is_as_seen,
    names_of,
    signature_of,
)
from shenyu_data.datadir.catalog_read import check_large, read_found, slot_of, stamp_of
from shenyu_data.datadir.catalog_rows import DocumentRow, Slot
from shenyu_data.datadir.scan import DataFolders, Found, Scan, scan_user
from shenyu_data.model.entry_rules import name_finding
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import JSON_SUFFIX, Place, kind_of
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.rules import Checked, is_unread_name
from shenyu_data.model.user_rules import is_application_name


class OwnerChange(NamedTuple):
    """What is to be noted anew of a user: documents that are gone, those that were read, and how
    the user is now.
    """

    owner: bytes
    gone: list[Slot]
    read: list[DocumentRow]
    seen: Seen


class OwnersTask(NamedTuple):
    """Users to look at: name, and whether there may be a ``.json.gz``. ``catalog`` is the path of
    one that knows some of them.
    """

    data: str
    owners: Sequence[tuple[bytes, bool]]
    catalog: str | None
    now_ms: int


class OwnersRead(NamedTuple):
    """What looking at the users of a task gave: of how many, what is new, and what went wrong."""

    owners: int
    changes: list[OwnerChange]
    findings: list[Finding]


def read_owners(task: OwnersTask) -> OwnersRead:
    """Look at the users of a task; return those of whom something is to be noted.

    Raises what KnownUsers does.
    """
    changes: list[OwnerChange] = []
    findings: list[Finding] = []
    with DataFolders(task.data) as folders:
        if task.catalog is None:
            _look_at(Looker(folders, None, task.now_ms), task, {}, changes, findings)
        else:
            with closing(KnownUsers(task.catalog)) as known:
                users = known.users([owner for owner, _ in task.owners])
                _look_at(Looker(folders, known, task.now_ms), task, users, changes, findings)
    return OwnersRead(len(task.owners), changes, findings)


def _look_at(
    looker: Looker,
    task: OwnersTask,
    users: Mapping[bytes, KnownUser],
    changes: list[OwnerChange],
    findings: list[Finding],
) -> None:
    for owner, compressed in task.owners:
        user = users.get(owner)
        if user is not None and looker.is_as_before(owner, user, compressed=compressed):
            continue
        look = looker.look(owner, user, compressed=compressed)
        findings += look.scan.findings
        if look.change is not None:
            changes.append(look.change)


class Look(NamedTuple):
    """A close look at a user: what is there, what is to be noted, if anything, and what was found
    in documents by the rules, as far as that is known.
    """

    scan: Scan
    change: OwnerChange | None
    documents: dict[Slot, KnownDocument]

    def checked(self) -> dict[Slot, Checked]:
        """Return what was found in the documents of which that is known."""
        found = {}
        for slot, document in self.documents.items():
            if document.checked is not None:
                checked = kept_check(document.checked, document.chats, document.messages)
                if checked is not None:
                    found[slot] = checked
        return found


class Looker:
    """Looks at one user after another. ``check``: also reads what nobody has judged yet."""

    def __init__(
        self, folders: DataFolders, known: KnownUsers | None, now_ms: int, *, check: bool = False
    ) -> None:
        self._folders = folders
        self._known = known
        self._now_ms = now_ms
        self._check = check

    def is_as_before(self, owner: bytes, user: KnownUser, *, compressed: bool) -> bool:
        """Whether nothing changed since the user was looked at. Opens and lists nothing."""
        return is_as_seen(self._folders, owner, user.seen, compressed=compressed)

    def look(self, owner: bytes, user: KnownUser | None, *, compressed: bool) -> Look:
        """Look closely: list what there is, and read what changed."""
        looked_ns = time.time_ns()
        scan = scan_user(self._folders, owner, compressed=compressed)
        before: dict[Slot, KnownDocument] = {}
        if user is not None and self._known is not None:
            before = self._known.documents(user.number)
        files = {slot_of(found): found for found in scan.entries if _is_file(found)}
        gone = [slot for slot in before if slot not in files] if scan.complete else []
        now = {slot: before[slot] for slot in files if slot in before}
        read: list[DocumentRow] = []
        for slot, found in files.items():
            if not self._is_read(found, before.get(slot)):
                row = read_found(self._folders, owner, found, self._now_ms)
                if self._check and row.checked is None and row.stamp is not None:
                    row = check_large(self._folders, owner, row)
                read.append(row)
                now[slot] = _known(row)
        names = names_of(scan)
        as_scanned = all(now[slot].stamp == stamp_of(found.stat) for slot, found in files.items())
        signature = signature_of(scan, names, looked_ns) if as_scanned else None
        seen = Seen(names, signature, _is_sound(owner, scan, now))
        change = None
        if gone or read or (user is not None and seen != user.seen):
            change = OwnerChange(owner, gone, read, seen)
        return Look(scan, change, {slot: item for slot, item in now.items() if item.stamp})

    def _is_read(self, found: Found, known: KnownDocument | None) -> bool:
        if known is None or known.stamp != stamp_of(found.stat):
            return False
        return known.checked is not None or not self._check or not _is_checked(found)


def _is_file(found: Found) -> bool:
    return stat.S_ISREG(found.stat.st_mode)


def _is_checked(found: Found) -> bool:
    """Whether there are rules for what a file holds, and it is not too large to be looked into."""
    return kind_of(found.place, found.name) != "other" and found.stat.st_size <= MAX_PARSED_BYTES


def _known(row: DocumentRow) -> KnownDocument:
    messages = sum([chat.messages for chat in row.chats])
    return KnownDocument(row.stamp, row.checked, len(row.chats), messages)


def _is_sound(owner: bytes, scan: Scan, documents: Mapping[Slot, KnownDocument]) -> bool:
    """Whether a validation finds nothing to tell of a user, whatever there is of others."""
    if not scan.complete or scan.findings or name_finding(owner + JSON_SUFFIX, b"") is not None:
        return False
    of_application = is_application_name(owner)
    places = set()
    for place, name, found in scan.entries:
        places.add(place)
        if place == Place.HISTORY_FOLDER:
            if not stat.S_ISDIR(found.st_mode):
                return False
            continue
        known = documents.get((int(place), name))
        if known is None or known.checked != SOUND or place == Place.USER_FILE_GZIP:
            return False
        if place == Place.IN_HISTORY_FOLDER and (
            kind_of(place, name) != "history"
            or not name.endswith(JSON_SUFFIX)
            or name_finding(name, b"") is not None
            or (of_application and is_unread_name(owner, name))
        ):
            return False
    return {Place.USER_FILE, Place.HISTORY_FOLDER} <= places
