"""Holds: users and chats that no cleanup touches, whatever the policy says. Pure.

They are kept as one text with a checksum: a damaged one must never pass for fewer holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shenyu_data.model.checked_text import decode_checked, encode_checked
from shenyu_data.model.errors import HoldsDamaged

_FORMAT = "shenyu-data-holds"
_VERSION = 1


class Hold(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """Keeps a user, or one chat of a user by its id; ``until_ms`` None: until it is removed.

    ``user`` is the name with what is not UTF-8 in surrogates, as :func:`os.fsdecode` gives it.
    """

    user: str
    chat: str | None = None
    until_ms: int | None = None
    reason: str = ""
    added_ms: int = 0

    def is_over(self, now_ms: int) -> bool:
        """Whether it holds nothing any more."""
        return self.until_ms is not None and self.until_ms <= now_ms

    @property
    def what(self) -> tuple[str, str]:
        """What it holds: two of the same are one hold."""
        return self.user, "" if self.chat is None else "#" + self.chat


class Holds:
    """The holds in force at a time."""

    def __init__(self, holds: Iterable[Hold], now_ms: int) -> None:
        self._users: dict[str, str] = {}
        self._chats: dict[str, dict[str, str]] = {}
        for hold in holds:
            if hold.is_over(now_ms):
                continue
            text = f"held: {hold.reason}" if hold.reason else "held"
            if hold.chat is None:
                self._users[hold.user] = text
            else:
                self._chats.setdefault(hold.user, {})[hold.chat] = text

    def of_user(self, user: str) -> str | None:
        """Return why everything of a user is held; None if it is not."""
        return self._users.get(user)

    def of_chats(self, user: str) -> dict[str, str]:
        """Return which chats of a user are held, by id, and why."""
        return self._chats.get(user, {})


def joined(*sides: Iterable[Hold]) -> list[Hold]:
    """Return the holds of several lists; of those that hold the same, the one that lasts longer."""
    found: dict[tuple[str, str], Hold] = {}
    for hold in (hold for side in sides for hold in side):
        other = found.get(hold.what)
        if other is None or _end(hold) > _end(other):
            found[hold.what] = hold
    return [found[what] for what in sorted(found)]


def _end(hold: Hold) -> float:
    return float("inf") if hold.until_ms is None else hold.until_ms


def encode(holds: Iterable[Hold], twin: str, data: str = "") -> bytes:
    """Return the text of a file of holds; ``twin`` is where the other copy of it stands, ``data``
    the data directory that it is about.
    """
    body = {
        "format": _FORMAT,
        "version": _VERSION,
        "twin": twin,
        "data": data,
        "holds": [msgspec.structs.asdict(hold) for hold in sorted(holds, key=lambda h: h.what)],
    }
    return encode_checked(body)


def decode(data: bytes, name: str) -> tuple[list[Hold], str]:
    """Return the holds of a file, and where the other copy stands. Raise HoldsDamaged."""
    holds, twin, _ = decode_placed(data, name)
    return holds, twin


def decode_placed(data: bytes, name: str) -> tuple[list[Hold], str, str]:
    """As :func:`decode`, with the data directory it is about; that is empty in an old file."""
    try:
        document = decode_checked(data, _FORMAT, _VERSION)
        holds = msgspec.convert(document["holds"], list[Hold])
        return holds, str(document["twin"]), str(document.get("data", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HoldsDamaged(
            f"the file of holds {name} is damaged, so nothing is cleaned up",
            hint="Put it back from its copy or from a backup. Only `shenyu-data cleanup hold` may "
            "change it.",
        ) from None
