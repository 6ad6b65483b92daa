"""A storage that goes wrong on purpose: it fails, fills up, is slow, or the process "dies" in it.

A death is the exception :class:`Crash`, which no code of the program may catch and go on from. Once
dead, the storage refuses every further call: what a real process would not live to do must not
happen in a test either.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Literal, TypeVar

from shenyu_data.model.errors import ObjectDamaged, StorageError, StorageFull
from shenyu_data.storage.atomic import TEMPORARY_PREFIX
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, Storage

T = TypeVar("T")

Moment = Literal["before", "halfway", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "halfway", "after")
"""When a put goes wrong: before all, between writing the data and naming it, or when it is done."""


class Crash(BaseException):
    """The process died here."""


class FaultyStorage:
    """Do what ``inner`` does until put number ``at_put`` (from 0) goes wrong at ``moment``.

    With ``error`` that put raises it, and later ones work again; without, the process dies.
    With ``at_change`` the process dies before or after that put, delete or destroy, counted
    together.
    Puts that would take more than ``room_bytes`` in all raise StorageFull (see :meth:`make_room`).
    Objects in ``unreadable`` cannot be read, as if their sectors were bad. Every put waits
    ``delay_s``. ``before_put`` is called with each put's name before anything else happens: a place
    to let another backup run.
    """

    def __init__(
        self,
        inner: Storage,
        *,
        at_put: int | None = None,
        at_change: int | None = None,
        moment: Moment = "before",
        error: StorageError | None = None,
        room_bytes: int | None = None,
        unreadable: Container[str] = (),
        delay_s: float = 0.0,
        before_put: Callable[[str], None] | None = None,
    ) -> None:
        self.inner = inner
        self.puts = 0
        self.dead = False
        self.changes = 0
        self._at_put = at_put
        self._at_change = at_change
        self._moment = moment
        self._error = error
        self._room_bytes = room_bytes
        self._unreadable = unreadable
        self._delay_s = delay_s
        self._before_put = before_put
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        # Counting across processes would need a lock on the far side; a copy just works.
        return FaultyStorage, (self.inner,)

    @property
    def location(self) -> str:
        """The inner storage's."""
        return self.inner.location

    def make_room(self, room_bytes: int) -> None:
        """Let ``room_bytes`` more be stored."""
        self._room_bytes = room_bytes

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """As the inner storage, unless it goes wrong."""
        if self._before_put is not None:
            self._before_put(name)
        with self._lock:
            self._check_alive()
            if self._delay_s:
                time.sleep(self._delay_s)
            number, self.puts = self.puts, self.puts + 1
            self._take_room(name, sum(map(len, chunks)))
            if number != self._at_put:
                return self._change(lambda: self.inner.put(name, chunks), name)
            if self._moment == "halfway":
                self._leave_half(name, chunks)
            elif self._moment == "after":
                self.inner.put(name, chunks)
            if self._error is not None:
                raise self._error
            self.dead = True
            raise Crash(f"at put {number}, {self._moment} {name}")

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As the inner storage, unless the object is unreadable."""
        self._check_alive()
        if name in self._unreadable:
            raise ObjectDamaged(f"{name} is damaged: it cannot be read: Input/output error")
        return self.inner.read(name, offset, length)

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """As the inner storage."""
        self._check_alive()
        return self.inner.list(folder)

    def delete(self, name: str) -> None:
        """As the inner storage, unless it goes wrong."""
        with self._lock:
            self._check_alive()
            self._change(lambda: self.inner.delete(name), name)

    def _change(self, change: Callable[[], T], name: str) -> T:
        number, self.changes = self.changes, self.changes + 1
        if number != self._at_change:
            return change()
        if self._moment != "before":
            change()
        self.dead = True
        raise Crash(f"at change {number}, {self._moment} {name}")

    def destroy(self, name: str) -> None:
        """As the inner storage, unless it goes wrong."""
        with self._lock:
            self._check_alive()
            self._change(lambda: self.inner.destroy(name), name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """As the inner storage."""
        self._check_alive()
        return self.inner.sweep(folder, older_than_s)

    def keeps_versions(self) -> bool | None:
        """As the inner storage."""
        return self.inner.keeps_versions()

    def old_versions(self, folder: str) -> OldVersions | None:
        """As the inner storage."""
        return self.inner.old_versions(folder)

    def _check_alive(self) -> None:
        if self.dead:
            raise Crash("a dead process did something")

    def _take_room(self, name: str, size: int) -> None:
        if self._room_bytes is None:
            return
        if size > self._room_bytes:
            raise StorageFull(
                f"cannot write {self.location}/{name}: no space left",
                hint="Make room where the repository lies, then run it again.",
            )
        self._room_bytes -= size

    def _leave_half(self, name: str, chunks: Sequence[bytes]) -> None:
        """Leave what a put that never ended leaves: in a local folder, a temporary file."""
        if isinstance(self.inner, LocalStorage):
            folder = os.path.join(self.inner.folder, os.path.dirname(name))
            os.makedirs(folder, mode=0o700, exist_ok=True)
            data = b"".join(chunks)
            with open(os.path.join(folder, f"{TEMPORARY_PREFIX}dead{self.puts}"), "xb") as file:
                file.write(data[: len(data) // 2])
