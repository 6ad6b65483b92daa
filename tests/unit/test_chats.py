"""Chats as pieces of a history's bytes: found, put in, taken out, merged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.chats import Chat, _elements, read_history, same_value
from shenyu_data.model.chats_edit import alone, insert, insert_all, place_of, remove, replace
from shenyu_data.model.chats_merge import merge
from shenyu_data.model.documents import Unparsable

T0 = 1_700_000_000_000


def chat(number: int, *words: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": word} for word in words or ('你好, \\ "[{x}]"',)]
    return {"id": T0 + number, "title": f"第{number}", "messages": messages}


def written(*chats: Any, indent: int | None = 2) -> bytes:
    between = (",", ":") if indent is None else None
    return json.dumps(list(chats), ensure_ascii=False, indent=indent, separators=between).encode()


def numbers(data: bytes) -> list[int]:
    return [int(item["id"]) - T0 for item in json.loads(data)]


def put(live: bytes, past: bytes, key: int) -> bytes:
    """Put the chat with this number back as restore does."""
    source, history = read_history(past), read_history(live)
    found = source.chats[source.find(str(T0 + key))[0]]
    at = place_of(found, source.chats, history.chats)
    return insert(history, at, source, found)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(values, max_size=6), st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans())
def test_every_element_is_found_where_it_lies(
    items: list[Any], indent: Any, ascii_only: bool
) -> None:
    text = json.dumps(items, ensure_ascii=ascii_only, indent=indent)
    data = text.encode("utf-8", "surrogatepass")
    history = read_history(b" " + data + b"\n")
    assert [json.loads(history.text(i)) for i in range(len(items))] == items
    assert _elements(history.data, 1) == [(item.start, item.end) for item in history.chats]
    assert history.inside is not None


@given(
    st.lists(values.filter(lambda value: value != []), min_size=1, max_size=6),
    st.sampled_from([None, 1, 2, 4]),
    st.data(),
)
def test_a_chat_put_where_another_file_had_it_and_taken_out_leaves_no_trace(
    items: list[Any], indent: int | None, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    whole = read_history(written(*items, indent=indent))
    without = remove(whole, index)
    if len(items) == 1:
        assert json.loads(without) == []
        return
    history = read_history(without)
    again = insert(history, index, whole, whole.chats[index])
    assert again == whole.data
    assert remove(read_history(again), index) == without


def test_the_bytes_of_siblings_stay_as_they_are() -> None:
    past = written(chat(3), chat(2), chat(1))
    odd = b'[ {"id":"1700000000009",  "x":1.50e1 } ,\t' + json.dumps(chat(1)).encode() + b"  ]\r\n"
    result = put(odd, past, 2)
    assert b'{"id":"1700000000009",  "x":1.50e1 }' in result
    assert result.endswith(json.dumps(chat(1)).encode() + b"  ]\r\n")
    assert numbers(result) == [9, 2, 1]


def test_a_chat_comes_back_exactly_as_the_application_had_written_it() -> None:
    past = written(*(chat(number) for number in range(9, 0, -1)))
    for number in range(1, 10):
        history = read_history(past)
        live = remove(history, 9 - number)
        assert put(live, past, number) == past


@pytest.mark.parametrize(
    ("live", "past", "expected"),
    [
        ([], [5], [5]),
        ([9, 8, 3], [5, 3], [9, 8, 5, 3]),
        ([9, 8], [8, 5], [9, 8, 5]),
        ([9, 7, 4, 1], [7, 5, 1], [9, 7, 5, 4, 1]),
        ([9, 6, 4, 1], [5], [9, 6, 5, 4, 1]),  # by the clock alone
        ([1, 9], [9, 5, 1], [5, 1, 9]),  # the application's order contradicts: by the clock
    ],
)
def test_a_chat_finds_its_place_by_neighbours_and_clock(
    live: list[int], past: list[int], expected: list[int]
) -> None:
    result = put(written(*map(chat, live)), written(*map(chat, past)), 5)
    assert numbers(result) == expected


def test_a_chat_without_a_clock_goes_beside_its_neighbours() -> None:
    lost = {"id": "notes", "messages": []}
    past = read_history(written(chat(9), lost, chat(1)))
    live = read_history(written(chat(10), chat(9), chat(8), chat(1)))
    assert place_of(past.chats[1], past.chats, live.chats) == 2
    live = read_history(written(chat(10), chat(8), chat(1)))
    assert place_of(past.chats[1], past.chats, live.chats) == 2
    live = read_history(written(chat(10), chat(8)))
    assert place_of(past.chats[1], past.chats, live.chats) == 2


@pytest.mark.parametrize("style", [None, 2, 4])
def test_a_chat_takes_on_the_indentation_of_its_new_siblings(style: int | None) -> None:
    live = written(chat(9), chat(1), indent=style)
    for past in (written(chat(5), indent=None), written(chat(5), indent=4), written(chat(5))):
        assert put(live, past, 5) == written(chat(9), chat(5), chat(1), indent=style)


def test_windows_line_ends_are_kept() -> None:
    live = written(chat(9), chat(1)).replace(b"\n", b"\r\n")
    result = put(live, written(chat(5)), 5)
    assert result == written(chat(9), chat(5), chat(1)).replace(b"\n", b"\r\n")


def test_half_a_character_and_unknown_members_survive() -> None:
    half = b'{"id": %d, "title": "\\ud83d", "x": {"y": [1]}}' % (T0 + 5)
    past = b"[\n  " + half + b"\n]"
    result = put(written(chat(9)), past, 5)
    assert half in result
    assert numbers(result) == [9, 5]


def test_an_id_as_number_or_as_digits_is_the_same_chat() -> None:
    history = read_history(b'[{"id": "17"}, {"id": 17.0}, {"id": 17}, {"id": true}, {}, 3, {}]')
    assert history.find("17") == [0, 1, 2]
    assert [item.identity for item in history.chats][:3] == [("#17", 0), ("#17", 1), ("#17", 2)]
    assert len({item.identity for item in history.chats}) == 7


def test_one_chat_is_made_a_file_of_its_own_in_the_style_it_had() -> None:
    past = read_history(written(chat(3), chat(2)))
    assert alone(past, past.chats[1]) == written(chat(2))
    single = read_history(json.dumps(chat(2)).encode())
    assert alone(single, single.chats[0]) == single.data


def test_a_chat_is_replaced_where_it_stands() -> None:
    live = read_history(written(chat(3), chat(2, "new"), chat(1)))
    past = read_history(written(chat(2, "old"), indent=4))
    assert replace(live, 1, past, past.chats[0]) == written(chat(3), chat(2, "old"), chat(1))


@pytest.mark.parametrize(
    "data", [b"", b"[", b'[{"id":1},]', b"7", b'"x"', b"[]x", b"\xef\xbb\xbf[]", b"[" * 100_000]
)
def test_what_the_application_cannot_read_is_refused(data: bytes) -> None:
    with pytest.raises(Unparsable):
        read_history(data)


@given(st.binary(max_size=60))
def test_hostile_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        history = read_history(data)
    except Unparsable:
        return
    for index, item in enumerate(history.chats):
        assert isinstance(item, Chat)
        assert history.text(index)


def test_what_arrived_meanwhile_is_merged_in_its_place() -> None:
    base = written(chat(3), chat(1))
    theirs = written(chat(4), chat(3, "more"), chat(1))
    ours = written(chat(3), chat(2), chat(1))
    merged = merge(base, theirs, ours)
    assert merged.data == written(chat(4), chat(3, "more"), chat(2), chat(1))
    assert merged.conflicts == []
    assert merge(base, theirs, merged.data).data == merged.data


def test_what_one_side_removed_stays() -> None:
    assert merge(written(chat(1)), b"[]", written(chat(2), chat(1))).data == written(
        chat(2), chat(1)
    )


def test_a_conversation_that_went_on_on_both_sides_has_the_messages_of_both() -> None:
    merged = merge(
        written(chat(1, "a")), written(chat(1, "a", "b", "c")), written(chat(2), chat(1, "a", "d"))
    )
    assert merged.conflicts == []
    assert merged.data == written(chat(2), chat(1, "a", "d", "b", "c"))


def test_a_title_one_side_changed_and_a_message_the_other_did_come_together() -> None:
    titled = {**chat(1, "a"), "title": "new", "\ud83d": "\ud83d"}
    merged = merge(written(chat(1, "a")), written(chat(1, "a", "b")), json.dumps([titled]).encode())
    assert merged.conflicts == []
    assert json.loads(merged.data) == [{**titled, "messages": chat(1, "a", "b")["messages"]}]


def test_a_chat_both_changed_is_a_conflict_and_ours_stays() -> None:
    merged = merge(written(chat(1)), written(chat(1, "a")), written(chat(1, "b")))
    assert merged.data == written(chat(1, "b"))
    assert [item.key for item in merged.conflicts] == [str(T0 + 1)]


def test_equal_values_are_equal_in_any_order_and_true_is_not_one() -> None:
    assert same_value({"a": 1, "b": [2]}, {"b": [2], "a": 1})
    assert not same_value({"a": True}, {"a": 1})


def test_a_number_of_more_digits_than_python_converts_is_read_as_the_application_does() -> None:
    data = b'[{"id": 1, "messages": []}, {"id": 2, "n": %b, "messages": [1]}]' % (b"9" * 5000)
    assert [chat.key for chat in read_history(data).chats] == ["1", "2"]


def test_bytes_that_are_no_utf8_beside_half_a_character_are_read_as_the_application_does() -> None:
    data = b'[{"id": "a\xff", "messages": []}, {"id": "\\ud83d", "messages": [1]}]'
    assert [chat.key for chat in read_history(data).chats] == ["a\ufffd", "\ud83d"]


def test_a_document_cut_off_in_a_character_is_torn_and_not_read() -> None:
    with pytest.raises(Unparsable, match="torn"):
        read_history(b'[{"id": "\\ud83d", "title": "\xe4\xbd')


@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.sampled_from([None, 1, 2, 4]))
def test_many_chats_put_in_at_once_are_each_in_their_place(
    there: set[int], wanted: set[int], style: int | None
) -> None:
    chats = [{"id": 1_700_000_000_000 + number, "messages": []} for number in range(12, 0, -1)]
    source = read_history(json.dumps(chats, indent=2).encode())
    kept = [chats[index] for index in sorted(there)]
    history = read_history(json.dumps(kept, indent=style).encode() + b"\n")
    more = [(source.chats[index], source) for index in sorted(wanted - there)]
    data = insert_all(history, more)
    assert json.loads(data) == [chats[index] for index in sorted(there | wanted)]
    for chat in history.chats:
        assert history.text_of(chat) in data
    if not more:
        assert data == history.data
