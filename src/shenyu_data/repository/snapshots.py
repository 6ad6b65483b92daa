"""Snapshots: their roots, written last and twice, and finding one by what a person types."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

import msgspec

from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import RepositoryError, SnapshotNotFound, UsageError
from shenyu_data.repository.compression import Compressor, Decompressor
from shenyu_data.repository.copies import put_twice, read_either
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    COPY_SUFFIX,
    HEADER_BYTES,
    SNAPSHOTS,
    BucketRef,
    ObjectId,
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


def read_root_for(storage: Storage, keys: Secrets, snapshot: bytes, bucket: int) -> Root:
    """As :func:`read_root`, with one bucket alone: for whoever looks into many snapshots."""
    plain = _read_either(storage, keys, snapshot)
    bare = _decode(plain, _BareRoot)
    values = {name: getattr(bare, name) for name in bare.__struct_fields__}
    values["buckets"] = {}
    if bucket in bare.buckets:
        values["buckets"][bucket] = _decode(bytes(bare.buckets[bucket]), BucketRef)
    return _checked(Root(**values))


class _BareRoot(Snapshot, frozen=True, kw_only=True):
    """A root whose buckets are not looked into."""

    origins: list[ObjectId]
    manifests: list[ObjectId]
    buckets: dict[int, msgspec.Raw]


def parse_root(plain: bytes) -> Root:
    """Given what :func:`read_copy` returned, return the root. Raise ObjectDamaged if it is none."""
    return _checked(_decode(plain, Root))


def _checked(root: Root) -> Root:
    for ref in root.buckets.values():
        for section in ref.sections:
            if section.origin >= len(root.origins) or section.manifest >= len(root.manifests):
                name = object_name(ObjectKind.SNAPSHOT, root.id)
                raise damaged(name, "it refers to a manifest it does not list")
    return root


def parse_snapshot(plain: bytes) -> Snapshot:
    """As :func:`parse_root`, for listings.

    The lists, nearly all of a root, stand last. Passing over them would take most of the time.
    """
    end = plain.find(_LISTS_BEGIN)
    if end > 0 and plain[:2] == _MAP and plain[2] > len(_LISTS):
        head = plain[:2] + bytes((plain[2] - len(_LISTS),)) + plain[3:end]
        # Members in another order, or a tag with the same bytes, do not parse so.
        with suppress(ValueError, RecursionError):
            return msgspec.msgpack.decode(head, type=Snapshot)
    return _decode(plain, Snapshot)


_LISTS = Root.__struct_fields__[len(Snapshot.__struct_fields__) :]
_LISTS_BEGIN = msgspec.msgpack.encode(_LISTS[0])
_MAP = b"\xde\x00"  # a map of 16 to 255 members, whose number is the next byte


def _decode(plain: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(plain, type=kind)
    except (ValueError, RecursionError) as error:
        raise damaged("a snapshot", f"it is not what a snapshot should be ({error})") from None


def list_snapshots(
    storage: Storage,
    keys: Secrets,
    failures: list[RepositoryError] | None = None,
    names: Collection[str] | None = None,
) -> list[Snapshot]:
    """Return all snapshots, oldest first; ``names`` are their objects', if they were just listed.

    One that cannot be read from either copy is passed over, and its error added to ``failures``.
    """
    found = []
    for snapshot in snapshot_ids(storage) if names is None else _ids(names):
        try:
            found.append(parse_snapshot(_read_either(storage, keys, snapshot)))
        except RepositoryError as error:
            if failures is not None:
                failures.append(error)
    return sorted(found, key=lambda item: (item.sequence, item.time_ms, item.id))


def snapshot_ids(storage: Storage) -> Iterator[bytes]:
    """Return the ids of all snapshots of which at least one copy is there."""
    return _ids({info.name.removesuffix(COPY_SUFFIX) for info in storage.list(SNAPSHOTS)})


def _ids(names: Collection[str]) -> Iterator[bytes]:
    for name in sorted(names):
        if parsed := parse_object_name(name):  # else a stranger's file: verify names it
            yield parsed[1]


def find_snapshot(
    snapshots: Sequence[Snapshot], wanted: str, *, now: datetime | None = None
) -> Snapshot:
    """Given what a person typed, return the snapshot it names; ``snapshots`` are the oldest first.

    That is ``latest``, ``latest~2`` (two before it), an age (``3d``, ``2 hours ago``: the last one
    at least that old at ``now``), the beginning of an id, ``yesterday`` or a date (the last one
    up to the end of that day), or a date and time (the last one not after it). Dates and times are
    local unless they end in ``Z`` or an offset. Safety snapshots, taken before live data was
    changed, answer to their ids alone: `latest` must not mean what a restore is about to mend.
    Raise SnapshotNotFound, saying what would be found.
    """
    if not snapshots:
        raise SnapshotNotFound(
            "the repository holds no snapshots", hint="Make one with `shenyu-data backup`."
        )
    asked_for = [item for item in snapshots if not item.safety] or snapshots
    if back := _LATEST.fullmatch(wanted):
        return _nth_before_latest(asked_for, int(back[1] or 0))
    if (limit := _parse_age(wanted, now)) is None:
        matches = id_matches(snapshots, wanted)
        if len(matches) == 1:
            return matches[0]
        if len(matches) > 1:
            raise SnapshotNotFound(
                f"{len(matches)} snapshots begin with {wanted}", hint="Give more of the id."
            )
        limit = _parse_moment(wanted, now)
    earlier = [item for item in asked_for if limit is not None and item.time < limit]
    if earlier:  # at the same moment the later in order
        return max(earlier, key=lambda item: (item.time_ms, item.sequence, item.id))
    raise SnapshotNotFound(_none_answers(wanted, limit), hint=_HOW_TO_NAME)


def id_matches(snapshots: Sequence[Snapshot], wanted: str) -> list[Snapshot]:
    """Return the snapshots whose id begins with what a person typed.

    An age is none: ``3d`` must not mean one thing or another by the ids there happen to be.
    """
    if not wanted or _parse_age(wanted, None) is not None:
        return []
    return [item for item in snapshots if item.id.hex().startswith(wanted.lower())]


_LATEST = re.compile(r"latest(?:~([0-9]{1,6}))?")
_HOW_TO_NAME = (
    "`shenyu-data snapshots` lists them; a snapshot is named by the beginning of its id, `latest`, "
    "`latest~1` for the one before, a date such as 2026-03-01, or an age such as 3d."
)


def _nth_before_latest(snapshots: Sequence[Snapshot], back: int) -> Snapshot:
    if back >= len(snapshots):
        raise SnapshotNotFound(
            f"there is no latest~{back}: the repository holds {len(snapshots)} snapshots",
            hint=_HOW_TO_NAME,
        )
    return snapshots[-1 - back]


def _none_answers(wanted: str, limit: datetime | None) -> str:
    if limit is None:
        return f"no snapshot answers to {wanted}"
    if set(wanted.lower()) <= _HEX_DIGITS:
        return f"no snapshot is as old as {wanted} says; if it begins an id, give more of that"
    return f"no snapshot answers to {wanted}: none was taken by then"


_HEX_DIGITS = frozenset("0123456789abcdef")


def _parse_age(text: str, now: datetime | None) -> datetime | None:
    """Return the moment before which the wanted snapshot lies, if ``text`` is an age."""
    try:
        age = timedelta(seconds=parse_age(text.removesuffix(" ago")))
        return (now or datetime.now(UTC)) - age + _RESOLUTION
    except (UsageError, OverflowError):
        return None


_RESOLUTION = timedelta(milliseconds=1)
"""Of snapshots' times: what is not after a moment lies before it and this much more."""


def _parse_moment(text: str, now: datetime | None) -> datetime | None:
    """As :func:`_parse_age`, if ``text`` is ``yesterday``, a date, or a date and time."""
    try:
        if text == "yesterday":
            today = (now or datetime.now(UTC)).astimezone().date()
            return datetime.combine(today, time()).astimezone(UTC)
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
