"""The safety snapshot: what is there is saved before live data is changed. Called by whatever
restores, imports, archives, or takes that back.
"""

from __future__ import annotations

from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.journal import Journal
from shenyu_data.operations.journal import Saved as SavedIn
from shenyu_data.operations.restore_wanted import Saved
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.repository import Repository


def save_first(
    data: str,
    repository: Repository,
    journal: Journal,
    monitor: Monitor,
    user: bytes | None,
    jobs: int,
    tag: str,
) -> Saved:
    """Take the safety snapshot, of one user or of all, and note it in the journal."""
    backup_options = BackupOptions(
        only_users=frozenset([user]) if user is not None else None,
        safety=True,
        tag=tag,
        jobs=jobs,
        watch=Watch(state=journal.folder),
    )
    stats = backup(data, repository, backup_options, monitor)
    journal.write(SavedIn(stats.snapshot))
    return Saved(repository, stats.snapshot)
