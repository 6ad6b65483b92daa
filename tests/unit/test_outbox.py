"""The outbox: nothing is lost while nobody sends, nothing is kept for ever."""

from pathlib import Path

import pytest

from shenyu_data.health.outbox import (
    KEPT_MS,
    MOST_WAITING,
    add_message,
    mark_message,
    pending_messages,
    tidy_outbox,
)
from shenyu_data.health.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "state"))


def _add(store: Store, now_ms: int = 1000) -> int:
    with store.writing() as connection:
        return add_message(connection, "alert-raised", now_ms, {"code": "x"}, alert_key="x")


def test_a_message_waits_until_it_is_done_with(store: Store) -> None:
    number = _add(store)
    mark_message(store, number, 2000, done=False, error="nobody answers")
    (waiting,) = pending_messages(store)
    assert (waiting.id, waiting.attempts, waiting.tried_ms) == (number, 1, 2000)
    assert (waiting.kind, waiting.alert_key, waiting.payload) == (
        "alert-raised",
        "x",
        {"code": "x"},
    )
    assert waiting.error == "nobody answers"
    mark_message(store, number, 3000, done=True)
    assert pending_messages(store) == []


def test_messages_come_in_the_order_in_which_they_were_put(store: Store) -> None:
    numbers = [_add(store, now_ms) for now_ms in (5000, 1000, 3000)]
    assert [item.id for item in pending_messages(store)] == numbers
    assert [item.id for item in pending_messages(store, limit=2)] == numbers[:2]


def test_a_message_is_there_exactly_if_what_it_tells_of_was_noted(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        add_message(connection, "test", 1000, {})
        raise ZeroDivisionError
    assert pending_messages(store) == []


def test_what_is_done_with_is_forgotten_after_a_while(store: Store) -> None:
    mark_message(store, _add(store), 2000, done=True)
    waiting = _add(store)
    assert tidy_outbox(store, 2000 + KEPT_MS + 1) == 0
    assert [item.id for item in pending_messages(store)] == [waiting]
    with store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def test_too_many_that_wait_are_bounded(store: Store) -> None:
    with store.writing() as connection:
        for number in range(MOST_WAITING + 3):
            add_message(connection, "digest", number, {})
    assert tidy_outbox(store, 9000) == 3
    waiting = pending_messages(store, limit=MOST_WAITING + 3)
    assert len(waiting) == MOST_WAITING
    assert waiting[0].created_ms == 3
