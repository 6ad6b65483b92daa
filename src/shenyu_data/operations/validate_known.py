"""The catalog as a validation uses it: what is known of documents, and noting what was read anew.

A validation needs no catalog and makes none. What goes wrong with the one there is never shows:
then more is read.

It takes minutes, and holds the lock of the catalog only while it writes: whoever lists users
meanwhile need not wait. So what it has to note may be overtaken: once anybody else has written into
the catalog it notes nothing more. What is noted of a user goes by what the catalog said before, and
a user who was erased meanwhile must not come back into it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_checks import RULES
from shenyu_data.datadir.catalog_files import CATALOG_NAME, NotACatalog, locked, open_catalog
from shenyu_data.datadir.catalog_notes import CatalogNotes
from shenyu_data.datadir.catalog_owners import OwnerChange

_WAIT_S = 1.0

UNUSABLE = (OSError, NotACatalog, sqlite3.Error, ValueError, TypeError, OverflowError)
"""What a catalog raises that cannot be had, or is damaged."""


class CatalogUse:
    """A catalog that is there, in the folder ``state``; ``path`` is its file's, for workers. If
    this process is not ``alone`` with it at the beginning, nothing is noted.
    """

    def __init__(self, state: str, catalog: Catalog, *, alone: bool) -> None:
        self.path = os.path.join(state, CATALOG_NAME)
        self._state = state
        self._catalog = catalog
        self._file = _identity(self.path)
        self._notes: CatalogNotes | None = None
        if alone:
            now_ms = time.time_ns() // 1_000_000
            self._notes = CatalogNotes(catalog, now_ms, self._writing)
        self._version = catalog.version()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock. Raise OSError if it cannot be had, or if the catalog is another one than
        the workers asked.
        """
        with locked(self._state, _WAIT_S) as alone:
            overtaken = (_identity(self.path), self._catalog.version()) != (
                self._file,
                self._version,
            )
            if not alone or overtaken:
                raise BlockingIOError(errno.EBUSY, "somebody else changed it")
            yield

    def note(self, changes: list[OwnerChange]) -> None:
        """Note what is new of users."""
        if self._notes is not None and changes:
            try:
                self._notes.add(changes)
            except UNUSABLE:
                self._notes = None

    def note_gone(self, bucket: int, users: Iterable[bytes]) -> None:
        """Note who of a part of the users is there no more, given those who are."""
        if self._notes is not None:
            try:
                self._notes.gone(self._catalog.names(bucket).difference(users))
            except UNUSABLE:
                self._notes = None

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._notes is not None:
            with suppress(*UNUSABLE):
                self._notes.write()


@contextmanager
def catalog_in_use(state: str, data: str) -> Iterator[CatalogUse | None]:
    """Give the catalog of the directory ``data`` that there is in the folder ``state``, None if
    there is none that can be used.
    """
    with ExitStack() as stack:
        yield _opened(stack, state, data)


def _opened(stack: ExitStack, state: str, data: str) -> CatalogUse | None:
    try:
        with locked(state, 0) as alone:
            catalog = stack.enter_context(open_catalog(state, os.fsencode(os.path.realpath(data))))
            if not alone and catalog.about()[0] != RULES:
                return None
            return CatalogUse(state, catalog, alone=alone)
    except UNUSABLE:
        return None


def _identity(path: str) -> tuple[int, int]:
    """Return what tells a file from another one that took its place."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
