"""A chat's own clocks, one source at a time, in the shapes that chats really have; wrong ones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.activity import AHEAD_MS, Activity, clock_ms, last_activity, moment_ms

T0 = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MTIME = T0 + 90 * 86_400_000
NOW = MTIME + 86_400_000
HOUR = 3_600_000


def said(**more: object) -> dict[str, object]:
    return {"role": "user", "content": "hi", **more}


def test_the_newest_message_time_comes_first_wherever_it_stands() -> None:
    chat = {
        "id": T0,
        "timestamp": "2023-11-14T22:13:20.000Z",
        "messages": [
            said(timestamp="2023-11-15T22:13:20.000Z"),
            said(timestamp="2023-11-16T22:13:20.000Z"),
            said(timestamp="2023-11-14T22:13:20.000Z"),
            said(),
        ],
    }
    assert last_activity(chat, MTIME) == Activity(T0 + 48 * HOUR, "message")


@pytest.mark.parametrize("key", ["timestamp", "created_at", "createdAt", "time", "date"])
def test_a_message_tells_its_time_under_the_usual_names(key: str) -> None:
    assert last_activity({"messages": [said(**{key: T0})]}, MTIME) == (T0, "message")


def test_the_timestamp_is_next_as_in_the_guides_files() -> None:
    chat = {"messages": [said()], "timestamp": "2023-11-14T22:13:20Z", "model": "m"}
    assert last_activity(chat, MTIME) == (T0, "timestamp")
    assert last_activity({**chat, "id": T0 - 5}, MTIME) == (T0, "timestamp")
    assert last_activity({**chat, "updated_at": T0 + 7}, MTIME) == (T0 + 7, "timestamp")


@pytest.mark.parametrize("identity", [T0, str(T0), float(T0)])
def test_the_id_is_next_as_in_the_applications_chats(identity: object) -> None:
    chat = {"id": identity, "title": "旅行", "messages": [said()]}
    assert last_activity(chat, MTIME) == (T0, "id")


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": [said()]},
        {"id": "b9b1f1de-0d0e-4c0f-8d1c-6f2f6c3a1b11", "messages": [said()]},
        {"id": 7, "messages": []},
        {"id": "2025-01-01", "messages": []},  # an id that looks like a date is a name
        {"id": "９" * 13},
        {"id": True},
        {"id": None, "timestamp": None, "messages": None},
        {"id": "1" * 5000},
        [1],
        "chat",
        None,
    ],
)
def test_the_files_time_is_the_last_resort(chat: object) -> None:
    assert last_activity(chat, MTIME) == (MTIME, "mtime")


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (T0, T0),
        (T0 + 0.5, T0 + 0.5),
        (T0 // 1000, T0),  # seconds
        (T0 / 1000, T0),
        (str(T0), T0),
        (f" {T0 // 1000} ", T0),
        ("2023-11-14T22:13:20.000Z", T0),
        ("2023-11-15T06:13:20+08:00", T0),
        ("2023-11-14 22:13:20", T0),  # without a zone: UTC
        ("20231114", 1_699_920_000_000),
        ("1970-01-01T00:00:00.000Z", None),
        ("1601-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("yesterday", None),
        ("", None),
        ("\ud800", None),
        (0, None),
        (-1, None),
        (86_400, None),
        (10**14, None),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        (None, None),
        ([T0], None),
    ],
)
def test_a_clock_is_iso_text_milliseconds_or_seconds_and_nothing_else(
    value: object, ms: float | None
) -> None:
    assert moment_ms(value) == ms


def test_a_wrong_clock_is_passed_over_and_the_next_one_is_asked() -> None:
    ahead = NOW + AHEAD_MS + 1
    iso = datetime.fromtimestamp(ahead / 1000, UTC).isoformat()
    chat = {"id": T0, "timestamp": iso, "messages": [said(timestamp=ahead), said(timestamp=0)]}
    assert last_activity(chat, MTIME, NOW) == (T0, "id")
    assert last_activity({**chat, "id": ahead}, MTIME, NOW) == (MTIME, "mtime")
    chat["messages"] = [said(timestamp=ahead), said(timestamp=T0 + 1)]
    assert last_activity(chat, MTIME, NOW) == (T0 + 1, "message")


def test_a_clock_may_be_ahead_by_a_day_and_a_file_from_the_future_is_as_old_as_now() -> None:
    assert last_activity({"id": NOW + AHEAD_MS}, MTIME, NOW) == (NOW + AHEAD_MS, "id")
    assert last_activity({}, NOW + 10 * AHEAD_MS, NOW) == (NOW, "mtime")


def test_a_chat_began_by_its_id_its_timestamp_or_its_first_message_with_a_time() -> None:
    assert clock_ms({"id": T0}) == T0
    assert clock_ms({"id": str(T0)}) == T0
    assert clock_ms({"id": 7, "timestamp": "2025-01-01T00:00:00Z"}) == 1735689600000
    assert clock_ms({"id": "x", "messages": [{}, {"timestamp": T0}, {"timestamp": 1}]}) == T0
    assert clock_ms({"id": "９" * 13}) is None
    assert clock_ms({"id": True, "timestamp": "yesterday"}) is None
    assert clock_ms([1]) is None


CLOCKS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str)
)
MESSAGES = st.lists(CLOCKS | st.dictionaries(st.sampled_from(["timestamp", "content"]), CLOCKS))
CHATS = st.fixed_dictionaries({"id": CLOCKS, "timestamp": CLOCKS, "messages": CLOCKS | MESSAGES})


@given(CHATS)
def test_any_chat_has_an_activity_no_later_than_now_allows(chat: dict[str, object]) -> None:
    found = last_activity(chat, MTIME, NOW)
    assert 0 < found.ms <= NOW + AHEAD_MS
    assert (found.source == "mtime") == (found == last_activity({}, MTIME, NOW))
