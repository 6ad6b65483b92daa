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
        value = _said(self)
        for name in ("id", "title", "model"):
            if (found := getattr(self, name)) is not UNSET:
                value[name] = found
        if self.messages is not UNSET:
            value["messages"] = [_said(item) for item in self.messages if item != _NO_TIMES]
        return value


_NO_TIMES = _Times()
_NAMES = _Times.__struct_fields__

decode_quick_chat = msgspec.json.Decoder(QuickChat).decode
"""Decode one chat. Raises what a msgspec decoder does, also for chats that are merely odd."""

decode_quick_chats = msgspec.json.Decoder(list[QuickChat]).decode
"""The same, of an array of chats."""


def _said(times: _Times) -> dict[str, object]:
    return {name: value for name in _NAMES if (value := getattr(times, name)) is not UNSET}
