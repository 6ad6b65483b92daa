"""The time a document of an export gets that has none: when its chats were last active."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.exchange.items import Item
from shenyu_data.model.activity import last_activity
from shenyu_data.model.chats import read_history
from shenyu_data.model.quick_chats import decode_quick_chat
from shenyu_data.operations.import_checks import Entry
from shenyu_data.operations.import_edits import entry_mtime_ns
from tests.unit.test_cleanup_quick import CHATS, NOW

NOW_MS = 4_000_000_000_000  # no clock is ahead of it


def time_of(data: bytes) -> int | None:
    item = Item(kind="file", path=b"histories/ben/0.json", data=data)
    return entry_mtime_ns(Entry(item, b"ben", "history", None, len(data)))


@given(st.lists(CHATS | st.integers(), max_size=3) | CHATS)
def test_it_is_what_the_chats_say_when_read_whole(document: object) -> None:
    data = json.dumps(document).encode()
    clocks = [last_activity(chat.value, 0, NOW_MS) for chat in read_history(data).chats]
    past = [clock.ms for clock in clocks if clock.source != "mtime"]
    if all(ms < 1_700_000_000_000 for ms in past):
        assert time_of(data) == (max(past) * 1_000_000 if past else None)


@given(CHATS)
def test_a_quick_look_takes_the_same_clocks_for_wrong_ones(chat: object) -> None:
    try:
        quick = decode_quick_chat(json.dumps(chat).encode())
    except msgspec.ValidationError:
        return
    clock = last_activity(chat, 0, NOW)
    assert quick.last_active_ms(NOW) == (clock.ms if clock.source != "mtime" else None)


def test_of_what_is_no_history_there_is_none() -> None:
    for data in (b"", b"[", b"7", b'{"id": 1700000000000', b"[[[["):
        assert time_of(data) is None
