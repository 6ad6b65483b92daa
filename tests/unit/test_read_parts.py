"""Which parts of a repository are read when, so that none is left out."""

from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.read_parts import PARTS, choose_parts, stalest_ms

DAY_MS = 86_400_000
START = 1_750_000_000_000


def read_by(runs_ms: list[int], every_ms: int) -> tuple[dict[int, int], list[int]]:
    """Make runs; give when each part was read last, and how many were read each time."""
    known: dict[int, int] = {}
    counts = []
    last_ms = None
    for now_ms in runs_ms:
        parts = choose_parts(known, last_ms, every_ms, now_ms)
        known |= dict.fromkeys(parts, now_ms)
        counts.append(len(parts))
        last_ms = now_ms
    return known, counts


def test_daily_runs_read_all_in_time_and_about_the_same_each_day() -> None:
    days = [START + day * DAY_MS for day in range(365)]
    known, counts = read_by(days, 30 * DAY_MS)
    assert set(counts) == {9}
    oldest_ms = stalest_ms(known, days[-1])
    assert oldest_ms is not None
    assert days[-1] - oldest_ms < 30 * DAY_MS


@given(
    st.lists(st.integers(1, 12 * 24), min_size=30, max_size=60),
    st.sampled_from([1, 7, 30, 90]),
)
def test_no_part_is_older_after_a_run_than_was_asked_for(hours: list[int], days: int) -> None:
    """However irregular the runs are: once all were read, and the longest time has passed."""
    runs_ms = [START + sum(hours[:count]) * DAY_MS // 24 for count in range(1, len(hours) + 1)]
    known, _ = read_by(runs_ms, days * DAY_MS)
    oldest_ms = stalest_ms(known, runs_ms[-1])
    if runs_ms[-1] - runs_ms[0] >= days * DAY_MS:
        assert oldest_ms is not None
        assert runs_ms[-1] - oldest_ms < days * DAY_MS


def test_times_in_the_future_count_for_nothing() -> None:
    known = dict.fromkeys(range(PARTS), START + 3650 * DAY_MS)
    assert len(choose_parts(known, START + 3650 * DAY_MS, 30 * DAY_MS, START)) == 9
    assert stalest_ms(known, START) is None


def test_a_long_pause_is_made_up_for() -> None:
    known = dict.fromkeys(range(PARTS), START)
    assert len(choose_parts(known, START, 30 * DAY_MS, START + 31 * DAY_MS)) == PARTS
    assert len(choose_parts(known, START, 30 * DAY_MS, START + 15 * DAY_MS)) == PARTS // 2
