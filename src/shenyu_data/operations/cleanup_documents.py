"""A history as a cleanup reads it: in memory, or as a stream if it is too large for that. Called by
operations/cleanup_owner.py for plans and by operations/cleanup.py at the moment of the exchange.

Of a large one are in memory its largest chat and, of each chat, what tells it from others and when
it was last active.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.datadir.chat_parts import history_parts
from shenyu_data.datadir.chat_stream import NoArray
from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.large import LargeFile
from shenyu_data.model.activity import Activity, last_activity
from shenyu_data.model.chats import Chat, History, canonical, chat_value
from shenyu_data.model.documents import MAX_PARSED_VALUES, Unparsable
from shenyu_data.model.layout import JSON_SUFFIX
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.conversations import key_of
from shenyu_data.operations.past import OwnerDocuments
from shenyu_data.operations.restore_wanted import is_version
from shenyu_data.repository.crypto import DIGEST_BYTES
from shenyu_data.repository.format import FileEntry, LastGood

_TRIES = 3
_PAUSE_S = 0.05
_BEING_WRITTEN_S = 2.0


class SeenChat(NamedTuple):
    """What a plan needs to know of a chat: what a person calls it, its size, its clock, and whether
    it is a chat at all: who keeps other JSON beside histories loses none of it.
    """

    key: str | None
    size: int
    messages: int
    activity: Activity
    is_chat: bool


class Document(ABC):
    """One history that was read. ``alone``: the file is one chat and no array."""

    def __init__(self, name: bytes, mtime_ms: int, chats: list[SeenChat], *, alone: bool) -> None:
        self.name = name
        self.mtime_ms = mtime_ms
        self.chats = chats
        self.alone = alone

    @property
    @abstractmethod
    def digest(self) -> bytes:
        """Return what tells its versions apart."""

    @abstractmethod
    def text(self, index: int) -> bytes:
        """Return the digest of one chat's bytes."""

    @abstractmethod
    def is_version(self, owner: OwnerDocuments, version: FileEntry | LastGood) -> bool:
        """Whether it is that version of a document."""

    @abstractmethod
    def contents(self, indexes: Sequence[int]) -> dict[bytes, list[int]]:
        """Return the places of these chats by :func:`content_digest`, of those it can be had of."""


class SmallDocument(Document):
    """A history in memory."""

    def __init__(
        self, name: bytes, data: bytes, history: History, mtime_ms: int, now_ms: int
    ) -> None:
        alone = history.inside is None
        chats = [
            _seen(chat, key_of(name, history, chat), mtime_ms, now_ms, alone=alone)
            for chat in history.chats
        ]
        super().__init__(name, mtime_ms, chats, alone=alone)
        self._data = data
        self._history = history

    @property
    def digest(self) -> bytes:
        """See Document."""
        return digest_of(self._data)

    def text(self, index: int) -> bytes:
        """See Document."""
        return digest_of(self._history.text(index))

    def is_version(self, owner: OwnerDocuments, version: FileEntry | LastGood) -> bool:
        """See Document."""
        return is_version(owner, version, self._data)

    def contents(self, indexes: Sequence[int]) -> dict[bytes, list[int]]:
        """See Document."""
        found: dict[bytes, list[int]] = {}
        for index in indexes:
            digest = content_digest(self._history.chats[index].value)
            found.setdefault(digest, []).append(index)
        return found


class LargeDocument(Document):
    """A history that is an array and too large for memory; it is read again when more is asked."""

    def __init__(self, place: int, user: bytes, name: bytes, file: LargeFile, now_ms: int) -> None:
        """Read the open ``file``, ``name`` in the user's folder under the open folder ``place``.
        Raise Unparsable.
        """
        mtime_ms = file.stat.st_mtime_ns // 1_000_000
        hasher = blake3()
        chats, self._texts = list[SeenChat](), list[bytes]()
        for part in history_parts(hashed(file.pieces(), hasher)):
            if part.chat is not None:
                value = large_value(part.chat)
                chat = Chat(("", 0), 0, len(part.chat), value)
                chats.append(_seen(chat, chat.key, mtime_ms, now_ms, alone=False))
                self._texts.append(digest_of(part.chat))
        super().__init__(name, mtime_ms, chats, alone=False)
        self._digest = hasher.digest(16)
        self._place = place
        self._user = user

    @property
    def digest(self) -> bytes:
        """See Document."""
        return self._digest

    def text(self, index: int) -> bytes:
        """See Document."""
        return self._texts[index]

    def is_version(self, owner: OwnerDocuments, version: FileEntry | LastGood) -> bool:
        """See Document. False also if it was written since it was read."""
        digests = [keys.new_digest() for keys in owner.keys]
        mine = blake3()
        with suppress(OSError), self._open() as file:
            if version.size == file.stat.st_size:
                for _ in hashed(file.pieces(), mine, *digests):
                    pass
        same = any(digest.digest(DIGEST_BYTES) == version.digest for digest in digests)
        return same and mine.digest(16) == self._digest

    def contents(self, indexes: Sequence[int]) -> dict[bytes, list[int]]:
        """See Document. Of none if it was written since it was read."""
        found: dict[bytes, list[int]] = {}
        wanted, mine = set(indexes), blake3()
        try:
            with self._open() as file:
                for index, part in enumerate(history_parts(hashed(file.pieces(), mine))):
                    if index in wanted and part.chat is not None:
                        digest = content_digest(large_value(part.chat))
                        found.setdefault(digest, []).append(index)
        except (OSError, Unparsable):
            return {}
        return found if mine.digest(16) == self._digest else {}

    def _open(self) -> LargeFile:
        return open_large(self._place, self._user, self.name)


def is_large(data: bytes) -> bool:
    """Whether the bytes of a history are too many, or hold too many values, to be unfolded."""
    if len(data) <= MAX_PARSED_VALUES:  # as most are; each value takes a byte at least
        return is_large_size(len(data))
    return is_large_size(len(data)) or _values(data) > MAX_PARSED_VALUES


def is_large_size(size: int) -> bool:
    """Whether a history of so many bytes is followed as a stream."""
    return size > MAX_PARSED_BYTES


def open_large(place: int, user: bytes, name: bytes) -> LargeFile:
    """Open a user's history under the open folder of all histories. Raises OSError."""
    folder = open_folder(place, user)
    try:
        return LargeFile(folder, name)
    finally:
        os.close(folder)


def read_large(place: int, user: bytes, name: bytes, now_ms: int) -> LargeDocument:
    """Read a large history while it may be rewritten. Raise Unparsable if it is torn, no array of
    chats, or rewritten all the time; OSError as the system does.
    """
    if not name.endswith(JSON_SUFFIX):
        raise _unread("too large to be looked into")
    trouble: Unparsable | None = None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        with open_large(place, user, name) as file:
            try:
                document = LargeDocument(place, user, name, file, now_ms)
                trouble = None
            except NoArray:
                trouble = _unread("too large to be looked into, and no array of chats")
            except Unparsable as why:
                trouble = why
            if file.is_as_it_was():
                if trouble is None:
                    return document
                if abs(time.time() - file.stat.st_mtime) > _BEING_WRITTEN_S:
                    raise trouble
    raise trouble or Unparsable("torn-json", "error", "it is being rewritten all the time", "")


def hashed(pieces: Iterable[bytes], *hashers: blake3) -> Iterator[bytes]:
    """Yield pieces that hashers are told of."""
    for piece in pieces:
        for hasher in hashers:
            hasher.update(piece)
        yield piece


def stored_contents(pieces: Iterable[bytes]) -> AbstractSet[bytes]:
    """Return the :func:`content_digest` of the chats of a version that is given piece by piece.
    Raise Unparsable, and what giving it raises.
    """
    found = set()
    for part in history_parts(pieces):
        if part.chat is not None:
            found.add(content_digest(large_value(part.chat)))
    return found


def large_value(chat: bytes) -> object:
    """Return the value of one chat of a large history. Raise Unparsable."""
    if _values(chat) > MAX_PARSED_VALUES:
        raise _unread("one of its chats is too large to be looked into")
    return chat_value(chat)


def content_digest(value: object) -> bytes:
    """Return what is the same for chats that say the same, in whatever order their members stand;
    it is stored nowhere.
    """
    return digest_of(canonical(value).encode("utf-8", "surrogatepass"))


def digest_of(data: bytes) -> bytes:
    """Return what tells versions of a document, or of a chat, apart while a cleanup runs; it is
    stored nowhere.
    """
    return blake3(data).digest(16)


def _seen(chat: Chat, key: str | None, mtime_ms: int, now_ms: int, *, alone: bool) -> SeenChat:
    activity = last_activity(chat.value, mtime_ms, now_ms)
    is_chat = isinstance(chat.value, dict) and (
        isinstance(chat.value.get("messages"), list) or (not alone and chat.key is not None)
    )
    return SeenChat(key, chat.end - chat.start, chat.messages, activity, is_chat)


def _values(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _unread(message: str) -> Unparsable:
    return Unparsable("too-large", "warning", message, "")
