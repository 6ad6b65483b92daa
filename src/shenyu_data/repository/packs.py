"""Packs: files of sealed segments. Written by one worker each, read by range."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from shenyu_data.model.errors import ObjectMissing, RepositoryError
from shenyu_data.repository.compression import Compressor, Decompressor
from shenyu_data.repository.crypto import NONCE_BYTES, OwnerKeys, Secrets
from shenyu_data.repository.format import (
    HEADER_BYTES,
    ObjectKind,
    Segment,
    damaged,
    header,
    new_id,
    object_name,
)
from shenyu_data.repository.moves import Moves, Place
from shenyu_data.storage.protocol import Storage

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PACK_BYTES = 16 << 20
"""A pack is closed once it holds this much."""

SEGMENT_BYTES = 2 << 20
"""An owner's documents are cut into segments of at most this much, before compression."""


class PackWriter:
    """Seals segments into packs, named in ``packs``. Nothing is in the storage for sure until
    :meth:`finish` returns.

    Packs are stored by a thread of their own while the next one fills: storing waits for the disk.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._compressor = Compressor()
        self._executor: ThreadPoolExecutor | None = None
        self._storing: Future[int] | None = None
        self._start_pack()
        self.stored_bytes = 0
        self.packs: list[bytes] = []
        """The ids of the packs so far, but for the one that is still filling."""

    def add(self, keys: OwnerKeys, plain: bytes) -> Segment:
        """Compress and seal one owner's bytes; return where they will lie."""
        packed = self._compressor.compress(plain)
        nonce = os.urandom(NONCE_BYTES)
        sealed = keys.segment_cipher.encrypt(nonce, packed, b"segment")
        pack, offset = self.add_sealed(sealed)
        return Segment(pack, offset, len(sealed), len(plain), nonce)

    def add_sealed(self, sealed: bytes) -> Place:
        """Take the sealed bytes of a segment as they are; return where they will lie."""
        place = (self._id, self._size)
        self._chunks.append(sealed)
        self._size += len(sealed)
        if self._size >= PACK_BYTES:
            self._close_pack()
        return place

    def finish(self) -> None:
        """Store what is left and wait until everything is durable. Raise StorageError if anything
        failed.
        """
        self._wait()
        if self._executor is not None:
            self._executor.shutdown()
        if len(self._chunks) > 1:
            self.stored_bytes += self._storage.put(self._next_name(), self._chunks)
            self._start_pack()

    def abandon(self) -> None:
        """Give up: let what is being stored end, drop the rest. What was stored is garbage for
        prune.
        """
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _start_pack(self) -> None:
        self._id = new_id()
        self._chunks = [header(ObjectKind.PACK)]
        self._size = HEADER_BYTES

    def _close_pack(self) -> None:
        self._wait()  # one pack at a time waits for the disk: memory stays bounded
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # late: 9 ms, and most packs are last

            self._executor = ThreadPoolExecutor(1)
        self._storing = self._executor.submit(self._storage.put, self._next_name(), self._chunks)
        self._start_pack()

    def _next_name(self) -> str:
        self.packs.append(self._id)
        return object_name(ObjectKind.PACK, self._id)

    def _wait(self) -> None:
        if self._storing is not None:
            self.stored_bytes += self._storing.result()
            self._storing = None


class SegmentReader:
    """Reads segments back, wherever they lie now, keeping the last few in memory for documents that
    share them.
    """

    def __init__(
        self, storage: Storage, keys: Secrets, kept_bytes: int = 4 * SEGMENT_BYTES
    ) -> None:
        self._storage = storage
        self._moves = Moves(storage, keys)
        self._decompressor = Decompressor()
        self._kept: dict[bytes, bytes] = {}
        self._kept_bytes = 0
        self._limit = kept_bytes

    def read(self, candidates: list[OwnerKeys], segment: Segment) -> bytes:
        """Return a segment's plain bytes.

        ``candidates`` are the owner's keys, nearly always one. Raise ObjectMissing or
        ObjectDamaged, naming the pack.
        """
        plain = self._kept.get(segment.nonce)
        if plain is not None:
            return plain
        name, sealed = self._read_sealed(segment)
        packed = _open_segment(candidates, segment, sealed, name)
        plain = self._decompressor.decompress(packed, segment.plain_bytes)
        if len(plain) != segment.plain_bytes:
            raise damaged(name, f"the segment at {segment.offset} has the wrong size")
        self._keep(segment.nonce, plain)
        return plain

    def is_sound(self, candidates: list[OwnerKeys], segment: Segment) -> bool:
        """Whether a segment is there and authenticates; it is not unpacked."""
        try:
            name, sealed = self._read_sealed(segment)
            _open_segment(candidates, segment, sealed, name)
        except RepositoryError:
            return False
        return True

    def _read_sealed(self, segment: Segment) -> tuple[str, bytes]:
        """Return the sealed bytes and the name of the pack they are in."""
        name = object_name(ObjectKind.PACK, segment.pack)
        try:
            return name, self._storage.read(name, segment.offset, segment.stored_bytes)
        except ObjectMissing:
            located = self._moves.locate(segment)
            if located is None:
                raise
        name = object_name(ObjectKind.PACK, located.pack)
        return name, self._storage.read(name, located.offset, located.stored_bytes)

    def _keep(self, nonce: bytes, plain: bytes) -> None:
        self._kept[nonce] = plain
        self._kept_bytes += len(plain)
        while self._kept_bytes > self._limit and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))


def _open_segment(candidates: list[OwnerKeys], segment: Segment, sealed: bytes, name: str) -> bytes:
    for keys in candidates:
        try:
            return keys.segment_cipher.decrypt(segment.nonce, sealed, b"segment")
        except (InvalidTag, ValueError):
            continue
    where = f"the segment at {segment.offset}, {segment.stored_bytes} bytes,"
    if len(sealed) < segment.stored_bytes:
        raise damaged(name, f"it ends before {where} does")
    raise damaged(name, f"{where} does not authenticate")
