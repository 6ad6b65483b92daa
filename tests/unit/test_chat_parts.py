"""A history taken apart as a stream is the same as in memory, with chats taken out or put in."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir import chat_parts
from shenyu_data.datadir.chat_parts import Insertion, history_parts, write_with, write_without
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_edit import remove_all
from shenyu_data.model.documents import Unparsable

TEXT = st.text(alphabet='a"\\[]{},: \n好', max_size=8)
CHATS = st.lists(st.dictionaries(TEXT, st.one_of(TEXT, st.lists(TEXT)), max_size=3), max_size=6)
STYLES = st.sampled_from([None, 2, 4])


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def text_of(chats: list[Any], indent: int | None) -> bytes:
    return (" " + json.dumps(chats, indent=indent, ensure_ascii=False) + "\n").encode()


@given(CHATS, STYLES, st.integers(1, 50))
def test_its_parts_joined_are_the_history(chats: list[Any], indent: int | None, size: int) -> None:
    data = text_of(chats, indent)
    parts = list(history_parts(blocks(data, size)))
    assert b"".join(part.gap + (part.chat or b"") for part in parts) == data
    assert [json.loads(part.chat) for part in parts if part.chat is not None] == chats


@given(CHATS.filter(bool), STYLES, st.integers(1, 50), st.data())
def test_taking_chats_out_leaves_what_taking_them_out_in_memory_leaves(
    chats: list[Any], indent: int | None, size: int, draw: st.DataObject
) -> None:
    data = text_of(chats, indent)
    gone = draw.draw(st.sets(st.integers(0, len(chats) - 1), min_size=1))
    written: list[bytes] = []
    write_without(history_parts(blocks(data, size)), gone, written.append)
    assert b"".join(written) == remove_all(read_history(data), sorted(gone))


@given(CHATS, CHATS, STYLES, st.data())
def test_chats_go_where_they_are_wanted(
    chats: list[Any], more: list[Any], indent: int | None, draw: st.DataObject
) -> None:
    places = sorted(draw.draw(st.integers(0, len(chats))) for _ in more)
    slots: dict[int, list[Any]] = {}
    for place, chat in zip(places, more, strict=True):
        slots.setdefault(place, []).append(chat)
    insertions = [
        Insertion(place if place < len(chats) else None, (json.dumps(one).encode() for one in some))
        for place, some in slots.items()
    ]
    written: list[bytes] = []
    write_with(history_parts([text_of(chats, indent)]), insertions, written.append)
    wanted = [
        one
        for place in range(len(chats) + 1)
        for one in (*slots.get(place, ()), *chats[place:][:1])
    ]
    assert json.loads(b"".join(written)) == wanted


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1} {"b": 2}]', '[1, {"a": 1}]', '[{"a": 1}, "x", {"b": 2}]', "[{},]", "[{}, null]"],
)
def test_whatever_else_stands_between_chats_is_not_followed(text: str) -> None:
    with pytest.raises(Unparsable, match="stands between"):
        list(history_parts([text.encode()]))


@pytest.mark.parametrize("text", ["", "[", '[{"a": 1}', '[{"a": 1}, {"b": ', "{}", "[{}] []"])
def test_half_a_history_is_torn(text: str) -> None:
    with pytest.raises(Unparsable, match="torn"):
        list(history_parts([text.encode()]))


def test_blanks_without_end_are_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_parts, "MAX_PARSED_BYTES", 1000)
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b"[{}, "
        for _ in range(1000):
            taken += 1
            yield b" " * 100

    with pytest.raises(Unparsable, match="stands between"):
        list(history_parts(endless()))
    assert taken < 20
