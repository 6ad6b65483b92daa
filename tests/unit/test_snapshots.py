"""Snapshots: roots stored twice, listed in order, and found by what a person types."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectMissing, RepositoryError, SnapshotNotFound
from shenyu_data.repository import format as fmt
from shenyu_data.repository.compression import Compressor
from shenyu_data.repository.copies import put_twice
from shenyu_data.repository.crypto import Secrets, seal
from shenyu_data.repository.format import Snapshot
from shenyu_data.repository.snapshots import (
    MAX_ROOT_BYTES,
    find_snapshot,
    list_snapshots,
    read_root,
    snapshot_ids,
    write_root,
)
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)


def root(
    object_id: str = "11" * 16, sequence: int = 1, at: str = "2026-03-01T12:00", **changes: object
) -> fmt.Root:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    made = fmt.Root(
        id=bytes.fromhex(object_id),
        parent=None,
        sequence=sequence,
        time_ms=int(moment.timestamp() * 1000),
        kind="full",
        tag="标签",
        data="/data",
        program="0",
        totals=fmt.Totals(users=1),
        changes=fmt.Changes(new=1),
        incomplete=False,
        read_bytes=0,
        stored_bytes=0,
        elapsed_ms=0,
        origins=[],
        manifests=[],
        buckets={},
    )
    return msgspec.structs.replace(made, **changes)


def stored(*roots: fmt.Root) -> MemoryStorage:
    storage = MemoryStorage()
    for one in roots:
        write_root(storage, KEYS, one)
    return storage


def sealed(storage: MemoryStorage, plain: bytes, size: int | None = None) -> bytes:
    """Store what somebody with the key could: anything, under the id 11…"""
    object_id = bytes.fromhex("11" * 16)
    size = len(plain) if size is None else size
    packed = size.to_bytes(4, "little") + Compressor().compress(plain)
    body = seal(KEYS.derive("snapshots"), packed, b"snapshot" + object_id)
    name = fmt.object_name(fmt.ObjectKind.SNAPSHOT, object_id)
    put_twice(storage, name, [fmt.header(fmt.ObjectKind.SNAPSHOT), body])
    return object_id


# ------------------------------------------------------------------------------ writing, reading


def test_a_root_comes_back_from_either_copy() -> None:
    one = root()
    for lost in (0, 1):
        storage = stored(one)
        storage.delete(sorted(storage.objects)[lost])
        assert read_root(storage, KEYS, one.id) == one
        assert [item.id for item in list_snapshots(storage, KEYS)] == [one.id]


HEAD = Snapshot.__struct_fields__


def head(of: fmt.Root) -> Snapshot:
    """What a listing shows of a root."""
    return Snapshot(**{name: getattr(of, name) for name in HEAD})


@given(st.text() | st.sampled_from(["çorigins", "\N{CJK UNIFIED IDEOGRAPH-4E27}origins"]))
def test_a_listing_shows_the_head_whatever_it_holds(tag: str) -> None:
    one = root(tag=tag, origins=[b"o" * 16], buckets={1: fmt.BucketRef([], fmt.Totals(users=1))})
    assert list_snapshots(stored(one), KEYS) == [head(one)]


@given(st.permutations(fmt.Root.__struct_fields__))
def test_a_listing_shows_the_head_wherever_the_lists_stand(order: list[str]) -> None:
    one = root(origins=[b"o" * 16], buckets={1: fmt.BucketRef([], fmt.Totals(users=1))})
    members = msgspec.to_builtins(one, builtin_types=(bytes,), str_keys=False)
    storage = MemoryStorage()
    sealed(storage, msgspec.msgpack.encode({name: members[name] for name in order}))
    assert list_snapshots(storage, KEYS) == [head(one)]


@given(st.data())
def test_the_other_copy_is_used_when_any_byte_of_one_is_changed(data: st.DataObject) -> None:
    one = root()
    storage = stored(one)
    name = data.draw(st.sampled_from(sorted(storage.objects)))
    changed = bytearray(storage.objects[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    storage.objects[name] = bytes(changed)
    assert read_root(storage, KEYS, one.id) == one


@given(st.binary(max_size=200))
def test_noise_in_both_copies_is_a_repository_error_and_the_others_are_listed(
    noise: bytes,
) -> None:
    bad, good = root("11" * 16), root("22" * 16)
    storage = stored(bad, good)
    for start in (b"", fmt.header(fmt.ObjectKind.SNAPSHOT)):
        for suffix in ("", ".copy"):
            storage.objects["snapshots/" + "11" * 16 + suffix] = start + noise
        with pytest.raises(RepositoryError):
            read_root(storage, KEYS, bad.id)
        failures: list[RepositoryError] = []
        assert [item.id for item in list_snapshots(storage, KEYS, failures)] == [good.id]
        assert len(failures) == 1


ANY_MAP = st.dictionaries(
    st.text(max_size=9) | st.sampled_from(fmt.Root.__struct_fields__),
    st.integers(-(2**63), 2**64 - 1) | st.none() | st.binary(max_size=16),
    max_size=20,
)


@given(st.binary(max_size=200) | ANY_MAP.map(msgspec.msgpack.encode))
def test_a_sealed_root_of_noise_is_a_repository_error(plain: bytes) -> None:
    storage = MemoryStorage()
    object_id = sealed(storage, plain)
    with pytest.raises(RepositoryError):
        read_root(storage, KEYS, object_id)
    failures: list[RepositoryError] = []
    assert list_snapshots(storage, KEYS, failures) == []
    assert len(failures) == 1


SECTION = fmt.SectionRef(0, 0, 8, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"buckets": {0: fmt.BucketRef([SECTION], fmt.Totals())}},  # lists of which are empty
        {"buckets": {256: fmt.BucketRef([], fmt.Totals())}},
        {"buckets": {-1: fmt.BucketRef([], fmt.Totals())}},
        {"origins": [b"short"]},
        {"id": b""},
        {"time_ms": 1 << 62},
    ],
)
def test_a_root_that_contradicts_the_format_is_damage(changes: dict[str, object]) -> None:
    storage = MemoryStorage()
    object_id = sealed(storage, msgspec.msgpack.encode(root(**changes)))  # type: ignore[arg-type]
    with pytest.raises(RepositoryError):
        read_root(storage, KEYS, object_id)


def test_a_root_that_claims_to_be_huge_is_not_unpacked() -> None:
    storage = MemoryStorage()
    object_id = sealed(storage, b"x", MAX_ROOT_BYTES + 1)
    with pytest.raises(RepositoryError, match="large"):
        read_root(storage, KEYS, object_id)


def test_a_root_with_a_bottomless_key_is_damage() -> None:
    storage = MemoryStorage()
    object_id = sealed(storage, b"\x81\xa1x" + b"\x91" * 100_000 + b"\x90")
    with pytest.raises(RepositoryError):
        read_root(storage, KEYS, object_id)


def test_a_root_under_another_name_does_not_open() -> None:
    storage = stored(root("11" * 16))
    moved = MemoryStorage()
    moved.put("snapshots/" + "22" * 16, [storage.objects["snapshots/" + "11" * 16]])
    with pytest.raises(RepositoryError):
        read_root(moved, KEYS, bytes.fromhex("22" * 16))


def test_a_snapshot_that_is_not_there_is_missing() -> None:
    with pytest.raises(ObjectMissing):
        read_root(MemoryStorage(), KEYS, bytes(16))


def test_a_stray_file_among_the_snapshots_is_passed_over() -> None:
    storage = stored(root())
    for name in ("README.md", "11", "zz" * 16, "AB" * 16, "11" * 17):
        storage.objects[f"snapshots/{name}"] = b"mine"
    assert list(snapshot_ids(storage)) == [root().id]
    failures: list[RepositoryError] = []
    assert len(list_snapshots(storage, KEYS, failures)) == 1
    assert failures == []


def test_order_is_by_sequence_even_when_the_clock_was_set_back() -> None:
    storage = stored(
        root("33" * 16, 1, "2026-03-03T00:00"),
        root("11" * 16, 2, "2026-03-01T00:00"),
        root("22" * 16, 3, "2026-03-02T00:00"),
    )
    assert [item.sequence for item in list_snapshots(storage, KEYS)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "degraded"),
    [
        ({}, False),
        ({"incomplete": True}, True),
        ({"totals": fmt.Totals(torn=1)}, True),
        ({"totals": fmt.Totals(unreadable=1)}, True),
    ],
)
def test_what_could_not_be_read_whole_makes_a_snapshot_degraded(
    changes: dict[str, object], degraded: bool
) -> None:
    one = root(**changes)  # type: ignore[arg-type]
    (listed,) = list_snapshots(stored(one), KEYS)
    assert listed.degraded == one.degraded == degraded


# -------------------------------------------------------------------------------------- finding


@pytest.fixture
def shanghai() -> Iterator[None]:
    """Be eight hours ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC-8"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
SNAPSHOTS: list[Snapshot] = list_snapshots(
    stored(
        root("a1" * 16, 1, "2026-03-01T02:00"),
        root("ab" * 16, 2, "2026-03-01T12:00"),
        root("cd" * 16, 3, "2026-03-01T20:00"),  # in Shanghai it is the next day
        root("2026" + "ee" * 14, 4, "2026-03-05T12:00"),
        root("ff" * 16, 5, "2026-03-04T12:00"),  # the clock was set back
    ),
    KEYS,
)


@pytest.mark.usefixtures("shanghai")
@pytest.mark.parametrize(
    ("wanted", "sequence"),
    [
        ("latest", 5),
        ("a1", 1),
        ("AB", 2),
        ("c", 3),
        ("ff" * 16, 5),
        ("2026", 4),  # an id before a date
        ("2026-03-01", 2),
        ("20260301", 2),
        ("2026-03-02", 3),
        ("2026-03-03", 3),  # none on that day: the last one before
        ("2026-03-05", 4),
        ("2026-12-31", 4),  # by the clock, not by the sequence
        ("2026-03-01T20:00", 2),
        ("2026-03-01 19:59", 1),
        ("2026-03-01T12:00Z", 2),
        ("2026-03-01T12:00:00+00:00", 2),
        ("2026-03-01T11:59Z", 1),
        ("9998-12-30", 4),
        ("latest~0", 5),
        ("latest~1", 4),
        ("latest~4", 1),
        ("3d", 3),  # at 2026-03-05T12:00: an age, even if an id begins so
        ("3D", 3),
        ("24h", 5),
        ("1d", 5),
        ("0h", 4),
        ("90min", 5),
        ("3d ago", 3),
        ("3 days ago", 3),
        ("88 hours ago", 3),
        ("89 hours ago", 2),
        ("yesterday", 5),
    ],
)
def test_a_person_finds_the_snapshot(wanted: str, sequence: int) -> None:
    assert find_snapshot(SNAPSHOTS, wanted, now=NOW).sequence == sequence


@pytest.mark.usefixtures("shanghai")
@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "a",
        "zz",
        "Latest",
        "2026-02-28",
        "2026-03-01T00:00Z",
        "2026-13-01",
        "0001-01-01",
        "9999-12-31",
        "9999-12-31T23:59:59",
        "latest~5",
        "latest~",
        "latest~-1",
        "~1",
        "5d",
        "3m",
        "9999y",
        "in 3 days",
        "0" * 5000,
        "-",
        "٢٠٢٦-٠٣-٠١",
        "f" * 33,
    ],
)
def test_what_names_no_snapshot_or_several_is_said_so(wanted: str) -> None:
    with pytest.raises(SnapshotNotFound) as caught:
        find_snapshot(SNAPSHOTS, wanted, now=NOW)
    assert caught.value.hint


def test_what_could_be_an_age_is_never_taken_for_an_id() -> None:
    snapshots = list_snapshots(stored(root("5d" * 16, 1, "2026-03-05T00:00")), KEYS)
    with pytest.raises(SnapshotNotFound) as caught:
        find_snapshot(snapshots, "5d", now=NOW)
    assert "give more of" in caught.value.message
    assert find_snapshot(snapshots, "5d5", now=NOW) == snapshots[0]


def test_of_several_snapshots_of_one_moment_the_last_is_found() -> None:
    roots = [root(f"{number:02x}" * 16, number, "2026-03-01T00:00") for number in (1, 2, 3)]
    snapshots = list_snapshots(stored(*roots), KEYS)
    assert find_snapshot(snapshots, "1d", now=NOW).sequence == 3
    assert find_snapshot(snapshots, "2026-03-01", now=NOW).sequence == 3


def test_a_snapshot_of_the_future_is_no_time_ago() -> None:
    snapshots = list_snapshots(
        stored(root("11" * 16, 1, "2026-03-01T00:00"), root("22" * 16, 2, "9999-12-31T00:00")),
        KEYS,
    )
    assert find_snapshot(snapshots, "0d", now=NOW).sequence == 1


def test_an_empty_name_finds_nothing_even_if_there_is_only_one() -> None:
    with pytest.raises(SnapshotNotFound):
        find_snapshot(SNAPSHOTS[:1], "")


def test_in_an_empty_repository_the_hint_is_to_back_up() -> None:
    with pytest.raises(SnapshotNotFound) as caught:
        find_snapshot([], "latest")
    assert "backup" in caught.value.hint


@given(st.text(max_size=30) | st.datetimes().map(str) | st.dates().map(str))
def test_whatever_is_typed_finds_a_snapshot_or_says_there_is_none(wanted: str) -> None:
    try:
        assert find_snapshot(SNAPSHOTS, wanted) in SNAPSHOTS
    except SnapshotNotFound:
        return


@pytest.mark.parametrize("wanted", [one.id.hex()[:6] for one in SNAPSHOTS])
def test_the_beginning_of_an_id_finds_it(wanted: str) -> None:
    assert find_snapshot(SNAPSHOTS, wanted).id.hex().startswith(wanted)
