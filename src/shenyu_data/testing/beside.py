"""A storage beside which something else happens: another process's work, or the death of this one.

What happens is done whole, between two calls. For what fails by itself see faulty.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from shenyu_data.storage.protocol import ObjectInfo, OldVersions, Storage
from shenyu_data.testing.faulty import Crash


class Meanwhile(NamedTuple):
    """Something that happens just before the storage is called for the ``number``-th time: to put,
    to change anything, or at all.
    """

    kind: Literal["put", "change", "call"]
    number: int
    act: Callable[[], None]


class Beside:
    """The storage of a process beside which something else happens. If that ends in Crash, this
    process is dead.
    """

    def __init__(self, inner: Storage, meanwhile: Meanwhile | None) -> None:
        self.inner = inner
        self._meanwhile = meanwhile
        self._left = meanwhile.number if meanwhile else 0
        self._dead = False
        self._lock = threading.RLock()

    @property
    def location(self) -> str:
        """The inner storage's."""
        return self.inner.location

    def _begin(self, *kinds: str) -> None:
        with self._lock:
            if self._dead:
                raise Crash("a dead process did something")
            due = self._meanwhile
            if due is None or due.kind not in ("call", *kinds):
                return
            self._left -= 1
            if self._left < 0:
                self._meanwhile = None
                try:
                    due.act()
                except Crash:
                    self._dead = True
                    raise

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """As the inner storage."""
        self._begin("put", "change")
        return self.inner.put(name, chunks)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As the inner storage."""
        self._begin()
        return self.inner.read(name, offset, length)

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """As the inner storage."""
        self._begin()
        return self.inner.list(folder)

    def delete(self, name: str) -> None:
        """As the inner storage."""
        self._begin("change")
        self.inner.delete(name)

    def destroy(self, name: str) -> None:
        """As the inner storage."""
        self._begin("change")
        self.inner.destroy(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """As the inner storage."""
        self._begin()
        return self.inner.sweep(folder, older_than_s)

    def keeps_versions(self) -> bool | None:
        """As the inner storage."""
        return self.inner.keeps_versions()

    def old_versions(self, folder: str) -> OldVersions | None:
        """As the inner storage."""
        return self.inner.old_versions(folder)
