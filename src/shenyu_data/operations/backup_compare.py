"""What the workers of a backup do first: compare the owners of some buckets with the parent, by
stat alone.

Each task and each result is a value that can be pickled; a worker keeps nothing between tasks.
"""

from __future__ import annotations

import stat

import msgspec

from shenyu_data.datadir.scan import (
    DataFolders,
    Scan,
    describe,
    scan_shared,
    scan_user,
    special_file,
)
from shenyu_data.datadir.survey import Owners
from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.backup_work import BucketWork, Listed
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.manifest import Row, SectionReader
from shenyu_data.repository.repository import Repository


class CompareTask(msgspec.Struct):
    """Buckets whose owners are to be compared with the parent by stat alone."""

    repository: Repository
    data: str
    work: list[BucketWork]
    listed: Listed
    buried: frozenset[bytes]
    """Pseudonyms with a tombstone: the parent may hold them, unreadable."""


class Compared(msgspec.Struct):
    """Which owners of a bucket changed. ``damaged``: the parent's section cannot be read."""

    bucket: int
    changed: Owners
    gone: list[bytes]
    findings: list[Finding]
    complete: bool
    damaged: RepositoryError | None = None


def compare(task: CompareTask) -> list[Compared]:
    """Scan every owner of some buckets and tell which differ from the parent snapshot."""
    with DataFolders(task.data) as folders:
        return [_compare_bucket(task, folders, work) for work in task.work]


def _compare_bucket(task: CompareTask, folders: DataFolders, work: BucketWork) -> Compared:
    repository = task.repository
    keys = repository.keys
    result = Compared(work.bucket, Owners([], []), [], [], True)
    reader = SectionReader(repository.storage, keys, work.bucket, work.layers)
    try:
        rows = reader.rows()
    except RepositoryError as error:
        result.damaged = error
        return result
    for pseudonym in task.buried & rows.keys():
        owner_keys = repository.keyring().bucket(work.bucket).get(pseudonym, [])
        if not opens(reader, pseudonym, rows[pseudonym], owner_keys):
            # The capture drops what else the bucket holds of erased owners.
            del rows[pseudonym]
            result.gone.append(pseudonym)
    for owner in work.owners.users:
        scan = scan_user(folders, owner, compressed=owner in work.owners.compressed)
        pseudonym = keys.user_pseudonym(owner)
        if _differs(repository, scan, rows.pop(pseudonym, None), owner, result):
            result.changed.users.append(owner)
            if owner in work.owners.compressed:
                result.changed.compressed |= {owner}
    pseudonym = keys.shared_pseudonym(work.bucket)
    row = rows.pop(pseudonym, None)
    if row is not None or work.owners.shared:
        scan = scan_shared(folders, work.owners.shared, complete=task.listed.shared)
        if _differs(repository, scan, row, b"", result):
            result.changed.shared.extend(work.owners.shared)
            if not scan.entries and row is not None and scan.complete:
                result.gone.append(pseudonym)
    if task.listed.users:
        result.gone += rows
    return result


def opens(reader: SectionReader, pseudonym: bytes, row: Row, keys: list[OwnerKeys]) -> bool:
    """Whether an owner's record can be read."""
    try:
        reader.record(pseudonym, row, keys)
    except RepositoryError:
        return False
    return True


def _differs(
    repository: Repository, scan: Scan, row: Row | None, owner: bytes, result: Compared
) -> bool:
    result.findings += special_files(scan, owner)
    result.complete &= scan.complete
    if not scan.entries and row is None:
        return bool(scan.findings)
    if row is None or not scan.complete:
        return True
    scan.entries.sort()  # by place and name
    return repository.keys.signature(describe(scan.entries)) != row.signature


def special_files(scan: Scan, owner: bytes) -> list[Finding]:
    """Return what to say of FIFOs, sockets and devices among an owner's entries."""
    odd = [found for found in scan.entries if not stat.S_ISREG(found.stat.st_mode)]
    specials = (special_file(found, owner) for found in odd)
    return [finding for finding in specials if finding is not None]
