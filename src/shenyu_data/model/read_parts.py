"""Which parts of a repository a verification reads, so that all is read again and again. Pure.

Packs are dealt into parts by the first byte of their random names, so parts are about as large as
each other, and stay the same while packs come and go.
"""

from __future__ import annotations

from collections.abc import Mapping

PARTS = 256
"""How many parts there are."""

_FIRST_MS = 86_400_000  # a first run reads as much as one that follows another by a day


def choose_parts(
    read_ms: Mapping[int, int], last_ms: int | None, every_ms: int, now_ms: int
) -> frozenset[int]:
    """Given when each part was last read, and when the last such run was, return the parts to read
    now so that none is older than ``every_ms``.

    These are the stalest, as many as the time since then asks for, and all that are as old as that.
    Times in the future come from a clock that was wrong: such parts count as never read.
    """
    passed_ms = _FIRST_MS if last_ms is None or last_ms > now_ms else now_ms - last_ms
    share = -(-PARTS * passed_ms // every_ms)
    known = {part: time for part, time in read_ms.items() if 0 <= part < PARTS and time <= now_ms}
    stalest = sorted(range(PARTS), key=lambda part: (known.get(part, -1), part))
    overdue = {part for part, time in known.items() if now_ms - time >= every_ms}
    return frozenset(stalest[: max(1, min(share, PARTS))]) | overdue


def stalest_ms(read_ms: Mapping[int, int], now_ms: int) -> int | None:
    """Return when the part was read that was not read for the longest; None if one never was."""
    known = [time for part, time in read_ms.items() if 0 <= part < PARTS and time <= now_ms]
    return min(known) if len(known) == PARTS else None
