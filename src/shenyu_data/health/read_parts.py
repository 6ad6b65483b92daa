"""When each part of a repository was last read whole by a verification: see model/read_parts.py."""

from __future__ import annotations

from collections.abc import Iterable

from shenyu_data.health.store import Store


def parts_read(store: Store, repository: str) -> tuple[dict[int, int], int | None]:
    """Return when each part was last read, and when any was, in ms. Raise StateUnusable."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT part, read_ms FROM verify_parts WHERE repository = ?", (repository,)
        )
        found = {int(part): int(time) for part, time in rows}
    return found, max(found.values(), default=None)


def note_parts_read(store: Store, repository: str, parts: Iterable[int], now_ms: int) -> None:
    """Note that parts were read whole and found sound. Raise StateUnusable."""
    with store.writing() as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO verify_parts (repository, part, read_ms) VALUES (?, ?, ?)",
            [(repository, part, now_ms) for part in sorted(parts)],
        )
