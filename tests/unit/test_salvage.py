"""Whole chats come out of whatever is left of a history."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.chats import read_history
from shenyu_data.model.salvage import compose, first_object, salvage
from shenyu_data.testing.application import chat

CHATS = [chat(1, 2), chat(2, 1, about='{"id": 9, "messages": []} "[{'), chat(3, 3), chat(4, 2)]
STYLES: dict[str, dict[str, Any]] = {
    "indented": {"indent": 2},
    "compact": {"separators": (",", ":")},
    "escaped": {"ensure_ascii": True},
}
ANY_STYLE = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def written(value: object, style: dict[str, Any]) -> bytes:
    return json.dumps(value, **{"ensure_ascii": False, **style}).encode()


def whole(data: bytes) -> list[bytes]:
    return [piece.data for piece in salvage(data) if piece.whole]


def keys(data: bytes) -> set[str | None]:
    return {piece.key for piece in salvage(data) if piece.whole}


@ANY_STYLE
def test_of_a_history_cut_anywhere_all_chats_before_the_cut_come_back(
    style: dict[str, Any],
) -> None:
    data = written(CHATS, style)
    history = read_history(data)
    for cut in range(len(data) + 1):
        before = [history.text_of(chat) for chat in history.chats if chat.end <= cut]
        assert whole(data[:cut]) == before, cut


@ANY_STYLE
def test_of_a_chat_cut_anywhere_all_messages_before_the_cut_come_back(
    style: dict[str, Any],
) -> None:
    only = {"id": 5, "title": "t", "messages": CHATS[2]["messages"], "timestamp": "2026", "n": [1]}
    data = written(only, style)
    texts = [written(one["content"], style) for one in only["messages"]]
    closing = 6 if "indent" in style else 1  # the brace, and what stands before it
    ends = [data.index(text) + len(text) + closing for text in texts]
    for cut in range(len(data)):
        messages = sum(end <= cut for end in ends)
        found = salvage(data[:cut])
        assert [piece.whole for piece in found] == [False] * bool(messages)
        for piece in found:
            assert piece.messages == messages
            assert piece.value["messages"] == only["messages"][:messages]
            assert piece.key == "5"


@ANY_STYLE
def test_of_two_documents_one_after_the_other_both_come_back(style: dict[str, Any]) -> None:
    """The first may have been cut off anywhere, also within a string that swallows the second."""
    first, second = written(CHATS[:2], style), written(CHATS[2:], style)
    both = {str(one["id"]) for one in CHATS[2:]}
    history = read_history(first)
    for cut in range(len(first) + 1):
        before = {chat.key for chat in history.chats if chat.end <= cut}
        assert keys(first[:cut] + second) == both | before, cut


@ANY_STYLE
def test_of_what_follows_a_shorter_document_the_whole_chats_come_back(
    style: dict[str, Any],
) -> None:
    """Two writers wrote at once: the longer one's rest begins anywhere."""
    longer, shorter = written(CHATS, style), written([chat(9, 1)], style)
    history = read_history(longer)
    for cut in range(len(longer) + 1):
        after = {chat.key for chat in history.chats if chat.start >= cut}
        assert keys(shorter + longer[cut:]) >= after | {str(chat(9)["id"])}, cut


@ANY_STYLE
@given(place=st.floats(0, 1), size=st.integers(1, 400), junk=st.binary(min_size=1, max_size=30))
def test_of_garbage_in_the_middle_the_chats_beside_it_come_back(
    style: dict[str, Any], place: float, size: int, junk: bytes
) -> None:
    data = written(CHATS, style)
    start = int(place * len(data))
    end = min(len(data), start + size)
    for garbage in (bytes(end - start), (junk * size)[: end - start]):
        spoilt = data[:start] + garbage + data[end:]
        before = {one.key for one in read_history(data).chats if one.end <= start}
        assert keys(spoilt) >= before
        if not garbage.strip(b"\0"):
            after = {one.key for one in read_history(data).chats if one.start >= end}
            assert keys(spoilt) >= before | after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\xef\xbb\xbf", b""),
        (b"", bytes(4096)),
        (b"\0\0", b"\xff"),
        (b"]]}", b"[[["),
        (b'"', b'"'),
    ],
)
@ANY_STYLE
def test_what_stands_around_a_document_does_not_matter(
    style: dict[str, Any], before: bytes, after: bytes
) -> None:
    data = written(CHATS, style)
    history = read_history(data)
    assert whole(before + data + after) == [history.text_of(one) for one in history.chats]


def test_half_a_character_at_the_end_takes_only_its_chat_along() -> None:
    data = written(CHATS, {"indent": 2})
    cut = data.rindex("风".encode()) + 1
    assert keys(data[:cut]) == {str(one["id"]) for one in CHATS[:3]}


def test_a_chat_with_bytes_that_are_no_text_is_not_whole_and_keeps_the_others() -> None:
    data = written(CHATS, {}).replace("风".encode(), b"\xb7\xe7", 1)
    pieces = salvage(data)
    assert [piece.whole for piece in pieces] == [False, True, True, True]
    assert "\ufffd" in pieces[0].value["messages"][0]["content"]


def test_a_chat_in_the_layout_of_the_guide_comes_back() -> None:
    data = written({"messages": CHATS[0]["messages"], "timestamp": "2026"}, {"indent": 2})
    assert whole(data + b"}\n  ]\n}") == [data]
    (piece,) = salvage(data)
    assert (piece.key, piece.messages) == (None, 2)


def test_objects_that_are_no_chats_are_left_out() -> None:
    assert salvage(b'{"role": "user", "content": "x"} {"id": 1} {"settings": {"a": []}} {}') == []


def test_a_chat_within_a_chat_is_not_taken_for_another() -> None:
    inner = {"id": 2, "messages": []}
    outer = {"id": 1, "messages": [{"role": "user", "content": inner}], "settings": inner}
    assert [piece.key for piece in salvage(written([outer], {}))] == ["1"]


HARD = {
    "nested objects": b'{"a":' * 5_000,
    "nested both": b'[{"a":[' * 10_000,
    "nested messages": b'{"messages":[{"role":1},' * 5_000,
    "chats in chats": b'{"messages":[],"a":' * 5_000,
    "quotes": b'"' * 1_000_000,
    "opened keys": b'{"' * 5_000,
    "brackets": b"[" * 1_000_000,
    "braces": b"{" * 1_000_000,
    "backslashes": b'{"' + b"\\" * 1_000_000,
    "blanks": (b"{" + b" " * 1000) * 1000,
    "flat": b'{"a":1,"b":2,' * 5_000,
    "strings": b'{"a":"' * 10_000,
    "digits": b'{"a":' + b"9" * 1_000_000,
    "one long string": b'{"a":"' + b"x" * 1_000_000,
    "members": b'{"a":1' + b',"a":1' * 15_000,
}


@pytest.mark.parametrize("data", HARD.values(), ids=HARD)
def test_the_work_is_in_proportion_to_the_bytes(data: bytes) -> None:
    """Counted in bytes that are looked at, not in seconds."""
    assert all(len(piece.data) <= len(data) for piece in salvage(data))
    assert _looked_at(data) <= 8 * len(data) + 1000


def _looked_at(data: bytes) -> int:
    """Follow the search from object to object as ``salvage`` does, and count the bytes."""
    from shenyu_data.model import salvage as module

    looked_at = position = 0
    while (found := module._OBJECT.search(data, position)) is not None:
        scan = module._Scan(data, found.start())
        after = scan.run()
        looked_at += scan._position - found.start() + after - position
        assert after > found.start()
        position = after
    return looked_at


@given(
    pieces=st.lists(
        st.sampled_from(
            [
                *(b'{"', b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\0", b"\n", b" "),
                *(b'"messages":[', b'"id":1', b'"title":""', b'{"role":"user","content":""}'),
                *(b'{"id":1,"messages":[]}', b"\xff", b"true", b"-1e9", b'"\\ud83d"'),
            ]
        ),
        max_size=60,
    )
)
def test_any_bytes_end_in_pieces_that_parse(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = salvage(data)
    assert _looked_at(data) <= 8 * len(data) + 1000
    for piece in found:
        assert isinstance(piece.value, dict)
        piece.data.decode()
    history = read_history(compose([piece.data for piece in found], data))
    assert [history.text_of(one) for one in history.chats] == [piece.data for piece in found]


@ANY_STYLE
def test_what_is_salvaged_of_a_whole_history_is_written_as_it_was(style: dict[str, Any]) -> None:
    data = written(CHATS, style)
    composed = compose(whole(data), data)
    assert composed == data or style == STYLES["escaped"]  # json puts a blank after its commas
    assert json.loads(composed) == CHATS


@pytest.mark.parametrize("around", [b"", b"\xef\xbb\xbf", b"\0\0"])
def test_the_first_object_of_a_document_is_found(around: bytes) -> None:
    user = written({"id": "anna", "name": "安"}, {})
    assert first_object(around + user + b"}\n}") == user
    for cut in range(len(user)):
        assert first_object(around + user[:cut]) is None
