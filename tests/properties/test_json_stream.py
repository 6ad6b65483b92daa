"""Huge JSON read piece by piece: whatever pieces and indentation, the values are the same."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.exchange.guide_reader import GuideReader
from shenyu_data.exchange.items import Item
from shenyu_data.exchange.json_stream import JsonStream
from shenyu_data.model.errors import ArchiveError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from('{}[]"\\\n'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
INDENTS = st.sampled_from([None, 0, 1, 2, 3, "\t", " \t"])


class Dripping:
    """Gives a text a few bytes at a time."""

    def __init__(self, text: bytes, size: int) -> None:
        self._file = io.BytesIO(text)
        self._size = size

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size))


@given(
    value=st.dictionaries(st.text(max_size=5), st.lists(VALUES, max_size=3), max_size=3),
    indent=INDENTS,
    size=st.integers(1, 9),
)
def test_every_value_comes_as_its_own_bytes(
    value: dict[str, list[Any]], indent: int | str | None, size: int
) -> None:
    text = json.dumps(value, indent=indent).encode()
    stream = JsonStream(Dripping(text, size).read)
    found: dict[str, list[Any]] = {}
    for key in stream.members():
        found[key] = [json.loads(stream.value()) for _ in stream.elements()]
    stream.end()
    assert found == value


@given(text=st.text(alphabet='{}[]":,\\ \nau1', max_size=40), size=st.integers(1, 50))
def test_a_reader_of_anything_ends_with_documents_or_an_error_of_ours(text: str, size: int) -> None:
    whole = b'{"users": {"a": ' + text.encode()
    try:
        records = list(GuideReader(Dripping(whole, size).read))
    except ArchiveError:
        return
    if all(isinstance(record, Item) for record in records):
        json.loads(whole)  # whoever read it to its end, and found nothing wrong, read JSON


@pytest.mark.parametrize(
    "version",
    [b"[" * 5000 + b"]" * 5000, b'"\xff"', b"9" * 5000, b'"\\ud800"'],
    ids=["deep", "no UTF-8", "digits", "half a character"],
)
def test_a_version_that_cannot_be_read_is_an_unknown_one(version: bytes) -> None:
    reader = GuideReader(io.BytesIO(b'{"version": %b, "users": {}}' % version).read)
    with pytest.raises(ArchiveError, match="is of version"):
        list(reader)
