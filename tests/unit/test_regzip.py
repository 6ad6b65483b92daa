"""A compressed document that is changed is compressed as it was."""

from __future__ import annotations

import gzip
import io

import pytest

from shenyu_data.model.regzip import gzip_like

PLAIN = "风雨夜行 the quick brown fox ".encode() * 50


@pytest.mark.parametrize("level", [1, 6, 9])
def test_what_gzip_made_comes_out_as_gzip_would_make_it(level: int) -> None:
    old = gzip.compress(b"something else", level, mtime=123_456)
    assert gzip_like(old, PLAIN) == gzip.compress(PLAIN, level, mtime=123_456)


def test_the_name_in_the_header_stays() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("chat-history.json", "wb", 9, buffer, mtime=1) as file:
        file.write(b"x")
    changed = gzip_like(buffer.getvalue(), PLAIN)
    assert gzip.decompress(changed) == PLAIN
    assert changed[:28] == buffer.getvalue()[:28]
    assert b"chat-history.json\0" in changed[:28]


def test_every_field_a_header_may_have_is_kept() -> None:
    body = gzip.compress(b"x", 6, mtime=0)
    header = body[:3] + bytes([2 | 4 | 8 | 16]) + body[4:10]
    header += b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\x12\x34"
    changed = gzip_like(header + body[10:], PLAIN)
    assert changed.startswith(header)
    assert changed[len(header) :] == gzip_like(body, PLAIN)[10:]
