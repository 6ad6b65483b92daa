"""Which runs of this program are under way: those that the log of runs or the audit log has, by
process number and birth.

Both are written before a verb touches the data, and by nobody who cannot write into the state
folder.
"""

from __future__ import annotations

import os
from itertools import islice

from shenyu_data.health.audit import entries
from shenyu_data.health.audit_files import FOLDER
from shenyu_data.health.runs import birth_of
from shenyu_data.health.store import Store
from shenyu_data.model.errors import StateUnusable

LATE_MS = 10_000
"""So late what a run did may be told, after it has ended."""

_MOST_LINES = 256
_READING = ("backup", "verify", "drill", "validate", "permissions check")
"""Verbs that change nothing of the data."""


class OwnRuns:
    """The runs of a data directory whose state folder is ``state``; ``store`` may be None."""

    def __init__(self, state: str) -> None:
        self.store: Store | None = None
        self._state = state
        self._marks: tuple[tuple[str, int], ...] = ()
        self._lived_ms = [-LATE_MS, -LATE_MS]
        self._audited: frozenset[tuple[int, str]] = frozenset()

    def registered(self) -> frozenset[tuple[int, str]]:
        """Return process numbers and births of what has begun and not ended."""
        noted = frozenset((pid, born) for pid, born, _ in self._noted())
        return noted | self._begun()

    def under_way(self, now_ms: int) -> tuple[bool, bool]:
        """Return whether any run lives, or did a moment ago, and whether one that changes the data
        does: what it did may be told late.
        """
        for place, lives in enumerate(self._live()):
            if lives:
                self._lived_ms[place] = now_ms
        reads, changes = (0 <= now_ms - then_ms < LATE_MS for then_ms in self._lived_ms)
        return reads, changes

    def _live(self) -> tuple[bool, bool]:
        noted = self._noted()
        live = [verb for pid, born, verb in noted if birth_of(pid) == born]
        others = self._begun() - {(pid, born) for pid, born, _ in noted}
        changing = any(birth_of(pid) == born for pid, born in others)
        return bool(live) or changing, changing or any(verb not in _READING for verb in live)

    def _noted(self) -> list[tuple[int, str, str]]:
        if self.store is None:
            return []
        try:
            with self.store.reading() as connection:
                return connection.execute(
                    "SELECT pid, born, verb FROM runs WHERE ended_ms IS NULL AND born <> ''"
                ).fetchall()
        except StateUnusable:
            return []

    def _begun(self) -> frozenset[tuple[int, str]]:
        """Return those of the audit log; it is read again only when it has grown."""
        try:
            folder = os.path.join(self._state, FOLDER)
            names = sorted(os.listdir(folder))[-2:]
            marks = tuple((name, os.stat(os.path.join(folder, name)).st_size) for name in names)
            if marks != self._marks:
                self._audited = self._read()
                self._marks = marks
        except (OSError, StateUnusable):
            return self._audited
        return self._audited

    def _read(self) -> frozenset[tuple[int, str]]:
        ended: set[str] = set()
        begun: set[tuple[int, str]] = set()
        for entry in islice(entries(self._state), _MOST_LINES):
            if entry is None:
                continue
            if entry.kind == "ended":
                ended.add(entry.run)
            elif entry.kind == "begun" and entry.run not in ended and entry.born:
                begun.add((entry.pid, entry.born))
        return frozenset(one for one in begun if one[0] != os.getpid())
