"""Snapshots: their roots, written last and twice, and finding one by what a person types."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

import msgspec

from shenyu_data.model.errors import RepositoryError, SnapshotNotFound
from shenyu_data.repository.compression import Compressor, Decompressor
from shenyu_data.repository.copies import put_twice, read_either
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    COPY_SUFFIX,
    HEADER_BYTES,
    SNAPSHOTS,
    ObjectKind,
    Root,
    Snapshot,
    check_header,
    damaged,
    header,
    object_name,
    parse_object_name,
)
from shenyu_data.storage.protocol import Storage

MAX_ROOT_BYTES = 64 << 20
"""What a forged root may make us unpack."""

_SIZE = struct.Struct("<I")

T = TypeVar("T", bound=msgspec.Struct)


def write_root(storage: Storage, keys: Secrets, root: Root) -> int:
    """Store a root and its copy; after this the snapshot exists. Return the bytes stored."""
    plain = msgspec.msgpack.encode(root)
    packed = _SIZE.pack(len(plain)) + Compressor().compress(plain)
    sealed = keys.seal("snapshots", packed, b"snapshot" + root.id)
    name = object_name(ObjectKind.SNAPSHOT, root.id)
    chunks = [header(ObjectKind.SNAPSHOT), sealed]
    return put_twice(storage, name, chunks)


def read_root(storage: Storage, keys: Secrets, snapshot: bytes) -> Root:
    """Read a root from whichever copy is sound. Raise RepositoryError if neither is."""
    return parse_root(_read_either(storage, keys, snapshot))


def parse_root(plain: bytes) -> Root:
    """Given what :func:`read_copy` returned, return the root. Raise ObjectDamaged if it is none."""
    root = _decode(plain, Root)
    for ref in root.buckets.values():
        for section in ref.sections:
            if section.origin >= len(root.origins) or section.manifest >= len(root.manifests):
                name = object_name(ObjectKind.SNAPSHOT, root.id)
                raise damaged(name, "it refers to a manifest it does not list")
    return root


def parse_snapshot(plain: bytes) -> Snapshot:
    """As :func:`parse_root`, for listings."""
    return _decode(plain, Snapshot)


def _decode(plain: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(plain, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise damaged("a snapshot", f"it is not what a snapshot should be ({error})") from None


def list_snapshots(
    storage: Storage, keys: Secrets, failures: list[RepositoryError] | None = None
) -> list[Snapshot]:
    """Return all snapshots, oldest first.

    One that cannot be read from either copy is passed over, and its error added to ``failures``.
    """
    found = []
    for snapshot in snapshot_ids(storage):
        try:
            found.append(parse_snapshot(_read_either(storage, keys, snapshot)))
        except RepositoryError as error:
            if failures is not None:
                failures.append(error)
    return sorted(found, key=lambda item: (item.sequence, item.time_ms, item.id))


def snapshot_ids(storage: Storage) -> Iterator[bytes]:
    """Yield the ids of all snapshots of which at least one copy is there."""
    names = {info.name.removesuffix(COPY_SUFFIX) for info in storage.list(SNAPSHOTS)}
    for name in sorted(names):
        if parsed := parse_object_name(name):  # else a stranger's file: verify names it
            yield parsed[1]


def find_snapshot(snapshots: list[Snapshot], wanted: str) -> Snapshot:
    """Given what a person typed (``latest``, an id prefix, a date or a date and time), return the
    snapshot.

    A date means the last snapshot of that day, a time the last one not after it; both local unless
    they end in ``Z`` or an offset. Raise SnapshotNotFound, saying what would be found.
    """
    if not snapshots:
        raise SnapshotNotFound(
            "the repository holds no snapshots", hint="Make one with `shenyu-data backup`."
        )
    if wanted == "latest":
        return snapshots[-1]
    prefix = wanted.lower()
    matches = [item for item in snapshots if prefix and item.id.hex().startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        raise SnapshotNotFound(
            f"{len(matches)} snapshots begin with {wanted}", hint="Give more of the id."
        )
    limit = _parse_moment(wanted)
    if limit is not None:
        earlier = [item for item in snapshots if item.time < limit]
        if earlier:
            return max(earlier, key=lambda item: item.time_ms)
    raise SnapshotNotFound(
        f"no snapshot answers to {wanted}",
        hint="`shenyu-data snapshots` lists them; a snapshot is named by the beginning of its id, "
        "`latest`, or a date such as 2026-03-01.",
    )


def _parse_moment(text: str) -> datetime | None:
    """Return the moment before which the wanted snapshot lies."""
    try:
        try:
            moment = datetime.combine(date.fromisoformat(text), time()) + timedelta(days=1)
        except ValueError:
            moment = datetime.fromisoformat(text) + timedelta(seconds=1)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_either(storage: Storage, keys: Secrets, snapshot: bytes) -> bytes:
    name = object_name(ObjectKind.SNAPSHOT, snapshot)
    return read_either(name, lambda copy: read_copy(storage, keys, snapshot, copy))


def read_copy(storage: Storage, keys: Secrets, snapshot: bytes, name: str) -> bytes:
    """Return the plaintext of one named copy of a root. Raise ObjectMissing or ObjectDamaged."""
    data = storage.read(name)
    check_header(ObjectKind.SNAPSHOT, name, data)
    packed = keys.unseal("snapshots", data[HEADER_BYTES:], b"snapshot" + snapshot, name)
    if len(packed) < _SIZE.size:
        raise damaged(name, "it is empty")
    (size,) = _SIZE.unpack_from(packed)
    if size > MAX_ROOT_BYTES:
        raise damaged(name, "it claims to be unreasonably large")
    return Decompressor().decompress(packed[_SIZE.size :], size)
