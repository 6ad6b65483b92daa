"""Which document belongs to whom: a path under the data directory, its owner, its place, its kind.

Paths are bytes, relative, with ``/`` between their parts, exactly as the file system gives them:
names come from the network and need not be UTF-8. Both layouts of the data directory
(the guide's and the application's) share these rules.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Literal

Kind = Literal["user", "history", "other"]

USERS = b"users"
HISTORIES = b"histories"
JSON_SUFFIX = b".json"
GZIP_SUFFIX = b".json.gz"

DISPLACED_PREFIX = b".shenyu-data-displaced-"
"""A document that gave way, or one that is about to take its place: ours until it is settled."""

NEW_PREFIX = b".shenyu-data-new-"
"""A document that is being written: a crash leaves it, and nobody reads it."""

KEPT_PREFIX = b".shenyu-data-kept-"
"""A displaced document with something in it that could not be merged: a person must look."""


ARCHIVE_SUFFIX = b".archive.json.gz"
"""What follows the storage key in the name of a history's archive: chats that ``compress
--archive`` took out of it. The application never reads it; to us it is one more history.
"""


class Place(IntEnum):
    """Where an entry stands relative to its owner; the numbers are part of the repository
    format.
    """

    USER_FILE = 0  # users/<owner>.json
    USER_FILE_GZIP = 1  # users/<owner>.json.gz
    HISTORY_FOLDER = 2  # histories/<owner>
    IN_HISTORY_FOLDER = 3  # histories/<owner>/<name>; <name> may hold further folders
    ANYWHERE = 4  # <name>, a path from the data directory; the only place of shared entries


# Looked up once: these are asked for every document.
_IN_HISTORY_FOLDER = int(Place.IN_HISTORY_FOLDER)
_USER_FILE_GZIP = int(Place.USER_FILE_GZIP)
_HISTORY_SUFFIXES = (JSON_SUFFIX, GZIP_SUFFIX)


def path_of(owner: bytes, place: int, name: bytes) -> bytes:
    """Given an owner's name, a place and the name there, return the path under the data
    directory.
    """
    if place == _IN_HISTORY_FOLDER:
        return b"histories/%b/%b" % (owner, name)
    if place == Place.USER_FILE:
        return b"users/%b.json" % owner
    if place == Place.USER_FILE_GZIP:
        return b"users/%b.json.gz" % owner
    if place == Place.HISTORY_FOLDER:
        return b"histories/%b" % owner
    return name


def is_path_of(owner: bytes, path: bytes) -> bool:
    """Whether what stands at ``path`` under the data directory is the user's, should it exist."""
    folder = path_of(owner, Place.HISTORY_FOLDER, b"")
    files = [path_of(owner, place, b"") for place in (Place.USER_FILE, Place.USER_FILE_GZIP)]
    return path in (*files, folder) or path.startswith(folder + b"/")


def folder_for_kept(path: bytes) -> bytes:
    """Given a document's path, return the folder in which what cannot be merged of it is kept.

    Beside it; but of a user's document in the folder of that user's histories. In ``users/`` it
    would be a user of its own, which no erasure of this one finds.
    """
    folder, _, name = path.rpartition(b"/")
    found = owner_of_user_file(name) if folder == USERS else None
    return folder if found is None else path_of(found[0], Place.HISTORY_FOLDER, b"")


def owner_of_user_file(name: bytes) -> tuple[bytes, Place] | None:
    """Given a name in ``users/``, return whose file it is and its place, or None if nobody's."""
    if name.endswith(JSON_SUFFIX):
        owner, place = name[: -len(JSON_SUFFIX)], Place.USER_FILE
    elif name.endswith(GZIP_SUFFIX):
        owner, place = name[: -len(GZIP_SUFFIX)], Place.USER_FILE_GZIP
    else:
        return None
    return (owner, place) if is_plain_name(owner) else None


def kind_of(place: int, name: bytes) -> Kind:
    """Given an entry's place and name, return what kind of document a file there is.

    Only what the application itself could read or once read counts as a user or a history: a
    ``.json`` or ``.json.gz`` directly in its folder. The rest is ``other``, kept byte for byte.
    """
    if place <= _USER_FILE_GZIP:
        return "user"
    if (
        place == _IN_HISTORY_FOLDER
        and name.endswith(_HISTORY_SUFFIXES)
        and b"/" not in name
        and name[:1] != b"."
    ):
        return "history"
    return "other"


def is_archive_name(name: bytes) -> bool:
    """Whether a history of this name is the archive of another."""
    return name.endswith(ARCHIVE_SUFFIX) and len(name) > len(ARCHIVE_SUFFIX)


def is_passing(name: bytes) -> bool:
    """Whether a file's own name is one that we give for a moment while we replace a document."""
    return name[:1] == b"." and _PASSING.fullmatch(name) is not None  # most have no such dot


def is_plain_name(name: bytes) -> bool:
    """Whether ``name`` is one path component that stays inside its folder."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def is_plain_path(path: bytes) -> bool:
    """Whether ``path`` is relative and every part of it is a plain name."""
    return _NO_NAMES.isdisjoint(path.split(b"/")) and b"\0" not in path


_PASSING = re.compile(
    b"(?:" + re.escape(DISPLACED_PREFIX) + b"|" + re.escape(NEW_PREFIX) + b")[0-9a-f]{16}"
)
"""No more than what we name so: a stranger's file is kept, whatever it is called."""

_NO_NAMES = frozenset((b"", b".", b".."))
