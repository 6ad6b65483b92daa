"""What is asked of a cleanup, and what its plan says: values alone, for its modules and the command
line.
"""

from __future__ import annotations

import msgspec

from shenyu_data.model.activity import Source
from shenyu_data.model.expiry import Policy
from shenyu_data.model.expiry_holds import Hold
from shenyu_data.operations.holds import HoldFiles
from shenyu_data.operations.kept import Kept
from shenyu_data.operations.live_document import QUIET_S


class PlannedChat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat that the policy names. ``kept``: why it stays all the same. ``source``: the clock."""

    user: str
    path: str
    chat: str | None
    messages: int
    size_bytes: int
    active_ms: int
    source: Source
    reasons: list[str]
    kept: str | None


class Amounts(msgspec.Struct, kw_only=True):
    """How much goes, or went: chats, their messages and bytes, whole files, folders; what the
    policy names and stays, held or unsaved; by which clocks the chats that go were judged.
    """

    chats: int = 0
    messages: int = 0
    size_bytes: int = 0
    documents: int = 0
    files: int = 0
    folders: int = 0
    held: int = 0
    unsaved: int = 0
    unreadable: int = 0
    clocks: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, other: Amounts) -> None:
        """Add others."""
        for name in self.__struct_fields__:
            if name != "clocks":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for source, count in other.clocks.items():
            self.clocks[source] = self.clocks.get(source, 0) + count


class CleanupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``policy`` says what expires, ``holds`` what stays, as they were read from ``hold_files``.
    ``users``: of nobody else.

    ``unsaved_too``: also what no verified snapshot holds. ``every``: the plan lists everything.
    ``state`` is the folder of the journals; ``quiet_s``: see LiveWriter.
    """

    policy: Policy
    holds: list[Hold] = []
    hold_files: HoldFiles | None = None
    users: frozenset[bytes] | None = None
    unsaved_too: bool = False
    every: bool = False
    now_ms: int
    state: str
    quiet_s: float = QUIET_S
    jobs: int = 1


class PlannedUser(msgspec.Struct, frozen=True, kw_only=True):
    """What goes of one user, and what stays though the policy names it."""

    user: str
    amounts: Amounts


class CleanupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleanup would do. ``users`` are those with most bytes to lose, ``chats`` the first
    ones; ``affected`` are all users of whom something goes, None if there are very many.
    ``verified``: in how many snapshots it was looked for, None if nothing had to be.
    """

    users: Kept[PlannedUser]
    chats: Kept[PlannedChat]
    total: Amounts
    users_losing: int
    users_seen: int
    verified: int | None
    affected: frozenset[bytes] | None
    elapsed_s: float

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.total.documents or self.total.folders)


def nothing_expires(users_seen: int, elapsed_s: float) -> CleanupPlan:
    """Return the plan of a cleanup that has nothing to do."""
    return CleanupPlan(
        users=Kept(PlannedUser),
        chats=Kept(PlannedChat),
        total=Amounts(),
        users_losing=0,
        users_seen=users_seen,
        verified=None,
        affected=frozenset(),
        elapsed_s=elapsed_s,
    )
