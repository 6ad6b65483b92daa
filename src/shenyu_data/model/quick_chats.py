"""The clocks, title and model of a chat, decoded without what it says: ten times as fast. Pure.

What is odd is not decoded here: whoever asks then looks at the whole value, which says the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

from shenyu_data.model.activity import AHEAD_MS, moment_ms


class _Times(Struct):
    timestamp: Any = UNSET
    updated_at: Any = UNSET
    updatedAt: Any = UNSET
    time: Any = UNSET
    date: Any = UNSET
    created_at: Any = UNSET
    createdAt: Any = UNSET

    def times_ms(self, latest_ms: int) -> list[int]:
        """Return the times that it has, but those after the latest that may be."""
        moments = [moment_ms(time) for time in astuple(self)[:_TIMES] if time is not UNSET]
        return [int(moment) for moment in moments if moment is not None and moment <= latest_ms]


_TIMELESS = _Times()  # as most messages are
_TIMES = len(_Times.__struct_fields__)


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

    def last_active_ms(self, now_ms: int) -> int | None:
        """Return when the chat was last active, as ``activity.last_activity`` has it of the value;
        None if it does not say.
        """
        latest_ms = now_ms + AHEAD_MS
        if self.messages is not UNSET:
            timed = [message for message in self.messages if message != _TIMELESS]
            if times := [time for message in timed for time in message.times_ms(latest_ms)]:
                return max(times)
        if times := self.times_ms(latest_ms):
            return max(times)
        began = moment_ms(self.id, dates=False)
        return int(began) if began is not None and began <= latest_ms else None


decode_quick_chat = msgspec.json.Decoder(QuickChat).decode
"""Decode one chat. Raises what a msgspec decoder does, also for chats that are merely odd."""

decode_quick_chats = msgspec.json.Decoder(list[QuickChat]).decode
"""The same, of an array of chats."""
