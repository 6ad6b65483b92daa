"""The messages of a chat as people read them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from shenyu_data.model.chats import as_text


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; content that is no text is given as JSON."""

    role: str
    content: str


def messages_of(value: Any) -> Iterator[Message]:
    """Given a chat's value, yield its messages, odd ones too."""
    found = value.get("messages") if isinstance(value, dict) else None
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict):
            content = item.get("content", "")
            yield Message(role=as_text(item.get("role")) or "?", content=as_text(content) or "")
        else:
            yield Message(role="?", content=as_text(item) or "")
