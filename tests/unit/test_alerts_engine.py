"""Alerts: told once, again as configured, and when the cause has gone; a storm is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.health.alert_steps import MOST_FLAPS
from shenyu_data.health.alerts import (
    KEPT_MS,
    acknowledge,
    alerts,
    find_alert,
    observe,
    silence,
    with_conditions,
)
from shenyu_data.health.outbox import pending_messages
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, MINUTE_MS, Condition
from shenyu_data.model.config import parse_config
from shenyu_data.model.config_alerts import AlertsTable, Level
from shenyu_data.model.errors import UsageError

NOW = 1_780_000_000_000
TABLE = AlertsTable()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "state")) as found:
        # Thousands of looks: what a power failure would leave is not asked here.
        found.connection.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")
        yield found


def bad(level: Level = "warning", code: str = "job-failed", subject: str = "nightly") -> Condition:
    return Condition(
        code=code,
        subject=subject,
        level=level,
        since_ms=NOW - HOUR_MS,
        message="It failed.",
        command="shenyu-data schedule run nightly --now",
        figures={"failures": 2},
    )


def told(store: Store) -> list[tuple[str, int]]:
    """Give what was told, and how many minutes after NOW."""
    found = pending_messages(store, limit=10_000)
    return [
        (item.kind.removeprefix("alert-"), (item.created_ms - NOW) // MINUTE_MS) for item in found
    ]


def test_it_is_told_once_when_it_rises_and_once_when_it_has_gone(store: Store) -> None:
    for minute in range(0, 60, 5):
        observe(store, [bad()], TABLE, NOW + minute * MINUTE_MS)
    for minute in range(60, 120, 5):
        observe(store, [], TABLE, NOW + minute * MINUTE_MS)
    assert told(store) == [("raised", 0), ("resolved", 60)]
    assert alerts(store) == []
    (alert,) = alerts(store, resolved=True)
    assert (alert.resolved_ms, alert.times) == (NOW + HOUR_MS, 1)


def test_a_message_says_what_since_when_and_what_to_do(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    (message,) = pending_messages(store)
    assert message.alert_key == "job-failed:nightly"
    assert message.payload == {
        "code": "job-failed",
        "level": "warning",
        "subject": "nightly",
        "message": "It failed.",
        "command": "shenyu-data schedule run nightly --now",
        "since_ms": NOW - HOUR_MS,
        "times": 1,
        "figures": {"failures": 2},
        "resolved_ms": None,
    }


@pytest.mark.parametrize(
    ("config", "days"),
    [("", [1, 2, 3]), ('[alerts.job-failed]\nrepeat = "2d"', [2]), ('[alerts]\nrepeat = "0d"', [])],
)
def test_it_is_told_again_as_configured(store: Store, config: str, days: list[int]) -> None:
    table = parse_config(config, "x.toml").alerts or TABLE
    for hour in range(24 * 4 - 1):
        observe(store, [bad()], table, NOW + hour * HOUR_MS)
    assert told(store) == [("raised", 0), *(("repeated", day * 24 * 60) for day in days)]


def test_what_is_acknowledged_is_not_told_again_until_it_has_gone(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    acknowledge(store, find_alert(alerts(store), "job-failed"), "known", NOW)
    observe(store, [bad()], TABLE, NOW + 9 * DAY_MS)
    assert told(store) == [("raised", 0)]
    assert not alerts(store)[0].calls(NOW)
    observe(store, [], TABLE, NOW + 10 * DAY_MS)
    observe(store, [bad()], TABLE, NOW + 12 * DAY_MS)
    days = 24 * 60
    assert told(store) == [("raised", 0), ("resolved", 10 * days), ("raised", 12 * days)]


def test_what_was_noted_while_somebody_acknowledges_is_kept(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    (read,) = alerts(store)
    observe(store, [bad("critical")], TABLE, NOW + MINUTE_MS)
    acknowledge(store, read, "seen", NOW + 2 * MINUTE_MS)
    (alert,) = alerts(store)
    assert (alert.level, alert.times, alert.reason) == ("critical", 2, "seen")


def test_what_grows_worse_is_told_though_it_was_acknowledged(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    acknowledge(store, alerts(store)[0], "", NOW)
    observe(store, [bad("critical")], TABLE, NOW + MINUTE_MS)
    assert told(store) == [("raised", 0), ("raised", 1)]
    assert alerts(store)[0].calls(NOW + MINUTE_MS)


@pytest.mark.parametrize("name", ["job-failed:nightly", "job-failed"])
def test_what_is_silenced_is_told_when_the_silence_ends(store: Store, name: str) -> None:
    silence(store, name, NOW + HOUR_MS, NOW)
    for minute in range(0, 120, 5):
        observe(store, [bad()], TABLE, NOW + minute * MINUTE_MS)
    assert told(store) == [("raised", 60)]


def test_what_came_and_went_in_silence_is_never_told(store: Store) -> None:
    silence(store, "job-failed", NOW + DAY_MS, NOW)
    observe(store, [bad()], TABLE, NOW)
    assert not alerts(store)[0].calls(NOW)
    observe(store, [], TABLE, NOW + HOUR_MS)
    observe(store, [], TABLE, NOW + 2 * DAY_MS)
    assert told(store) == []


def test_only_rules_can_be_silenced(store: Store) -> None:
    with pytest.raises(UsageError, match="no rule is called"):
        silence(store, "job-fialed", NOW + DAY_MS, NOW)


def test_flapping_is_no_storm(store: Store) -> None:
    """It comes and goes every ten minutes for a week: more than a thousand times."""
    for minute in range(0, 7 * 24 * 60, 5):
        conditions = [bad()] if minute % 10 == 0 else []
        observe(store, conditions, TABLE, NOW + minute * MINUTE_MS)
    assert len(told(store)) <= 2 * MOST_FLAPS
    for hour in range(7 * 24, 11 * 24):
        observe(store, [], TABLE, NOW + hour * HOUR_MS)
    assert told(store)[-1][0] == "resolved"


def test_a_second_time_days_later_is_told_at_once(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    observe(store, [], TABLE, NOW + MINUTE_MS)
    observe(store, [bad()], TABLE, NOW + 2 * DAY_MS)
    assert [kind for kind, _ in told(store)] == ["raised", "resolved", "raised"]


def test_a_clock_that_is_set_back_holds_nothing_up_for_long(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW + 3650 * DAY_MS)
    observe(store, [bad()], TABLE, NOW)
    observe(store, [bad()], TABLE, NOW + DAY_MS)
    assert [kind for kind, _ in told(store)] == ["raised", "repeated"]
    observe(store, [], TABLE, NOW + DAY_MS + 1)
    assert told(store)[-1][0] == "resolved"


def test_nothing_is_noted_without_its_message(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shenyu_data.health.alerts.add_message", full)
        with pytest.raises(OSError, match="No space"):
            observe(store, [bad()], TABLE, NOW)
    assert alerts(store) == []
    observe(store, [bad()], TABLE, NOW + MINUTE_MS)
    assert told(store) == [("raised", 1)]


def test_what_was_resolved_long_ago_is_forgotten(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    observe(store, [], TABLE, NOW + 1)
    observe(store, [], TABLE, NOW + KEPT_MS)
    assert len(alerts(store, resolved=True)) == 1
    observe(store, [], TABLE, NOW + KEPT_MS + 2)
    assert alerts(store, resolved=True) == []


def test_what_rules_see_now_is_shown_though_nobody_noted_it(store: Store) -> None:
    silence(store, "disk-free", NOW + DAY_MS, NOW)
    observe(store, [bad()], TABLE, NOW)
    worse = [bad("critical", "disk-free", "data")]
    (shown,) = with_conditions(store, worse, NOW)
    assert (shown.key, shown.silent(NOW), shown.calls(NOW)) == ("disk-free:data", True, False)
    assert [item.key for item in alerts(store)] == ["job-failed:nightly"]


def test_an_alert_is_found_by_its_key_or_the_only_one_of_a_code(store: Store) -> None:
    observe(store, [bad(), bad(subject="other"), bad(code="tripwire", subject="")], TABLE, NOW)
    known = alerts(store)
    assert find_alert(known, "job-failed:other").subject == "other"
    assert find_alert(known, "tripwire").key == "tripwire"
    for wanted in ("job-failed", "nosuch", ""):
        with pytest.raises(UsageError):
            find_alert(known, wanted)


def test_a_reason_is_one_line_of_text(store: Store) -> None:
    observe(store, [bad()], TABLE, NOW)
    for reason in ("two\nlines", "\u202e", "x" * 2000):
        with pytest.raises(UsageError):
            acknowledge(store, alerts(store)[0], reason, NOW)
