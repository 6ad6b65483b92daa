"""A storage that writes down what is asked of it, so that a test can say how much work was done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from shenyu_data.storage.protocol import ObjectInfo, OldVersions, Storage

Verb = Literal["put", "read", "list", "delete", "destroy"]


class StorageCall(NamedTuple):
    """One call: what was done to which object (or folder, if listed), and the bytes that moved."""

    verb: Verb
    name: str
    size_bytes: int


class RecordingStorage:
    """Given a storage, do what it does and keep every call in ``calls``, in order.

    A copy that travelled to another process records there: use it where one process does the work.
    """

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.calls: list[StorageCall] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return RecordingStorage, (self.inner,)

    @property
    def location(self) -> str:
        """The inner storage's."""
        return self.inner.location

    @property
    def put_bytes(self) -> int:
        """How many bytes were stored."""
        return sum(call.size_bytes for call in self.of("put"))

    @property
    def read_bytes(self) -> int:
        """How many bytes were read."""
        return sum(call.size_bytes for call in self.of("read"))

    def of(self, verb: Verb, folder: str = "") -> list[StorageCall]:
        """Return the calls of one kind, of objects in ``folder`` or of all."""
        prefix = f"{folder}/" if folder else ""
        return [call for call in self.calls if call.verb == verb and call.name.startswith(prefix)]

    def forget(self) -> None:
        """Begin anew with no calls."""
        self.calls.clear()

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """As the inner storage; recorded if it succeeds."""
        size = self.inner.put(name, chunks)
        self._record("put", name, size)
        return size

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As the inner storage; recorded with the bytes that came back."""
        data = self.inner.read(name, offset, length)
        self._record("read", name, len(data))
        return data

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """As the inner storage; recorded when the listing begins."""
        self._record("list", folder, 0)
        yield from self.inner.list(folder)

    def delete(self, name: str) -> None:
        """As the inner storage; recorded if it succeeds."""
        self.inner.delete(name)
        self._record("delete", name, 0)

    def destroy(self, name: str) -> None:
        """As the inner storage; recorded if it succeeds."""
        self.inner.destroy(name)
        self._record("destroy", name, 0)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """As the inner storage."""
        return self.inner.sweep(folder, older_than_s)

    def keeps_versions(self) -> bool | None:
        """As the inner storage; not recorded."""
        return self.inner.keeps_versions()

    def old_versions(self, folder: str) -> OldVersions | None:
        """As the inner storage; not recorded."""
        return self.inner.old_versions(folder)

    def _record(self, verb: Verb, name: str, size_bytes: int) -> None:
        with self._lock:
            self.calls.append(StorageCall(verb, name, size_bytes))
