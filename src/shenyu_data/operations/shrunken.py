"""Histories that are whole and that lost chats by accident, before the newest snapshot or since;
and documents that are gone altogether.
For ``validate --against-snapshots`` and ``repair``; changes nothing.

What snapshots say how much each history held tells which are worth a closer look: few. Only of
those the versions are read.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import Live, read_live
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import HISTORIES, is_plain_name
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.records import outline
from shenyu_data.model.vanished import LEAST_LOST, newest_of
from shenyu_data.operations.backup_entries import same_stat
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.gone import GONE, Dated, Gone, gone_finding, gone_of
from shenyu_data.operations.journal import Journals
from shenyu_data.operations.looked import KeepingFailures, Looked
from shenyu_data.operations.past import Moment, files, moments_of, open_record, read_roots
from shenyu_data.operations.repair_document import Target
from shenyu_data.operations.repair_past import LastGoods, Lost
from shenyu_data.repository.format import BUCKETS, FileEntry, FileState, Root
from shenyu_data.repository.manifest import Layer, Row, SectionReader
from shenyu_data.repository.repository import Repository

LOOK_BACK = 100
"""So many snapshots are looked at, the newest ones."""

_NEVER = bytes(16)  # the signature of what was still being written: it is like no other

SHRUNKEN = "shrunken-history"
"""The code of a history that is whole, and that lost chats by accident."""


LOSSES = frozenset((SHRUNKEN, GONE))
"""The codes of what is there no more, and should be, as far as anybody can tell."""


class Scope(NamedTuple):
    """Whose histories to look at: at or below a path of the data directory, or of one user."""

    path: bytes = b""
    user: bytes | None = None

    @property
    def owner(self) -> bytes | None:
        """The one user whose histories are meant, if it is one."""
        parts = self.path.split(b"/")
        below = parts[1] if parts[0] == HISTORIES and len(parts) > 1 else None
        return self.user if self.user is not None else below

    def covers(self, target: Target) -> bool:
        """Whether a history is meant."""
        if self.user not in (None, target.user):
            return False
        path = target.path
        return not self.path or path == self.path or path.startswith(self.path + b"/")


def scope_of(path: str | None, user: bytes | None = None) -> Scope:
    """Return the scope of a path relative to the data directory, or None for all of it."""
    inside = b"." if path is None else os.path.normpath(os.fsencode(path))
    return Scope(b"" if inside == b"." else inside, user)


TellGone = Callable[[Gone, bool], object]
"""Is told of a document that is gone, and whether somebody said that it was to go."""


class Shrunken(NamedTuple):
    """A whole history that lost chats by accident: what of it is not acknowledged, and what is."""

    target: Target
    lost: Lost


class LossCounts(NamedTuple):
    """How many histories lost chats by accident, how many documents are gone, and of how many it
    was said that something of it was meant.
    """

    shrunken: int
    gone: int
    acknowledged: int


def report_shrunken(
    repository: Repository,
    data: str,
    scope: Scope,
    state: str,
    monitor: Monitor,
    *,
    infos: bool = False,
    looked: Looked | None = None,
) -> LossCounts:
    """Report every whole history that lost chats by accident, and every document that is gone;
    return how many there are.

    ``state`` is the folder of journals, which tell what cleanups removed, and of what was
    acknowledged, which is reported only if ``infos`` are wanted; ``looked`` is told what was seen.
    Raise RepositoryError if the repository cannot be read.
    """
    shrunken = gone = acknowledged = 0

    def tell_gone(one: Gone, meant: bool) -> None:
        nonlocal gone, acknowledged
        gone += not meant
        acknowledged += meant
        if not meant:
            monitor.report(gone_finding(one))
        elif infos:
            monitor.report(_acknowledged(one.target, "it is there no more"))

    for target, lost in find_losses(
        repository, data, scope, state, monitor, tell_gone, looked=looked
    ):
        if lost.vanished:
            shrunken += 1
            count, snapshot = len(lost.vanished), newest_of(lost.vanished)
            monitor.report(shrunken_finding(data, target, count, snapshot))
        if lost.acknowledged:
            acknowledged += 1
            if infos:
                what = f"{len(lost.acknowledged):,} of its chats vanished at once"
                monitor.report(_acknowledged(target, what))
    return LossCounts(shrunken, gone, acknowledged)


def find_losses(
    repository: Repository,
    data: str,
    scope: Scope,
    state: str,
    monitor: Monitor,
    tell_gone: TellGone,
    *,
    looked: Looked | None = None,
) -> Iterator[Shrunken]:
    """Yield every whole history that lost chats by accident, and tell of every document that is
    gone and that no operation of ours removed. Raises as report_shrunken does.
    """
    check_tombstones(repository)
    with open_root(data) as root:
        goods = LastGoods(repository, root, Journals(state), monitor)

        def tell(gone: Gone) -> None:
            why = goods.why_gone(gone)
            if why is None and looked is not None:
                looked.add_gone(gone)
            if why != "removed":
                tell_gone(gone, why == "acknowledged")

        keeping = monitor if looked is None else KeepingFailures(monitor, looked)
        for target in suspects(repository, root, scope, keeping, tell):
            if looked is not None:
                looked.suspects.append(target)
            live = read_target(root, target)
            try:
                history = read_chats(target.name, live.data or b"") if live is not None else None
            except Unparsable:
                continue  # that is another finding
            if history is not None:
                lost = goods.lost(target, history)
                if lost.vanished or lost.acknowledged:
                    yield Shrunken(target, lost)


def suspects(
    repository: Repository,
    root: int,
    scope: Scope,
    monitor: Monitor,
    tell_gone: Callable[[Gone], object],
    *,
    every: bool = False,
) -> Iterator[Target]:
    """Yield the histories that may have lost chats by accident, going by how many they held; tell
    of documents that are gone altogether on the way.

    ``every``: those that may have lost any. ``root`` is the open data directory. What cannot be
    read is reported.
    """
    failures: list[RepositoryError] = []
    roots = read_roots(repository, failures)[-LOOK_BACK:]
    keyring = repository.keyring()
    keys = repository.keys
    only = keys.user_pseudonym(scope.owner) if scope.owner is not None else None
    buckets = range(BUCKETS) if scope.owner is None else [keys.user_bucket(scope.owner)]
    with monitor.task("Comparing with snapshots", len(buckets), "buckets") as progress:
        for bucket in buckets:
            owners = keyring.bucket(bucket)
            reader = SectionReader(repository.storage, keys, bucket, [])
            for pseudonym, rows in _rows(reader, roots, bucket, only, failures).items():
                records: list[Dated] = []
                for row, moment in rows:
                    try:
                        record = None
                        if row.length:
                            mine, stones = owners.get(pseudonym, []), keyring.tombstones
                            record = open_record(
                                reader, pseudonym, row, mine, stones, moment.sequence
                            )
                        records.append(Dated(moment, record))
                    except OwnerErased:
                        records.clear()  # what was before is not to come back
                    except RepositoryError as error:
                        failures.append(error)
                owner = _owner_of(records)
                if owner is None:
                    continue
                yield from _of_owner(root, owner, records, scope, every=every)
                for gone in gone_of(root, owner, records):
                    if scope.covers(gone.target):
                        tell_gone(gone)
            progress.advance(1)
    for failure in failures:
        monitor.report(_unreadable(failure))


def read_target(root: int, target: Target) -> Live | None:
    """Read a live document; None if it is not there, or is a link or the like: validate says so."""
    try:
        folder = open_folder(root, target.path.rpartition(b"/")[0])
    except OSError:
        return None
    try:
        return read_live(folder, target.file_name, target.kind)
    except OSError:
        return None
    finally:
        os.close(folder)


def _rows(
    reader: SectionReader,
    roots: Iterable[Root],
    bucket: int,
    only: bytes | None,
    failures: list[RepositoryError],
) -> dict[bytes, list[tuple[Row, Moment]]]:
    """Return where the records of each owner lie, oldest first, each with a snapshot that has it;
    of records of the same documents as they were, one.
    """
    found: dict[bytes, list[tuple[Row, Moment]]] = {}
    seen: set[Layer] = set()
    for moment in moments_of(roots, bucket):
        for layer in moment.layers:
            if layer in seen:
                continue
            seen.add(layer)
            try:
                for pseudonym, row in reader.rows_of(layer):
                    if only in (None, pseudonym):
                        _put(found.setdefault(pseudonym, []), row, moment)
            except RepositoryError as error:
                failures.append(error)
    return found


def _put(rows: list[tuple[Row, Moment]], row: Row, moment: Moment) -> None:
    last = rows[-1][0] if rows else None
    same = last is not None and last.signature == row.signature != _NEVER
    if same and row.length and last is not None and last.length:
        rows[-1] = row, moment
    else:
        rows.append((row, moment))


def _owner_of(records: Iterable[Dated]) -> bytes | None:
    """Return the name of the user whose records these are; None if it is none."""
    known = [dated.record for dated in records if dated.record is not None]
    if not known or any(record.shared for record in known):
        return None
    return known[0].owner if is_plain_name(known[0].owner) else None


def _of_owner(
    root: int, owner: bytes, records: list[Dated], scope: Scope, *, every: bool
) -> Iterator[Target]:
    """Yield the histories of one owner that are worth a closer look."""
    versions: dict[Target, list[FileEntry]] = {}
    for _, record in records:
        for entry in files(record) if record is not None else ():
            target = Target(owner, entry.place, entry.name)
            if target.is_of_the_application and scope.covers(target):
                versions.setdefault(target, []).append(entry)
    for target, entries in sorted(versions.items()):
        was_suspect = any(_is_suspect(*pair, every) for pair in pairwise(entries))
        if was_suspect or _is_suspect_now(root, target, entries[-1], every):
            yield target


def _is_suspect(before: FileEntry, after: FileEntry, every: bool) -> bool:
    unclear = before.state != FileState.WHOLE or after.state != FileState.WHOLE
    return unclear or _is_less(before, after.chats, after.messages, every)


def _is_less(before: FileEntry, chats: int, messages: int, every: bool) -> bool:
    """Whether a history that held what ``before`` says may have lost chats by accident."""
    if every:
        return chats < before.chats or messages < before.messages
    fewer = chats < before.chats or messages < before.messages
    return fewer and chats > 0 and before.chats >= LEAST_LOST


def _is_suspect_now(root: int, target: Target, entry: FileEntry, every: bool) -> bool:
    """Whether the live history is another one than the newest snapshot holds, and holds less."""
    if entry.state != FileState.WHOLE:
        return True
    try:
        folder = open_folder(root, target.path.rpartition(b"/")[0])
        try:
            seen = os.stat(target.file_name, dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)
    except OSError:
        return False
    if same_stat(entry, seen):
        return False
    live = read_target(root, target)
    if live is None or live.data is None:
        return False
    now = outline(target.kind, target.file_name, live.data)
    return now.state == "whole" and _is_less(entry, now.chats, now.messages, every)


def shrunken_finding(data: str, target: Target, lost: int, snapshot: bytes) -> Finding:
    """Return the finding that says of a history how many chats vanished, which snapshot holds
    them, and what command brings them back.
    """
    path = os.fsdecode(target.path)
    whole = os.path.join(data, path)
    command, acknowledging = "shenyu-data repair", "shenyu-data findings ack USER"
    if printable(target.path) == path:
        command += f" {shlex.quote(whole)}"
        acknowledging = f"shenyu-data findings ack {shlex.quote(os.fsdecode(target.user))}"
    return Finding(
        code="shrunken-history",
        severity="warning",
        path=printable(target.path),
        message=f"{lost:,} of its chats vanished at once, as when the application takes a torn "
        f"history for empty; snapshot {snapshot.hex()[:8]} still holds them",
        hint=f"`{command}` brings them back, and keeps what was written since. If somebody meant "
        f"to remove them, `{acknowledging} --reason WHY` says so.",
    )


def _acknowledged(target: Target, what: str) -> Finding:
    return Finding(
        code="acknowledged-loss",
        severity="info",
        path=printable(target.path),
        message=f"{what}, and somebody said that this was meant",
        hint="`shenyu-data findings list` says who, when and why; `findings revoke` takes it back.",
    )


def _unreadable(error: RepositoryError) -> Finding:
    return Finding(
        code=error.code,
        severity="error",
        path="",
        message=f"a snapshot, or a user's record in one, cannot be compared: {error.message}",
        hint=error.hint or "`shenyu-data verify --read-data` names all that is affected.",
    )
