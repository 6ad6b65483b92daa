"""Two histories in one: every chat of both is there, and bytes that need not change do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.chats import read_history, same_value
from shenyu_data.model.chats_union import union
from shenyu_data.model.documents import Unparsable


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def messages(*words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": word} for word in words]


def values(data: bytes) -> list[Any]:
    return [chat.value for chat in read_history(data).chats]


def test_a_chat_comes_to_its_place_and_the_others_keep_their_bytes() -> None:
    ours = b'[{"id":3, "n":1.0},\n {"id": 1}]'
    assert union(ours, text([{"id": 2}])).replace(b'{"id":3, "n":1.0}', b"") != ours
    assert b'{"id":3, "n":1.0}' in union(ours, text([{"id": 2}]))


@pytest.mark.parametrize("other", ["1", 1, 1.0])
def test_of_two_versions_of_which_one_goes_on_the_longer_stands(other: Any) -> None:
    short = {"id": 1, "messages": messages("a")}
    longer = {"id": other, "messages": messages("a", "b"), "title": "t"}
    assert values(union(text([short]), text([longer]))) == [longer]
    assert values(union(text([longer]), text([short]))) == [longer]


def test_versions_that_contradict_each_other_are_both_there_once() -> None:
    ours, theirs = [{"id": 1, "messages": messages("a")}], [{"id": 1, "messages": messages("b")}]
    both = union(text(ours), text(theirs))
    first, second = values(both)
    assert first == ours[0]
    assert second["messages"] == theirs[0]["messages"]
    assert second["id"].startswith("1-imported-")
    assert union(both, text(theirs)) == both


def test_single_chats_are_merged_only_if_one_holds_the_other() -> None:
    one, two = ({"id": 1, "messages": messages(*words)} for words in ("a", "ab"))
    assert values(union(text(one), text(two))) == [two]
    with pytest.raises(ValueError, match=r".*"):
        union(text(one), text({"id": 1, "messages": messages("c")}))
    with pytest.raises(ValueError, match=r".*"):
        union(text(one), text([{"id": 7}]))


def test_what_is_no_history_is_not_merged() -> None:
    for ours, theirs in ((b"", b"[]"), (b"[]", b"[1"), (b"12", b"[]")):
        with pytest.raises(Unparsable):
            union(ours, theirs)


CHATS = st.lists(
    st.fixed_dictionaries(
        {"messages": st.lists(st.sampled_from(messages("a", "b", "你")), max_size=3)},
        optional={
            "id": st.sampled_from([1, "1", 2, 1_700_000_000_000, "x"]),
            "title": st.sampled_from(["t", ""]),
        },
    ),
    max_size=4,
)


def holds(chat: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether a chat has all of another one's members and messages, whatever its id."""
    for name, value in wanted.items():
        if name == "messages":
            if chat["messages"][: len(value)] != value:
                return False
        elif name != "id" and not same_value(chat.get(name), value):
            return False
    return True


@given(ours=CHATS, theirs=CHATS)
def test_no_chat_is_lost_and_twice_is_once(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> None:
    merged = union(text(ours), text(theirs))
    found = values(merged)
    for wanted in (*ours, *theirs):
        assert any(holds(chat, wanted) for chat in found)
    assert union(merged, text(theirs)) == merged
    assert union(merged, text(ours)) == merged
