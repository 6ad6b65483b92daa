"""The tables of the catalog, and the statements that write them. For the catalog's modules."""

from __future__ import annotations

CATALOG_NAME = "catalog.db"
"""The file, in the folder of what concerns its data directory."""

APPLICATION_ID = 0x5348454E  # "SHEN"
VERSION = 2
"""A catalog of another version is built anew."""

TABLES = """
CREATE TABLE about (
    data BLOB NOT NULL, birth BLOB NOT NULL, rules TEXT NOT NULL, read_ms INTEGER NOT NULL
);
CREATE TABLE users (
    id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, name BLOB NOT NULL, tie INTEGER NOT NULL,
    documents INTEGER NOT NULL, document_bytes INTEGER NOT NULL, histories INTEGER NOT NULL,
    chats INTEGER NOT NULL, messages INTEGER NOT NULL, began_ms INTEGER, age_ms INTEGER NOT NULL,
    activity_ms INTEGER NOT NULL, activity_source TEXT NOT NULL,
    chat_bytes INTEGER NOT NULL, oldest_ms INTEGER, newest_ms INTEGER, odd INTEGER NOT NULL,
    names BLOB NOT NULL, signature BLOB, sound INTEGER NOT NULL
);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, user INTEGER NOT NULL, place INTEGER NOT NULL, name BLOB NOT NULL,
    kind TEXT NOT NULL, size INTEGER NOT NULL, mtime_ms INTEGER NOT NULL,
    settled INTEGER NOT NULL, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    state TEXT NOT NULL, chats INTEGER NOT NULL, messages INTEGER NOT NULL,
    began_ms INTEGER, activity_ms INTEGER, activity_source TEXT,
    chat_bytes INTEGER NOT NULL, oldest_ms INTEGER, odd INTEGER NOT NULL, checked BLOB
);
CREATE TABLE chats (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tie INTEGER NOT NULL, user INTEGER NOT NULL, document INTEGER NOT NULL,
    key TEXT NOT NULL, title TEXT, model TEXT, messages INTEGER NOT NULL,
    began_ms INTEGER, age_ms INTEGER NOT NULL,
    activity_ms INTEGER NOT NULL, activity_source TEXT NOT NULL,
    start INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL
);
"""

INDEXES = """
CREATE UNIQUE INDEX users_name ON users (name);
CREATE INDEX users_bucket ON users (bucket, name);
CREATE INDEX users_activity ON users (activity_ms, tie);
CREATE INDEX users_size ON users (document_bytes, tie);
CREATE INDEX users_age ON users (age_ms, tie);
CREATE UNIQUE INDEX documents_slot ON documents (user, place, name);
CREATE INDEX documents_odd ON documents (user) WHERE state <> 'whole';
CREATE INDEX chats_document ON chats (document);
CREATE INDEX chats_user ON chats (user, activity_ms, tie);
CREATE INDEX chats_key ON chats (key);
CREATE INDEX chats_activity ON chats (activity_ms, tie);
CREATE INDEX chats_size ON chats (length, tie);
CREATE INDEX chats_age ON chats (age_ms, tie);
CREATE INDEX chats_title ON chats (coalesce(title, ''), tie);
"""

_USER_COLUMNS = (
    *("bucket", "name", "tie", "documents", "document_bytes", "histories", "chats", "messages"),
    *("began_ms", "age_ms", "activity_ms", "activity_source"),
    *("chat_bytes", "oldest_ms", "newest_ms", "odd", "names", "signature", "sound"),
)
_DOCUMENT_COLUMNS = (
    *("user", "place", "name", "kind", "size", "mtime_ms", "settled"),
    *("mtime_ns", "ctime_ns", "inode", "state"),
    *("chats", "messages", "began_ms", "activity_ms", "activity_source"),
    *("chat_bytes", "oldest_ms", "odd", "checked"),
)
_CHAT_COLUMNS = (
    *("tie", "user", "document", "key", "title", "model", "messages", "began_ms", "age_ms"),
    *("activity_ms", "activity_source", "start", "length", "digest"),
)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - ours


def _update(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE {table} SET {values} WHERE id = ?"  # noqa: S608 - no word of it is a person's


KEPT_OF_DOCUMENTS = ", ".join(_DOCUMENT_COLUMNS[1:])
"""What a user's sums are made of."""

INSERT_USER = _insert("users", _USER_COLUMNS)
UPDATE_USER = _update("users", _USER_COLUMNS)
INSERT_DOCUMENT = _insert("documents", ("id", *_DOCUMENT_COLUMNS))
UPDATE_DOCUMENT = _update("documents", _DOCUMENT_COLUMNS)
INSERT_CHAT = _insert("chats", _CHAT_COLUMNS)
UPDATE_CHAT = _update("chats", _CHAT_COLUMNS)
