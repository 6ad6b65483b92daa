"""What is remembered besides runs, in the state folder's database: what the repository held when it
was last open, how much was free on disks, when the scheduler last looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shenyu_data.health.store import Store
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, MINUTE_MS, Point, SlotFact, Tripped
from shenyu_data.model.schedule import Job

if TYPE_CHECKING:
    from shenyu_data.repository.repository import Repository

REPOSITORY = "repository"
TICK = "tick"
TRIPPED = "tripped"
WATCHED = "watched"

SAMPLE_MS = 6 * HOUR_MS
"""So often the free space of disks is noted."""

STALE_MS = 12 * HOUR_MS
"""What is known of the repository is brought up to date by a backup after so long."""

SAMPLES_KEPT_MS = 60 * DAY_MS

GAP_MS = 15 * MINUTE_MS
"""A scheduler that looked longer ago was not at work in between."""

_MOST_POINTS = 60

T = TypeVar("T", bound=msgspec.Struct)


class KnownRepository(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository held when it was last open. Times are ms since 1970.

    ``degraded`` counts the documents of the newest snapshot that were not whole. ``held_bytes``
    would be taken up if every snapshot were a copy; ``size_bytes`` is what it takes up, None if
    nobody counted. ``proven_ms``: a snapshot of which every byte was read and sound, last;
    ``full_ms``: the newest full snapshot; ``pruned_ms``: the last prune that left a record.
    ``points``: how large the data was at its last snapshots, oldest first.
    """

    id: str
    location: str
    snapshots: int
    oldest_ms: int | None
    newest_ms: int | None
    good_ms: int | None
    degraded: int
    totals: dict[str, int]
    held_bytes: int
    size_bytes: int | None
    proven_ms: int | None
    slots: list[SlotFact]
    full_ms: int | None = None
    pruned_ms: int | None = None
    points: list[Point] = []


def done_ms(job: Job, known: KnownRepository | None, now_ms: int) -> int | None:
    """Return when a job's work was last done, as far as a repository tells; None if it does not.

    What is dated in the future says nothing.
    """
    if known is None:
        return None
    told = {"backup": known.newest_ms, "verify": known.proven_ms, "prune": known.pruned_ms}
    time_ms = told.get(job.verb)
    if job.verb == "backup" and "--full" in job.words:
        time_ms = known.full_ms
    return time_ms if time_ms is not None and time_ms <= now_ms else None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """When a scheduler looked last, and since when it has without a gap."""

    tick_ms: int
    awake_ms: int


def note(store: Store, name: str, now_ms: int, value: msgspec.Struct | Any) -> None:
    """Remember something by its name. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO known (name, noted_ms, value) VALUES (?, ?, ?)",
            (name, now_ms, msgspec.json.encode(value).decode()),
        )


def forget(store: Store, name: str) -> None:
    """Forget something. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute("DELETE FROM known WHERE name = ?", (name,))


def recall(store: Store, name: str, kind: type[T]) -> T | None:
    """Return what is remembered under a name; None if nothing, or what nobody can read. Raise
    StateUnusable.
    """
    with store.reading() as connection:
        row = connection.execute("SELECT value FROM known WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    try:
        return msgspec.json.decode(row[0], type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def noted_ms(store: Store, name: str) -> int | None:
    """Return when something was remembered; None if it is not. Raise StateUnusable."""
    with store.reading() as connection:
        row = connection.execute("SELECT noted_ms FROM known WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def note_tick(store: Store, now_ms: int) -> None:
    """Remember that the scheduler looks now. Raise StateUnusable."""
    awake_ms = awake_since(recall(store, TICK, Tick), now_ms)
    tick = Tick(tick_ms=now_ms, awake_ms=now_ms if awake_ms is None else awake_ms)
    note(store, TICK, now_ms, tick)


def awake_since(tick: Tick | None, now_ms: int) -> int | None:
    """Return since when a scheduler has been at work, if it still is by its last look."""
    if tick is None or not 0 <= now_ms - tick.tick_ms <= GAP_MS:
        return None
    return tick.awake_ms


def note_tripped(store: Store, now_ms: int, tripped: Tripped | None) -> None:
    """Remember what tripwires noticed that nobody acknowledged; None: nothing. Raise
    StateUnusable.
    """
    if tripped is None:
        forget(store, TRIPPED)
    else:
        note(store, TRIPPED, now_ms, tripped)


def note_samples(store: Store, now_ms: int, values: dict[str, int]) -> None:
    """Remember how much is free on each disk, by its name, if that was not done lately. Raise
    StateUnusable.
    """
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT series, max(time_ms) FROM samples WHERE time_ms <= ? GROUP BY series", (now_ms,)
        ).fetchall()
    last = dict(rows)
    new = [
        (series, now_ms, value)
        for series, value in values.items()
        if now_ms - last.get(series, 0) >= SAMPLE_MS
    ]
    if new:
        with store.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?)", new)
            connection.execute("DELETE FROM samples WHERE time_ms < ?", (now_ms - SAMPLES_KEPT_MS,))


def samples(store: Store, series: str, now_ms: int) -> list[Point]:
    """Return what was noted, oldest first; nothing of what is yet to come. Raise StateUnusable."""
    with store.reading() as connection:
        return connection.execute(
            "SELECT time_ms, value FROM samples WHERE series = ? AND time_ms <= ? ORDER BY time_ms",
            (series, now_ms),
        ).fetchall()


def look_into(
    repository: Repository, uses: dict[str, int], *, sizes: bool, size_bytes: int | None = None
) -> KnownRepository:
    """Return what a repository holds. ``uses`` are when this machine used each key slot.

    With ``sizes`` it is asked how large all its objects are, which takes long far away; else
    ``size_bytes`` is what is known of that. What cannot be read is passed over. Raise StorageError.
    """
    from shenyu_data.operations.keys import list_keys  # late: `status` needs none of it
    from shenyu_data.repository.proofs import read_proofs
    from shenyu_data.repository.prunes import read_records

    snapshots = sorted(repository.snapshots([]), key=lambda item: item.sequence)
    whole = [item for item in snapshots if not (item.partial or item.safety)] or snapshots
    newest = whole[-1] if whole else None
    good = [item.time_ms for item in whole if not item.degraded]
    proofs = read_proofs(repository.storage, repository.keys)
    there = {item.id for item in snapshots}
    prunes = read_records(repository.storage, repository.keys).values()
    if sizes:
        size_bytes = sum(info.size for info in repository.storage.list(""))
    return KnownRepository(
        id=repository.keys.repository_id.hex(),
        location=repository.storage.location,
        snapshots=len(snapshots),
        oldest_ms=snapshots[0].time_ms if snapshots else None,
        newest_ms=newest.time_ms if newest is not None else None,
        good_ms=good[-1] if good else None,
        degraded=newest.totals.torn + newest.totals.unreadable + newest.incomplete
        if newest is not None
        else 0,
        totals=msgspec.structs.asdict(newest.totals) if newest is not None else {},
        held_bytes=sum(item.totals.document_bytes for item in snapshots),
        size_bytes=size_bytes,
        proven_ms=max((time for item, time in proofs.items() if item in there), default=None),
        slots=[
            SlotFact(
                id=item.id,
                kind=item.kind,
                created_ms=item.created_ms,
                used_ms=item.last_used_ms,
            )
            for item in list_keys(repository, uses, [])
            if item.opens and item.created_ms is not None
        ],
        full_ms=max((item.time_ms for item in whole if item.kind == "full"), default=None),
        pruned_ms=max((item.time_ms for item in prunes), default=None),
        points=[
            (item.time_ms, item.totals.document_bytes)
            for item in whole[-_MOST_POINTS:]
            if item.adopted is None and not item.partial
        ],
    )


def bring_up_to_date(
    store: Store,
    repository: Repository,
    uses: dict[str, int],
    now_ms: int,
    *,
    sizes: bool = False,
    size_bytes: int | None = None,
) -> KnownRepository:
    """Remember what a repository holds, and what tripwires noticed in it; return the former. See
    :func:`look_into`. Raise StateUnusable, or RepositoryError or StorageError if it cannot be read.
    """
    from shenyu_data.operations.alarms import alarms, commands

    before = recall(store, REPOSITORY, KnownRepository)
    if size_bytes is None and before is not None and not sizes:
        size_bytes = before.size_bytes
    found = look_into(repository, uses, sizes=sizes, size_bytes=size_bytes)
    note(store, REPOSITORY, now_ms, found)
    standing = [item for item in alarms(repository, failures=[]) if item.stands]
    tripped = None
    if standing:
        last = standing[-1]
        trips = [trip for item in standing for trip in item.trips if trip.is_alarm]
        tripped = Tripped(
            count=len(standing),
            since_ms=standing[0].snapshot.time_ms,
            blocks=any(item.blocks for item in standing),
            rules=sorted({trip.rule for trip in trips}),
            pinned=last.there[0].hex()[:8] if last.there else None,
            commands=[command for _, command in commands(last.snapshot.id, last.trips, last.there)],
        )
    note_tripped(store, now_ms, tripped)
    return found


def is_stale(store: Store, now_ms: int) -> bool:
    """Whether what is remembered of the repository is to be brought up to date. Raise
    StateUnusable.
    """
    last_ms = noted_ms(store, REPOSITORY)
    return last_ms is None or not 0 <= now_ms - last_ms < STALE_MS
