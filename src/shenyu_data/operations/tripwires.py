"""Tripwires of a backup: whether what its workers noticed is ordinary, given what snapshots say of
the past, and what this program did itself. The verdict goes into the snapshot's root, so that there
is never a snapshot that nobody looked at. Called by operations/backup.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import HISTORIES, USERS, owner_of_user_file
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.tripwires import (
    DAY_MS,
    MOST_PAST,
    Evidence,
    Limits,
    Seen,
    Sizes,
    Trip,
    days_between,
    describe,
    judge,
)
from shenyu_data.operations.alarms import alarms
from shenyu_data.operations.tripwire_signs import Signs, Suspect
from shenyu_data.repository.acknowledgements import acknowledged
from shenyu_data.repository.format import Snapshot, Totals
from shenyu_data.repository.repository import Repository

if TYPE_CHECKING:
    from shenyu_data.operations.journal import Journal

MOST_TOLD = 20
"""So many histories that were overwritten are named one by one, and looked for in the past."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How a backup looks for what is not ordinary. ``state`` is the folder of the journals, which
    say what this program did itself.
    """

    state: str = ""
    limits: Limits = Limits()


class Verdict(NamedTuple):
    """What goes into the root, and what is told once that is stored."""

    evidence: Evidence | None = None
    trips: Sequence[Trip] = ()
    pinned: Sequence[bytes] = ()
    overwritten: Sequence[bytes] = ()
    findings: Sequence[Finding] = ()


def ours_since(
    repository: Repository, watch: Watch, parent: Snapshot, snapshots: Iterable[Snapshot]
) -> dict[int, set[bytes]]:
    """Return the pseudonyms of the owners whose documents operations of ours changed since the
    ``parent`` of the snapshot that is being made, by bucket: restores, cleanups, repairs, imports.
    """
    from shenyu_data.operations.journal import Journals  # late: a backup alone does not need it

    sequences = {item.id: item.sequence for item in snapshots}
    found: dict[int, set[bytes]] = {}
    for journal in Journals(watch.state).newest_first():
        with suppress(OSError):  # removed meanwhile
            began = journal.began()
            if began is None:
                continue
            # The order is that of safety snapshots; a clock only says when to stop looking.
            if began.time_ms < parent.time_ms - DAY_MS:
                break
            if journal.written_ms() >= parent.time_ms:
                for pseudonym in _owners(journal, repository, sequences, parent):
                    found.setdefault(pseudonym[0], set()).add(pseudonym)
    return found


def _owners(
    journal: Journal, repository: Repository, sequences: dict[bytes, int], parent: Snapshot
) -> Iterator[bytes]:
    from shenyu_data.operations.journal import Began, Saved, Step, Swap

    since = False
    for line in journal.read():
        if isinstance(line, Began):
            since = line.time_ms >= parent.time_ms
        elif isinstance(line, Saved):
            since = sequences.get(line.snapshot, -1) >= parent.sequence
        elif since and isinstance(line, Step | Swap):
            owner = _owner_of(line.path)
            if owner is not None:
                yield repository.keys.user_pseudonym(owner)


def _owner_of(path: bytes) -> bytes | None:
    top, _, rest = path.partition(b"/")
    if top == HISTORIES:
        return rest.partition(b"/")[0] or None
    known = owner_of_user_file(rest) if top == USERS else None
    return known[0] if known is not None else None


def look(
    data: str,
    repository: Repository,
    signs: Signs,
    watch: Watch,
    parent: Snapshot,
    snapshots: Sequence[Snapshot],
    monitor: Monitor,
    *,
    unseen: int,
    time_ms: int,
) -> Verdict:
    """Judge what a backup's workers noticed beside the ``parent``; ``snapshots`` are all before.

    ``unseen`` buckets could not be compared. Nothing is written.
    """
    overwritten: list[_Overwritten] = []
    if signs.suspects:
        overwritten = _overwritten(data, repository, watch, signs.suspects, monitor)
    evidence = msgspec.structs.replace(signs.evidence, shrunken=len(overwritten), unseen=unseen)
    totals = parent.totals
    trips = judge(
        evidence,
        _sizes(totals),
        _past(repository, snapshots),
        watch.limits,
        now_ms=time_ms,
        days=days_between(parent.time_ms, time_ms),
    )
    if not any(trip.is_alarm for trip in trips):
        return Verdict(evidence, trips, findings=_told(trips, b"", data, overwritten))
    holders = [item.snapshot for item in overwritten[:MOST_TOLD] if item.snapshot]
    pinned = _pinned(parent, snapshots, holders)
    keys = repository.keys
    owners = [keys.user_pseudonym(item.suspect.owner) for item in overwritten[:MOST_TOLD]]
    return Verdict(evidence, trips, pinned, owners, _told(trips, pinned[0], data, overwritten))


class _Overwritten(NamedTuple):
    suspect: Suspect
    lost: int
    snapshot: bytes


def _overwritten(
    data: str,
    repository: Repository,
    watch: Watch,
    suspects: Sequence[Suspect],
    monitor: Monitor,
) -> list[_Overwritten]:
    """Return those of the histories that lost chats by accident. Once so many are known that they
    are not told one by one, the others are taken for what they look like.
    """
    # Late: what most backups do not need.
    from shenyu_data.datadir.folder import open_root
    from shenyu_data.model.documents import Unparsable
    from shenyu_data.model.vanished import newest_of
    from shenyu_data.operations.conversations import read_chats
    from shenyu_data.operations.journal import Journals
    from shenyu_data.operations.repair_document import Target
    from shenyu_data.operations.repair_past import LastGoods
    from shenyu_data.operations.shrunken import read_target

    found: list[_Overwritten] = []
    with open_root(data) as root:
        goods = LastGoods(repository, root, Journals(watch.state), monitor)
        for suspect in sorted(suspects):
            target = Target(*suspect)
            if len(found) >= MOST_TOLD:
                found.append(_Overwritten(suspect, 0, b""))
                continue
            live = read_target(root, target)
            if live is None or live.data is None:
                continue  # removed meanwhile: somebody did that
            try:
                vanished = goods.lost(target, read_chats(target.name, live.data)).vanished
            except Unparsable:
                # Torn by now: what the backup read was whole, and nothing in it as before.
                found.append(_Overwritten(suspect, 0, b""))
                continue
            if vanished:
                found.append(_Overwritten(suspect, len(vanished), newest_of(vanished)))
    return found


def _past(repository: Repository, snapshots: Sequence[Snapshot]) -> list[Seen]:
    """Return what earlier snapshots showed, without those whose alarm nobody acknowledged: what
    somebody did acknowledge may be ordinary.
    """
    pairs = list(pairwise(snapshots))[-MOST_PAST:]
    seen: dict[bytes, object] = {}
    if any(item.alarmed for _, item in pairs):
        seen.update(acknowledged(repository.storage, repository.keys))
    return [
        Seen(item.time_ms, days_between(before.time_ms, item.time_ms), item.evidence, item.alarmed)
        for before, item in pairs
        if item.evidence is not None and (item.id in seen or not item.alarmed)
    ]


def _sizes(totals: Totals) -> Sizes:
    return Sizes(totals.users, totals.histories, totals.chats, totals.messages, totals.documents)


def _pinned(
    parent: Snapshot, snapshots: Sequence[Snapshot], holders: Iterable[bytes]
) -> list[bytes]:
    """Return the snapshots that hold what was there before: the newest good one, the parent, and
    those that hold what was overwritten. The first two are ones that no policy drops either, should
    a prune be at work.
    """
    good = [
        item.id
        for item in reversed(snapshots)
        if not (item.degraded or item.partial or item.safety)
    ]
    return list(dict.fromkeys([*good[:1], parent.id, *holders]))


def _told(
    trips: Sequence[Trip], pinned: bytes, data: str, overwritten: Sequence[_Overwritten]
) -> list[Finding]:
    """Return what a person is to be told: first what is named, then the rules."""
    found = [_named(item, data) for item in overwritten[:MOST_TOLD] if item.lost]
    for trip in trips:
        if trip.is_alarm:
            stays = "nothing is pruned" if trip.blocks else "is kept"
            hint = f"Snapshot {pinned.hex()[:8]} holds what was there before, and {stays} "
            hint += "until somebody acknowledges this: `shenyu-data alerts list`."
        else:
            hint = "See whether that is as it should be."
        found.append(
            Finding(
                code=trip.rule,
                severity="error" if trip.blocks else "warning" if trip.is_alarm else "info",
                path="",
                message=describe(trip),
                hint=hint,
            )
        )
    return found


def _named(item: _Overwritten, data: str) -> Finding:
    from shenyu_data.operations.repair_document import Target
    from shenyu_data.operations.shrunken import shrunken_finding

    return shrunken_finding(data, Target(*item.suspect), item.lost, item.snapshot)


def untold(repository: Repository, snapshots: Sequence[Snapshot]) -> list[tuple[bytes, Finding]]:
    """Return what safety snapshots since the last one that somebody asked for noticed, and nobody
    acknowledged: the operation that took them told of its own work. With each, whose it is.
    """
    since: list[Snapshot] = []
    for item in reversed(snapshots):
        if not item.safety:
            break
        since.insert(0, item)
    if not any(item.alarmed for item in since):
        return []
    return [
        (item.snapshot.id, finding)
        for item in alarms(repository, since)
        if item.stands
        for finding in _told(item.snapshot.trips, item.snapshot.pinned[0], "", [])
    ]
