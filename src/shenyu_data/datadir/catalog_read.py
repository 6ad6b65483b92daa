"""Reading what the catalog notes of documents, and chats where it says they lie. For workers."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
from blake3 import blake3
from msgspec import UNSET

from shenyu_data.datadir.capture import capture, is_settled
from shenyu_data.datadir.catalog_checks import check_document, keep_check
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
from shenyu_data.datadir.scan import DataFolders, Found
from shenyu_data.model.chats import chat_places, chat_value, read_history
from shenyu_data.model.documents import MAX_PARSED_VALUES, Unparsable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Kind, Place, kind_of, path_of
from shenyu_data.model.quick_chats import decode_quick_chat
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.model.rules import Checked, prove

STREAMED_BYTES = 4 << 20
"""Histories larger than this are read piece by piece: their values would take ten times as much."""

_BLOCK_BYTES = 1 << 20
_TRIES = 3
_is_array = re.compile(rb"[ \t\r\n]*\[").match


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
    return read_found(folders, owner, Found(Place(slot[0]), slot[1], found), now_ms)


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
    checked: bytes | None = None
    large: bool = False


def slot_of(found: Found) -> Slot:
    """Return which document of its user a file is."""
    return int(found.place), found.name


def read_found(folders: DataFolders, owner: bytes, found: Found, now_ms: int) -> DocumentRow:
    """Return what is to be noted of a file of a user that a scan just met."""
    kind = kind_of(found.place, found.name)
    look = _Look(found.stat, is_settled(found.stat), "whole", [])
    if kind != "other":
        try:
            with opened_folder(folders, owner, slot_of(found)) as (folder, name):
                if _is_large(found):
                    look = _read_large(folder, name, owner, found, now_ms)
                else:
                    look = _read_small(folder, name, owner, found, now_ms)
        except OSError:
            look = _Look(found.stat, False, "unreadable", [])
    first, last = look.visits
    return DocumentRow(
        slot=slot_of(found),
        kind=kind,
        size=fitting(look.stat.st_size),
        mtime_ms=_mtime_ms(look.stat),
        stamp=stamp_of(look.stat) if look.settled else None,
        state=look.state,
        began_ms=first,
        seen_ms=last,
        chats=look.chats,
        checked=look.checked if look.settled else None,
        odd=look.state != "whole" or look.large or (kind == "history" and not look.chats),
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
    captured = capture(folder, name, "other", path, found.stat)
    state: State = captured.outline.state
    held = prove(kind, owner, name, captured.data) if state == "whole" else None
    if held is None:  # to be looked at once more, by somebody who waits for it to become whole
        captured = capture(folder, name, kind, path)
        state = captured.outline.state
    large = len(captured.data) > MAX_PARSED_VALUES  # there may be too many values in it
    look = _Look(captured.stat, captured.settled, state, [], large=large)
    if state == "torn":
        return look
    if state == "whole":
        look = _look_for_chats(look, captured.data, kind, path, now_ms)
    if look.settled:
        if held is None:
            checked = check_document(kind, owner, name, path, captured.data)
        else:
            checked = Checked([], held)
        messages = sum([chat.messages for chat in look.chats])
        look = look._replace(checked=keep_check(checked, len(look.chats), messages))
    return look


def _look_for_chats(look: _Look, packed: bytes, kind: Kind, path: bytes, now_ms: int) -> _Look:
    data: bytes | None = packed
    if path.endswith(GZIP_SUFFIX):
        data = gunzip(packed, MAX_PARSED_BYTES)
    if data is None:
        return look._replace(state="torn")
    look = look._replace(large=look.large or len(data) > MAX_PARSED_VALUES)
    if kind == "user":
        return look._replace(visits=visits(data))
    rows = Rows(About(path, _mtime_ms(look.stat), now_ms))
    if not look.large and _add_quickly(rows, data):
        return look._replace(chats=rows.rows)
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


def _add_quickly(rows: Rows, data: bytes) -> bool:
    """Note the chats of an ordinary history, which is known to be whole; if it is another, return
    false, and nothing is noted.
    """
    places = chat_places(data)
    alone = data[:1] == b"{"
    if alone:
        places = [(0, len(data.rstrip(b" \t\r\n")))]
    try:
        texts = [(first, data[first:last]) for first, last in places]
        chats = [(first, text, decode_quick_chat(text)) for first, text in texts]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    for first, text, chat in chats:
        messages = 0 if chat.messages is UNSET else len(chat.messages)
        rows.add_outline(first, text, chat.value(), messages, alone=alone)
    return bool(chats)


def check_large(folders: DataFolders, owner: bytes, row: DocumentRow) -> DocumentRow:
    """Return what is to be noted of a document that was read in pieces, with what is found in it by
    the rules of a validation, which have to see it whole.
    """
    place, name = row.slot
    path = path_of(owner, Place(place), name)
    kind = row.kind
    if kind == "other" or row.size > MAX_PARSED_BYTES:
        return row
    try:
        with opened_folder(folders, owner, row.slot) as (folder, own_name):
            captured = capture(folder, own_name, kind, path)
    except OSError:
        return row
    if captured.outline.state == "torn" or stamp_of(captured.stat) != row.stamp:
        return row
    checked = check_document(kind, owner, own_name, path, captured.data)
    messages = sum([chat.messages for chat in row.chats])
    return row._replace(checked=keep_check(checked, len(row.chats), messages))


def _read_large(folder: int, name: bytes, owner: bytes, found: Found, now_ms: int) -> _Look:
    """Note the chats of a large history; memory is bounded by its largest chat."""
    path = path_of(owner, found.place, found.name)
    look = _Look(found.stat, False, "torn", [], large=True)
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
        settled = stable and is_settled(before)
        look = _Look(before, settled, state, rows.rows, large=True)
        if stable:
            break
    return look


def _blocks(descriptor: int, size: int) -> Iterator[bytes]:
    while size > 0 and (block := os.read(descriptor, min(size, _BLOCK_BYTES))):
        yield block
        size -= len(block)


def _mtime_ms(found: os.stat_result) -> int:
    return found.st_mtime_ns // 1_000_000
