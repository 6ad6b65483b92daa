"""The parts of a snapshot that is being made: what each bucket is made of, and new owners' keys.

For backup and copy, which add buckets as their workers finish them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.repository.format import KEYRING_ROW, Root, Totals
from shenyu_data.repository.keyring import rewrite_keyrings, write_keyring
from shenyu_data.repository.manifest import Layer, ManifestWriter, RootBuckets, Section, layers_of
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import (
    Tombstones,
    erased_under_a_newer_key,
    read_tombstones,
)

MAX_LAYERS = 12
"""A bucket with this many sections is written whole again by whoever changes it next."""


class SnapshotParts:
    """Begins with the buckets as they are in ``base``, which the repository holds."""

    def __init__(self, repository: Repository, snapshot: bytes, base: Root | None) -> None:
        self._repository = repository
        self._snapshot = snapshot
        self._manifests = ManifestWriter(repository.storage)
        self._new_keys: dict[int, bytes] = {}  # packed: there may be millions
        self._layers: dict[int, list[Layer]] = {}
        self._totals: dict[int, Totals] = {}
        if base is not None:
            for bucket, ref in base.buckets.items():
                self._layers[bucket] = layers_of(base, bucket)
                self._totals[bucket] = ref.totals

    @property
    def buckets(self) -> Collection[int]:
        """The buckets that hold anything, or did."""
        return self._layers.keys()

    def layers(self, bucket: int) -> list[Layer]:
        """Return the sections that a bucket is made of, oldest first."""
        return self._layers.get(bucket, [])

    def overgrown(self, bucket: int) -> bool:
        """Whether a bucket should be written whole: many sections, or more in deltas than in the
        first.
        """
        layers = self.layers(bucket)
        deltas = sum(layer.index_bytes for layer in layers[1:])
        return len(layers) >= MAX_LAYERS or (bool(layers) and deltas > layers[0].index_bytes)

    def totals(self, bucket: int) -> Totals:
        """Return what a bucket adds up to."""
        return self._totals.get(bucket, Totals())

    def add(
        self,
        bucket: int,
        section: Section | None,
        totals: Totals,
        new_keys: Iterable[tuple[bytes, bytes]],
        *,
        rewritten: bool,
    ) -> None:
        """Put a section on top of a bucket, or in place of all it had if it is ``rewritten``.

        ``new_keys`` are (pseudonym, key) rows, those of the bucket that are not stored yet: they
        take the place of any that were given before.
        """
        layers = [] if rewritten else self.layers(bucket)
        if section is not None:
            layers = [*layers, Layer(self._snapshot, *self._manifests.add(section))]
        self._layers[bucket] = layers
        self._totals[bucket] = totals
        packed = b"".join(KEYRING_ROW.pack(*row) for row in new_keys)
        if packed:
            self._new_keys[bucket] = packed
        else:
            self._new_keys.pop(bucket, None)

    def store_keys(self) -> int:
        """Store the new owners' keys; return the bytes stored, 0 if there are no new owners."""
        if not self._new_keys:
            return 0
        repository = self._repository
        rows = {
            bucket: KEYRING_ROW.iter_unpack(packed) for bucket, packed in self._new_keys.items()
        }
        return write_keyring(repository.storage, repository.keys, rows)

    def check_nobody_was_erased(
        self, known: Tombstones, left_out: Collection[bytes], otherwise: ShenyuDataError
    ) -> Tombstones:
        """Return the tombstones as they are now. If somebody was erased who is not among ``known``
        ones and not ``left_out``, destroy that owner's new keys and raise ``otherwise``.

        An erasure first stores its tombstone, then destroys the keys it finds; whoever makes a
        snapshot first stores its keys, then looks for tombstones: one of the two sees the other.
        """
        storage, keys = self._repository.storage, self._repository.keys
        now = read_tombstones(storage, keys, [])
        lately = {stone.pseudonym for stone in now.since(known)}.difference(left_out)
        hidden = now.hides_more_than(known)
        if lately or hidden:
            mine = {
                row
                for packed in self._new_keys.values()
                for row in KEYRING_ROW.iter_unpack(packed)
                if hidden or row[0] in lately
            }
            # Only these: somebody else may have met an owner again who had come back.
            buckets = {pseudonym[0] for pseudonym, _ in mine}
            rewrite_keyrings(storage, keys, buckets, lambda *row: row not in mine)
            if hidden:
                raise erased_under_a_newer_key()
            raise otherwise
        return now

    def store_manifests(self) -> int:
        """Store what is not stored yet of the manifests; return the bytes of all of them."""
        self._manifests.finish()
        return self._manifests.stored_bytes

    def in_root(self, root: Root) -> Root:
        """Return ``root`` with these buckets and their totals."""
        buckets = RootBuckets()
        totals = Totals()
        for bucket in sorted(self._layers):
            buckets.add(bucket, self._layers[bucket], self._totals[bucket])
            totals = totals.plus(self._totals[bucket])
        return msgspec.structs.replace(
            root,
            totals=totals,
            origins=buckets.origins,
            manifests=buckets.manifests,
            buckets=buckets.buckets,
        )
