"""Users and histories that snapshots hold and that are there no more. Called by whoever looks for
losses, with the records of one owner after the other.

The application removes no document. Nobody can tell whether a person did, or a disk: so they are
named, and brought back only by who asks for it. docs/design/repair.md says which are named.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shenyu_data.model.archive_document import history_of_archive
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import ARCHIVE_SUFFIX, GZIP_SUFFIX, JSON_SUFFIX, Place, path_of
from shenyu_data.operations.backup_entries import same_stat
from shenyu_data.operations.past import Moment, files
from shenyu_data.operations.repair_document import Target
from shenyu_data.repository.format import FileEntry, FileState, OwnerRecord

GONE = "gone-document"
"""The code of a document that is there no more, and that nothing explains."""


class Dated(NamedTuple):
    """What an owner's record says from a snapshot on; None: there was nothing of the owner."""

    moment: Moment
    record: OwnerRecord | None


class Gone(NamedTuple):
    """A document that is gone, and the newest snapshot that is known to hold it."""

    target: Target
    moment: Moment


def gone_of(root: int, owner: bytes, records: Sequence[Dated]) -> Iterator[Gone]:
    """Yield the documents of one owner that are gone. ``records`` are oldest first, ``root`` is the
    open data directory.
    """
    newest: dict[Target, tuple[FileEntry, Dated]] = {}
    for number, dated in enumerate(records):
        following = records[number + 1].moment.snapshot if number + 1 < len(records) else b""
        if following == dated.moment.snapshot:
            continue  # that snapshot is based on it, and says something newer
        for entry in files(dated.record) if dated.record is not None else ():
            target = Target(owner, entry.place, entry.name)
            if target.kind != "other":
                newest[target] = entry, dated
    for target, (entry, dated) in sorted(newest.items()):
        if _holds_something(entry) and not _is_there(root, target, dated):
            yield Gone(target, dated.moment)


def _holds_something(entry: FileEntry) -> bool:
    if entry.state == FileState.UNREADABLE:
        return entry.good is not None
    is_empty = entry.state == FileState.WHOLE and not entry.chats and not entry.messages
    return entry.place in (Place.USER_FILE, Place.USER_FILE_GZIP) or not is_empty


def _is_there(root: int, target: Target, dated: Dated) -> bool:
    """Whether a document is there, or what stands for it."""
    if _stat(root, target.path) is not None:
        return True
    path = target.path
    if path.endswith(ARCHIVE_SUFFIX):
        return _is_unpacked(root, target, dated)
    is_gzip = path.endswith(GZIP_SUFFIX)
    twin = path.removesuffix(b".gz") if is_gzip else path.removesuffix(JSON_SUFFIX) + GZIP_SUFFIX
    return _stat(root, twin) is not None


def _is_unpacked(root: int, target: Target, dated: Dated) -> bool:
    """Whether the history of an archive is another one by now: it may have got the chats back."""
    name = history_of_archive(target.name)
    seen = _stat(root, path_of(target.user, target.place, name))
    if seen is None or dated.record is None:
        return False
    was = [
        entry for entry in files(dated.record) if (entry.place, entry.name) == (target.place, name)
    ]
    return not was or not same_stat(was[0], seen)


def _stat(root: int, path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:
        return os.stat(root)  # something is there that cannot be looked at: validate says so


def gone_finding(gone: Gone) -> Finding:
    """Return what to say of a document that is gone."""
    user = os.fsdecode(gone.target.user)
    who = shlex.quote(user) if printable(gone.target.user) == user else "USER"
    return Finding(
        code="gone-document",
        severity="warning",
        path=printable(gone.target.path),
        message=f"it is there no more; snapshot {gone.moment.snapshot.hex()[:8]} holds it",
        hint=f"`shenyu-data repair --gone --user {who}` brings back what is gone of the user; if "
        f"somebody meant to remove it, `shenyu-data findings ack {who} --reason WHY` says so.",
    )
