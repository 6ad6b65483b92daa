"""Documents without what tells who wrote them: for exports that are to be shared. Pure.

Only members that are known are kept: what an application adds tomorrow must not come along unseen.
Users and chats get names made with a key, the same throughout an export, so that it still imports.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from blake3 import blake3

from shenyu_data.exchange.selection import storage_key
from shenyu_data.model.activity import clock_ms
from shenyu_data.model.chats import chat_key
from shenyu_data.model.documents import parse
from shenyu_data.model.layout import ARCHIVE_SUFFIX, GZIP_SUFFIX, is_archive_name
from shenyu_data.model.notes import is_time

Redaction = Literal["ids", "text"]

KEY_BYTES = 32

_USER_TIMES = ("created_at", "firstSeen", "lastSeen")
_ROLES = frozenset(("user", "assistant", "system"))
_STORAGE_KEYS = frozenset((b"chat-history", b"sn43-history"))
_MOST_MODEL = 64
_ARCHIVE = ARCHIVE_SUFFIX.removesuffix(GZIP_SUFFIX)
_MOST_DIGITS = 5  # of a number that an import of the guide's gave


class Redactor(msgspec.Struct, frozen=True):
    """Redacts with a ``key`` of 32 bytes; ``level`` ``text`` removes what people wrote, too."""

    key: bytes
    level: Redaction

    def user(self, name: bytes) -> bytes:
        """Return the name a user gets: 64 hexadecimal digits, as the application's have."""
        return self._digest(b"user", name, 32)

    def file(self, name: bytes) -> bytes:
        """Return the name a history's file gets; the application's own, and small numbers, stay: a
        large one may be the id of a chat.
        """
        stem = storage_key(name)
        if is_archive_name(name):
            stem = stem.removesuffix(_ARCHIVE)
        if stem in _STORAGE_KEYS or (stem.isdigit() and len(stem) <= _MOST_DIGITS):
            return name
        return self._digest(b"file", stem, 8) + name[len(stem) :]

    def document(self, kind: str, data: bytes) -> bytes:
        """Return a user's document or a history, redacted. Raise Unparsable or ValueError if it is
        none: then nobody knows what is in it.
        """
        value = parse(data)
        if kind == "user":
            redacted: Any = self._user(value)
        elif isinstance(value, list):
            redacted = [self._chat(chat) for chat in value]
        else:
            redacted = self._chat(value)
        text = json.dumps(redacted, ensure_ascii=False, indent=2)
        return text.encode("utf-8", "backslashreplace")

    def _user(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("it is no user")
        kept: dict[str, Any] = {}
        if isinstance(value.get("id"), str):
            kept["id"] = self.user(value["id"].encode("utf-8", "surrogatepass")).decode()
        if isinstance(value.get("fingerprint"), dict):
            kept["fingerprint"] = {}
        return {**kept, **_times(value, _USER_TIMES)}

    def _chat(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("it is no chat")
        kept: dict[str, Any] = {}
        key = chat_key(value.get("id"))
        if key is not None:
            digest = self._digest(b"chat", key.encode("utf-8", "surrogatepass"), 8)
            kept["id"] = digest.decode()
        if isinstance(value.get("title"), str):
            kept["title"] = self._text(value["title"])
        messages = value.get("messages")
        if isinstance(messages, list):
            kept["messages"] = [self._message(message) for message in messages]
        kept |= _times(value, ("timestamp",))
        clock = clock_ms(value)
        if "timestamp" not in kept and clock is not None:  # the id said when, and is gone
            moment = datetime.fromtimestamp(clock / 1000, UTC)
            kept["timestamp"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        model = value.get("model")
        if isinstance(model, str) and model.isprintable() and len(model) <= _MOST_MODEL:
            kept["model"] = model
        return kept

    def _message(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("it is no message")
        kept: dict[str, Any] = {}
        role = value.get("role")
        if isinstance(role, str) and role in _ROLES:
            kept["role"] = role
        if isinstance(value.get("content"), str):
            kept["content"] = self._text(value["content"])
        return {**kept, **_times(value, ("timestamp",))}

    def _text(self, text: str) -> str:
        return text if self.level == "ids" else f"[{len(text)} characters]"

    def _digest(self, what: bytes, name: bytes, size: int) -> bytes:
        return blake3(what + b"\0" + name, key=self.key).hexdigest(length=size).encode()


def key_of(secret: bytes) -> bytes:
    """Return the key that a secret of any length stands for."""
    return blake3(secret, derive_key_context="shenyu-data redacted exports").digest(KEY_BYTES)


def _times(value: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value and is_time(value[name])}
