"""Manifests: per bucket, a section of sealed owner records and a sealed index of them.

A snapshot's root lists, for each bucket, the sections that together say what it holds: a full one,
then what changed since, oldest first; in the newest section that names an owner stands the truth.
So every root stands on its own, and dropping one snapshot leaves the others as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag

from shenyu_data.repository.crypto import NONCE_BYTES, OwnerKeys, Secrets
from shenyu_data.repository.format import (
    HEADER_BYTES,
    INDEX_ROW,
    MAX_SECTION_BYTES,
    BucketRef,
    ObjectKind,
    OwnerRecord,
    Root,
    SectionRef,
    Totals,
    damaged,
    header,
    new_id,
    object_name,
)
from shenyu_data.storage.protocol import Storage

MANIFEST_BYTES = 16 << 20
"""A manifest object is closed once it holds this much."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(OwnerRecord).decode


class Section(NamedTuple):
    """A section made by a worker, on its way into a manifest object."""

    bucket: int
    records: bytes
    sealed_index: bytes


class SectionBuilder:
    """Collects one bucket's sealed records for the snapshot ``origin``."""

    def __init__(self, keys: Secrets, origin: bytes, bucket: int) -> None:
        self._keys = keys
        self._origin = origin
        self._bucket = bucket
        self._records: list[bytes] = []
        self._size = 0
        self._rows: list[bytes] = []

    def add(
        self, pseudonym: bytes, signature: bytes, owner_keys: OwnerKeys, record: OwnerRecord
    ) -> None:
        """Add one owner's record."""
        nonce = os.urandom(NONCE_BYTES)
        bound_to = _record_bound_to(self._origin, pseudonym)
        sealed = nonce + owner_keys.record_cipher.encrypt(nonce, _encode(record), bound_to)
        if self._size + len(sealed) >= MAX_SECTION_BYTES:
            raise damaged("the new manifest", "one bucket holds more than 4 GiB of records")
        self._rows.append(INDEX_ROW.pack(pseudonym, signature, self._size, len(sealed)))
        self._records.append(sealed)
        self._size += len(sealed)

    def add_gone(self, pseudonym: bytes) -> None:
        """Say that nothing is left of an owner."""
        self._rows.append(INDEX_ROW.pack(pseudonym, bytes(16), 0, 0))

    def finish(self) -> Section | None:
        """Return the section, or None if nothing was added."""
        if not self._rows:
            return None
        bound_to = _index_bound_to(self._origin, self._bucket)
        index = self._keys.seal("indexes", b"".join(self._rows), bound_to)
        return Section(self._bucket, b"".join(self._records), index)


class ManifestWriter:
    """Gathers sections into manifest objects and tells where each went."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.stored_bytes = 0
        self._start()

    def add(self, section: Section) -> tuple[bytes, int, int, int]:
        """Take a section; return its manifest's id, offset, and the sizes of its records and its
        index.
        """
        place = (self._id, self._size, len(section.records), len(section.sealed_index))
        self._chunks += (section.records, section.sealed_index)
        self._size += len(section.records) + len(section.sealed_index)
        if self._size >= MANIFEST_BYTES:
            self._close()
        return place

    def finish(self) -> None:
        """Store what is left. After this every section is durable."""
        if len(self._chunks) > 1:
            self._close()

    def _start(self) -> None:
        self._id = new_id()
        self._chunks = [header(ObjectKind.MANIFEST)]
        self._size = HEADER_BYTES

    def _close(self) -> None:
        name = object_name(ObjectKind.MANIFEST, self._id)
        self.stored_bytes += self._storage.put(name, self._chunks)
        self._start()


class Layer(NamedTuple):
    """One section as a root refers to it, self-contained so that it can travel to a worker."""

    origin: bytes
    manifest: bytes
    offset: int
    records_bytes: int
    index_bytes: int


class Row(NamedTuple):
    """One owner in an index."""

    layer: Layer
    signature: bytes
    offset: int  # of the sealed record, from the beginning of the section
    length: int


def layers_of(root: Root, bucket: int) -> list[Layer]:
    """Given a root, return a bucket's layers, oldest first; none if the snapshot has no such
    bucket.
    """
    if bucket not in root.buckets:
        return []
    return [
        Layer(
            root.origins[ref.origin],
            root.manifests[ref.manifest],
            ref.offset,
            ref.records_bytes,
            ref.index_bytes,
        )
        for ref in root.buckets[bucket].sections
    ]


class RootBuckets:
    """Collects every bucket's layers and totals into a root's ``origins``, ``manifests`` and
    ``buckets``.
    """

    def __init__(self) -> None:
        self._origins: dict[bytes, int] = {}
        self._manifests: dict[bytes, int] = {}
        self.buckets: dict[int, BucketRef] = {}

    @property
    def origins(self) -> list[bytes]:
        """The snapshots that wrote the sections, in the order the references count them."""
        return list(self._origins)

    @property
    def manifests(self) -> list[bytes]:
        """The manifests that hold the sections, in the order the references count them."""
        return list(self._manifests)

    def add(self, bucket: int, layers: list[Layer], totals: Totals) -> None:
        """Add a bucket; one without layers is left out."""
        if layers:
            self.buckets[bucket] = BucketRef(
                [
                    SectionRef(
                        self._origins.setdefault(layer.origin, len(self._origins)),
                        self._manifests.setdefault(layer.manifest, len(self._manifests)),
                        layer.offset,
                        layer.records_bytes,
                        layer.index_bytes,
                    )
                    for layer in layers
                ],
                totals,
            )


class SectionReader:
    """Reads one bucket of a snapshot from its layers."""

    def __init__(self, storage: Storage, keys: Secrets, bucket: int, layers: list[Layer]) -> None:
        self._storage = storage
        self._keys = keys
        self._bucket = bucket
        self._layers = layers
        self._records: dict[Layer, bytes] = {}

    def rows(self) -> dict[bytes, Row]:
        """Return the owners of the bucket by pseudonym. Raise ObjectMissing or ObjectDamaged."""
        rows: dict[bytes, Row] = {}
        for layer in self._layers:
            for pseudonym, row in self.rows_of(layer):
                if row.length:
                    rows[pseudonym] = row
                else:
                    rows.pop(pseudonym, None)
        return rows

    def rows_of(self, layer: Layer) -> Iterator[tuple[bytes, Row]]:
        """Yield one layer's rows, owners that are gone included."""
        name = object_name(ObjectKind.MANIFEST, layer.manifest)
        sealed = self._storage.read(name, layer.offset + layer.records_bytes, layer.index_bytes)
        bound_to = _index_bound_to(layer.origin, self._bucket)
        index = self._keys.unseal("indexes", sealed, bound_to, name)
        if len(index) % INDEX_ROW.size:
            raise damaged(name, f"the index of bucket {self._bucket} has the wrong size")
        for pseudonym, signature, offset, length in INDEX_ROW.iter_unpack(index):
            yield pseudonym, Row(layer, signature, offset, length)

    def load(self) -> None:
        """Read all records of all layers at once, for a caller that is going to open most of
        them.
        """
        for layer in self._layers:
            self.load_layer(layer)

    def load_layer(self, layer: Layer) -> None:
        """As :meth:`load`, of one layer. Raise ObjectMissing."""
        name = object_name(ObjectKind.MANIFEST, layer.manifest)
        self._records[layer] = self._storage.read(name, layer.offset, layer.records_bytes)

    def record(self, pseudonym: bytes, row: Row, candidates: list[OwnerKeys]) -> OwnerRecord:
        """Open one owner's record. Raise ObjectMissing or ObjectDamaged, naming the manifest."""
        layer = row.layer
        if layer in self._records:
            sealed = self._records[layer][row.offset : row.offset + row.length]
        else:
            name = object_name(ObjectKind.MANIFEST, layer.manifest)
            sealed = self._storage.read(name, layer.offset + row.offset, row.length)
        bound_to = _record_bound_to(layer.origin, pseudonym)
        for keys in candidates:
            try:
                plain = keys.record_cipher.decrypt(
                    sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to
                )
            except (InvalidTag, ValueError):
                continue
            try:
                return _decode(plain)
            except (msgspec.DecodeError, RecursionError):
                why = f"the owner record at {layer.offset + row.offset} is not one"
                raise damaged(object_name(ObjectKind.MANIFEST, layer.manifest), why) from None
        name = object_name(ObjectKind.MANIFEST, layer.manifest)
        raise damaged(
            name, f"the owner record at {layer.offset + row.offset} does not authenticate"
        )


def _record_bound_to(origin: bytes, pseudonym: bytes) -> bytes:
    return b"record" + origin + pseudonym


def _index_bound_to(origin: bytes, bucket: int) -> bytes:
    return b"index" + origin + bytes((bucket,))
