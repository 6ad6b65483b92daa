"""The catalog's index of words: which chats may hold them. Beside the catalog, if it is wanted.

It holds no text, only which short pieces of words (model/words.py) occur in which chats, and never
decides anything: a chat that may match is read. What it says of chats that are gone is passed over.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_rows import Piece

TEXT_NAME = "catalog-text.db"

MATCHING = "c.id IN (SELECT rowid FROM text.words WHERE words MATCH ?)"

_APPLICATION_ID = 0x53485458  # "SHTX"
_CACHE_KIB = 4096
_LEAST_ALIVE = 0.5  # of the chats it holds; else it is made anew

# No positions and no copy of the text; the pieces are ASCII, whatever they are pieces of.
_TABLES = f"""
PRAGMA text.journal_mode = PERSIST;
PRAGMA text.synchronous = NORMAL;
PRAGMA text.secure_delete = ON;
PRAGMA text.application_id = {_APPLICATION_ID};
CREATE TABLE text.about (birth BLOB NOT NULL, last INTEGER NOT NULL, held INTEGER NOT NULL);
CREATE VIRTUAL TABLE text.words USING fts5(
    grams, content='', detail=none, columnsize=0, tokenize='ascii'
);
"""


def has_index(folder: str) -> bool:
    """Whether there is an index of words in a state folder."""
    return os.path.exists(os.path.join(folder, TEXT_NAME))


def attach(catalog: Catalog, folder: str) -> bool:
    """Make the index of words ready to be asked through an open catalog; return whether it is about
    this catalog and knows all of its chats. If not, it is not attached.
    """
    if not _attached(catalog, folder):
        return False
    try:
        birth, last = _holds(catalog)
        if birth == _birth(catalog) and last >= _newest(catalog):
            return True
    except (sqlite3.DatabaseError, TypeError):
        pass  # no such database: it is made anew when it is brought up to date
    catalog.connection.execute("DETACH DATABASE text")
    return False


def begin(catalog: Catalog, folder: str) -> int:
    """Attach the index of words to be written, made anew if it is damaged, about another catalog or
    mostly about chats that are gone; return after which chat it goes on. Under the lock.

    Raises OSError or sqlite3.Error.
    """
    path = os.path.join(folder, TEXT_NAME)
    run = catalog.connection.execute
    run(f"PRAGMA main.cache_size = -{_CACHE_KIB}")  # it is gone through once, in its order
    if _attached(catalog, folder):
        try:
            birth, last = _holds(catalog)
            held = run("SELECT held FROM text.about").fetchone()[0]
            still = run("SELECT count(*) FROM main.chats WHERE id <= ?", (last,)).fetchone()[0]
            if birth == _birth(catalog) and still >= _LEAST_ALIVE * held:
                return int(last)
        except (sqlite3.DatabaseError, TypeError):
            pass
        run("DETACH DATABASE text")
    for name in (path, path + "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(name)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    run("ATTACH DATABASE ? AS text", (path,))
    catalog.connection.executescript(_TABLES)
    run("INSERT INTO text.about VALUES (?, 0, 0)", (_birth(catalog),))
    return 0


def add(catalog: Catalog, rows: Sequence[tuple[int, str]]) -> None:
    """Note the pieces of words of chats, by their numbers, in the order of these."""
    with catalog.transaction():
        catalog.connection.executemany("INSERT INTO text.words (rowid, grams) VALUES (?, ?)", rows)
        catalog.connection.execute(
            "UPDATE text.about SET last = ?, held = held + ?", (rows[-1][0], len(rows))
        )


def chats_after(
    catalog: Catalog, last: int, limit: int
) -> Iterator[list[tuple[int, bytes, Piece]]]:
    """Yield the chats that come after one, by their numbers, ``limit`` at a time: number, user, and
    where each lies.
    """
    while True:
        rows = catalog.connection.execute(
            "SELECT c.id, u.name, d.place, d.name, c.start, c.length, c.digest FROM chats c"
            " CROSS JOIN users u ON u.id = c.user CROSS JOIN documents d ON d.id = c.document"
            " WHERE c.id > ? ORDER BY c.id LIMIT ?",
            (last, limit),
        ).fetchall()
        if not rows:
            return
        yield [
            (number, user, Piece((place, name), *where))
            for number, user, place, name, *where in rows
        ]
        last = rows[-1][0]


def _attached(catalog: Catalog, folder: str) -> bool:
    """Attach the file in the index's place, if there is one, and it is a database."""
    if not has_index(folder):
        return False
    try:
        path = os.path.join(folder, TEXT_NAME)
        catalog.connection.execute("ATTACH DATABASE ? AS text", (path,))
    except sqlite3.DatabaseError:
        return False
    return True


def _holds(catalog: Catalog) -> tuple[object, int]:
    mark = catalog.connection.execute("PRAGMA text.application_id").fetchone()[0]
    if mark != _APPLICATION_ID:
        raise TypeError("another program's")
    birth, last = catalog.connection.execute("SELECT birth, last FROM text.about").fetchone()
    return birth, last


def _birth(catalog: Catalog) -> object:
    return catalog.connection.execute("SELECT birth FROM main.about").fetchone()[0]


def _newest(catalog: Catalog) -> int:
    found = catalog.connection.execute("SELECT max(id) FROM main.chats").fetchone()[0]
    return 0 if found is None else int(found)
