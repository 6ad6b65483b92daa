"""What is to be noted in a catalog, written in transactions of a bounded size. For operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_checks import RULES
from shenyu_data.datadir.catalog_owners import OwnerChange

_MOST_PENDING = 20_000  # documents and chats in one transaction


class CatalogNotes:
    """Collects what workers found. Under the lock of the catalog; raises what it does.

    ``changed`` is of how many users something was written. Whoever does not hold the lock all the
    time gives what takes it for each transaction (``writing``), and raises if it cannot be had.
    """

    def __init__(
        self,
        catalog: Catalog,
        now_ms: int,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._catalog = catalog
        self._now_ms = now_ms
        self._writing = writing
        self._gone: list[bytes] = []
        self._changes: list[OwnerChange] = []
        self._pending = 0
        self.changed = 0
        if catalog.about()[0] != RULES:
            with catalog.transaction():
                catalog.begin(RULES, now_ms)

    def gone(self, names: Iterable[bytes]) -> None:
        """Note users who are there no more."""
        self._gone += names

    def add(self, changes: list[OwnerChange]) -> None:
        """Note what is new of users."""
        self._changes += changes
        self._pending += sum(
            len(change.gone) + sum(1 + len(row.chats) for row in change.read) for change in changes
        )
        if self._pending > _MOST_PENDING:
            self.write()

    def write(self) -> None:
        """Write what was noted so far."""
        if not (self._gone or self._changes):
            return
        with self._writing(), self._catalog.transaction():
            self._catalog.begin(RULES, self._now_ms)
            for name in self._gone:
                self._catalog.remove(name)
            self._catalog.apply(self._changes)
        self.changed += len(self._gone) + len(self._changes)
        self._gone, self._changes, self._pending = [], [], 0
