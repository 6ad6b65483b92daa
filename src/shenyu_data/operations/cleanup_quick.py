"""A quick look at one user of whom, most likely, nothing expires: of each document only what clocks
need is decoded. Whoever it does not clear gets the close look of operations/cleanup_owner.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import UNSET

from shenyu_data.datadir.folder import FILE_FLAGS
from shenyu_data.datadir.scan import Found
from shenyu_data.model.activity import last_activity
from shenyu_data.model.expiry import ExpiryChat
from shenyu_data.model.layout import JSON_SUFFIX
from shenyu_data.model.quick_chats import QuickChat, decode_quick_chat, decode_quick_chats
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.past import storage_key


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
            activity = last_activity(chat.value(), mtime_ms, now_ms)
            found.append(ExpiryChat(entry.name, key, index, 0, activity))
    return found


def _chats(folder: int, entry: Found) -> list[QuickChat] | None:
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
        chats = decode_quick_chats(data) if data[:1] == b"[" else [decode_quick_chat(data)]
    except (OSError, ValueError, RecursionError):
        return None
    return None if any(chat.messages is UNSET for chat in chats) else chats
