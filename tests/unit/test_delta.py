"""What two versions of a document share: pieces rebuild the new one and are mostly copies."""

from __future__ import annotations

import json
import random

from hypothesis import example, given
from hypothesis import strategies as st

from shenyu_data.repository.delta import MIN_COPY_BYTES, Piece, compare

CHATS = [
    {
        "id": 1735689600000 + number,
        "title": f"第 {number} 个问题",
        "messages": [
            {"role": "user", "content": f"请解释一下 {number * 7919} 的意思。" * 3},
            {"role": "assistant", "content": f"Here is example {number * 104729}: 好的。" * 5},
        ],
    }
    for number in range(30)
]


def encode(chats: list[dict[str, object]]) -> bytes:
    return json.dumps(chats, ensure_ascii=False, indent=2).encode()


def rebuild(old: bytes, new: bytes, pieces: list[Piece]) -> bytes:
    parts = []
    position = 0
    for piece in pieces:
        assert piece.start == position
        assert piece.length > 0
        if piece.old_offset is None:
            parts.append(new[piece.start : piece.start + piece.length])
        else:
            assert piece.length >= MIN_COPY_BYTES
            assert piece.old_offset >= 0
            assert piece.old_offset + piece.length <= len(old)
            parts.append(old[piece.old_offset : piece.old_offset + piece.length])
        position += piece.length
    return b"".join(parts)


def inserted_bytes(old: bytes, new: bytes) -> int:
    pieces = compare(old, new)
    assert rebuild(old, new, pieces) == new
    return sum(piece.length for piece in pieces if piece.old_offset is None)


LINES = st.lists(
    st.sampled_from([b"short\n", b"b" * 40 + b"\n", b"c" * 200 + b"\n", b"\n", b"no end", b"\r\n"]),
    max_size=30,
).map(b"".join)


@given(LINES, LINES)
@example(b"", b"")
@example(b"x" * 1000, b"x" * 999)
@example(b"x" * 999, b"x" * 1000)
@example(b"ab" * 500, b"ab" * 500)
def test_the_pieces_of_any_two_documents_rebuild_the_new_one(old: bytes, new: bytes) -> None:
    assert rebuild(old, new, compare(old, new)) == new


@given(LINES, st.integers(0, 2000), st.integers(0, 300), LINES)
def test_the_pieces_of_an_edited_document_rebuild_it(
    old: bytes, place: int, cut: int, put: bytes
) -> None:
    new = old[:place] + put + old[place + cut :]
    assert rebuild(old, new, compare(old, new)) == new


def test_an_equal_document_is_one_copy() -> None:
    old = encode(CHATS)
    assert compare(old, old) == [Piece(0, 0, len(old))]


def test_a_chat_put_in_front_inserts_little_more_than_the_chat() -> None:
    chat: dict[str, object] = {"id": 1, "title": "new", "messages": [{"content": "新" * 300}]}
    added = len(encode([chat]))
    assert inserted_bytes(encode(CHATS), encode([chat, *CHATS])) <= added + 100


def test_a_chat_at_the_end_inserts_little_more_than_the_chat() -> None:
    chat: dict[str, object] = {"id": 1, "title": "new", "messages": []}
    assert inserted_bytes(encode(CHATS), encode([*CHATS, chat])) <= len(encode([chat])) + 100


def test_a_message_added_in_the_middle_and_a_chat_in_front_insert_little() -> None:
    chats = json.loads(encode(CHATS))
    chats[12]["messages"].append({"role": "user", "content": "再说一次" * 20})
    chats.insert(0, {"id": 2, "title": "x", "messages": []})
    assert inserted_bytes(encode(CHATS), encode(chats)) < 1000


def test_a_chat_that_is_gone_inserts_nearly_nothing() -> None:
    assert inserted_bytes(encode(CHATS), encode(CHATS[:10] + CHATS[11:])) < 100


def test_a_chat_moved_to_the_front_inserts_little() -> None:
    assert inserted_bytes(encode(CHATS), encode([CHATS[9], *CHATS[:9], *CHATS[10:]])) < 800


def test_a_changed_byte_inserts_no_more_than_its_line() -> None:
    old = encode(CHATS)
    for place in random.Random(1).sample(range(len(old)), 50):
        new = old[:place] + b"~" + old[place + 1 :]
        assert inserted_bytes(old, new) < 700


def test_another_document_is_stored_whole() -> None:
    noise = random.Random(1).randbytes
    old, new = noise(10_000), noise(9_000)
    assert compare(old, new) == [Piece(None, 0, 9_000)]
    assert compare(b"", new) == [Piece(None, 0, 9_000)]
    assert compare(old, b"") == []


def test_a_match_too_short_to_be_worth_naming_is_stored_again() -> None:
    assert compare(b"a" * (MIN_COPY_BYTES - 1), b"a" * (MIN_COPY_BYTES - 1) + b"b") == [
        Piece(None, 0, MIN_COPY_BYTES)
    ]
