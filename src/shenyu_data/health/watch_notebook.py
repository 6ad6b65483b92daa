"""What a watch writes down: signs of life, what it noticed. What cannot be written now, as on a
full disk, is kept in memory, and written when there is room.
"""

from __future__ import annotations

from collections.abc import Callable

from shenyu_data.health.hooks import Occasion, call_hooks
from shenyu_data.health.runs import boot_id
from shenyu_data.health.store import Store, open_store
from shenyu_data.health.watch_notes import (
    Beat,
    audit_noticed,
    note_beat,
    note_noticed,
    note_ordinary,
    recall_beat,
    recall_ordinary,
)
from shenyu_data.model.errors import StateUnusable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.watch_groups import Peak
from shenyu_data.model.watch_terms import Noticed, joined
from shenyu_data.operations.configuration import Settings

BEAT_MS = 60_000
ORDINARY_MS = 3_600_000

_Key = tuple[str, str]


class Notebook:
    """Writes into the state folder ``state``. Never raises because it cannot."""

    def __init__(self, state: str, settings: Settings, monitor: Monitor) -> None:
        self.store: Store | None = None
        self._state = state
        self._settings = settings
        self._monitor = monitor
        self._unaudited: dict[_Key, Noticed] = {}
        self._unkept: dict[_Key, Noticed] = {}
        self._beaten_ms: int | None = None
        self._ordinary_ms: int | None = None
        self._complained = False
        self._failing: set[str] = set()

    def open(self) -> tuple[Beat | None, dict[str, list[Peak]]]:
        """Return the last sign of life of another watch, and what is ordinary."""
        found: list[tuple[Beat | None, dict[str, list[Peak]]]] = []
        self._try(lambda store: found.append((recall_beat(store), recall_ordinary(store))))
        return found[0] if found else (None, {})

    def add(self, item: Noticed) -> None:
        """Take note of something that was noticed."""
        for waiting in (self._unaudited, self._unkept):
            key = (item.cause, item.who)
            waiting[key] = joined(waiting[key], item) if key in waiting else item

    def write(
        self,
        now_ms: int,
        beat: Beat,
        ordinary: dict[str, list[Peak]],
        *,
        at_once: bool = False,
    ) -> None:
        """Write down what waits, and a sign of life, if it is time for one or it must be now."""
        news = bool(self._unkept)
        while self._unaudited and self._try(lambda _: self._audit_one(now_ms)):
            pass
        while self._unkept and self._try(self._keep_one):
            pass
        last_ms = self._beaten_ms
        if at_once or last_ms is None or not 0 <= now_ms - last_ms < BEAT_MS:
            self._beaten_ms = now_ms
            self._try(lambda store: note_beat(store, beat))
        last_ms = self._ordinary_ms
        if last_ms is None or at_once or not 0 <= now_ms - last_ms < ORDINARY_MS:
            self._ordinary_ms = now_ms
            if ordinary:
                self._try(lambda store: note_ordinary(store, ordinary, now_ms))
        if news and not self._unkept and self.store is not None:
            self._call_hooks(self.store, now_ms)

    def _call_hooks(self, store: Store, now_ms: int) -> None:
        """Have the rules of alerts looked at, and messages sent, at once."""
        occasion = Occasion(
            event="end",
            store=store,
            settings=self._settings,
            now_ms=now_ms,
            monitor=self._monitor,
        )
        call_hooks(occasion, failing=self._failing)

    def close(self) -> None:
        """Close the database."""
        if self.store is not None:
            self.store.close()
            self.store = None

    def _audit_one(self, now_ms: int) -> None:
        key = next(iter(self._unaudited))
        audit_noticed(self._state, self._unaudited[key], now_ms)
        del self._unaudited[key]

    def _keep_one(self, store: Store) -> None:
        key = next(iter(self._unkept))
        note_noticed(store, self._unkept[key])
        del self._unkept[key]

    def _try(self, write: Callable[[Store], None]) -> bool:
        """Do something with the database; return whether that was possible."""
        try:
            if self.store is None:
                self.store = open_store(self._state)
            write(self.store)
        except StateUnusable as error:
            if not self._complained:
                self._complained = True
                self._monitor.report(
                    Finding(
                        code="watch-not-noted",
                        severity="warning",
                        path="",
                        message=f"what is noticed cannot be noted: {error.message}",
                        hint=f"{error.hint} It is kept in memory, and noted when that is possible.",
                    )
                )
            return False
        self._complained = False
        return True


def beat_boot() -> str:
    """Return what tells this boot of the machine from others; "" if nothing does."""
    try:
        return boot_id()
    except OSError:
        return ""
