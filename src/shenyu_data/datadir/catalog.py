"""The catalog: a SQLite index of the users and chats of one data directory. Never the truth itself.

Writing it, in transactions, so that readers see a whole state. Where it lies, and how it is opened
and built, is in catalog_files.py; what it is asked in catalog_pages.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from shenyu_data.datadir.catalog_known import bucket_of
from shenyu_data.datadir.catalog_owners import OwnerChange
from shenyu_data.datadir.catalog_rows import ChatRow, DocumentRow, Slot, owner_tie
from shenyu_data.datadir.catalog_tables import (
    INSERT_CHAT,
    INSERT_DOCUMENT,
    INSERT_USER,
    KEPT_OF_DOCUMENTS,
    UPDATE_CHAT,
    UPDATE_DOCUMENT,
    UPDATE_USER,
)
from shenyu_data.model.layout import Place


class Catalog:
    """An open catalog. ``path`` is its file's; ``new``: it is being built, so that nothing
    in it needs to be looked for.

    Every method may raise sqlite3.Error; of a damaged catalog, TypeError and ValueError too.
    """

    def __init__(self, connection: sqlite3.Connection, path: str, *, new: bool = False) -> None:
        self.connection = connection
        self.path = path
        self.new = new
        self._documents: int | None = 0 if new else None  # the greatest number of one, once known

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

    def names(self, bucket: int) -> set[bytes]:
        """Return the names of the users of a part."""
        if self.new:
            return set()
        found = self.connection.execute("SELECT name FROM users WHERE bucket = ?", (bucket,))
        return {name for (name,) in found}

    def begin(self, rules: str, now_ms: int) -> None:
        """Make ready to note what is read from now on, judged by these rules: what was found by
        others is forgotten. Within a transaction.
        """
        run = self.connection.execute
        (before,) = run("SELECT rules FROM about").fetchone()
        if before != rules:
            run("UPDATE documents SET checked = NULL WHERE checked IS NOT NULL")
            run("UPDATE users SET sound = 0 WHERE sound")
        run("UPDATE about SET rules = ?, read_ms = max(read_ms, ?)", (rules, now_ms))

    def version(self) -> int:
        """Return a number that is another one as soon as another process has changed the file."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def about(self) -> tuple[str, int]:
        """Return by which rules documents were judged, and when one was read last, in ms."""
        rules, read_ms = self.connection.execute("SELECT rules, read_ms FROM about").fetchone()
        return str(rules), int(read_ms)

    def apply(self, changes: Iterable[OwnerChange]) -> None:
        """Note what was read of users. Within a transaction."""
        for change in changes:
            user = None if self.new else self._user(change.owner)
            if user is not None:
                self._change(user, change)
            elif change.read:
                self._add(change)

    def _add(self, change: OwnerChange) -> None:
        """Note a user of whom there is nothing yet."""
        many = self.connection.executemany
        documents = [_document_values(0, row) for row in change.read]
        values = _user_values(change, [row[1:] for row in documents])
        user = _made(self.connection.execute(INSERT_USER, values))
        numbers = [self._next_document() for _ in documents]
        rows = zip(numbers, documents, strict=True)
        many(INSERT_DOCUMENT, [(number, user, *row[1:]) for number, row in rows])
        chats = [
            _chat_values(user, number, chat)
            for number, row in zip(numbers, change.read, strict=True)
            for chat in row.chats
        ]
        if chats:
            many(INSERT_CHAT, chats)

    def _change(self, user: int, change: OwnerChange) -> None:
        for slot in change.gone:
            document = self._document(user, slot)
            if document is not None:
                self._remove_document(document)
        for row in change.read:
            self._put_document(user, row)
        self._sum_up(user, change)

    def _next_document(self) -> int:
        if self._documents is None:
            found = self.connection.execute("SELECT max(id) FROM documents").fetchone()
            self._documents = found[0] or 0
        self._documents += 1
        return self._documents

    def remove(self, owner: bytes) -> bool:
        """Forget a user; return whether there was any. Within a transaction."""
        found = self.connection.execute("SELECT id FROM users WHERE name = ?", (owner,)).fetchone()
        if found is None:
            return False
        self.connection.execute("DELETE FROM chats WHERE user = ?", found)
        self.connection.execute("DELETE FROM documents WHERE user = ?", found)
        self.connection.execute("DELETE FROM users WHERE id = ?", found)
        return True

    def _user(self, owner: bytes) -> int | None:
        found = self.connection.execute("SELECT id FROM users WHERE name = ?", (owner,)).fetchone()
        return None if found is None else int(found[0])

    def _document(self, user: int, slot: Slot) -> int | None:
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
            document = self._next_document()
            self.connection.execute(INSERT_DOCUMENT, (document, *values))
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
        documents = self.connection.execute(
            f"SELECT {KEPT_OF_DOCUMENTS} FROM documents WHERE user = ?",  # noqa: S608 - our words
            (user,),
        ).fetchall()
        if documents:
            self.connection.execute(UPDATE_USER, (*_user_values(change, documents), user))
        else:
            self.connection.execute("DELETE FROM users WHERE id = ?", (user,))


def _user_values(change: OwnerChange, documents: list[tuple[Any, ...]]) -> tuple[object, ...]:
    owner, seen = change.owner, change.seen
    (
        places,
        _,
        kinds,
        sizes,
        mtimes,
        *_,
        chats,
        messages,
        began,
        activities,
        sources,
        chat_bytes,
        (oldest),
        odd,
        _,
    ) = zip(*documents, strict=True)
    active = [
        (time_ms, source)
        for time_ms, source in zip(activities, sources, strict=True)
        if time_ms is not None
    ]
    activity_ms, source = max(active, default=(max(mtimes), "mtime"))
    begun = [(kind != "user", time) for kind, time in zip(kinds, began, strict=True) if time]
    _, began_ms = min(begun, default=(False, None))  # what the user's document says comes first
    newest = [time for time, kind in zip(activities, kinds, strict=True) if time and kind != "user"]
    histories = kinds.count("history")
    is_odd = any(odd) or not histories or min(places) > Place.USER_FILE_GZIP
    return (
        *(bucket_of(owner), owner, owner_tie(owner), len(documents), sum(sizes)),
        *(histories, sum(chats), sum(messages)),
        *(began_ms, activity_ms if began_ms is None else began_ms, activity_ms, source),
        sum(chat_bytes),
        min([time for time in oldest if time is not None], default=None),
        max(newest, default=None),
        *(is_odd, seen.names, seen.signature, seen.sound),
    )


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
    oldest = min([chat.activity_ms for chat in row.chats], default=None)
    size, mtime_ns, ctime_ns, inode = row.stamp or (row.size, None, None, None)
    return (
        *(user, *row.slot, row.kind, size, row.mtime_ms, row.stamp is not None),
        *(mtime_ns, ctime_ns, inode, row.state),
        *(len(row.chats), sum(chat.messages for chat in row.chats)),
        *(min(began, default=row.began_ms), activity_ms, source),
        *(sum([chat.length for chat in row.chats]), oldest, row.odd, row.checked),
    )


def _chat_values(user: int, document: int, chat: ChatRow) -> tuple[object, ...]:
    return (
        *(chat.tie, user, document, chat.key, chat.title, chat.model, chat.messages),
        *(chat.began_ms, chat.activity_ms if chat.began_ms is None else chat.began_ms),
        *(chat.activity_ms, chat.activity_source, chat.offset, chat.length, chat.digest),
    )
