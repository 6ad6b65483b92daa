"""What a cleanup takes from one user: read, judge, and see what is saved. Changes nothing.

Called by the workers of a plan, and by the cleanup itself for a document that the application wrote
since it was planned.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.capture import capture
from shenyu_data.datadir.folder import FILE_FLAGS, FOLDER_FLAGS
from shenyu_data.datadir.scan import DataFolders, Found, Scan, scan_user
from shenyu_data.model.activity import moment_ms
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.expiry import (
    ORPHAN_GRACE_MS,
    ExpiryChat,
    ExpiryUser,
    Policy,
    Verdict,
    is_orphan,
    judge,
)
from shenyu_data.model.expiry_holds import Holds
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.operations.cleanup_documents import (
    Document,
    SmallDocument,
    is_large,
    is_large_size,
    read_large,
)
from shenyu_data.operations.cleanup_quick import quick_chats
from shenyu_data.operations.cleanup_saved import SavedChats
from shenyu_data.operations.cleanup_values import Amounts, PlannedChat
from shenyu_data.operations.conversations import UNPARSED, read_chats
from shenyu_data.operations.past import storage_key

UNSAVED = "no verified snapshot holds it"


class Removal(NamedTuple):
    """What is taken out of one history: the chats at ``indexes`` of the version whose ``digest``
    this is, or, with ``whole``, the file. ``texts`` are digests of those chats' bytes.
    """

    name: bytes
    digest: bytes
    indexes: list[int]
    texts: list[bytes]
    whole: bool


class OwnerPlan(NamedTuple):
    """What goes of one user. ``folder``: the folder of the histories goes too, once it is empty."""

    user: bytes
    removals: list[Removal]
    folder: bool
    amounts: Amounts
    chats: list[PlannedChat]
    findings: list[Finding]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.removals) or self.folder


class OwnerPlanner:
    """Plans one user after another. ``saved`` tells what verified snapshots hold of a user; None:
    that is not asked for.
    """

    def __init__(
        self,
        folders: DataFolders,
        policy: Policy,
        holds: Holds,
        now_ms: int,
        saved: Callable[[bytes], SavedChats] | None,
    ) -> None:
        self._folders = folders
        self._policy = policy
        self._holds = holds
        self._now_ms = now_ms
        self._saved = saved

    def plan(
        self, user: bytes, *, compressed: bool = True, read: Mapping[bytes, bytes] | None = None
    ) -> OwnerPlan:
        """Say what goes of a user. ``read`` are documents, by their names, that are taken as given
        instead of being read.
        """
        scan = scan_user(self._folders, user, compressed=compressed)
        plan = OwnerPlan(user, [], False, Amounts(), [], list(scan.findings))
        if not scan.complete or (not read and self._nothing_expires(user, scan)):
            return plan
        documents, complete = self._read(user, scan, plan, read or {})
        judged = self._expiry_user(user, scan, self._chats(user, documents), complete)
        verdicts = judge(judged, self._policy, now_ms=self._now_ms)
        orphan = self._policy.orphans and is_orphan(judged, now_ms=self._now_ms)
        hold = self._holds.of_user(os.fsdecode(user))
        with_empty = hold is None and (self._policy.empty or orphan)
        of_files: dict[bytes, list[Verdict]] = {document.name: [] for document in documents}
        for verdict in verdicts:
            of_files[verdict.chat.file].append(verdict)
        for document in documents:
            removal = self._removal(plan, document, of_files[document.name], with_empty)
            if removal is not None:
                plan.removals.append(removal)
                plan.amounts.documents += 1
                plan.amounts.files += removal.whole
        folder = with_empty and self._is_left_empty(scan, plan.removals)
        plan.amounts.folders += folder
        return plan._replace(folder=folder)

    def chats(self, user: bytes, *, compressed: bool) -> list[ExpiryChat]:
        """Return the chats of a user's histories that can be read."""
        scan = scan_user(self._folders, user, compressed=compressed)
        plan = OwnerPlan(user, [], False, Amounts(), [], [])
        documents, _ = self._read(user, scan, plan, {})
        return self._chats(user, documents)

    def _nothing_expires(self, user: bytes, scan: Scan) -> bool:
        """Whether a quick look tells that there is nothing to remove and nothing to say."""
        name, policy = os.fsdecode(user), self._policy
        rules = (policy.rule, *policy.histories.values())
        if any(rule.max_bytes is not None for rule in rules) or self._folders.histories is None:
            return False
        if self._holds.of_user(name) is not None or self._holds.of_chats(name):
            return False
        histories = [entry for entry in scan.entries if _is_history(entry)]
        try:
            folder = os.open(user, FOLDER_FLAGS, dir_fd=self._folders.histories)
        except OSError:
            return False
        try:
            chats = quick_chats(folder, histories, self._now_ms)
        finally:
            os.close(folder)
        if not chats:
            return False
        judged = self._expiry_user(user, scan, chats, complete=True)
        return not any(verdict.reasons for verdict in judge(judged, policy, now_ms=self._now_ms))

    def _read(
        self, user: bytes, scan: Scan, plan: OwnerPlan, read: Mapping[bytes, bytes]
    ) -> tuple[list[Document], bool]:
        found = [entry for entry in scan.entries if _is_history(entry)]
        documents: list[Document] = []
        complete = True
        if not found or self._folders.histories is None:
            return documents, complete
        try:
            folder = os.open(user, FOLDER_FLAGS, dir_fd=self._folders.histories)
        except OSError:
            return documents, False
        try:
            for entry in sorted(found, key=lambda entry: entry.name):
                try:
                    document = self._document(user, folder, entry, read.get(entry.name))
                except FileNotFoundError:
                    continue
                except (OSError, Unparsable) as error:
                    complete = False
                    plan.amounts.unreadable += 1
                    plan.findings.append(_left_alone(user, entry.name, error))
                    continue
                documents.append(document)
        finally:
            os.close(folder)
        return documents, complete

    def _document(self, user: bytes, folder: int, entry: Found, data: bytes | None) -> Document:
        if data is None and not is_large_size(entry.stat.st_size):
            data = capture(folder, entry.name, "history", entry.name, entry.stat).data
        if data is None or (entry.name.endswith(JSON_SUFFIX) and is_large(data)):
            return read_large(self._folders.histories or 0, user, entry.name, self._now_ms)
        history = read_chats(entry.name, data)
        mtime_ms = entry.stat.st_mtime_ns // 1_000_000
        return SmallDocument(entry.name, data, history, mtime_ms, self._now_ms)

    def _chats(self, user: bytes, documents: list[Document]) -> list[ExpiryChat]:
        name = os.fsdecode(user)
        held, held_chats = self._holds.of_user(name), self._holds.of_chats(name)
        chats: list[ExpiryChat] = []
        for document in documents:
            key = os.fsdecode(storage_key(document.name))
            for index, chat in enumerate(document.chats):
                if not chat.is_chat:
                    continue
                why = held
                if why is None and held_chats:
                    why = held_chats.get(chat.key or "")
                chats.append(ExpiryChat(document.name, key, index, chat.size, chat.activity, why))
        return chats

    def _expiry_user(
        self, user: bytes, scan: Scan, chats: list[ExpiryChat], complete: bool
    ) -> ExpiryUser:
        seen_ms, known = None, complete
        if self._policy.idle_users_s is not None:
            seen_ms, readable = _last_seen(self._folders, user, scan, self._now_ms)
            known = known and readable
        folder = [entry for entry in scan.entries if entry.place == Place.HISTORY_FOLDER]
        return ExpiryUser(
            chats,
            seen_ms=seen_ms,
            known=known,
            orphan=not any(entry.place <= Place.USER_FILE_GZIP for entry in scan.entries),
            touched_ms=max([entry.stat.st_mtime_ns // 1_000_000 for entry in folder], default=0),
        )

    def _removal(
        self, plan: OwnerPlan, document: Document, verdicts: list[Verdict], with_empty: bool
    ) -> Removal | None:
        wanted = [verdict.chat.at for verdict in verdicts if verdict.expire]
        unsaved: set[int] = set()
        if wanted and self._saved is not None:
            unsaved = self._saved(plan.user).missing(plan.user, document, wanted)
        for verdict in verdicts:
            if verdict.reasons:
                _note(plan, document, verdict, verdict.chat.at in unsaved)
        indexes = [index for index in wanted if index not in unsaved]
        empty = with_empty and len(indexes) == len(document.chats) and not document.alone
        # The application may just have made it.
        empty = empty and document.mtime_ms < self._now_ms - ORPHAN_GRACE_MS
        empty = empty and self._policy.covers(os.fsdecode(storage_key(document.name)))
        whole = empty or (bool(indexes) and document.alone)
        if not indexes and not whole:
            return None
        texts = [document.text(index) for index in indexes]
        return Removal(document.name, document.digest, indexes, texts, whole)

    def _is_left_empty(self, scan: Scan, removals: list[Removal]) -> bool:
        """Whether nothing is left in the folder of the histories, and nobody just made it."""
        gone = {removal.name for removal in removals if removal.whole}
        found = False
        for entry in scan.entries:
            if entry.place == Place.IN_HISTORY_FOLDER and entry.name not in gone:
                return False
            if entry.place == Place.HISTORY_FOLDER:
                if not stat.S_ISDIR(entry.stat.st_mode):
                    return False
                found = entry.stat.st_mtime_ns // 1_000_000 < self._now_ms - ORPHAN_GRACE_MS
        return found and not scan.passing and not self._policy.only


def _is_history(entry: Found) -> bool:
    return kind_of(entry.place, entry.name) == "history" and stat.S_ISREG(entry.stat.st_mode)


def _note(plan: OwnerPlan, document: Document, verdict: Verdict, unsaved: bool) -> None:
    chat = document.chats[verdict.chat.at]
    amounts, source = plan.amounts, verdict.chat.activity.source
    kept = verdict.held or (UNSAVED if unsaved else None)
    if verdict.held:
        amounts.held += 1
    elif unsaved:
        amounts.unsaved += 1
    else:
        amounts.chats += 1
        amounts.messages += chat.messages
        amounts.size_bytes += verdict.chat.size
        amounts.clocks[source] = amounts.clocks.get(source, 0) + 1
    plan.chats.append(
        PlannedChat(
            user=printable(plan.user),
            path=printable(path_of(plan.user, Place.IN_HISTORY_FOLDER, document.name)),
            chat=None if chat.key is None else printable(chat.key),
            messages=chat.messages,
            size_bytes=verdict.chat.size,
            active_ms=verdict.chat.activity.ms,
            source=source,
            reasons=verdict.reasons,
            kept=kept,
        )
    )


_SEEN_KEYS = ("lastSeen", "last_seen", "updated_at", "updatedAt", "firstSeen", "created_at")


def _last_seen(
    folders: DataFolders, user: bytes, scan: Scan, now_ms: int
) -> tuple[int | None, bool]:
    """Return when a user was last seen, by the user document, else by when that was written; and
    whether it could be told. The application writes it at every visit.
    """
    latest: list[int] = []
    for entry in scan.entries:
        if entry.place > Place.USER_FILE_GZIP:
            continue
        if folders.users is None or not stat.S_ISREG(entry.stat.st_mode):
            return None, False
        name = path_of(user, entry.place, b"").rpartition(b"/")[2]
        value = _user_document(folders.users, name)
        if not isinstance(value, dict):
            return None, False
        moments = [moment_ms(value.get(key)) for key in _SEEN_KEYS]
        times = [int(moment) for moment in moments if moment is not None and moment <= now_ms]
        latest += times or [min(entry.stat.st_mtime_ns // 1_000_000, now_ms)]
    return max(latest, default=None), True


def _user_document(users: int, name: bytes) -> object:
    with suppress(OSError, ValueError, RecursionError):
        descriptor = os.open(name, FILE_FLAGS, dir_fd=users)
        with os.fdopen(descriptor, "rb") as file:
            data: bytes | None = file.read(MAX_PARSED_BYTES)
        if name.endswith(GZIP_SUFFIX):
            data = gunzip(data or b"", MAX_PARSED_BYTES)
        return msgspec.json.decode(data or b"")
    return None


_TOO_LARGE = (
    "`shenyu-data chats list --user NAME` lists its chats by age: delete old ones in the "
    "application, or stop that and split the history into several files."
)


def _left_alone(user: bytes, name: bytes, error: OSError | Unparsable) -> Finding:
    path = printable(path_of(user, Place.IN_HISTORY_FOLDER, name))
    if isinstance(error, Unparsable) and error.code in UNPARSED:
        large = error.code == "too-large"
        return Finding(
            code=error.code,
            severity="warning",
            path=path,
            message=f"nothing is cleaned up in it: {error.message}",
            hint=_TOO_LARGE if large else "See who made it, and remove it by hand if it may go.",
        )
    message = error.message if isinstance(error, Unparsable) else (error.strerror or str(error))
    return Finding(
        code="live-torn",
        severity="error",
        path=path,
        message=f"it cannot be read, so nothing is cleaned up in it: {message}",
        hint="`shenyu-data validate` says what is wrong; restore the history.",
    )
