"""What is remembered between runs for watching over one data directory: a small SQLite database in
its state folder.

Its tables are those of the modules beside this one. It is no truth that cannot be had again: if it
is lost, runs are known from the repository's snapshots and proofs, and the rest is due.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shenyu_data.model.errors import StateUnusable
from shenyu_data.storage.atomic import make_private, overwrite

STORE_NAME = "health.sqlite"
APPLICATION_ID = 0x5348_4845  # "SHHE"
VERSION = 1
_LOCK = "health.lock"
_BUSY_S = 30.0

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    job TEXT,
    verb TEXT NOT NULL,
    due_ms INTEGER,
    attempt INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT NOT NULL,
    exit_status INTEGER,
    figures TEXT NOT NULL,
    error TEXT NOT NULL,
    pid INTEGER NOT NULL,
    born TEXT NOT NULL,
    UNIQUE (job, due_ms, attempt)
) STRICT;
CREATE INDEX IF NOT EXISTS runs_by_verb ON runs (verb, started_ms);
CREATE INDEX IF NOT EXISTS runs_by_job ON runs (job, due_ms, attempt);
CREATE INDEX IF NOT EXISTS runs_noted_by_verb ON runs (verb); -- in the order of their noting
CREATE INDEX IF NOT EXISTS runs_noted_by_job ON runs (job);
CREATE INDEX IF NOT EXISTS runs_unended ON runs (id) WHERE ended_ms IS NULL;
CREATE TABLE IF NOT EXISTS runs_forgotten (
    job TEXT, outcome TEXT, count INTEGER NOT NULL, PRIMARY KEY (job, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    job TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS verify_parts (
    repository TEXT NOT NULL,
    part INTEGER NOT NULL,
    read_ms INTEGER NOT NULL,
    PRIMARY KEY (repository, part)
) STRICT;
"""

DRILL_TABLES = """
CREATE TABLE IF NOT EXISTS drilled (
    repository BLOB NOT NULL,
    pseudonym BLOB NOT NULL,
    shared INTEGER NOT NULL,
    tried_ms INTEGER,
    proven_ms INTEGER,
    failing INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (repository, pseudonym)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drill_ledgers (
    repository BLOB PRIMARY KEY, location TEXT NOT NULL, drilled_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS drill_places (place TEXT PRIMARY KEY) STRICT;
"""
"""Those of drill_ledger.py."""

_TABLES += DRILL_TABLES

ALERT_TABLES = """
CREATE TABLE IF NOT EXISTS alerts (
    key TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    subject TEXT NOT NULL,
    level TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    resolved_ms INTEGER,
    told TEXT NOT NULL,
    told_ms INTEGER,
    times INTEGER NOT NULL,
    flaps INTEGER NOT NULL,
    acked_ms INTEGER,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    command TEXT NOT NULL,
    figures TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS silences (name TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS samples (
    series TEXT NOT NULL, time_ms INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (series, time_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (
    name TEXT PRIMARY KEY, noted_ms INTEGER NOT NULL, value TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    alert_key TEXT,
    payload TEXT NOT NULL,
    done_ms INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    tried_ms INTEGER,
    error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE done_ms IS NULL;
"""
"""Those of the alerts, of what they are judged by, and of outbox.py."""

_TABLES += ALERT_TABLES

NOTIFICATION_TABLES = """
CREATE TABLE IF NOT EXISTS deliveries (
    message INTEGER NOT NULL,
    channel TEXT NOT NULL,
    done INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    tried_ms INTEGER NOT NULL,
    PRIMARY KEY (message, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS channels (
    channel TEXT PRIMARY KEY,
    failing_ms INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    tried_ms INTEGER,
    sent_ms INTEGER,
    sent INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
"""
"""Those of notify_state.py."""

_TABLES += NOTIFICATION_TABLES

WATCH_TABLES = """
CREATE TABLE IF NOT EXISTS noticed (
    cause TEXT NOT NULL,
    who TEXT NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    noticed TEXT NOT NULL,
    PRIMARY KEY (cause, who)
) STRICT, WITHOUT ROWID;
"""
"""That of watch_notes.py."""

_TABLES += WATCH_TABLES

_PRAGMAS = """
PRAGMA journal_mode = PERSIST;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
"""


class Store:
    """The open database. ``path`` is its file's; ``renewed``: what was there was damaged, and lies
    beside it now.

    Methods of the modules that keep something in it raise StateUnusable through :meth:`reading` and
    :meth:`writing`.
    """

    def __init__(self, connection: sqlite3.Connection, path: str, *, renewed: str = "") -> None:
        self.connection = connection
        self.path = path
        self.renewed = renewed
        self._file = _file_at(path)

    def is_there(self) -> bool:
        """Whether its file is still where it was: else it was removed, or set aside by somebody who
        found it damaged, and nothing can be noted in it any more.
        """
        return self._file is not None and _file_at(self.path) == self._file

    def close(self) -> None:
        """Close it; a transaction that was not ended is taken back."""
        self.connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for queries. Raise StateUnusable instead of SQLite's errors."""
        try:
            yield self.connection
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Make what is done inside happen at once and durably, or not at all.

        Raise StateUnusable instead of SQLite's errors.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise


def _file_at(path: str) -> tuple[int, int] | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None


def wipe_journal(store: Store) -> None:
    """Overwrite what SQLite keeps of pages as they were before the last change, so that what was
    taken out is nowhere. Raise StateUnusable.
    """
    path = f"{store.path}-journal"
    try:
        with store.writing():  # nobody else has the journal in use
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                overwrite(descriptor)
            finally:
                os.close(descriptor)
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from None


def open_store(folder: str) -> Store:
    """Open the database in the state folder of a data directory (places.py), or make it.

    A damaged one, or one of another version, is set aside under another name, and an empty one
    begun. Raise StateUnusable if the folder cannot be used.
    """
    path = os.path.join(folder, STORE_NAME)
    try:
        make_private(folder)
        connection = _open_sound(path)
        if connection is not None:
            return Store(connection, path)
        with _locked(folder):  # two that find it damaged must not set aside each other's new one
            connection = _open_sound(path)
            if connection is not None:
                return Store(connection, path)
            aside = f"{path}.damaged-{time.time_ns() // 1_000_000}"
            os.rename(path, aside)
            with suppress(FileNotFoundError):
                os.unlink(f"{path}-journal")  # it must never be played into the new one
            return Store(_open(path), path, renewed=aside)
    except (OSError, sqlite3.Error, _NotOurs) as error:
        raise _unusable(path, error) from None


def passing_store() -> Store:
    """Return an empty database that is forgotten afterwards: for who asks when none can be had."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(_TABLES)
    return Store(connection, "")


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_sound(path: str) -> sqlite3.Connection | None:
    """Open or make it; return None if it is damaged."""
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise  # no space, no right, locked: not damaged
    except (sqlite3.DatabaseError, _NotOurs):
        return None


class _NotOurs(Exception):
    """The file is no database of this program, or of another version."""


def _open(path: str) -> sqlite3.Connection:
    # Made here, since SQLite would make it readable for others.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        connection.executescript(_PRAGMAS)
        marks = tuple(
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if marks not in ((0, 0), (APPLICATION_ID, VERSION)):
            raise _NotOurs
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise _NotOurs
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        if marks == (0, 0):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _unusable(path: str, error: Exception) -> StateUnusable:
    return StateUnusable(
        f"what is remembered between runs cannot be used: {path}: {error}",
        hint="See whether its disk is full, and who may write there.",
    )
