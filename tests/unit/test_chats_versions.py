"""Which version of a history it was that somebody read before writing."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from shenyu_data.model.chats_versions import Versions, nearest
from shenyu_data.model.documents import Unparsable

T0 = 1_700_000_000_000


def chat(number: int, *messages: str) -> dict[str, Any]:
    return {
        "id": T0 + number,
        "title": f"chat {number}",
        "messages": [{"role": "user", "content": text} for text in messages],
    }


def written(*chats: dict[str, Any]) -> bytes:
    return json.dumps(chats, ensure_ascii=False, indent=2).encode()


def versions(*all_of_them: bytes) -> Versions:
    found = Versions()
    for before, after in pairwise(all_of_them):
        found.put(before, after)
    return found


def test_a_history_goes_on_from_the_version_it_has_most_of() -> None:
    before, after = written(chat(3), chat(1)), written(chat(3), chat(2, "a"), chat(1))
    both = [before, after]
    assert nearest(both, after) == 1
    assert nearest(both, written(chat(9), chat(3), chat(2, "a", "more"), chat(1))) == 1
    assert nearest(both, written(chat(4), chat(3), chat(1))) == 0
    assert nearest([after, before], written(chat(3), chat(2, "a", "b"), chat(1))) == 0


def test_a_conversation_goes_on_from_the_version_with_its_last_words() -> None:
    before, after = written(chat(1, "a")), written(chat(1, "a", "b"))
    assert nearest([before, after], written(chat(1, "a", "c"))) == 0
    assert nearest([before, after], written(chat(1, "a", "b", "c"))) == 1
    assert nearest([after, before], written(chat(1, "a", "b", "c"))) == 0
    assert nearest([after, before], written(chat(1, "a", "c"))) == 1


def test_of_versions_that_are_as_near_it_is_the_last() -> None:
    assert nearest([written(chat(1)), written(chat(2))], b"[]") == 1


def test_a_version_that_nobody_can_read_counts_as_nothing() -> None:
    assert nearest([written(chat(1), chat(2)), b"[{", b"7"], written(chat(3))) == 2
    with pytest.raises(Unparsable):
        nearest([written(chat(1))], b"[{")


def test_a_message_merged_before_is_kept_when_somebody_goes_on_from_what_was_before_it() -> None:
    """Three writes from one version, two of them after it was replaced: the words of all stay."""
    first = written(chat(2), chat(1, "a"))
    restored = written(chat(3), chat(2), chat(1, "a"))
    merged = written(chat(3), chat(2), chat(1, "a", "b"))
    found = versions(first, restored, merged)
    result = found.with_what_came_since(written(chat(2), chat(1, "a", "c")))
    assert result.conflicts == []
    assert result.data == written(chat(3), chat(2), chat(1, "a", "b", "c"))


def test_words_that_were_taken_back_stay_away_if_the_last_version_had_them() -> None:
    found = versions(written(chat(1, "a")), written(chat(2), chat(1, "a", "b")))
    now = written(chat(2), chat(1, "a", "c"))
    assert found.with_what_came_since(now).data == now
    assert found.all[-1] == now


def test_what_the_application_makes_of_what_it_wrote_itself_is_its_own_affair() -> None:
    found = versions(written(chat(1)), written(chat(2), chat(1)))
    for number in range(3, 30):
        assert found.goes_on(written(chat(number), chat(2), chat(1)))
    assert len(found.all) == 3
    assert not found.goes_on(written(chat(40), chat(1)))


def test_versions_are_bounded() -> None:
    found = Versions()
    for number in range(50):
        found.put(written(chat(number)), written(chat(number + 1)))
    assert len(found.all) == 12


def test_the_only_chat_of_a_file_goes_on_without_an_id_too() -> None:
    def single(*words: str) -> bytes:
        return json.dumps(
            {"messages": [{"role": "user", "content": word} for word in words]}
        ).encode()

    found = versions(single("a"), single("a", "b"))
    result = found.with_what_came_since(single("a", "c"))
    assert result.conflicts == []
    assert [item["content"] for item in json.loads(result.data)["messages"]] == ["a", "b", "c"]
    assert found.goes_on(single("a", "b", "d"))
