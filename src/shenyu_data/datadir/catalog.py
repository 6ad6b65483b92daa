"""The catalog: a SQLite index of the users and chats of one data directory. Never the truth itself.

Writing it, in transactions, so that readers see a whole state. Where it lies, and how it is opened
and built, is in catalog_files.py; what it is asked in catalog_pages.py.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from shenyu_data.datadir.catalog_read import OwnerChange
from shenyu_data.datadir.catalog_rows import ChatRow, DocumentRow, Slot, Stamp, owner_tie
from shenyu_data.datadir.catalog_tables import (
    INSERT_CHAT,
    INSERT_DOCUMENT,
    INSERT_USER,
    UPDATE_CHAT,
    UPDATE_DOCUMENT,
    UPDATE_USER,
)

BUCKETS = 256
"""Users are dealt into so many parts, of which one at a time is compared with the directory."""


def bucket_of(name: bytes) -> int:
    """Return which part of the users one of this name is in."""
    return zlib.crc32(name) % BUCKETS


class Catalog:
    """An open catalog. ``new``: it is being built, nothing in it needs to be looked for.

    Every method may raise sqlite3.Error; of a damaged catalog, TypeError and ValueError too.
    """

    def __init__(self, connection: sqlite3.Connection, *, new: bool = False) -> None:
        self.connection = connection
        self._new = new

    def close(self) -> None:
        """Close it; a transaction that was not ended is taken back."""
        self.connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside happen at once, or not at all."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def known(self, bucket: int) -> dict[bytes, dict[Slot, Stamp | None]]:
        """Return the users of a part, with their documents as they were when last read."""
        users: dict[bytes, dict[Slot, Stamp | None]] = {}
        if self._new:
            return users
        for owner, place, name, settled, *stamp in self.connection.execute(
            "SELECT u.name, d.place, d.name, d.settled, d.size, d.mtime_ns, d.ctime_ns, d.inode"
            " FROM users u JOIN documents d ON d.user = u.id WHERE u.bucket = ?",
            (bucket,),
        ):
            size, mtime_ns, ctime_ns, inode = stamp
            seen = (size, mtime_ns, ctime_ns, inode) if settled else None
            users.setdefault(owner, {})[place, name] = seen
        return users

    def apply(self, change: OwnerChange) -> None:
        """Note what was read of a user. Within a transaction."""
        user = self._user(change.owner)
        for slot in change.gone:
            document = self._document(user, slot)
            if document is not None:
                self._remove_document(document)
        for row in change.read:
            self._put_document(user, row)
        self._sum_up(user, change)

    def remove(self, owner: bytes) -> bool:
        """Forget a user; return whether there was any. Within a transaction."""
        found = self.connection.execute("SELECT id FROM users WHERE name = ?", (owner,)).fetchone()
        if found is None:
            return False
        self.connection.execute("DELETE FROM chats WHERE user = ?", found)
        self.connection.execute("DELETE FROM documents WHERE user = ?", found)
        self.connection.execute("DELETE FROM users WHERE id = ?", found)
        return True

    def _user(self, owner: bytes) -> int:
        run = self.connection.execute
        if not self._new:
            found = run("SELECT id FROM users WHERE name = ?", (owner,)).fetchone()
            if found is not None:
                return int(found[0])
        row = (bucket_of(owner), owner, owner_tie(owner), 0, 0, 0, 0, 0, None, 0, 0, "mtime")
        return _made(run(INSERT_USER, row))

    def _document(self, user: int, slot: Slot) -> int | None:
        if self._new:
            return None
        found = self.connection.execute(
            "SELECT id FROM documents WHERE user = ? AND place = ? AND name = ?", (user, *slot)
        ).fetchone()
        return None if found is None else int(found[0])

    def _remove_document(self, document: int) -> None:
        self.connection.execute("DELETE FROM chats WHERE document = ?", (document,))
        self.connection.execute("DELETE FROM documents WHERE id = ?", (document,))

    def _put_document(self, user: int, row: DocumentRow) -> None:
        document = self._document(user, row.slot)
        values = _document_values(user, row)
        if document is None:
            document = _made(self.connection.execute(INSERT_DOCUMENT, values))
            stood: dict[bytes, list[int]] = {}
        else:
            self.connection.execute(UPDATE_DOCUMENT, (*values, document))
            stood = self._standing(document)
        added, moved = [], []
        for chat in row.chats:
            chat_values = _chat_values(user, document, chat)
            same = stood.get(chat.digest)
            if same:
                moved.append((*chat_values, same.pop(0)))
            else:
                added.append(chat_values)
        gone = [(number,) for numbers in stood.values() for number in numbers]
        self.connection.executemany("DELETE FROM chats WHERE id = ?", gone)
        self.connection.executemany(UPDATE_CHAT, moved)
        self.connection.executemany(INSERT_CHAT, added)

    def _standing(self, document: int) -> dict[bytes, list[int]]:
        """Return the numbers of a document's chats by their digests: equal ones keep theirs."""
        stood: dict[bytes, list[int]] = {}
        for number, digest in self.connection.execute(
            "SELECT id, digest FROM chats WHERE document = ? ORDER BY id", (document,)
        ):
            stood.setdefault(digest, []).append(number)
        return stood

    def _sum_up(self, user: int, change: OwnerChange) -> None:
        """Write a user's sums; forget a user of whom no document is left."""
        if self._new:  # there is no index yet
            documents = [_sums_of(_document_values(user, row)) for row in change.read]
        else:
            documents = self.connection.execute(
                "SELECT kind, size, mtime_ms, chats, messages, began_ms, activity_ms,"
                " activity_source FROM documents WHERE user = ?",
                (user,),
            ).fetchall()
        if documents:
            values = _user_values(change.owner, documents)
            self.connection.execute(UPDATE_USER, (*values, user))
        else:
            self.connection.execute("DELETE FROM users WHERE id = ?", (user,))


def _user_values(owner: bytes, documents: list[tuple[Any, ...]]) -> tuple[object, ...]:
    kinds, sizes, mtimes, chats, messages, began, activities, sources = zip(*documents, strict=True)
    active = [
        (time_ms, source)
        for time_ms, source in zip(activities, sources, strict=True)
        if time_ms is not None
    ]
    activity_ms, source = max(active, default=(max(mtimes), "mtime"))
    begun = [(kind != "user", time) for kind, time in zip(kinds, began, strict=True) if time]
    _, began_ms = min(begun, default=(False, None))  # what the user's document says comes first
    return (
        *(bucket_of(owner), owner, owner_tie(owner), len(documents), sum(sizes)),
        *(kinds.count("history"), sum(chats), sum(messages)),
        *(began_ms, activity_ms if began_ms is None else began_ms, activity_ms, source),
    )


def _sums_of(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return of a document's values those that a user's sums are made of."""
    kind, size, mtime_ms = values[3:6]
    return kind, size, mtime_ms, *values[11:]


def _made(cursor: sqlite3.Cursor) -> int:
    if cursor.lastrowid is None:
        raise ValueError("nothing was inserted")
    return cursor.lastrowid


def _document_values(user: int, row: DocumentRow) -> tuple[object, ...]:
    began = [chat.began_ms for chat in row.chats if chat.began_ms is not None]
    active = [(chat.activity_ms, chat.activity_source) for chat in row.chats]
    if row.seen_ms is not None:
        active.append((row.seen_ms, "last_seen"))
    activity_ms, source = max(active, default=(None, None))
    size, mtime_ns, ctime_ns, inode = row.stamp or (row.size, None, None, None)
    return (
        *(user, *row.slot, row.kind, size, row.mtime_ms, row.stamp is not None),
        *(mtime_ns, ctime_ns, inode, row.state),
        *(len(row.chats), sum(chat.messages for chat in row.chats)),
        *(min(began, default=row.began_ms), activity_ms, source),
    )


def _chat_values(user: int, document: int, chat: ChatRow) -> tuple[object, ...]:
    return (
        *(chat.tie, user, document, chat.key, chat.title, chat.model, chat.messages),
        *(chat.began_ms, chat.activity_ms if chat.began_ms is None else chat.began_ms),
        *(chat.activity_ms, chat.activity_source, chat.offset, chat.length, chat.digest),
    )
