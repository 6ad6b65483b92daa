"""The archive of a history: the chats that ``compress --archive`` took out of it, an array like it.
Pure, on unpacked bytes; its file is ``KEY.archive.json.gz`` beside ``KEY.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shenyu_data.model.activity import last_activity
from shenyu_data.model.chats import Chat, History, Identity, read_history, same_value
from shenyu_data.model.chats_edit import insert, place_of, remove_all, replace
from shenyu_data.model.layout import ARCHIVE_SUFFIX, JSON_SUFFIX


class Added(NamedTuple):
    """A history's bytes, and the chats that could not be brought into it: it has others of that
    id, which do not go on with them.
    """

    data: bytes
    left: list[Chat]


def archive_of(name: bytes) -> bytes:
    """Return the name of the archive of the history ``name``."""
    return name.removesuffix(JSON_SUFFIX) + ARCHIVE_SUFFIX


def history_of_archive(name: bytes) -> bytes:
    """Return the name of the history whose archive ``name`` is."""
    return name.removesuffix(ARCHIVE_SUFFIX) + JSON_SUFFIX


def cold_chats(history: History, mtime_ms: int, before_ms: int, now_ms: int) -> list[int]:
    """Return where the chats stand that were last active before a moment. A chat whose id another
    one has too is never among them, nor is one that is a file by itself.
    """
    if history.inside is None:
        return []
    doubled = {chat.identity[0] for chat in history.chats if chat.identity[1]}
    return [
        index
        for index, chat in enumerate(history.chats)
        if chat.identity[0] not in doubled
        and last_activity(chat.value, mtime_ms, now_ms).ms < before_ms
    ]


def add_chats(archive: History | None, source: History, indexes: Sequence[int]) -> Added:
    """Return the archive with these chats of ``source``, each in its place."""
    if archive is None or not archive.chats:
        chosen = set(indexes)
        others = [index for index in range(len(source.chats)) if index not in chosen]
        return Added(remove_all(source, others) if others else source.data, [])
    left = []
    for chat in [source.chats[index] for index in indexes]:
        there = _find(archive, chat.identity)
        if there is None:
            index = place_of(chat, source.chats, archive.chats)
            archive = read_history(insert(archive, index, source, chat))
        elif not same_value(archive.chats[there].value, chat.value):
            if goes_on(archive.chats[there], chat):
                archive = read_history(replace(archive, there, source, chat))
            else:
                left.append(chat)
    return Added(archive.data, left)


def put_back(archive: History, live: History | None) -> Added:
    """Return the live history with all chats of its archive, each in its place."""
    if live is None or not live.chats:
        return Added(archive.data, [])
    left = []
    for chat in archive.chats:
        there = _find(live, chat.identity)
        if there is None:
            index = place_of(chat, archive.chats, live.chats)
            live = read_history(insert(live, index, archive, chat))
        elif not goes_on(chat, live.chats[there]):
            left.append(chat)
    return Added(live.data, left)


def goes_on(old: Chat, new: Chat) -> bool:
    """Whether ``new`` is ``old``, or ``old`` with more messages: nothing of it is lost then."""
    if same_value(old.value, new.value):
        return True
    if not isinstance(old.value, dict) or not isinstance(new.value, dict):
        return False
    before, after = old.value.get("messages"), new.value.get("messages")
    if not isinstance(before, list) or not isinstance(after, list):
        return False
    return len(before) < len(after) and same_value(before, after[: len(before)])


def holds(history: History, chat: Chat) -> bool:
    """Whether a history has this chat, as it is or gone on with."""
    there = _find(history, chat.identity)
    return there is not None and goes_on(chat, history.chats[there])


def _find(history: History, identity: Identity) -> int | None:
    found = (i for i, chat in enumerate(history.chats) if chat.identity == identity)
    return next(found, None)
