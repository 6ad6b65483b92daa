"""The clocks, title and model of a chat, decoded without what it says: ten times as fast. Pure.

What is odd is not decoded here: whoever asks then looks at the whole value, which says the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType


class _Times(Struct):
    timestamp: Any = UNSET
    updated_at: Any = UNSET
    updatedAt: Any = UNSET
    time: Any = UNSET
    date: Any = UNSET
    created_at: Any = UNSET
    createdAt: Any = UNSET


class QuickChat(_Times):
    """What is decoded of a chat; UNSET is what it does not have."""

    id: Any = UNSET
    title: Any = UNSET
    model: Any = UNSET
    messages: list[_Times] | UnsetType = UNSET

    def value(self) -> dict[str, object]:
        """Return what is left of the chat, as its value would have it: of the messages only those
        that have a time, with nothing else.
        """
        value: dict[str, object] = msgspec.to_builtins(self)  # without what is UNSET
        if self.messages is not UNSET:
            value["messages"] = list(filter(None, value["messages"]))  # type: ignore[call-overload]
        return value


decode_quick_chat = msgspec.json.Decoder(QuickChat).decode
"""Decode one chat. Raises what a msgspec decoder does, also for chats that are merely odd."""

decode_quick_chats = msgspec.json.Decoder(list[QuickChat]).decode
"""The same, of an array of chats."""
