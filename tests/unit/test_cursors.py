"""Cursors: what they were written for they are read as, and nothing else is."""

import base64

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.cursors import Cursor, read_cursor, write_cursor
from shenyu_data.model.errors import UsageError

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES = st.one_of(NUMBERS, st.text(st.characters(codec="utf-8"), max_size=200), st.binary())


@given(VALUES, NUMBERS)
def test_a_cursor_reads_as_it_was_written(value: int | str | bytes, tie: int) -> None:
    word = write_cursor(Cursor(value, tie), ("chats", 1))
    assert read_cursor(word, ("chats", 1)) == Cursor(value, tie)
    assert not word.startswith("-")


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_what_is_no_cursor_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        read_cursor(word, "chats")


@given(st.integers(0, 40), st.integers(1, 255))
def test_an_altered_cursor_is_refused(place: int, flip: int) -> None:
    word = write_cursor(Cursor("title", 7), "chats")
    data = bytearray(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    data[place % len(data)] ^= flip
    with pytest.raises(UsageError, match="altered"):
        read_cursor(base64.urlsafe_b64encode(data).decode(), "chats")


def test_a_cursor_of_another_list_is_refused() -> None:
    word = write_cursor(Cursor(1, 7), ("chats", "size"))
    with pytest.raises(UsageError, match="another list"):
        read_cursor(word, ("chats", "age"))


def test_a_cursor_of_brackets_in_brackets_is_refused() -> None:
    body = b"\x94\x01\xc4\x00" + b"\x91" * 2000 + b"\x01\x01"
    check = blake3(b"shenyu-data cursor" + body).digest(6)
    word = base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()
    with pytest.raises(UsageError, match="none, or was altered"):
        read_cursor(word, "list")
