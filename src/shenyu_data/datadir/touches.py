"""Accesses to the files of a data directory, as the kernel tells of them: what its two mechanisms
have in common. For health/watch.py.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

MOST_READ_BYTES = 1 << 16
"""So much is read of the kernel's queue at once: several hundred accesses."""


class Touch(NamedTuple):
    """An access: what it was (model/watch_terms.py), to which path under the data directory, by the
    process of which number, 0 if that is not told. ``gone``: that process has ended since.
    """

    what: int
    path: bytes
    pid: int
    gone: bool


class CannotWatch(Exception):
    """A mechanism cannot be had here, and why: the words of the system."""


class Watching(Protocol):
    """A mechanism that tells of accesses to a data directory, one queue of the kernel's."""

    name: str
    tells_process: bool
    unwatched: int
    """How many folders, at least, are not watched since the system's limit is reached."""

    overflows: int
    """How often the kernel's queue was full, and it dropped what came then."""

    seen_root: bool
    """Set when it is told that the directory itself was opened, as the watch does to prove itself.
    """

    @property
    def folders(self) -> int:
        """How many folders are watched one by one; 0 if that is not needed."""
        ...

    def fileno(self) -> int:
        """Return the descriptor that can be read when something is there."""
        ...

    def read(self) -> list[Touch] | None:
        """Return some accesses; None if there is nothing more to read now.

        Raises OSError if the mechanism has failed.
        """
        ...

    def close(self) -> None:
        """Watch no more."""
        ...
