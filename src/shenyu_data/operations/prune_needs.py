"""What snapshots need of a repository: their layers by bucket, and the names of all objects. For
prunes, and for whoever must know that what a new snapshot needs is not being deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.operations.prune_tasks import Stack, UsageTask, find_usage
from shenyu_data.repository.format import MANIFESTS, MOVED, PACKS, parse_object_name
from shenyu_data.repository.manifest import Layer
from shenyu_data.repository.moves import moved_packs
from shenyu_data.repository.repository import Repository


class Stacks:
    """The layers of all snapshots by bucket; equal layers are one value in memory."""

    def __init__(self) -> None:
        self.kept: dict[int, list[Stack]] = {}
        self.dropped: dict[int, list[Stack]] = {}
        self.manifests: set[str] = set()
        self.documents = 0
        self._layers: dict[tuple[bytes, bytes, int, int, int], Layer] = {}

    def add(self, repository: Repository, snapshot: bytes, *, kept: bool) -> None:
        """Add a snapshot. Raise RepositoryError if it cannot be read."""
        root = repository.root(snapshot)
        stacks = self.kept if kept else self.dropped
        known_layers = self._layers
        for bucket, ref in root.buckets.items():
            layers = []
            for section in ref.sections:
                layer = (  # as layers_of; but nearly always there is one like it already
                    root.origins[section.origin],
                    root.manifests[section.manifest],
                    section.offset,
                    section.records_bytes,
                    section.index_bytes,
                )
                layers.append(
                    known_layers.get(layer) or known_layers.setdefault(layer, Layer(*layer))
                )
            mine = tuple(layers)
            known = stacks.setdefault(bucket, [])
            if known and known[-1].layers == mine:
                known.pop()
            known.append(Stack(mine, root.sequence))
        if kept:
            self.manifests.update(f"{MANIFESTS}/{manifest.hex()}" for manifest in root.manifests)
        self.documents = max(self.documents, root.totals.documents)


def needed_objects(
    repository: Repository, snapshots: Iterable[bytes], *, gone: Set[str] = frozenset()
) -> set[str]:
    """Return the names of the packs, manifests and moves that some snapshots need.

    Raise RepositoryError if any of it cannot be read, is missing, or as good as ``gone``.
    """
    stacks = Stacks()
    for snapshot in snapshots:
        stacks.add(repository, snapshot, kept=True)
    storage = repository.storage
    packs = frozenset(
        id_of(info.name)
        for info in storage.list(PACKS)
        if is_in(PACKS, info.name) and info.name not in gone
    )
    moved = moved_packs(storage)
    usage = find_usage(UsageTask(repository, stacks.kept, packs=packs, moved=moved))
    for _, error in usage.damages:
        raise error
    needed = {
        *stacks.manifests,
        *(f"{PACKS}/{pack.hex()}" for pack in usage.live),
        *(f"{MOVED}/{pack.hex()}" for pack in usage.tables),
    }
    for name in sorted(needed & gone):
        raise ObjectMissing(f"{name} is being deleted")
    for pack in sorted(usage.live.keys() - packs):
        raise ObjectMissing(f"the object {PACKS}/{pack.hex()} is missing from {storage.location}")
    return needed


def is_in(folder: str, name: str) -> bool:
    """Whether this names an object, no copy and no stranger's file, of the folder."""
    return name.startswith(f"{folder}/") and parse_object_name(name) is not None


def id_of(name: str) -> bytes:
    """Given an object's name, return its id."""
    return bytes.fromhex(name.partition("/")[2])
