"""Ages as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.ages import format_age, parse_age
from shenyu_data.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 90 * 86400),
        ("12h", 12 * 3600),
        ("4w", 28 * 86400),
        ("1y", 365 * 86400),
        ("90min", 5400),
        ("0s", 0),
        ("45 seconds", 45),
        ("0d", 0),
        ("3D", 3 * 86400),
        ("1 hour", 3600),
        ("2 weeks", 14 * 86400),
        ("9999 days", 9999 * 86400),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "d", "12", "-3d", "3.5d", "3d4h", " 3d", "3d ", "3  d", "10000d", "٣d", "3mo", "3 d\n"],
)
def test_anything_else_is_not_an_age(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_age(text)
    assert "90d" in caught.value.hint


def test_months_cannot_be_taken_for_minutes() -> None:
    with pytest.raises(UsageError):
        parse_age("6m")


@given(st.text(max_size=12))
def test_whatever_is_typed_is_an_age_or_a_usage_error(text: str) -> None:
    try:
        assert parse_age(text) >= 0
    except UsageError:
        return


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30 * 86400, "30d"), (36 * 3600, "36h"), (5400, "90min"), (61, "61s"), (0, "0s")],
)
def test_an_age_is_written_in_the_greatest_unit_that_fits(seconds: int, text: str) -> None:
    assert format_age(seconds) == text
