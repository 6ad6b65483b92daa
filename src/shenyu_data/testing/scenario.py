"""A repository with a past: snapshots, and what each must restore to. For tests that do it harm.

Every check here is made from outside, through the operations a person would use.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.restore import RestoreOptions, RestoreStats, restore
from shenyu_data.operations.tripwires import Watch
from shenyu_data.operations.verify import VerifyOptions, VerifyStats, verify
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.receipts import (
    RECEIPT_FORMAT,
    RECEIPT_VERSION,
    BackupsErased,
    LiveErased,
    Receipt,
    Reservation,
    SignedReceipt,
    StorageTold,
    public_key_pem,
    sign_receipt,
)
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.application import Application, chat, rich_directory, settle
from shenyu_data.testing.tree import Tree, read_tree

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - of tests


class Taken(NamedTuple):
    """A snapshot that was taken, and the data directory as it was then."""

    snapshot: bytes
    tree: Tree
    stats: BackupStats
    findings: list[Finding]


class Restored(NamedTuple):
    """What a restore gave; ``error`` if the snapshot could not be opened at all."""

    tree: Tree
    stats: RestoreStats | None
    findings: list[Finding]
    error: RepositoryError | None


class Verified(NamedTuple):
    """What a verification said."""

    stats: VerifyStats
    findings: list[Finding]

    @property
    def errors(self) -> dict[str, Finding]:
        """The errors by the object they name."""
        return {item.path: item for item in self.findings if item.severity == "error"}


def take(
    repository: Repository,
    data: Application,
    *,
    full: bool = False,
    jobs: int = 1,
    watch: Watch | None = None,
) -> Taken:
    """Let the data directory settle and back it up. By default no tripwire looks: tests do on
    purpose what would trip them.
    """
    settle(data.folder)
    tree = read_tree(data.folder)
    monitor = CollectingMonitor()
    options = BackupOptions(full=full, jobs=jobs, watch=watch)
    stats = backup(str(data.folder), repository, options, monitor)
    return Taken(stats.snapshot, tree, stats, monitor.findings)


def bring_back(
    repository: Repository, snapshot: bytes, *, overwrite: str = "", last_good: bool = False
) -> Restored:
    """Restore a snapshot into a new folder (or over the folder ``overwrite``) and look at it."""
    monitor = CollectingMonitor()
    with tempfile.TemporaryDirectory(prefix="shenyu-data-test-") as temporary:
        target = overwrite or f"{temporary}/restored"
        options = RestoreOptions(overwrite=bool(overwrite), last_good=last_good)
        try:
            stats = restore(repository, repository.root(snapshot), target, options, monitor)
        except RepositoryError as error:
            return Restored(Tree({}, frozenset()), None, monitor.findings, error)
        return Restored(read_tree(target), stats, monitor.findings, None)


def check_whole(repository: Repository, taken: Taken) -> None:
    """Assert that a snapshot restores to exactly what it was taken of, without a word."""
    restored = bring_back(repository, taken.snapshot)
    assert restored.error is None
    assert restored.findings == []
    assert restored.tree == taken.tree


def look(repository: Repository, *, read: bool = True) -> Verified:
    """Verify a repository, reading every byte or only what is not in packs."""
    monitor = CollectingMonitor()
    stats = verify(repository, VerifyOptions(read_percent=100.0 * read), monitor)
    return Verified(stats, monitor.findings)


def some_receipt(keys: Secrets) -> SignedReceipt:
    """Return the receipt of an erasure that never was."""
    receipt = Receipt(
        format=RECEIPT_FORMAT,
        version=RECEIPT_VERSION,
        user="carol 莲",
        user_bytes_hex="carol 莲".encode().hex(),
        repository=keys.repository_id.hex(),
        pseudonym=keys.user_pseudonym("carol 莲".encode()).hex(),
        erased_at="2026-03-08T11:12:13Z",
        completed_at="2026-03-08T11:12:14Z",
        erased_for_good_at=None,
        live=LiveErased(documents=2, document_bytes=34, overwritten=1, links=0),
        backups=BackupsErased(snapshots=3, keys=["00" * 16]),
        storage=StorageTold(keeps_versions=None, versions_kept_s=None),
        reservations=[Reservation(code="hard-link-remains", count=1)],
        reason="asked for",
        program="shenyu-data 0.1.0",
        public_key=public_key_pem(keys),
    )
    return sign_receipt(keys, receipt)


def copy_in_memory(repository: Repository) -> Repository:
    """Return a repository that lies in memory anew: to be changed, and no key is derived again."""
    assert isinstance(repository.storage, MemoryStorage)
    storage = MemoryStorage()
    storage.objects.update(repository.storage.objects)
    return Repository(storage, repository.keys)


class Past(NamedTuple):
    """A repository in memory, the data directory behind it, and its snapshots, oldest first."""

    repository: Repository
    recovery_key: str
    data: Application
    taken: list[Taken]

    def copy(self) -> Repository:
        """Return the repository anew, to be damaged."""
        return copy_in_memory(self.repository)


def rich_past(folder: Path, storage: Storage | None = None) -> Past:
    """Take five snapshots, full and incremental, of a directory in which everything happens."""
    storage = MemoryStorage() if storage is None else storage
    repository, recovery_key = create_repository(storage, PASSPHRASE)
    data = rich_directory(folder)
    taken = [take(repository, data, full=True)]
    data.prepend_chat("bob", chat(900))
    data.add_user("dave", [chat(300), chat(301)])
    data.remove("histories/alice/7.json")
    data.write("notes.txt", b"other bytes, kept as well\n")
    taken.append(take(repository, data))
    data.prepend_chat("bob", chat(901))
    data.prepend_chat(f"{5:064x}", chat(902))
    data.remove("users/carol.json")
    taken.append(take(repository, data))
    taken.append(take(repository, data, full=True))
    data.add_user("erin", [chat(400)])
    data.prepend_chat(f"{5:064x}", chat(903))
    taken.append(take(repository, data))
    return Past(repository, recovery_key, data, taken)
