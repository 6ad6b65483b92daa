"""Rates as people type them."""

import pytest

from shenyu_data.model.errors import UsageError
from shenyu_data.model.rates import parse_rate


@pytest.mark.parametrize(
    ("text", "bytes_s"),
    [
        ("500kB", 500_000),
        ("2MB", 2_000_000),
        ("2 mb/s", 2_000_000),
        ("1.5MiB", 1_572_864),
        ("1GB", 1_000_000_000),
        ("100b", 100),
    ],
)
def test_a_number_and_a_unit_are_bytes_a_second(text: str, bytes_s: int) -> None:
    assert parse_rate(text) == bytes_s


@pytest.mark.parametrize(
    "text", ["", "2", "MB", "2 Mbit", "-2MB", "0MB", "0.1b", "1e9MB", "2MB/h", "2MB\n", "９MB"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        parse_rate(text)
