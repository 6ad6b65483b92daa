"""Where a catalog lies, and how it is opened, built and locked. For operations.

It can be lost or damaged at any time: then it is built anew. One process at a time changes it,
whoever holds the lock beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_tables import APPLICATION_ID, INDEXES, TABLES, VERSION
from shenyu_data.datadir.catalog_tables import CATALOG_NAME as CATALOG_NAME
from shenyu_data.datadir.catalog_text import TEXT_NAME
from shenyu_data.storage.atomic import make_private, overwrite, sync_folder

_JOURNAL = CATALOG_NAME + "-journal"
_NEW = CATALOG_NAME + ".new"
_TEXTS = (TEXT_NAME, TEXT_NAME + "-journal")
_LOCK = "catalog.lock"
_BUSY_S = 30.0
_LOOK_S = 0.05

_PRAGMAS = """
PRAGMA journal_mode = PERSIST;
PRAGMA synchronous = NORMAL;
PRAGMA secure_delete = ON;
PRAGMA cell_size_check = ON;
PRAGMA cache_size = -32768;
"""


class NotACatalog(Exception):
    """The file is none, of another version, or about another data directory."""


def open_catalog(folder: str, data: bytes) -> Catalog:
    """Open the catalog in a state folder. Raise FileNotFoundError if there is none, NotACatalog if
    it is not about the directory ``data`` (its absolute path) or not of this version; sqlite3.Error
    if it is damaged or cannot be opened.
    """
    path = os.path.join(folder, CATALOG_NAME)
    os.stat(path)
    connection = _connect(path)
    try:
        connection.executescript(_PRAGMAS)
        marks = [_pragma(connection, name) for name in ("application_id", "user_version")]
        if marks != [APPLICATION_ID, VERSION]:
            raise NotACatalog
        if connection.execute("SELECT data FROM about").fetchall() != [(data,)]:
            raise NotACatalog
    except BaseException:
        connection.close()
        raise
    return Catalog(connection, path)


@contextmanager
def building(folder: str, data: bytes) -> Iterator[Catalog]:
    """Build a catalog beside the one there may be; it takes its place when the block ends.

    Under the lock. Raises OSError or sqlite3.Error; then what was there is there still.
    """
    path = os.path.join(folder, _NEW)
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with _empty(path, data) as catalog:
            yield catalog
            _finish(catalog)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # In this order: a journal of the old one must never be taken for one of the new one.
        for name in (CATALOG_NAME, _JOURNAL):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
        os.rename(path, os.path.join(folder, CATALOG_NAME))
        sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


@contextmanager
def building_for_once(data: bytes) -> Iterator[Catalog]:
    """Build a catalog that is gone once it is closed, where none can be kept; then give it."""
    with _empty("", data) as catalog:
        yield catalog


def finish(catalog: Catalog) -> None:
    """Make what :func:`building_for_once` gave ready to be asked."""
    _finish(catalog)


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    found = connection.execute(f"PRAGMA {name}").fetchone()
    return found and found[0]


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)


@contextmanager
def _empty(path: str, data: bytes) -> Iterator[Catalog]:
    connection = _connect(path)
    try:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        connection.executescript(TABLES)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        about = (data, os.urandom(16), "", 0)
        connection.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)
        yield Catalog(connection, path, new=True)
    finally:
        connection.close()


def _finish(catalog: Catalog) -> None:
    catalog.connection.executescript(INDEXES)


def rewrite_without(folder: str, data: bytes, owner: bytes) -> None:
    """Take a user out of the catalog in a state folder so that no byte of its files tells of it; of
    a catalog that does not allow that, remove the whole. Under the lock. Raises OSError.
    """
    try:
        with open_catalog(folder, data) as catalog:
            with catalog.transaction():
                catalog.remove(owner)
            catalog.connection.execute("VACUUM")  # deleted rows leave traces in their pages
    except (FileNotFoundError, NotACatalog, sqlite3.Error, TypeError, ValueError):
        discard(folder)
        return
    for name in (_JOURNAL, _NEW, *_TEXTS):  # pages as they were, and words
        _wipe(os.path.join(folder, name))
    sync_folder(folder)


def discard(folder: str) -> None:
    """Overwrite and remove the catalog in a state folder. Under the lock. Raises OSError."""
    for name in (CATALOG_NAME, _JOURNAL, _NEW, *_TEXTS):
        _wipe(os.path.join(folder, name))
    sync_folder(folder)


def _wipe(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        overwrite(descriptor)
    finally:
        os.close(descriptor)
    os.unlink(path)


@contextmanager
def locked(folder: str, wait_s: float) -> Iterator[bool]:
    """Hold the lock of the catalog in a state folder, which is made if it is missing; give whether
    it could be had within ``wait_s``. Raises OSError if the folder cannot be used.
    """
    make_private(folder)
    lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    yield False
                    return
                time.sleep(_LOOK_S)
            else:
                break
        yield True
    finally:
        os.close(lock)
