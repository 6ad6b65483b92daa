"""Dates in the names of archives, the place of a snapshot among others, and sizes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.archives import place_among, time_of_name
from shenyu_data.model.errors import UsageError
from shenyu_data.model.sizes import parse_size


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("shenyu_data_20250210_030000.tar.gz", "2025-02-10T03:00:00"),
        ("shenyu_data_20250210.tar.gz", "2025-02-10T00:00:00"),
        ("data_20240229", "2024-02-29T00:00:00"),
        ("v12345678_20250210-235959.tgz", "2025-02-10T23:59:59"),
        ("20250210T030000.tar", "2025-02-10T03:00:00"),
        ("shenyu_data_20250210_999999.tar.gz", None),
        ("shenyu_data_20250230.tar.gz", None),
        ("shenyu_data_120250210.tar.gz", None),
        ("shenyu_data.tar.gz", None),
        ("00000000", None),
    ],
)
def test_the_date_is_read_from_the_name(name: str, time: str | None) -> None:
    wanted = datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() * 1000 if time else None
    assert time_of_name(name, UTC) == wanted


def test_the_date_is_local() -> None:
    assert time_of_name("x_20250210_030000", ZoneInfo("Asia/Shanghai")) == 1_739_127_600_000


@given(st.text())
def test_any_name_has_a_date_or_none(name: str) -> None:
    found = time_of_name(name)
    assert found is None or isinstance(found, int)


@given(st.lists(st.integers(0, 50)).map(sorted), st.integers(0, 50))
def test_where_times_are_in_order_the_place_is_between_older_and_newer(
    times: list[int], time: int
) -> None:
    place = place_among(times, time)
    assert all(one <= time for one in times[:place])
    assert all(one > time for one in times[place:])


def test_a_wrong_clock_now_and_then_does_not_matter() -> None:
    assert place_among([100, 101, 999, 103, 104], 102) == 2
    assert place_among([100, 101, 0, 103, 104], 50) == 0
    assert place_among([100, 101, 102, 0], 50) == 0  # the newest was taken with a wrong clock
    assert place_among([100, 101, 0], 102) == 3
    assert place_among([], 5) == 0


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("5kB", 5000), ("500MB", 5 * 10**8), ("20 gb", 2 * 10**10)]
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "-1GB", "1.5GB", "5GiB", "1234567B", "٣GB"])
def test_anything_else_is_not_a_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)
