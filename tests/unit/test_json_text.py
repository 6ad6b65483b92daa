"""Documents as they stand in the guide's export."""

from collections.abc import Callable

import pytest

from shenyu_data.exchange.json_text import MOST_DEPTH, indented


def called_from(depth: int, call: Callable[[], bytes]) -> bytes:
    return call() if not depth else called_from(depth - 1, call)


def nested(depth: int, inside: bytes) -> bytes:
    return b"[" * depth + inside + b"]" * depth


@pytest.mark.parametrize("inside", [b"1", b'"\\ud83d"'], ids=["msgspec", "json"])
@pytest.mark.parametrize("depth", [MOST_DEPTH, MOST_DEPTH + 1, 950, 1000, 5000])
def test_what_is_written_can_be_read_whoever_reads_it(depth: int, inside: bytes) -> None:
    """Parsers give up at a depth that depends on how many callers there are."""
    data = nested(depth, inside)
    if depth > MOST_DEPTH:
        with pytest.raises(ValueError, match="nested"):
            indented(data)
    else:
        written = indented(data)
        assert called_from(15, lambda: indented(written)) == written


def test_a_bomb_that_stays_as_it_is_is_not_deeper_either() -> None:
    wide = b"[" + b",".join([nested(MOST_DEPTH - 1, b"1")] * 200) + b"]"
    assert indented(wide) == wide
    with pytest.raises(ValueError, match="nested deeper"):
        indented(b"[" + wide + b"]")


@pytest.mark.parametrize("depth", [100, 400, 700, 850, MOST_DEPTH])
def test_a_small_document_becomes_no_more_than_is_said(depth: int) -> None:
    data = b"[" * depth + b",".join([b"1"] * ((4096 - 2 * depth) // 2)) + b"]" * depth
    assert len(data) <= 4096
    assert 4096 < len(indented(data)) < 6_000_000
