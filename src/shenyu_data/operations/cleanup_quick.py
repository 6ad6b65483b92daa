"""A quick look at one user of whom, most likely, nothing expires: of each document only what clocks
need is decoded. Whoever it does not clear gets the close look of operations/cleanup_owner.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from shenyu_data.datadir.folder import FILE_FLAGS
from shenyu_data.datadir.scan import Found
from shenyu_data.model.activity import last_activity
from shenyu_data.model.expiry import ExpiryChat
from shenyu_data.model.layout import JSON_SUFFIX
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.past import storage_key


class _Times(Struct):
    timestamp: Any = UNSET
    updated_at: Any = UNSET
    updatedAt: Any = UNSET
    time: Any = UNSET
    date: Any = UNSET
    created_at: Any = UNSET
    createdAt: Any = UNSET


class _Chat(_Times):
    id: Any = UNSET
    messages: list[_Times] | UnsetType = UNSET


_decode_array = msgspec.json.Decoder(list[_Chat]).decode
_decode_one = msgspec.json.Decoder(_Chat).decode
_NO_TIMES = _Times()


def quick_chats(folder: int, entries: Sequence[Found], now_ms: int) -> list[ExpiryChat] | None:
    """Return the chats of the histories of a user, without sizes; None if anything about them needs
    a closer look. ``folder`` is that of the histories, open.
    """
    found: list[ExpiryChat] = []
    for entry in entries:
        chats = _chats(folder, entry)
        if not chats:  # without chats it may be one to remove
            return None
        key = os.fsdecode(storage_key(entry.name))
        mtime_ms = entry.stat.st_mtime_ns // 1_000_000
        for index, chat in enumerate(chats):
            activity = last_activity(_value(chat), mtime_ms, now_ms)
            found.append(ExpiryChat(entry.name, key, index, 0, activity))
    return found


def _chats(folder: int, entry: Found) -> list[_Chat] | None:
    size = entry.stat.st_size
    if not entry.name.endswith(JSON_SUFFIX) or size > MAX_PARSED_BYTES:
        return None
    try:
        descriptor = os.open(entry.name, FILE_FLAGS, dir_fd=folder)
        try:
            data = os.read(descriptor, size + 1)
        finally:
            os.close(descriptor)
        if len(data) != size:
            return None
        chats = _decode_array(data) if data[:1] == b"[" else [_decode_one(data)]
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return None if any(chat.messages is UNSET for chat in chats) else chats


def _value(chat: _Chat) -> dict[str, object]:
    """Return what is left of a chat: all that tells when it was last active."""
    value = _said(chat)
    if chat.id is not UNSET:
        value["id"] = chat.id
    if chat.messages is not UNSET:
        times = [_said(message) for message in chat.messages if message != _NO_TIMES]
        if times:
            value["messages"] = times
    return value


def _said(times: _Times) -> dict[str, object]:
    return {
        name: value
        for name in _Times.__struct_fields__
        if (value := getattr(times, name)) is not UNSET
    }
