"""What tripwires noticed and nobody has acknowledged: it blocks prunes. And acknowledging it.

Everything is known from the snapshots' roots and the acknowledgements beside them, so on any
machine that opens the repository.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import msgspec

from shenyu_data.model.errors import PruneBlocked, RepositoryError, UsageError
from shenyu_data.model.tripwires import OVERWRITTEN, Trip
from shenyu_data.repository.acknowledgements import (
    MOST_REASON,
    Acknowledgement,
    acknowledged,
    write_acknowledgement,
)
from shenyu_data.repository.format import Snapshot
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import Tombstones, read_tombstones


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot at which tripwires tripped, and its acknowledgement, if there is one.

    Of what it pins, ``there`` are the snapshots that this repository holds. ``erased_ms``: all
    whose histories were overwritten have been erased since, the last one then; None: not so.
    """

    snapshot: Snapshot
    acknowledgement: Acknowledgement | None
    there: Sequence[bytes]
    erased_ms: int | None = None

    @property
    def trips(self) -> list[Trip]:
        """The tripwires that somebody has to look at: not what cannot be brought back any more."""
        return [
            trip
            for trip in self.snapshot.trips
            if self.erased_ms is None or trip.rule != OVERWRITTEN
        ]

    @property
    def resolved(self) -> bool:
        """Whether nothing is left of it to be looked at, or brought back."""
        return not any(trip.is_alarm for trip in self.trips)

    @property
    def stands(self) -> bool:
        """Whether somebody has to look at it."""
        return self.acknowledgement is None and not self.resolved

    @property
    def blocks(self) -> bool:
        """Whether nothing is pruned as long as it stands; else only what it pins is kept."""
        return self.stands and any(trip.blocks for trip in self.trips)


def alarms(
    repository: Repository,
    snapshots: Iterable[Snapshot] | None = None,
    failures: list[RepositoryError] | None = None,
) -> list[Alarm]:
    """Return all alarms, oldest first; ``snapshots`` are all there are, if they are at hand.

    Whether something was noticed at a snapshot that cannot be read is not known: that is added to
    ``failures``; without such a list, RepositoryError is raised.
    """
    if snapshots is None:
        unreadable: list[RepositoryError] = []
        snapshots = repository.snapshots(unreadable)
        errors = [
            RepositoryError(
                f"whether tripwires noticed something cannot be told: {error.message}",
                hint="`shenyu-data verify` says what is wrong.",
            )
            for error in unreadable
        ]
        if errors and failures is None:
            raise errors[0]
        if failures is not None:
            failures += errors
    everything = list(snapshots)
    alarmed = [item for item in everything if item.alarmed]
    if not alarmed:
        return []
    storage, keys = repository.storage, repository.keys
    seen = acknowledged(storage, keys)
    # Of whom it cannot be told that they were erased, they were not: the alarm stands.
    asked = any(item.overwritten for item in alarmed)
    stones = read_tombstones(storage, keys, []) if asked else Tombstones()
    ids = {item.id for item in everything}
    return [
        Alarm(
            snapshot=item,
            acknowledgement=seen.get(item.id),
            there=[pinned for pinned in item.pinned if pinned in ids],
            erased_ms=_erased_ms(item, stones),
        )
        for item in alarmed
    ]


def _erased_ms(item: Snapshot, stones: Tombstones) -> int | None:
    """Return when the last one was erased of whose histories were overwritten, if all were."""
    count = sum(trip.count for trip in item.trips if trip.rule == OVERWRITTEN)
    if not item.overwritten or len(item.overwritten) != count:
        return None  # not everybody is known
    times = [
        min(
            (one.time_ms for one in stones.of(owner) if one.sequence >= item.sequence), default=None
        )
        for owner in item.overwritten
    ]
    known = [time_ms for time_ms in times if time_ms is not None]
    return max(known) if len(known) == len(times) else None


def commands(
    snapshot: bytes, trips: Iterable[Trip], there: Sequence[bytes]
) -> list[tuple[str, str]]:
    """Given what tripped at a ``snapshot``, and those that it pins and that are ``there``, return
    what may be done, and the command that does it. Where none is there, none can be restored.
    """
    found = []
    rules = {trip.rule for trip in trips if trip.is_alarm}
    if OVERWRITTEN in rules:
        found.append(("brings back the chats that were overwritten", "shenyu-data repair"))
    tripped = snapshot.hex()[:8]
    if rules - {OVERWRITTEN} and there:
        good = there[0].hex()[:8]
        found += [
            ("says what changed", f"shenyu-data diff {good} {tripped}"),
            ("brings back what was there before", f"shenyu-data restore {good} --in-place"),
        ]
    return [*found, ("says that it is seen", f"shenyu-data alerts ack {tripped}")]


def pinned_snapshots(
    repository: Repository, snapshots: Iterable[Snapshot], drop: Container[bytes] = ()
) -> dict[bytes, bytes]:
    """Return the snapshots that must be kept until an alarm is acknowledged, and with each that of
    the alarm: what it pins, and itself, without which nobody would know of it.

    Raise PruneBlocked if an alarm stands that lets nothing be pruned, or that pins one of those to
    ``drop``; RepositoryError if that cannot be told.
    """
    known = alarms(repository, snapshots)
    standing = [item.snapshot.id.hex()[:8] for item in known if item.blocks]
    pins = {
        one: item.snapshot.id
        for item in known
        if item.stands
        for one in (item.snapshot.id, *item.there)
    }
    for one, snapshot in pins.items():
        if one in drop and not standing:
            raise PruneBlocked(
                f"nothing is pruned: snapshot {one.hex()[:8]} is needed by an alert that nobody "
                f"has acknowledged, {snapshot.hex()[:8]}",
                hint="`shenyu-data alerts list` says what, and how it is brought back; "
                f"`shenyu-data alerts ack {snapshot.hex()[:8]}` if it is as it should be.",
            )
    if standing:
        raise PruneBlocked(
            "nothing is pruned: a tripwire noticed what is no ordinary use, at the "
            f"{'snapshot' if len(standing) == 1 else 'snapshots'} {', '.join(standing[:20])}",
            hint="`shenyu-data alerts list` says what, and how it is brought back; "
            f"`shenyu-data alerts ack {standing[0]}` if it is as it should be.",
        )
    return pins


def acknowledge(
    repository: Repository, names: Sequence[str], reason: str, *, now_ms: int
) -> list[Alarm]:
    """Acknowledge the alarms of these snapshots, named by the beginnings of their ids; return them
    as they are now. One that was acknowledged stays as it was, and what is damaged is passed over.

    Raise UsageError, with nothing done, if a name is not that of one alarm.
    """
    if len(reason) > MOST_REASON or not (reason.isprintable() or not reason):
        raise UsageError(
            "the reason must be printable text, of one line",
            hint=f"At most {MOST_REASON} characters.",
        )
    known = alarms(repository, failures=[])
    chosen = [_find(known, name) for name in names]
    done = []
    for alarm in chosen:
        if alarm.stands:
            item = Acknowledgement(alarm.snapshot.id, now_ms, reason)
            write_acknowledgement(repository.storage, repository.keys, item)
            alarm = msgspec.structs.replace(alarm, acknowledgement=item)
        done.append(alarm)
    return done


def _find(known: Sequence[Alarm], name: str) -> Alarm:
    matches = [item for item in known if name and item.snapshot.id.hex().startswith(name.lower())]
    if len(matches) != 1:
        raise UsageError(
            f"{len(matches)} alerts begin with {name}",
            hint="`shenyu-data alerts list --all` lists them by their ids.",
        )
    return matches[0]


def carry_acknowledgements(source: Repository, destination: Repository, ids: set[bytes]) -> int:
    """Acknowledge in the ``destination`` what was acknowledged in the source, or what erasures
    resolved there, of the snapshots with these ids, which both hold; return how many that were.
    """
    theirs = acknowledged(source.storage, source.keys)
    for alarm in alarms(source, failures=[]):
        snapshot = alarm.snapshot.id
        if not alarm.stands and snapshot not in theirs:
            theirs[snapshot] = Acknowledgement(snapshot, alarm.erased_ms or 0, "")
    if not theirs.keys() & ids:
        return 0
    missing = (theirs.keys() & ids) - acknowledged(destination.storage, destination.keys).keys()
    for snapshot in sorted(missing):
        write_acknowledgement(destination.storage, destination.keys, theirs[snapshot])
    return len(missing)
