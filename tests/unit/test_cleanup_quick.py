"""The quick look of a cleanup sees what the close look sees, or asks for that."""

from __future__ import annotations

import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir.scan import Found
from shenyu_data.model.activity import last_activity
from shenyu_data.model.layout import Place
from shenyu_data.operations.cleanup_quick import quick_chats
from shenyu_data.operations.conversations import read_chats

NOW = 1_800_000_000_000
TIMES = (
    st.none()
    | st.booleans()
    | st.integers(1_600_000_000, 1_600_000_000_000)
    | st.integers(1_600_000_000_000, 1_900_000_000_000).map(str)
    | st.datetimes().map(lambda moment: moment.isoformat())
    | st.lists(st.integers(), max_size=1)
)
KEYS = st.sampled_from(["timestamp", "updated_at", "createdAt", "date", "content", "role"])
MESSAGES = st.lists(st.dictionaries(KEYS, TIMES, max_size=3) | TIMES, max_size=3)
CHATS = st.fixed_dictionaries(
    {}, optional={"id": TIMES, "timestamp": TIMES, "time": TIMES, "messages": MESSAGES | TIMES}
)


def look(data: bytes, name: bytes = b"chat-history.json") -> list[tuple[object, ...]] | None:
    """Look quickly at a folder with this one history; give file, place and clock of each chat."""
    with tempfile.TemporaryDirectory() as above:
        folder = os.open(above, os.O_RDONLY)
        try:
            with open(os.path.join(os.fsencode(above), name), "wb") as file:
                file.write(data)
            found = os.stat(name, dir_fd=folder)
            entry = Found(Place.IN_HISTORY_FOLDER, name, found)
            chats = quick_chats(folder, [entry], NOW)
        finally:
            os.close(folder)
    mtime_ms = found.st_mtime_ns // 1_000_000
    if chats is None:
        return None
    close = read_chats(name, data).chats
    assert [chat.activity for chat in chats] == [
        last_activity(chat.value, mtime_ms, NOW) for chat in close
    ]
    return [(chat.file, chat.key, chat.at) for chat in chats]


@given(st.lists(CHATS, max_size=3) | CHATS)
def test_both_looks_read_the_same_clocks(document: object) -> None:
    look(json.dumps(document).encode())


def test_ordinary_histories_of_both_layouts_need_no_closer_look() -> None:
    chat = {"id": 1_700_000_000_000, "messages": [{"role": "user", "content": "你好"}]}
    assert look(json.dumps([chat, chat]).encode()) == [
        (b"chat-history.json", "chat-history", 0),
        (b"chat-history.json", "chat-history", 1),
    ]
    assert look(json.dumps(chat).encode(), b"1.json") == [(b"1.json", "1", 0)]


@pytest.mark.parametrize(
    "data", [b"", b"[", b"[]", b"{}", b"null", b"[1]", b'[{"id": 1}]', b"[" * 5000, b'{"a": []}']
)
def test_what_is_odd_or_empty_asks_for_a_closer_look(data: bytes) -> None:
    assert look(data) is None
    assert look(data, b"chat-history.json.gz") is None
