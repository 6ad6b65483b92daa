"""What of a data directory is exported: users, storage keys, a stretch of time. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from shenyu_data.model.activity import last_activity
from shenyu_data.model.chats import Chat, read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Kind


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """``users`` and ``history`` (a storage key) None: all. Of chats those last active from
    ``since_ms`` on and before ``until_ms``.
    """

    users: frozenset[bytes] | None = None
    history: bytes | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == _EVERYTHING

    @property
    def by_time(self) -> bool:
        """Whether chats are chosen by when they were last active."""
        return self.since_ms is not None or self.until_ms is not None

    def wants(self, kind: Kind, name: bytes, mtime_ns: int) -> bool:
        """Whether a user's file is wanted, as far as that can be told without reading it.

        Users' documents always are. With a storage key or a time the rest is not, but for
        histories; and files that are no histories go by their own time.
        """
        if kind == "user":
            return True
        if self.history is not None and (kind != "history" or storage_key(name) != self.history):
            return False
        return kind == "history" or self._is_in(mtime_ns // 1_000_000)

    def chats_of(self, data: bytes, mtime_ns: int) -> bytes | None:
        """Return a history with the chats that are wanted, their bytes as they are; None if there
        are none. A chat without a clock goes by the time of its file, and so does what is no
        history.
        """
        if not self.by_time:
            return data
        try:
            history = read_history(data)
        except Unparsable:
            return data if self._is_in(mtime_ns // 1_000_000) else None
        kept = [chat for chat in history.chats if self._wants_chat(chat, mtime_ns)]
        if len(kept) == len(history.chats):
            return data if kept else None
        if not kept:
            return None
        return b"[\n  " + b",\n  ".join(map(history.text_of, kept)) + b"\n]"

    def _wants_chat(self, chat: Chat, mtime_ns: int) -> bool:
        return self._is_in(last_activity(chat.value, mtime_ns // 1_000_000).ms)

    def _is_in(self, moment_ms: int) -> bool:
        if self.since_ms is not None and moment_ms < self.since_ms:
            return False
        return self.until_ms is None or moment_ms < self.until_ms

    def told(self) -> dict[str, Any] | None:
        """Return what an export says of it; None if nothing is left out."""
        if self.everything:
            return None
        return {
            "users": None if self.users is None else len(self.users),
            "history": None
            if self.history is None
            else self.history.decode("utf-8", "backslashreplace"),
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
        }


def storage_key(name: bytes) -> bytes:
    """Return a history file's name without its suffix."""
    for suffix in (GZIP_SUFFIX, JSON_SUFFIX):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


_EVERYTHING = Selection()
