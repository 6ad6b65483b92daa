"""What a catalog knows of users, asked by workers that look at these; and how a user is recognised
who is as before. Nothing is written.

An ordinary user, of whom there is nothing but files in their places, is recognised without a
listing: the names are known, and a folder's own times tell when something in it came or went.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.datadir.capture import is_settled
from shenyu_data.datadir.catalog_rows import Slot, Stamp
from shenyu_data.datadir.catalog_tables import APPLICATION_ID, VERSION
from shenyu_data.datadir.scan import DataFolders, Scan
from shenyu_data.model.expiry import Summary
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place

_BUSY_S = 30.0
_MOST_NAMES = 500  # in one question

_USER_COLUMNS = (
    "name, id, names, signature, sound, documents, document_bytes, histories, chats, messages,"
    " chat_bytes, oldest_ms, newest_ms, odd"
)

BUCKETS = 256
"""Users are dealt into so many parts, of which one at a time is compared with the directory."""

_STAT = struct.Struct("<IIQQQQ").pack
_64_BITS = (1 << 64) - 1  # times before 1970 are negative
_ABSENT = b"-"


def bucket_of(name: bytes) -> int:
    """Return which part of the users one of this name is in."""
    return zlib.crc32(name) % BUCKETS


class Seen(NamedTuple):
    """How a user was when last looked at: the names in the folder of histories, one after another,
    and a digest of them and every stat; None: look again. ``sound``: a validation finds nothing.
    """

    names: bytes
    signature: bytes | None
    sound: bool


class KnownUser(NamedTuple):
    """What a catalog says of a user."""

    number: int
    seen: Seen
    documents: int
    document_bytes: int
    histories: int
    chats: int
    messages: int
    summary: Summary


class KnownDocument(NamedTuple):
    """What a catalog says of a document: its stamp, None if it must be read again; and what was
    found in it (datadir/catalog_checks.py), None if that is not known.
    """

    stamp: Stamp | None
    checked: bytes | None
    chats: int
    messages: int


class KnownUsers:
    """A catalog's file, open for reading. Raises sqlite3.Error, of a damaged one TypeError or
    ValueError, too.
    """

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode=ro", timeout=_BUSY_S, isolation_level=None, uri=True
        )
        try:
            marks = [
                self._connection.execute(f"PRAGMA {name}").fetchone()
                for name in ("application_id", "user_version")
            ]
            if marks != [(APPLICATION_ID,), (VERSION,)]:
                raise ValueError("no catalog of this version")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def users(self, names: Sequence[bytes]) -> dict[bytes, KnownUser]:
        """Return what is known of some users, by their names."""
        found: dict[bytes, KnownUser] = {}
        for start in range(0, len(names), _MOST_NAMES):
            part = names[start : start + _MOST_NAMES]
            marks = ", ".join("?" * len(part))
            question = f"SELECT {_USER_COLUMNS} FROM users WHERE name IN ({marks})"  # noqa: S608
            for row in self._connection.execute(question, part):
                name, number, listed, signature, sound, *counts = row
                documents, size, histories, chats, messages, *rest = counts
                found[name] = KnownUser(
                    number,
                    Seen(listed, signature, bool(sound)),
                    *(documents, size, histories, chats, messages),
                    Summary(chats, *rest),
                )
        return found

    def about(self) -> tuple[bytes, int]:
        """Return which directory it is about, and when a document was read last, in ms."""
        data, read_ms = self._connection.execute("SELECT data, read_ms FROM about").fetchone()
        return bytes(data), int(read_ms)

    def summaries(self, bucket: int) -> Iterator[tuple[bytes, Seen, Summary]]:
        """Yield of the users of a part the name, how each was, and what expiry goes by."""
        for name, names, signature, sound, *rest in self._connection.execute(
            "SELECT name, names, signature, sound, chats, chat_bytes, oldest_ms, newest_ms, odd"
            " FROM users WHERE bucket = ?",
            (bucket,),
        ):
            yield name, Seen(names, signature, bool(sound)), Summary(*rest)

    def documents(self, number: int) -> dict[Slot, KnownDocument]:
        """Return what is known of a user's documents."""
        known: dict[Slot, KnownDocument] = {}
        for place, name, settled, checked, chats, messages, *stamp in self._connection.execute(
            "SELECT place, name, settled, checked, chats, messages, size, mtime_ns, ctime_ns, inode"
            " FROM documents WHERE user = ?",
            (number,),
        ):
            size, mtime_ns, ctime_ns, inode = stamp
            seen = (size, mtime_ns, ctime_ns, inode) if settled else None
            known[place, name] = KnownDocument(seen, checked, chats, messages)
        return known


def is_as_seen(folders: DataFolders, owner: bytes, seen: Seen, *, compressed: bool) -> bool:
    """Whether every stat of a user is as it was. Opens and lists nothing.

    ``compressed`` false: there is no ``.json.gz`` of this user in ``users``.
    """
    if seen.signature is None or folders.users is None or folders.histories is None:
        return False
    users, histories = folders.users, folders.histories
    parts = [
        seen.names,
        _stat(users, owner + JSON_SUFFIX),
        _stat(users, owner + GZIP_SUFFIX) if compressed else _ABSENT,
        _stat(histories, owner),
    ]
    if seen.names:
        # Written out: of all that a cleanup and a validation do, this is done most often.
        look, packed, above = os.lstat, _packed, owner + b"/"
        try:
            for name in seen.names.split(b"/"):
                parts.append(packed(look(above + name, dir_fd=histories)))
        except OSError:
            return False  # when it was looked at, every one of them was there
    return blake3(b"".join(parts)).digest(16) == seen.signature


def signature_of(scan: Scan, names: bytes, looked_ns: int) -> bytes | None:
    """Return what :func:`is_as_seen` compares; None if this user must be looked at closely each
    time, or was written to so shortly before ``looked_ns``, when the scan began, that a later write
    could go unnoticed.
    """
    if not scan.complete or scan.findings or scan.passing:
        return None
    parts = {Place.USER_FILE: _ABSENT, Place.USER_FILE_GZIP: _ABSENT, Place.HISTORY_FOLDER: _ABSENT}
    histories = []
    for place, name, found in sorted(scan.entries, key=lambda entry: entry[:2]):
        as_it_should_be = stat.S_ISDIR if place == Place.HISTORY_FOLDER else stat.S_ISREG
        if not as_it_should_be(found.st_mode) or b"/" in name:
            return None
        if not is_settled(found, looked_ns):
            return None
        if place == Place.IN_HISTORY_FOLDER:
            histories.append(_packed(found))
        else:
            parts[place] = _packed(found)
    return blake3(b"".join([names, *parts.values(), *histories])).digest(16)


def names_of(scan: Scan) -> bytes:
    """Return the names in the folder of histories as :class:`Seen` has them."""
    return b"/".join(
        sorted([name for place, name, _ in scan.entries if place == Place.IN_HISTORY_FOLDER])
    )


def _quoted(path: str) -> str:
    """Return a path as it stands in an SQLite URI. (urllib would take 2 ms to import.)"""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _stat(folder: int, path: bytes) -> bytes:
    try:
        return _packed(os.stat(path, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return _ABSENT


def _packed(found: os.stat_result) -> bytes:
    return _STAT(
        found.st_mode,
        found.st_nlink & 0xFFFFFFFF,
        found.st_size,
        found.st_mtime_ns & _64_BITS,
        found.st_ctime_ns & _64_BITS,
        found.st_ino,
    )
