"""The ledger of drills: when each user was last proven restorable, and whose turn is next.

It lies in the state folder's database, one for each repository. Users are known by their keyed
pseudonyms, never by name. It is no truth that cannot be had again: if it is lost, a new one begins.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from shenyu_data.health.store import DRILL_TABLES, Store, wipe_journal

DAY_MS = 86_400_000

_PAGE = 500
_PRESENT = """
DROP TABLE IF EXISTS temp.present;
CREATE TEMP TABLE present (
    pseudonym BLOB PRIMARY KEY, shared INTEGER NOT NULL, chosen INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
_CHOOSE = """
UPDATE present SET chosen = 1 WHERE pseudonym IN (SELECT pseudonym FROM (
    SELECT present.pseudonym, failing,
        -- A time that is yet to come says nothing of when it was.
        CASE WHEN tried_ms <= ? THEN tried_ms END AS tried_ms
    FROM present LEFT JOIN drilled
        ON drilled.repository = ? AND drilled.pseudonym = present.pseudonym
    WHERE present.shared = ? AND NOT chosen
)
"""


class LedgerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger says. Times are ms since 1970.

    ``users`` are those of the newest snapshot that was drilled. ``never_proven`` ones were not yet
    drawn, or always failed; of ``failing`` ones the last try failed. ``oldest_ms`` is the oldest of
    the users' last proofs.
    """

    repository: bytes
    location: str
    drilled_ms: int
    users: int
    never_proven: int
    proven_30d: int
    proven_90d: int
    failing: int
    oldest_ms: int | None


class Share(NamedTuple):
    """How much to choose: ``users``, or ``percent`` of them but no fewer than ``least``, or all."""

    users: int | None = None
    percent: float = 100.0
    least: int = 0

    def of(self, count: int) -> int:
        """Return how many of ``count`` users."""
        if self.users is not None:
            return min(self.users, count)
        return min(count, max(self.least, math.ceil(count * self.percent / 100)))


class Chosen(NamedTuple):
    """How many users a snapshot has, and of how many it is the turn; the same of all owners,
    nobody among them.
    """

    users: int
    chosen_users: int
    owners: int
    chosen_owners: int


class Ledger:
    """The ledger of one repository, and the owners of one snapshot beside it.

    First :meth:`meet` all owners of the snapshot, then :meth:`choose`, then :meth:`note`. Methods
    raise StateUnusable.
    """

    def __init__(self, store: Store, repository: bytes, location: str) -> None:
        self._store = store
        self._repository = repository
        self._location = location
        with store.reading() as connection:
            connection.executescript(_PRESENT)

    def meet(self, owners: Iterable[tuple[bytes, bool]]) -> None:
        """Take owners of the snapshot, by pseudonym; True: of what is nobody's."""
        with self._store.reading() as connection:
            connection.executemany("INSERT OR IGNORE INTO present VALUES (?, ?, 0)", owners)

    def settle(self, now_ms: int, *, whole: bool) -> None:
        """Begin a page for whoever has none and, if the snapshot's owners are known as a ``whole``,
        drop those of others.
        """
        with self._store.writing() as connection:
            connection.execute(
                "INSERT INTO drill_ledgers VALUES (?, ?, ?) ON CONFLICT (repository) "
                "DO UPDATE SET location = excluded.location, drilled_ms = excluded.drilled_ms",
                (self._repository, self._location, now_ms),
            )
            connection.execute(
                "INSERT OR IGNORE INTO drilled "
                "SELECT ?, pseudonym, shared, NULL, NULL, 0 FROM present",
                (self._repository,),
            )
            if whole:
                connection.execute(
                    "DELETE FROM drilled WHERE repository = ? AND pseudonym NOT IN "
                    "(SELECT pseudonym FROM present)",
                    (self._repository,),
                )

    def choose(self, share: Share, now_ms: int) -> None:
        """Choose users whose turn it is, and as large a share of what is nobody's.

        First those whose last try failed, up to as many again; then as many as wanted of those that
        were not tried for longest; then, at random, a tenth more.
        """
        with self._store.reading() as connection:
            counts = dict(
                connection.execute("SELECT shared, count(*) FROM present GROUP BY shared")
            )
            users, others = counts.get(0, 0), counts.get(1, 0)
            wanted = share.of(users)
            part = math.ceil(others * wanted / users) if users else others
            for shared, count in ((0, wanted), (1, part)):
                for clause, order, limit in (
                    ("failing", "tried_ms", count),
                    ("TRUE", "tried_ms IS NOT NULL, tried_ms, random()", count),
                    ("TRUE", "random()", max(1, count // 10)),
                ):
                    connection.execute(
                        f"{_CHOOSE} WHERE {clause} ORDER BY {order} LIMIT ?)",
                        (now_ms, self._repository, shared, limit),
                    )

    def choose_all(self) -> None:
        """Choose every owner that was met."""
        with self._store.reading() as connection:
            connection.execute("UPDATE present SET chosen = 1")

    def count(self) -> Chosen:
        """Return how much there is, and how much of it is chosen."""
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT count(*) FILTER (WHERE NOT shared), "
                "count(*) FILTER (WHERE chosen AND NOT shared), "
                "count(*), count(*) FILTER (WHERE chosen) FROM present"
            ).fetchone()
        return Chosen(*row)

    def chosen(self) -> Iterator[bytes]:
        """Yield who was chosen, by pseudonym, in that order."""
        after = b""
        while True:
            with self._store.reading() as connection:
                page = connection.execute(
                    "SELECT pseudonym FROM present WHERE chosen AND pseudonym > ? "
                    "ORDER BY pseudonym LIMIT ?",
                    (after, _PAGE),
                ).fetchall()
            if not page:
                return
            yield from (pseudonym for (pseudonym,) in page)
            after = page[-1][0]

    def note(self, owners: Iterable[tuple[bytes, bool | None]], now_ms: int) -> None:
        """Note who was proven, and who was not; None: the user was erased. Whoever has no page, as
        after an erasure meanwhile, gets none.
        """
        outcomes = list(owners)
        tried = [
            (now_ms, proven, proven, now_ms, self._repository, one)
            for one, proven in outcomes
            if proven is not None
        ]
        gone = [(self._repository, one) for one, proven in outcomes if proven is None]
        with self._store.writing() as connection:
            connection.executemany(
                "UPDATE drilled SET tried_ms = ?, failing = NOT ?, "
                "proven_ms = CASE WHEN ? THEN ? ELSE proven_ms END "
                "WHERE repository = ? AND pseudonym = ?",
                tried,
            )
            connection.executemany(
                "DELETE FROM drilled WHERE repository = ? AND pseudonym = ?", gone
            )


def passing_ledger(repository: bytes, location: str) -> Ledger:
    """Return a ledger that is forgotten afterwards: for a drill that nobody notes."""
    connection = sqlite3.connect("", isolation_level=None)  # on disk, if it grows
    connection.executescript(DRILL_TABLES)
    return Ledger(Store(connection, ""), repository, location)


def ledgers(store: Store, now_ms: int) -> list[LedgerSummary]:
    """Return what the ledgers say, the one that was drilled last first. Raise StateUnusable."""
    days = (now_ms - 30 * DAY_MS, now_ms - 90 * DAY_MS)
    with store.reading() as connection:
        rows = connection.execute(
            # A proof of a time that is yet to come is none.
            "WITH users AS (SELECT repository, failing, "
            "CASE WHEN proven_ms <= ? THEN proven_ms END AS proven_ms "
            "FROM drilled WHERE NOT shared) "
            "SELECT repository, location, drilled_ms, count(users.repository), "
            "count(users.repository) - count(proven_ms), "
            "count(*) FILTER (WHERE proven_ms >= ?), count(*) FILTER (WHERE proven_ms >= ?), "
            "count(*) FILTER (WHERE failing), min(proven_ms) "
            "FROM drill_ledgers LEFT JOIN users USING (repository) "
            "GROUP BY repository ORDER BY drilled_ms DESC, repository",
            (now_ms, *days),
        ).fetchall()
    return [
        LedgerSummary(**dict(zip(LedgerSummary.__struct_fields__, row, strict=True)))
        for row in rows
    ]


def forget_user(store: Store, pseudonym: bytes) -> None:
    """Take a user who is erased out of the ledgers. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute("DELETE FROM drilled WHERE pseudonym = ?", (pseudonym,))
    wipe_journal(store)


def note_place(store: Store, place: str) -> None:
    """Remember where sandboxes are made, until :func:`forget_place`. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute("INSERT OR IGNORE INTO drill_places VALUES (?)", (place,))


def forget_place(store: Store, place: str) -> None:
    """Forget a place: nothing of ours is left there. Raise StateUnusable."""
    with store.writing() as connection:
        connection.execute("DELETE FROM drill_places WHERE place = ?", (place,))


def places(store: Store) -> list[str]:
    """Return where a drill that was killed may have left a sandbox. Raise StateUnusable."""
    with store.reading() as connection:
        return [place for (place,) in connection.execute("SELECT place FROM drill_places")]
