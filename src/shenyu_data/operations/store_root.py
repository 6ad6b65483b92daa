"""Storing a snapshot beside prunes and erasures: the last step of a backup and of a copy."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress

from shenyu_data.model.errors import ObjectMissing, RepositoryError, ShenyuDataError
from shenyu_data.operations.prune_needs import needed_objects
from shenyu_data.repository.format import COPY_SUFFIX, MANIFESTS, ObjectKind, Root, object_name
from shenyu_data.repository.prunes import PruneWatch
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids, write_root
from shenyu_data.repository.tombstones import Tombstones, extend_tombstones


def store_root(
    repository: Repository,
    root: Root,
    watch: PruneWatch,
    packs: Set[str],
    relies_on: Root | None,
    tombstones: Tombstones,
    *,
    just_read: bool = False,
) -> int:
    """Store a snapshot's root, twice; after this the snapshot exists. Return the bytes stored.

    ``watch`` was made before anything was read of the repository; ``packs`` are those written for
    this snapshot, ``relies_on`` the one it takes the rest from. A prune stores what it is about to
    delete and then looks for snapshots; here the snapshot is stored, and then that is looked for:
    one of the two sees the other. If there was a prune, all that the snapshot needs is looked for.
    ``tombstones`` are those of which it is known that the snapshot holds nobody they mean. Whoever
    was erased since is in it, unreadable, and other tombstones are stored that cover it: before it
    is (unless they were ``just_read``, and nothing was stored since), and once more after, for an
    erasure that looked for snapshots when it was not there yet.

    Raise ShenyuDataError if a prune deleted something that the snapshot may need, or if it cannot
    be told who was erased since: then there is none.
    """
    uses = packs | {f"{MANIFESTS}/{item.hex()}" for item in root.manifests}
    if not _is_safe(repository, watch, uses, relies_on):
        raise _pruned()
    storage, keys = repository.storage, repository.keys
    if not just_read:
        extend_tombstones(storage, keys, tombstones, root.sequence)
    stored = write_root(storage, keys, root)
    try:
        extend_tombstones(storage, keys, tombstones, root.sequence)
        if watch.pruned() and not _is_whole(repository, root, watch.deleted()):
            raise _pruned()
    except ShenyuDataError:
        name = object_name(ObjectKind.SNAPSHOT, root.id)
        for copy in (name, name + COPY_SUFFIX):
            with suppress(ObjectMissing):
                storage.delete(copy)
        raise
    return stored


def _is_safe(
    repository: Repository, watch: PruneWatch, uses: Set[str], relies_on: Root | None
) -> bool:
    """Whether nothing that the snapshot may need was deleted. What it needs of the one it relies on
    is not looked at as long as that is there.
    """
    deleted = watch.deleted()
    if not deleted:
        return True
    is_there = relies_on is None or relies_on.id in set(snapshot_ids(repository.storage))
    return is_there and not deleted & uses


def _is_whole(repository: Repository, root: Root, deleted: Set[str]) -> bool:
    """Whether all that a snapshot needs is there, and nothing of it about to be deleted."""
    try:
        needed_objects(repository, [root.id], gone=deleted)
    except RepositoryError:
        return False
    return True


def _pruned() -> ShenyuDataError:
    return ShenyuDataError(
        "a prune deleted what this snapshot was about to use; it was not stored",
        hint="Run it again, and prune with a grace longer than a backup or a copy takes.",
    )
