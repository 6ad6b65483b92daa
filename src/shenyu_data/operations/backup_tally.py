"""What a backup counts while it takes owners. Called by its workers, and by it to add them up."""

from __future__ import annotations


class Tally:
    """Documents new, changed, gone, stored again for lack of a sound pack; how much was read."""

    __slots__ = ("changed", "gone", "new", "read_bytes", "read_files", "stored_again")

    def __init__(self) -> None:
        self.new = self.changed = self.gone = self.stored_again = 0
        self.read_files = self.read_bytes = 0

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
