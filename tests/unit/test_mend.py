"""What a torn document and its last good version are together: no chat of either is lost."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.chats import read_history
from shenyu_data.model.mend import mend_history, mend_user, normalise, trouble
from shenyu_data.testing.application import chat

NAME = b"chat-history.json"
T0 = 1_700_000_000_000


def written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def numbers(data: bytes) -> list[int]:
    return [one["id"] - T0 for one in json.loads(data)]


OLD: list[dict[str, Any]] = [chat(number, 2) for number in (5, 4, 3, 2, 1)]
NEW = [chat(7, 2), chat(6, 2), chat(5, 4), chat(4, 2), chat(2, 2)]


def test_cut_anywhere_all_chats_of_the_fragment_and_of_the_last_good_version_are_there() -> None:
    data, good = written(NEW), written(OLD)
    whole = read_history(data)
    for cut in range(len(data)):
        mended = mend_history(NAME, data[:cut], good)
        assert mended is not None
        found = {one["id"] - T0: one for one in json.loads(mended.data)}
        assert list(found) == sorted(found, reverse=True), cut
        assert set(found) >= {5, 4, 3, 2, 1}
        for one in whole.chats:
            if one.end <= cut:
                assert found[one.value["id"] - T0] == one.value, cut
        for old in OLD:  # messages never become fewer
            assert found[old["id"] - T0]["messages"][:2] == old["messages"]


def test_cut_anywhere_all_whole_chats_come_back_from_the_fragment_alone() -> None:
    data = written(NEW)
    whole = read_history(data)
    for cut in range(len(data)):
        before = [one.value for one in whole.chats if one.end <= cut]
        mended = mend_history(NAME, data[:cut], None)
        assert (json.loads(mended.data) if mended else [])[: len(before)] == before
        assert (mended.salvaged if mended else 0) == len(before)


def test_a_fragment_that_adds_nothing_gives_the_last_good_version_byte_for_byte() -> None:
    good = json.dumps(OLD, indent=7).encode() + b"\n\n"
    for cut in (0, 100, len(good) // 2):
        mended = mend_history(NAME, good[:cut], good)
        assert mended is not None
        assert mended.data == good
        assert mended[1:] == (0, 0, len(OLD))


def test_the_bytes_of_chats_that_nobody_changed_stay_as_they_are() -> None:
    odd = b'{"id": 1, "title": "\\u00e9", "messages": [ ], "n": 1.50e+1}'
    good = b"[\n  " + odd + b"\n]"
    data = written([chat(7, 2), chat(8, 2)])
    mended = mend_history(NAME, data[:-9], good)
    assert mended is not None
    assert odd in mended.data
    assert numbers(mended.data) == [7, 8, 1 - T0]


def test_a_chat_cut_off_adds_the_messages_that_its_last_good_version_lacks() -> None:
    data, good = written([chat(1, 6)]), written([chat(1, 2)])
    mended = mend_history(NAME, data[: data.index("的第 4 条".encode())], good)
    assert mended is not None
    assert json.loads(mended.data) == [{**chat(1, 6), "messages": chat(1, 6)["messages"][:4]}]
    assert mended[1:] == (0, 1, 0)


def test_a_chat_cut_off_never_takes_messages_away() -> None:
    data, good = written([chat(1, 6)]), written([chat(1, 4)])
    mended = mend_history(NAME, data[: data.index("的第 2 条".encode())], good)
    assert mended is not None
    assert mended.data == good


def test_of_a_chat_that_is_there_twice_one_comes_with_the_messages_of_both() -> None:
    first, second = chat(1, 3), chat(1, 2)
    second["messages"].append({"role": "user", "content": "other"})
    mended = mend_history(NAME, written([first]) + written([second]), None)
    assert mended is not None
    (one,) = json.loads(mended.data)
    assert one["messages"] == [*first["messages"], {"role": "user", "content": "other"}]


def test_a_chat_in_the_layout_of_the_guide_stays_one_chat() -> None:
    short: dict[str, Any] = {"messages": chat(1, 2)["messages"], "timestamp": "2026"}
    data = written({"messages": chat(1, 6)["messages"], "timestamp": "2027"})
    for cut in range(len(data)):
        mended = mend_history(b"talk.json", data[:cut], written(short))
        assert mended is not None
        found = json.loads(mended.data)
        assert found["messages"][:2] == short["messages"]
        alone = mend_history(b"talk.json", data[:cut], None)
        assert alone is None or isinstance(json.loads(alone.data), dict)


def test_a_document_of_nothing_but_beginnings_of_chats_takes_no_time() -> None:
    mended = mend_history(NAME, b'{"messages":[{"role":1},' * 20_000, written(OLD))
    assert mended is not None
    assert set(numbers(written([one for one in json.loads(mended.data) if "id" in one]))) == {
        *(5, 4, 3, 2, 1)
    }


def test_a_compressed_history_that_is_cut_off_gives_what_can_be_unpacked() -> None:
    data = gzip.compress(written(NEW), 0)
    mended = mend_history(b"chat-history.json.gz", data[:-20], gzip.compress(written(OLD)))
    assert mended is not None
    assert set(numbers(gzip.decompress(mended.data))) == {7, 6, 5, 4, 3, 2, 1}


@given(
    old=st.lists(st.integers(1, 9), unique=True, max_size=6),
    new=st.lists(st.integers(1, 9), unique=True, max_size=6),
    cut=st.floats(0, 1),
    junk=st.sampled_from([b"", bytes(50), b"]", b"\xef\xbb\xbf", b'"', b"{"]),
)
def test_whatever_is_merged_no_chat_of_either_is_lost_and_none_is_there_twice(
    old: list[int], new: list[int], cut: float, junk: bytes
) -> None:
    data = written([chat(number, 1) for number in new])
    size = int(cut * len(data))
    fragment = data[:size] + junk
    good = written([chat(number, 2) for number in old])
    before = {one.value["id"] - T0 for one in read_history(data).chats if one.end <= size}
    mended = mend_history(NAME, fragment, good)
    assert mended is not None
    found = numbers(mended.data)
    assert len(found) == len(set(found))
    assert set(found) >= before | set(old)
    assert [number for number in found if number in before] == [
        number for number in new if number in before
    ]


@pytest.mark.parametrize("around", [(b"\xef\xbb\xbf", b""), (b"", bytes(9)), (b"\0", b"\0")])
def test_normalising_changes_no_byte_of_what_is_whole(around: tuple[bytes, bytes]) -> None:
    data = written(OLD)
    assert normalise(around[0] + data + around[1]) == data
    assert normalise(around[0] + data[:-1] + around[1]) is None


def test_a_whole_document_is_not_normalised() -> None:
    assert normalise(written(OLD)) is None


def test_the_user_that_a_document_begins_with_is_found_if_it_is_one() -> None:
    user = written({"id": "anna", "created_at": "2025-02-10T03:28:00.000Z"})
    assert mend_user(b"anna", b"anna.json", user + b"}\n}") == user
    assert mend_user(b"ben", b"ben.json", user[:-5]) is None
    assert mend_user(b"anna", b"anna.json", b'{"id": "anna"}}') is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b" \n", "blank-file"),
        (bytes(4096), "blank-file"),
        (b"[{", "torn-json"),
        (written(OLD) + bytes(100), "torn-json"),
        ("[{“".encode()[:-1], "torn-json"),
        (b"\xef\xbb\xbf[]", "byte-order-mark"),
        (b"[]]", "trailing-data"),
        (b"[1,,]", "not-json"),
        (b'["\xb7\xe7"]', "not-utf8"),
        (written(OLD), None),
        (b"[" * 3000, None),  # too deep to be looked into: left alone
        (b"[" + b'"' + b" " * (33 << 20), None),  # too large
    ],
)
def test_what_is_to_be_repaired(data: bytes, code: str | None) -> None:
    assert trouble("history", b"anna", NAME, data) == code


def test_a_last_good_version_with_bytes_that_are_no_utf8_is_brought_together_with_the_rest() -> (
    None
):
    good = b'[{"id": 1, "title": "\xff", "messages": [1]}, {"id": 2, "messages": [2]}]'
    torn = b'[{"id": 1, "title": "\xff", "messages": [1, 3]}, {"id": 3, "messages": [4]}, {"id'
    mended = mend_history(b"chat-history.json", torn, good)
    assert mended is not None
    assert {chat.key for chat in read_history(mended.data).chats} == {"1", "2", "3"}


def test_a_piece_that_looks_like_a_chat_does_not_take_the_place_of_a_file_s_only_chat() -> None:
    good = b'{"id": "chat", "messages": [{"role": "user", "content": "kept"}]}'
    torn = b'{"id": "chat", "title": "x", "settings": {"messages": []}, "messages": [{"ro'
    mended = mend_history(b"chat.json", torn, good)
    assert mended is not None
    assert b"kept" in mended.data
