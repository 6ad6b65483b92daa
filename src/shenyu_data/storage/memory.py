"""A repository in memory, for tests and for trying things out. Gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NoReturn

from shenyu_data.model.errors import ObjectExists, ObjectMissing
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, check_name


class MemoryStorage:
    """Objects in a dictionary, ``objects``, for tests to look at and damage. For one process
    only.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        # A copy would take what a worker stores and lose it.
        raise TypeError("a MemoryStorage cannot go to another process; use one job")

    @property
    def location(self) -> str:
        """Always ``memory:``."""
        return "memory:"

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """Keep a new object."""
        data = b"".join(chunks)
        with self._lock:
            if check_name(name) in self.objects:
                raise ObjectExists(f"the object {name} already exists in {self.location}")
            self.objects[name] = data
        return len(data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a part of an object."""
        try:
            data = self.objects[check_name(name)]
        except KeyError:
            raise ObjectMissing(f"the object {name} is missing from {self.location}") from None
        return data[offset : None if length is None else offset + length]

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects in a folder, sorted by name."""
        prefix = f"{folder}/" if folder else ""
        for name in sorted(self.objects):
            if name.startswith(prefix):
                yield ObjectInfo(name, len(self.objects[name]))

    def delete(self, name: str) -> None:
        """Forget an object."""
        try:
            del self.objects[check_name(name)]
        except KeyError:
            raise ObjectMissing(f"the object {name} is missing from {self.location}") from None

    def destroy(self, name: str) -> None:
        """As :meth:`delete`."""
        self.delete(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """Return 0: here a write is whole or nothing."""
        return 0

    def keeps_versions(self) -> bool:
        """Say no."""
        return False

    def old_versions(self, folder: str) -> OldVersions:
        """Say that there are none."""
        return OldVersions(0)
