"""The table ``[tripwires]`` of the configuration. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shenyu_data.model.tripwires import Limits

Least = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Percent = Annotated[int, Meta(ge=1, le=100)]


class TripwiresTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[tripwires]``: from when on a backup says that something is not ordinary."""

    users: Least | None = None
    histories: Least | None = None
    chats: Least | None = None
    messages: Least | None = None
    owners: Least | None = None
    rewritten: Least | None = None
    torn: Least | None = None
    noise: Least | None = None
    times: Least | None = None
    percent: Percent | None = None
    overwritten_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    odd_writes: Least | None = None
    odd_hours: Literal["off", "info", "alarm"] | None = None

    def limits(self) -> Limits:
        """Return the limits it describes; what it does not say is as by default."""
        values = msgspec.structs.asdict(self)
        return Limits(**{name: value for name, value in values.items() if value is not None})


TRIPWIRES_DESCRIPTIONS = {
    "users": "So many users vanished at once are no ordinary use. Default: 5.",
    "histories": "So many histories. Default: 5.",
    "chats": "So many chats, of several users or half of all. Default: 20.",
    "messages": "So many messages, in the same way. Default: 100.",
    "owners": "So many users who have fewer chats or messages are several. Default: 5.",
    "rewritten": "So many histories rewritten with no message more. Default: 20.",
    "torn": "So many documents that were whole and do not parse any more. Default: 5.",
    "noise": "So many users whose new text cannot be compressed. Default: 5.",
    "times": "It takes so many times what is ordinary, too, once that is known. Default: 5.",
    "percent": "Until then, so many of a hundred of all there are. Default: 25.",
    "overwritten_percent": "More overwritten histories than so many of a hundred in a day stop all "
    "prunes; fewer are a warning. 0: one does. Default: 1.",
    "odd_writes": "So many histories written at hours at which nobody writes. Default: 20.",
    "odd_hours": 'What becomes of that: "off", "info" or "alarm". Default: "info".',
}
"""What each key of the table ``[tripwires]`` means."""
