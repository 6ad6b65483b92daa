"""What an export is read through, plain or compressed."""

import gc
import gzip
import io
import weakref

import pytest
import zstandard

from shenyu_data.exchange.streams import Input

TEXT = b"some words " * 1000


class Kept(io.BytesIO):
    """A file of which it can be told whether anybody still holds it."""


@pytest.mark.parametrize(
    "packed",
    [TEXT, gzip.compress(TEXT), zstandard.compress(TEXT)],
    ids=["plain", "gzip", "zstd"],  # what gzip makes has the time in it
)
def test_nothing_is_kept_of_an_input_that_nobody_reads_any_more(packed: bytes) -> None:
    file = Kept(packed)
    known = weakref.ref(file)
    source = Input(file)
    assert source.peek(5) == TEXT[:5]
    assert source.read(5) == TEXT[:5]
    del source, file
    gc.collect()
    assert known() is None


@pytest.mark.parametrize("count", [1, 3, 4, 5, 1 << 20])
@pytest.mark.parametrize(
    "packed",
    [TEXT, gzip.compress(TEXT), zstandard.compress(TEXT), b"ab", b""],
    ids=["plain", "gzip", "zstd", "short", "empty"],
)
def test_no_more_comes_than_was_asked_for(packed: bytes, count: int) -> None:
    source = Input(io.BytesIO(packed))
    pieces = []
    while piece := source.read(count):
        assert len(piece) <= count
        pieces.append(piece)
    assert b"".join(pieces) == (packed if len(packed) < 3 else TEXT)
