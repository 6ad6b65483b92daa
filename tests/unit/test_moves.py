"""Moves: a segment is found wherever repacking took it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, ObjectExists, ObjectMissing, RepositoryError
from shenyu_data.repository.crypto import OwnerKeys, Secrets
from shenyu_data.repository.format import Segment
from shenyu_data.repository.moves import Moves, moved_packs, read_moves, write_moves
from shenyu_data.repository.packs import PackWriter, SegmentReader
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)
ALICE = OwnerKeys(b"a" * 32)
OLD, NEW, NEWER = b"o" * 16, b"n" * 16, b"w" * 16


def segment(pack: bytes, offset: int) -> Segment:
    return Segment(pack, offset, 5, 6, bytes(12))


@given(st.dictionaries(st.integers(0, 2**63), st.integers(0, 2**63), max_size=20), st.data())
def test_each_row_of_a_table_is_found_and_nothing_else(
    moves: dict[int, int], data: st.DataObject
) -> None:
    storage = MemoryStorage()
    write_moves(storage, KEYS, OLD, {old: (NEW, new) for old, new in moves.items()})
    found = Moves(storage, KEYS)
    for old, new in moves.items():
        located = found.locate(segment(OLD, old))
        assert located == Segment(NEW, new, 5, 6, bytes(12))
    other = data.draw(st.integers(0, 2**63))
    if other not in moves:
        assert found.locate(segment(OLD, other)) is None
    assert found.locate(segment(NEWER, 0)) is None
    assert moved_packs(storage) == {OLD}


def test_moves_are_followed_one_after_another() -> None:
    storage = MemoryStorage()
    write_moves(storage, KEYS, OLD, {8: (NEW, 100)})
    write_moves(storage, KEYS, NEW, {100: (NEWER, 8), 200: (NEWER, 50)})
    assert Moves(storage, KEYS).locate(segment(OLD, 8)) == segment(NEWER, 8)


def test_a_circle_is_damage() -> None:
    storage = MemoryStorage()
    write_moves(storage, KEYS, OLD, {8: (NEW, 8)})
    write_moves(storage, KEYS, NEW, {8: (OLD, 8)})
    with pytest.raises(ObjectDamaged, match="circle"):
        Moves(storage, KEYS).locate(segment(OLD, 8))


def test_a_pack_is_moved_once() -> None:
    storage = MemoryStorage()
    write_moves(storage, KEYS, OLD, {})
    with pytest.raises(ObjectExists):
        write_moves(storage, KEYS, OLD, {8: (NEW, 8)})


def test_a_table_of_another_pack_or_with_any_byte_changed_does_not_open() -> None:
    storage = MemoryStorage()
    write_moves(storage, KEYS, OLD, {8: (NEW, 8)})
    whole = storage.objects[f"moved/{OLD.hex()}"]
    storage.objects[f"moved/{NEW.hex()}"] = whole
    with pytest.raises(ObjectDamaged):
        read_moves(storage, KEYS, NEW)
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        storage.objects[f"moved/{OLD.hex()}"] = bytes(changed)
        with pytest.raises(RepositoryError, match="moved/"):
            read_moves(storage, KEYS, OLD)


def test_documents_are_read_from_where_their_segments_went() -> None:
    storage = MemoryStorage()
    writer = PackWriter(storage)
    segments = [writer.add(ALICE, bytes([number]) * 100) for number in range(3)]
    writer.finish()
    old = storage.objects.pop(f"packs/{segments[0].pack.hex()}")
    with pytest.raises(ObjectMissing):
        SegmentReader(storage, KEYS).read([ALICE], segments[0])
    again = PackWriter(storage)
    moves = {
        item.offset: again.add_sealed(old[item.offset : item.offset + item.stored_bytes])
        for item in segments[1:]
    }
    again.finish()
    write_moves(storage, KEYS, segments[0].pack, moves)
    reader = SegmentReader(storage, KEYS)
    assert reader.read([ALICE], segments[1]) == b"\1" * 100
    assert reader.is_sound([ALICE], segments[2])
    with pytest.raises(ObjectMissing):
        reader.read([ALICE], segments[0])
