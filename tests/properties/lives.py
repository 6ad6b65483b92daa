"""The life of one history: what its user, the application, crashes and operators do to it, and when
snapshots are taken. It knows what must not be lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from shenyu_data.model.salvage import salvage

Draw = Callable[[int], int]
"""Gives a number from 0 to below."""

Chat = dict[str, Any]


def written(chats: list[Chat]) -> bytes:
    return json.dumps(chats, ensure_ascii=False, indent=2).encode()


class Life:
    """``now`` is what the document holds (None: it is not there); ``held`` are the chats that any
    snapshot holds whole, or a fragment in one; ``removed`` those that somebody removed.
    """

    def __init__(self, draw: Draw, *, calm: bool = False) -> None:
        self._draw = draw
        self._calm = calm
        self._last_id = self._turns = 0
        self.chats: list[Chat] = []  # what the application's user knows
        self.now: bytes | None = b"[]"
        self.is_torn = False
        self.held: set[int] = set()
        self.removed: set[int] = set()
        self._saved: list[Chat] = []  # by the last whole snapshot
        self._older: list[list[Chat]] = []
        self._overwritten = False  # since the last snapshot
        self._before: tuple[list[Chat], set[int]] | None = None  # the older version came back
        for _ in range(2 + draw(4)):
            self.add()

    def step(self) -> None:
        """Let something happen."""
        steps = [self.add, self.go_on, self.delete]
        if not self._calm:
            steps += [self.tear, self.overwrite, self.overwrite, self.bring_back, self.remove]
            steps += [self.undo] if self._before is not None else []
        step = steps[self._draw(len(steps))]
        if step not in (self.bring_back, self.undo):
            self._before = None
        step()

    def _write(self) -> None:
        self.now = written(self.chats)
        self.is_torn = False

    def add(self) -> None:
        self._last_id += 1
        text = f"{self._last_id} 风雨 {self._draw(100)}"
        message = {"role": "user", "content": text * (1 + self._draw(3))}
        self.chats = [{"id": self._last_id, "title": text, "messages": [message]}, *self.chats]
        self._write()

    def go_on(self) -> None:
        if not self.chats:
            return
        index = self._draw(len(self.chats))
        chat = self.chats[index]
        self._turns += 1
        more = {"role": "assistant", "content": f"more {self._turns}"}
        self.chats = list(self.chats)
        self.chats[index] = {**chat, "messages": [*chat["messages"], more]}
        self._write()

    def delete(self) -> None:
        """The user deletes a chat; of a calm life, only where others are left."""
        least = 3 if self._calm or self._overwritten else 1
        if len(self.chats) < least:
            return
        gone = self.chats[self._draw(len(self.chats))]
        self.removed.add(gone["id"])
        self.chats = [chat for chat in self.chats if chat is not gone]
        self._write()

    def tear(self) -> None:
        """A crash leaves a part, or NUL bytes; the next thing the application does may heal it."""
        whole = written(self.chats)
        cut = self._draw(len(whole))
        self.now = whole[:cut] + bytes(self._draw(2) * self._draw(50))
        self.is_torn = True

    def overwrite(self) -> None:
        """The application took it for empty, and writes the chats it works on."""
        lost = _ids(self._saved) & _ids(self.chats)
        if len(lost) < 3 or self._overwritten:
            return
        at_work = self.chats[self._draw(len(self.chats))]
        self.chats = []
        if self._draw(3) == 0:
            self.chats = [at_work]
            self.go_on()
        self.add()
        self._overwritten = True

    def bring_back(self) -> None:
        """An operator restores an older version whole."""
        if not self._older or self._overwritten:
            return
        chosen = self._older[self._draw(len(self._older))]
        there = {chat["id"] for chat in chosen}
        # What only the torn document holds, who restores an older one does not know.
        unknown = whole_in(self.now or b"") - _ids(self._saved) if self.is_torn else set()
        gone = _ids(self.chats) - there - unknown - self.removed
        self._before = (self.chats, gone) if not self.is_torn else None
        self.removed |= gone
        self.chats = list(chosen)
        self._write()

    def undo(self) -> None:
        """The operator takes that back at once; only a safety snapshot was taken in between."""
        if self._before is None:
            return
        restored = self.chats
        self.chats, gone = self._before
        self.removed = (self.removed - gone) | (_ids(restored) - _ids(self.chats))
        self._before = None
        self._write()

    def remove(self) -> None:
        """An operator removes the document; the user begins anew."""
        if self._overwritten or self.is_torn or self._draw(3):
            return
        self.removed |= _ids(self.chats)
        self.chats = []
        self.now = None

    def saved(self, *, safety: bool = False) -> None:
        """Say that a snapshot was taken."""
        if not safety:
            self._before = None
        if self.now is None:
            return
        if self.is_torn:
            self.held |= whole_in(self.now)
            return
        self._overwritten = False
        self._saved = self.chats
        self._older.append(self.chats)
        self.held |= _ids(self.chats)

    def repaired(self, data: bytes) -> None:
        """Say what a repair made of it."""
        self.now = data
        self.is_torn = False
        self.chats = json.loads(data)
        self._overwritten = False
        self._before = None

    def must_have(self) -> set[int]:
        """Give the chats that a repair must not lack."""
        fragment = whole_in(self.now) if self.now is not None else set()
        return (self.held - self.removed) | fragment


def _ids(chats: list[Chat]) -> set[int]:
    return {chat["id"] for chat in chats}


def whole_in(data: bytes) -> set[int]:
    """Give the chats that are whole in some bytes."""
    return {int(piece.key) for piece in salvage(data) if piece.whole and piece.key}


def told(life: Life) -> str:
    """Describe a life for a failing test."""
    return f"must have {sorted(life.must_have())}, removed {sorted(life.removed)}"
