"""Finding the chats of a history block by block gives what parsing it whole gives."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir import chat_stream
from shenyu_data.datadir.chat_stream import scan_chats
from shenyu_data.model.documents import Unparsable

TEXT = st.text(alphabet='a"\\[]{},: \n好😀', max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), TEXT),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXT, below, max_size=3)),
    max_leaves=6,
)
CHATS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=5)


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(CHATS, st.sampled_from([None, 2]), st.booleans(), st.integers(1, 50))
def test_every_chat_is_found_where_it_lies(
    chats: list[dict[str, Any]], indent: int | None, ascii_only: bool, size: int
) -> None:
    text = " " + json.dumps(chats, indent=indent, ensure_ascii=ascii_only) + "\n"
    data = text.encode()
    pieces = list(scan_chats(blocks(data, size)))
    assert [json.loads(piece.data) for piece in pieces] == chats
    for piece in pieces:
        assert data[piece.start : piece.start + len(piece.data)] == piece.data


@given(CHATS.filter(bool), st.integers(1, 50), st.data())
def test_what_is_cut_off_or_goes_on_is_torn(
    chats: list[dict[str, Any]], size: int, draw: st.DataObject
) -> None:
    data = json.dumps(chats, ensure_ascii=False).encode()
    cut = data[: draw.draw(st.integers(0, len(data) - 1))]
    for torn in (cut, data + b"]", data + b" {}", data + b'"x', b"{}", b"x" + data):
        with pytest.raises(Unparsable, match="torn"):
            list(scan_chats(blocks(torn, size)))


def test_a_chat_that_is_too_large_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_stream, "MAX_PARSED_BYTES", 1000)
    text = b'[{"a": "' + b"x" * 5000 + b'"}]'
    fed = 0

    def counted() -> Iterator[bytes]:
        nonlocal fed
        for block in blocks(text, 100):
            fed += len(block)
            yield block

    with pytest.raises(Unparsable, match="too large"):
        list(scan_chats(counted()))
    assert fed < 1500


@pytest.mark.parametrize(("before", "after"), [(b"", b"[]"), (b"[]", b"")])
def test_blanks_around_a_history_are_not_held_in_memory(before: bytes, after: bytes) -> None:
    block = b" " * (1 << 20)
    tracemalloc.start()
    try:
        assert list(scan_chats(iter([before, *[block] * 40, after]))) == []
        assert tracemalloc.get_traced_memory()[1] < 8 * len(block)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [100, 5000])
def test_a_chat_of_too_many_messages_is_not_held_in_memory(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(chat_stream, "MAX_PARSED_BYTES", 10_000)
    text = b'[{"messages": [' + b'{"role": "user"},' * 3000
    with pytest.raises(Unparsable, match="too large"):
        list(scan_chats(blocks(text, size)))
