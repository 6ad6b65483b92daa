"""What is known of the ways messages go: which message went where, and which way fails since when.

Names of ways have no secret in them; errors neither.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from shenyu_data.health.store import Store

FIRST_REST_MS = 60_000
"""After a first failure a way is tried again after so long, then after twice as long each time."""

LONGEST_REST_MS = 3_600_000


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How a message stands on one way: ``done``, given up or sent, or to be tried again."""

    done: bool
    attempts: int
    tried_ms: int


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """How a way stands. It fails since ``failing_ms``, ``failures`` times in a row, or not at all.
    ``sent`` and ``given_up`` count messages, ever.
    """

    channel: str
    failing_ms: int | None = None
    failures: int = 0
    tried_ms: int | None = None
    sent_ms: int | None = None
    sent: int = 0
    given_up: int = 0
    error: str = ""


def rest_ms(failures: int) -> int:
    """Return how long to wait after so many failures in a row."""
    if failures <= 0:
        return 0
    return int(min(FIRST_REST_MS << min(failures - 1, 20), LONGEST_REST_MS))


def rests(tried_ms: int | None, failures: int, now_ms: int) -> bool:
    """Whether it is too early to try again. A try in the future was by a clock that was wrong."""
    if tried_ms is None or tried_ms > now_ms:
        return False
    return now_ms < tried_ms + rest_ms(failures)


def channel_states(store: Store) -> dict[str, ChannelState]:
    """Return what is known of each way that was ever tried. Raise StateUnusable."""
    columns = ", ".join(ChannelState.__struct_fields__)
    with store.reading() as connection:
        rows = connection.execute(f"SELECT {columns} FROM channels")  # noqa: S608 - our words
        return {
            row[0]: ChannelState(**dict(zip(ChannelState.__struct_fields__, row, strict=True)))
            for row in rows
        }


def deliveries(store: Store) -> dict[tuple[int, str], Delivery]:
    """Return how messages that are not done with stand, by their number and way. Raise
    StateUnusable.
    """
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT message, channel, deliveries.done, deliveries.attempts, deliveries.tried_ms "
            "FROM deliveries JOIN outbox ON outbox.id = message WHERE outbox.done_ms IS NULL"
        )
        return {
            (message, channel): Delivery(done=bool(done), attempts=attempts, tried_ms=tried_ms)
            for message, channel, done, attempts, tried_ms in rows
        }


def note_sent(store: Store, message: int, channel: str, now_ms: int) -> None:
    """Note that a message went. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute(_DELIVERED, (message, channel, True, now_ms))
        connection.execute(
            "INSERT INTO channels (channel, tried_ms, sent_ms, sent) VALUES (?, ?, ?, 1) "
            "ON CONFLICT (channel) DO UPDATE SET failing_ms = NULL, failures = 0, error = '', "
            "tried_ms = excluded.tried_ms, sent_ms = excluded.sent_ms, sent = sent + 1",
            (channel, now_ms, now_ms),
        )


def note_not_sent(
    store: Store, message: int, channel: str, now_ms: int, error: str, *, refused: bool
) -> None:
    """Note that a message did not go; ``refused``: it alone, the way is open. Raise
    StateUnusable.
    """
    with store.writing() as connection:
        connection.execute(_DELIVERED, (message, channel, False, now_ms))
        connection.execute(
            "INSERT INTO channels (channel, failing_ms, failures, tried_ms, error) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (channel) DO UPDATE SET "
            "failing_ms = coalesce(failing_ms, excluded.failing_ms), "
            "failures = failures + excluded.failures, "
            "tried_ms = excluded.tried_ms, error = excluded.error",
            (channel, now_ms, 0 if refused else 1, now_ms, error[:500]),
        )


def note_given_up(store: Store, message: int, channel: str, now_ms: int, *, counted: bool) -> None:
    """Note that a message is given up. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute(_DELIVERED, (message, channel, True, now_ms))
        connection.execute(
            "INSERT INTO channels (channel, given_up) VALUES (?, ?) "
            "ON CONFLICT (channel) DO UPDATE SET given_up = given_up + excluded.given_up",
            (channel, int(counted)),
        )


def forget_channels(store: Store, but: Collection[str]) -> None:
    """Forget all ways ``but`` some: the others are configured no more. Raise StateUnusable."""
    gone = [(name,) for name in channel_states(store) if name not in but]
    if gone:
        with store.writing() as connection:
            connection.executemany("DELETE FROM channels WHERE channel = ?", gone)


def tidy_deliveries(store: Store) -> None:
    """Forget how messages stood that are forgotten themselves. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute("DELETE FROM deliveries WHERE message NOT IN (SELECT id FROM outbox)")


_DELIVERED = (
    "INSERT INTO deliveries (message, channel, done, attempts, tried_ms) VALUES (?, ?, ?, 1, ?) "
    "ON CONFLICT (message, channel) DO UPDATE SET done = excluded.done, "
    "attempts = attempts + 1, tried_ms = excluded.tried_ms"
)
