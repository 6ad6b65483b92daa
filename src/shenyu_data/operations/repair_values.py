"""What a repair is asked, plans and did. For ``repair`` and whoever calls it."""

from __future__ import annotations

import msgspec

from shenyu_data.operations.live_document import QUIET_S
from shenyu_data.operations.repair_edits import RepairAction

MOST_ITEMS = 1000
"""A plan lists this many documents; of the rest it gives the numbers."""


class RepairOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``path``: only this file or folder of the data directory; ``user``: only this user.

    ``normalise``: take a byte order mark and NUL bytes off where the rest is whole, instead of
    bringing the document together with its last good version. ``every_chat``: bring back every chat
    that any snapshot holds, be it that somebody deleted it. ``gone``: bring back documents that are
    there no more, too. ``state`` is the folder of journals.
    """

    path: str | None = None
    user: bytes | None = None
    normalise: bool = False
    every_chat: bool = False
    gone: bool = False
    state: str
    quiet_s: float = QUIET_S
    jobs: int = 1


class RepairItem(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about one document. Chats are ``salvaged`` from the document, whole, or
    ``partial``, as far as they went, or ``restored`` from its last good version in ``snapshot``.
    """

    path: str
    code: str
    action: RepairAction
    snapshot: str | None
    size_bytes: int
    salvaged: int
    partial: int
    restored: int


class GoneItem(msgspec.Struct, frozen=True, kw_only=True):
    """A document that is there no more, and a snapshot that holds it."""

    path: str
    snapshot: str


class RepairPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair would do: the first documents, how many there are of each action, how many
    nothing can be done about, and how many are gone and are not brought back, with the first.
    """

    items: list[RepairItem]
    actions: dict[str, int]
    changes: int
    left: int
    damaged: int
    gone: int = 0
    gone_documents: list[GoneItem] = []


class RepairStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did. ``safety`` is the snapshot of what was there before; None without a
    repository, or if there was nothing to do. ``left``: nothing can be done about so many;
    ``gone``: so many are there no more and were not brought back, with the first.
    """

    safety: bytes | None
    items: list[RepairItem]
    changed: int
    removed: int
    unchanged: int
    left: int
    refused: int
    busy: int
    failed: int
    damaged: int
    elapsed_s: float
    gone: int = 0
    gone_documents: list[GoneItem] = []
