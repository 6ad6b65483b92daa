"""Reading what the catalog notes of users from the live directory. Called by workers.

Only documents whose stat is another than when they were last read are opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.datadir.capture import capture, is_settled
from shenyu_data.datadir.catalog_rows import (
    About,
    ChatRow,
    DocumentRow,
    Piece,
    Rows,
    Slot,
    Stamp,
    State,
    fitting,
    visits,
)
from shenyu_data.datadir.chat_stream import NoArray, scan_chats
from shenyu_data.datadir.folder import FILE_FLAGS, FOLDER_FLAGS
from shenyu_data.datadir.scan import DataFolders, Found, scan_user
from shenyu_data.model.chats import chat_value, read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, kind_of, path_of
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip

STREAMED_BYTES = 4 << 20
"""Histories larger than this are read piece by piece: their values would take ten times as much."""

_BLOCK_BYTES = 1 << 20
_TRIES = 3
_is_array = re.compile(rb"[ \t\r\n]*\[").match


class OwnerChange(NamedTuple):
    """What is to be noted anew of a user: documents that are gone, and those that were read."""

    owner: bytes
    gone: list[Slot]
    read: list[DocumentRow]


class OwnersTask(NamedTuple):
    """Users to look at: name, whether there may be a ``.json.gz``, the stamps known so far."""

    data: str
    owners: Sequence[tuple[bytes, bool, Mapping[Slot, Stamp | None]]]
    now_ms: int


class OwnersRead(NamedTuple):
    """What looking at the users of a task gave: of how many, what is new, and what went wrong."""

    owners: int
    changes: list[OwnerChange]
    findings: list[Finding]


def read_owners(task: OwnersTask) -> OwnersRead:
    """Look at the users of a task; return those of whom something is to be noted."""
    changes: list[OwnerChange] = []
    findings: list[Finding] = []
    with DataFolders(task.data) as folders:
        for owner, compressed, known in task.owners:
            scan = scan_user(folders, owner, compressed=compressed)
            findings += scan.findings
            files = [found for found in scan.entries if stat.S_ISREG(found.stat.st_mode)]
            slots = {_slot(found) for found in files}
            gone = [slot for slot in known if slot not in slots] if scan.complete else []
            read = [
                _read(folders, owner, found, task.now_ms)
                for found in files
                if known.get(_slot(found)) != stamp_of(found.stat)
            ]
            if gone or read:
                changes.append(OwnerChange(owner, gone, read))
    return OwnersRead(len(task.owners), changes, findings)


def read_document(
    folders: DataFolders, owner: bytes, slot: Slot, now_ms: int
) -> DocumentRow | None:
    """Return what is to be noted of one document as it is now; None if there is none."""
    try:
        with opened_folder(folders, owner, slot) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return _read(folders, owner, Found(Place(slot[0]), slot[1], found), now_ms)


def read_chat(folders: DataFolders, owner: bytes, piece: Piece) -> bytes | None:
    """Return a chat's bytes from where they lie; None if others lie there by now."""
    try:
        with opened_folder(folders, owner, piece.slot) as (folder, name):
            descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
            try:
                data = _piece(descriptor, name, piece)
            finally:
                os.close(descriptor)
    except OSError:
        return None
    return data if blake3(data).digest(16) == piece.digest else None


def _piece(descriptor: int, name: bytes, piece: Piece) -> bytes:
    if not name.endswith(GZIP_SUFFIX):
        return os.pread(descriptor, piece.length, piece.start)
    packed = os.read(descriptor, MAX_PARSED_BYTES)
    unpacked = gunzip(packed, MAX_PARSED_BYTES) or b""
    return unpacked[piece.start : piece.start + piece.length]


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what is compared of a file's stat."""
    return (
        fitting(found.st_size),
        fitting(found.st_mtime_ns),
        fitting(found.st_ctime_ns),
        fitting(found.st_ino),
    )


@contextmanager
def opened_folder(folders: DataFolders, owner: bytes, slot: Slot) -> Iterator[tuple[int, bytes]]:
    """Open the folder that a user's document stands in; give it, and the document's name there.

    Only for users' files and histories. Raises OSError, FileNotFoundError if it is gone.
    """
    place, name = slot
    if place <= Place.USER_FILE_GZIP:
        if folders.users is None:
            raise FileNotFoundError(errno.ENOENT, "the folder users is gone")
        suffix = JSON_SUFFIX if place == Place.USER_FILE else GZIP_SUFFIX
        yield folders.users, owner + suffix
        return
    if folders.histories is None:
        raise FileNotFoundError(errno.ENOENT, "the folder histories is gone")
    folder = os.open(owner, FOLDER_FLAGS, dir_fd=folders.histories)
    try:
        yield folder, name
    finally:
        os.close(folder)


class _Look(NamedTuple):
    """A document as one look at it gave it."""

    stat: os.stat_result
    settled: bool
    state: State
    chats: list[ChatRow]
    visits: tuple[int | None, int | None] = (None, None)


def _slot(found: Found) -> Slot:
    return int(found.place), found.name


def _read(folders: DataFolders, owner: bytes, found: Found, now_ms: int) -> DocumentRow:
    kind = kind_of(found.place, found.name)
    look = _Look(found.stat, is_settled(found.stat), "whole", [])
    if kind != "other":
        try:
            with opened_folder(folders, owner, _slot(found)) as (folder, name):
                if _is_large(found):
                    look = _read_large(folder, name, owner, found, now_ms)
                else:
                    look = _read_small(folder, name, owner, found, now_ms)
        except OSError:
            look = _Look(found.stat, False, "unreadable", [])
    first, last = look.visits
    return DocumentRow(
        slot=_slot(found),
        kind=kind,
        size=fitting(look.stat.st_size),
        mtime_ms=_mtime_ms(look.stat),
        stamp=stamp_of(look.stat) if look.settled else None,
        state=look.state,
        began_ms=first,
        seen_ms=last,
        chats=look.chats,
    )


def _is_large(found: Found) -> bool:
    return (
        found.stat.st_size > STREAMED_BYTES
        and kind_of(found.place, found.name) == "history"
        and found.name.endswith(JSON_SUFFIX)
    )


def _read_small(folder: int, name: bytes, owner: bytes, found: Found, now_ms: int) -> _Look:
    path = path_of(owner, found.place, found.name)
    kind = kind_of(found.place, found.name)
    captured = capture(folder, name, kind, path, found.stat)
    state: State = captured.outline.state
    look = _Look(captured.stat, captured.settled, state, [])
    if state != "whole":
        return look
    data: bytes | None = captured.data
    if path.endswith(GZIP_SUFFIX):
        data = gunzip(captured.data, MAX_PARSED_BYTES)
    if data is None:
        return look._replace(state="torn")
    if kind == "user":
        return look._replace(visits=visits(data))
    rows = Rows(About(path, _mtime_ms(captured.stat), now_ms))
    try:
        if len(data) > STREAMED_BYTES and _is_array(data):
            for piece in scan_chats([data]):
                rows.add(piece.start, piece.data, chat_value(piece.data))
        else:
            history = read_history(data)
            for chat in history.chats:
                alone = history.inside is None
                rows.add(chat.start, history.text_of(chat), chat.value, alone=alone)
    except Unparsable:
        return look._replace(state="unparsed")  # it is JSON of another shape
    return look._replace(chats=rows.rows)


def _read_large(folder: int, name: bytes, owner: bytes, found: Found, now_ms: int) -> _Look:
    """Note the chats of a large history; memory is bounded by its largest chat."""
    path = path_of(owner, found.place, found.name)
    look = _Look(found.stat, False, "torn", [])
    for _ in range(_TRIES):
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
        try:
            before = os.fstat(descriptor)
            rows = Rows(About(path, _mtime_ms(before), now_ms))
            state: State = "whole"
            try:
                for piece in scan_chats(_blocks(descriptor, before.st_size)):
                    rows.add(piece.start, piece.data, chat_value(piece.data))
            except NoArray:
                return _read_small(folder, name, owner, found, now_ms)
            except Unparsable as why:
                state = "unparsed" if why.code in ("too-large", "json-too-deep") else "torn"
                rows.rows.clear()
            stable = stamp_of(os.fstat(descriptor)) == stamp_of(before)
        finally:
            os.close(descriptor)
        look = _Look(before, stable and is_settled(before), state, rows.rows)
        if stable:
            break
    return look


def _blocks(descriptor: int, size: int) -> Iterator[bytes]:
    while size > 0 and (block := os.read(descriptor, min(size, _BLOCK_BYTES))):
        yield block
        size -= len(block)


def _mtime_ms(found: os.stat_result) -> int:
    return found.st_mtime_ns // 1_000_000
