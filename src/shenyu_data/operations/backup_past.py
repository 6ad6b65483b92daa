"""What a backup finds in the repository: the snapshots there are, and who was erased.

For operations/backup.py and operations/backup_capture.py.
"""

from __future__ import annotations

from collections.abc import Collection

from shenyu_data.model.errors import RepositoryError, ShenyuDataError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.erasure import sweep_dead_keys
from shenyu_data.repository.format import KEYRINGS, SNAPSHOTS, TOMBSTONES, TWICE, Snapshot
from shenyu_data.repository.keyslots import read_slots
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstones, read_tombstones


def find_past(repository: Repository, monitor: Monitor) -> tuple[list[Snapshot], Tombstones]:
    """Return the snapshots, oldest first, and who was erased. Second copies that are missing are
    stored again.
    """
    # Without a rotation there are no older keys to be kept twice.
    folders = TWICE if repository.keys.older else (KEYRINGS, SNAPSHOTS, TOMBSTONES)
    listed: dict[str, set[str]] = {}
    mended = mend_copies(repository.storage, folders, listed)
    if any(name.startswith(KEYRINGS) for name in mended):
        # Perhaps of an erasure that was just destroying it.
        sweep_dead_keys(repository.storage, repository.keys)
    for name in mended:
        monitor.report(
            Finding(
                code="copy-mended",
                severity="info",
                path=name,
                message="this second copy was missing and was stored again",
                hint="An interrupted backup leaves this; if there was none, check the disk.",
            )
        )
    failures: list[RepositoryError] = []
    snapshots = repository.snapshots(failures, listed[SNAPSHOTS])
    for error in failures:
        monitor.report(damaged_parent(error))
    tombstones = erased_until_now(repository, listed[TOMBSTONES])
    if tombstones.unreadable:
        check_not_rotated(repository)
    return snapshots, tombstones


def erased_until_now(repository: Repository, names: Collection[str] | None = None) -> Tombstones:
    """Return who was erased; those that cannot be read are counted. ``names`` are the tombstones
    there are, if they were listed already.
    """
    return read_tombstones(repository.storage, repository.keys, [], names)


def check_not_rotated(repository: Repository) -> None:
    """Raise ShenyuDataError if the parent cannot be read because its owners' keys are sealed anew:
    a snapshot that goes without it lacks the last good versions of what is torn now.
    """
    slots = read_slots(repository.storage, []).values()
    if any(slot.generation > repository.keys.generation for slot in slots):
        raise ShenyuDataError(
            "the repository key was rotated while the backup ran; no snapshot was stored",
            hint="Run the backup again.",
        )


def damaged_parent(error: RepositoryError) -> Finding:
    """Return what to say of a snapshot, or of a part of the parent, that cannot be read."""
    return Finding(
        code="parent-damaged",
        severity="error",
        path="",
        message=f"an earlier snapshot cannot be read ({error.message}); "
        "what depends on it is read anew from the data directory",
        hint="Run `shenyu-data verify --read-data` to see what is affected.",
    )
