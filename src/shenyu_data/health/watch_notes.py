"""What is kept of watching: that it runs, what it noticed, what is ordinary. In the database of the
state folder; what was noticed also in the audit log, for good.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from shenyu_data.health.audit import append
from shenyu_data.health.known import note, recall
from shenyu_data.health.store import Store
from shenyu_data.model.alert_watch import STANDS_MS
from shenyu_data.model.alerts import DAY_MS, WatchFact
from shenyu_data.model.watch_groups import Peak
from shenyu_data.model.watch_terms import Noticed, joined

BEAT = "watch"
ORDINARY = "watch-ordinary"

_KEPT_MS = 400 * DAY_MS


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The last sign of life of a watch. Times are ms since 1970; ``boot`` is the machine's.

    ``ended``: it was stopped since. ``blind_ms``: since when it has seen nothing.
    """

    beat_ms: int
    since_ms: int
    boot: str
    mechanism: str
    ended: bool = False
    blind_ms: int | None = None
    folders: int = 0
    unwatched: int = 0


class _Ordinary(msgspec.Struct, frozen=True):
    groups: dict[str, list[Peak]] = {}


def note_beat(store: Store, beat: Beat) -> None:
    """Remember a sign of life. Raise StateUnusable."""
    note(store, BEAT, beat.beat_ms, beat)


def recall_beat(store: Store) -> Beat | None:
    """Return the last sign of life; None if there is none. Raise StateUnusable."""
    return recall(store, BEAT, Beat)


def note_ordinary(store: Store, groups: dict[str, list[Peak]], now_ms: int) -> None:
    """Remember what is ordinary. Raise StateUnusable."""
    note(store, ORDINARY, now_ms, _Ordinary(groups))


def recall_ordinary(store: Store) -> dict[str, list[Peak]]:
    """Return what is ordinary, as far as it is known. Raise StateUnusable."""
    found = recall(store, ORDINARY, _Ordinary)
    return found.groups if found is not None else {}


def note_noticed(store: Store, item: Noticed) -> None:
    """Keep what was noticed, together with what was of the same before. Raise StateUnusable."""
    with store.writing() as connection:
        row = connection.execute(
            "SELECT noticed FROM noticed WHERE cause = ? AND who = ?", (item.cause, item.who)
        ).fetchone()
        before = _decoded(row[0]) if row is not None else None
        if before is not None and 0 <= item.first_ms - before.last_ms < STANDS_MS:
            item = joined(before, item)
        connection.execute(
            "INSERT OR REPLACE INTO noticed VALUES (?, ?, ?, ?, ?)",
            (
                *(item.cause, item.who, item.first_ms, item.last_ms),
                msgspec.json.encode(item).decode(),
            ),
        )
        connection.execute("DELETE FROM noticed WHERE last_ms < ?", (item.last_ms - _KEPT_MS,))


def noticed_since(store: Store, since_ms: int) -> list[Noticed]:
    """Return what was noticed since then, the last first. Raise StateUnusable."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT noticed FROM noticed WHERE last_ms >= ? ORDER BY last_ms DESC LIMIT 1000",
            (since_ms,),
        ).fetchall()
    return [item for (text,) in rows if (item := _decoded(text)) is not None]


def audit_noticed(state: str, item: Noticed, now_ms: int) -> None:
    """Add what was noticed to the audit log. Raise StateUnusable."""
    figures: dict[str, object] = {**item.figures(), "first_ms": item.first_ms}
    figures["who"] = item.who.partition(":")[0]
    if item.programs:
        figures["programs"] = item.programs
    append(state, now_ms, "noticed", verb="watch", code=item.cause, figures=figures)


def watch_fact(store: Store, wanted: bool, now_ms: int) -> WatchFact | None:
    """Return how watching stands; None if it is not wanted, and never was. Raise StateUnusable."""
    beat = recall_beat(store)
    if beat is None:
        return WatchFact(wanted=True) if wanted else None
    return WatchFact(
        wanted=wanted,
        beat_ms=min(beat.beat_ms, now_ms),
        ended=beat.ended,
        blind_ms=beat.blind_ms,
    )


def _decoded(text: str) -> Noticed | None:
    with suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(text, type=Noticed)
    return None
