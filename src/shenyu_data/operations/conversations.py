"""Chats as a person looks at them: decoded from a history's bytes, titles, messages, times. Pure.

For ``show``, ``diff`` and ``timeline``; whoever changes histories works on model/chats.py itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from shenyu_data.model.chats import Chat, History, chat_key, clock_ms, read_history
from shenyu_data.model.documents import MAX_PARSED_VALUES, Unparsable
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import GZIP_SUFFIX
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.operations.versions import storage_key

UNPARSED = frozenset(("too-large", "json-too-deep"))
"""Codes of histories that may be sound and are not looked into."""


class ChatInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One chat of a history. ``time_ms``: when it began, as far as it says so."""

    id: str | None
    title: str | None
    messages: int
    model: str | None
    time_ms: int | None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; content that is no text is given as JSON."""

    role: str
    content: str


def read_chats(name: bytes, data: bytes) -> History:
    """Given a history's file name and bytes, return its chats. Raise Unparsable if it is torn, too
    large to be looked into, or no history at all.
    """
    if name.endswith(GZIP_SUFFIX):
        unpacked = gunzip(data, MAX_PARSED_BYTES)
        if unpacked is None:
            raise Unparsable(
                "damaged-gzip", "error", "it is cut off or is not gzip", "Restore the document."
            )
        data = unpacked
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if len(data) > MAX_PARSED_BYTES or values > MAX_PARSED_VALUES:
        raise Unparsable(
            "too-large", "warning", "too large to be looked into", "Restore it, and look there."
        )
    return read_history(data)


def key_of(name: bytes, history: History, chat: Chat) -> str | None:
    """Return what a person calls a chat: its id. The guide's, alone in its file, may have none and
    goes by the file's name then.
    """
    if chat.key is None and history.inside is None:
        return printable(storage_key(name))
    return chat.key


def chat_info(name: bytes, history: History, chat: Chat) -> ChatInfo:
    """Return what a list says of a chat."""
    value = chat.value if isinstance(chat.value, dict) else {}
    began = clock_ms(value)
    return ChatInfo(
        id=key_of(name, history, chat),
        title=_text(value.get("title")),
        messages=chat.messages,
        model=_text(value.get("model")),
        time_ms=int(began) if began is not None else None,
    )


def messages_of(chat: Chat) -> Iterator[Message]:
    """Yield a chat's messages, odd ones too."""
    found = chat.value.get("messages") if isinstance(chat.value, dict) else None
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict):
            content = item.get("content", "")
            yield Message(role=_text(item.get("role")) or "?", content=_text(content) or "")
        else:
            yield Message(role="?", content=_text(item) or "")


def find_chats(name: bytes, history: History, wanted: str) -> list[Chat]:
    """Return the chats a person means by an id: one, unless the history has that id twice."""
    return [chat for chat in history.chats if key_of(name, history, chat) == wanted]


def canonical(chat: Chat) -> bytes:
    """Return a chat so that two that say the same are equal, however they are written."""
    text = json.dumps(chat.value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return chat_key(value) or json.dumps(value, ensure_ascii=False)
