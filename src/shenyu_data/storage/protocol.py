"""What a storage must do. Implementations: local folder, object store, memory; the suite in
testing/ proves one.

A storage holds immutable objects under short names such as ``packs/5f…``. Nothing here needs a
conditional write, a rename or a lock on the far side: no object is ever overwritten, and every
name says what it is or is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class ObjectInfo(NamedTuple):
    """An object as a listing shows it."""

    name: str
    size: int  # bytes


class OldVersions(NamedTuple):
    """What remains of objects that were deleted, as old versions.

    ``left`` versions; ``held``: of one of them nobody can say until when it is locked.
    ``locked_s`` is when the last lock ends; ``expires_s`` when the storage will remove what is not
    locked, None if it will not (seconds since 1970).
    """

    left: int
    held: bool = False
    locked_s: float | None = None
    expires_s: float | None = None


class Storage(Protocol):
    """A place for the objects of one repository.

    Every method may raise StorageError, and be called by several threads at once. A storage can be
    pickled and used by another process, or refuses to be pickled.
    """

    @property
    def location(self) -> str:
        """How a person names this storage, without secrets."""
        ...

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """Store the chunks, joined, as a new object; return its size in bytes.

        When this returns the object is durable and whole; if it raises, or the process dies, no
        object of that name exists: or, where the far side's answer was lost, it is whole. Raise
        ObjectExists if there is one already, StorageFull if there is no room.
        """
        ...

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return ``length`` bytes from ``offset`` (None: to the end).

        Fewer bytes come back if the object ends before. Raise ObjectMissing if there is no such
        object.
        """
        ...

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose names begin with ``folder/``, or with "" all, sorted by name.

        Whatever else lies there, under names that no object can have, is passed over.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove the object. Raise ObjectMissing if there is none."""
        ...

    def destroy(self, name: str) -> None:
        """Remove the object as :meth:`delete` does, its bytes overwritten first where the storage
        can, and old versions with it where it may: for keys, that nothing of them should be found.
        """
        ...

    def sweep(self, folder: str, older_than_s: float) -> int:
        """Destroy what killed writes left in a folder (with "" in all) at least ``older_than_s``
        seconds ago; return how many bytes that were. No object is touched.
        """
        ...

    def keeps_versions(self) -> bool | None:
        """Whether what is deleted here lives on as an old version; None: it cannot be told."""
        ...

    def old_versions(self, folder: str) -> OldVersions | None:
        """What remains, as old versions, of the objects of a folder that were deleted; None: it
        cannot be told.
        """
        ...


def check_name(name: str) -> str:
    """Return ``name`` if it can name an object: up to two parts of ``a-z0-9.-``; else raise
    ValueError.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(map(is_name_part, parts)):
        raise ValueError(f"not an object name: {name!r}")
    return name


def is_name_part(part: str) -> bool:
    """Whether ``part`` can name a folder or an object in it; what cannot is a stranger's file."""
    return 0 < len(part) <= 100 and part[0] != "." and set(part) <= _NAME_CHARACTERS


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
