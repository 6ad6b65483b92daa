"""What ``serve`` says of what happens: a line for people, and the same for programs."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Is told an event: a line for people, its name, and what belongs to it. Names and fields are
    stable; none holds a name of a user.
    """

    def __call__(self, line: str, event: str, /, **fields: str | int | float | None) -> None:
        """Say it."""
        ...
