"""What the catalog notes of a document and of each chat in it: plain values. No file is opened."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.model.activity import clock_ms, last_activity, moment_ms
from shenyu_data.model.chats import as_text, chat_key
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Kind

MOST_TEXT = 200
"""Characters of a title, an id or a model that are noted."""

NAMELESS = "="
"""A chat without an id goes by this and the beginning of a digest of its bytes."""

Slot = tuple[int, bytes]
"""Which of a user's documents: its place and its name there."""

Stamp = tuple[int, int, int, int]
"""What tells that a file is as it was: size, mtime_ns, ctime_ns, inode."""

State = Literal["whole", "torn", "unparsed", "unreadable"]


class Piece(NamedTuple):
    """Where a chat's bytes lie, in which document of its user, and their digest."""

    slot: Slot
    start: int
    length: int
    digest: bytes


class ChatRow(NamedTuple):
    """One chat. ``tie`` is a number that only this chat has, whenever it is noted; ``digest`` is of
    its bytes, which lie at ``offset`` in the document (of a ``.gz``: of what it holds).
    """

    tie: int
    key: str
    title: str | None
    model: str | None
    messages: int
    began_ms: int | None
    activity_ms: int
    activity_source: str
    offset: int
    length: int
    digest: bytes


class DocumentRow(NamedTuple):
    """One file of a user, as it was read. ``stamp`` is None if it must be read again next time.

    ``began_ms`` and ``seen_ms`` are what a user's document says of the first and the last visit;
    ``checked`` is what was found in it (datadir/catalog_checks.py), None if that is not known.
    ``odd``: whoever looks for chats in it must read it.
    """

    slot: Slot
    kind: Kind
    size: int
    mtime_ms: int
    stamp: Stamp | None
    state: State
    began_ms: int | None
    seen_ms: int | None
    chats: list[ChatRow]
    checked: bytes | None
    odd: bool


class About(NamedTuple):
    """What the chats of a document have in common: its path, whose digits make ``tie`` unlike any
    other document's, its file's time, and what time it is.
    """

    path: bytes
    mtime_ms: int
    now_ms: int


class _User(msgspec.Struct):
    created_at: Any = None
    firstSeen: Any = None
    lastSeen: Any = None


_decode_user = msgspec.json.Decoder(_User).decode


def visits(data: bytes) -> tuple[int | None, int | None]:
    """Return when a user first and last came, as far as the user's document says so."""
    try:
        user = _decode_user(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None  # no object, or JSON as only the application takes it
    first = moment_ms(user.firstSeen)
    if first is None:
        first = moment_ms(user.created_at)
    last = moment_ms(user.lastSeen)
    return None if first is None else int(first), None if last is None else int(last)


class Rows:
    """Makes the rows of one document's chats, in their order."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._counts: dict[bytes, int] = {}
        self.rows: list[ChatRow] = []

    def add(self, offset: int, data: bytes, value: object, *, alone: bool = False) -> None:
        """Note a chat, given its bytes and their value; ``alone``: it is all its document holds."""
        chat = value if isinstance(value, dict) else {}
        messages = chat.get("messages")
        count = len(messages) if isinstance(messages, list) else 0
        self.add_outline(offset, data, chat, count, alone=alone)

    def add_outline(
        self, offset: int, data: bytes, chat: dict[str, Any], messages: int, *, alone: bool = False
    ) -> None:
        """As :meth:`add`, given of the value only what model/quick_chats.py leaves of it, and the
        number of messages.
        """
        about = self._about
        digest = blake3(data).digest(16)
        key = chat_key(chat.get("id"))
        identity = digest if key is None else b"#" + key.encode("utf-8", "surrogatepass")
        count = self._counts[identity] = self._counts.get(identity, 0) + 1
        began = clock_ms(chat)
        activity = last_activity(chat, about.mtime_ms, about.now_ms)
        self.rows.append(
            ChatRow(
                tie=_tie(about.path, identity, count),
                key=noted(key if key is not None else self._stand_in(digest, alone=alone)),
                title=_noted_text(chat.get("title")),
                model=_noted_text(chat.get("model")),
                messages=messages,
                began_ms=None if began is None else int(began),
                activity_ms=activity.ms,
                activity_source=activity.source,
                offset=offset,
                length=len(data),
                digest=digest,
            )
        )

    def _stand_in(self, digest: bytes, *, alone: bool) -> str:
        """Return what a chat without an id is called: as its file, if it has one for itself."""
        if alone:
            name = storage_key(self._about.path.rpartition(b"/")[2])
            return name.decode("utf-8", "backslashreplace")
        return NAMELESS + digest.hex()[:16]


def storage_key(name: bytes) -> bytes:
    """Return a history's name without what says that it is one."""
    return name.removesuffix(GZIP_SUFFIX).removesuffix(JSON_SUFFIX)


def noted(text: str) -> str:
    """Return text as it is noted: of bounded length, and without halves of characters."""
    return text[:MOST_TEXT].encode("utf-8", "replace").decode()


def fitting(number: int) -> int:
    """Return a number of at most 64 bits as one with a sign, such as SQLite holds."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _noted_text(value: object) -> str | None:
    text = as_text(value)
    return None if text is None else noted(text)


def owner_tie(owner: bytes) -> int:
    """Return a number that only this user has."""
    return int.from_bytes(blake3(owner).digest(8), "little") >> 1


def _tie(path: bytes, identity: bytes, count: int) -> int:
    text = b"%b\0%d\0%b" % (path, count, identity)
    return int.from_bytes(blake3(text).digest(8), "little") >> 1
