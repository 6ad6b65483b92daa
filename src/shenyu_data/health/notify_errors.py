"""That a message was not sent, and why: never with an address, which may hold a secret."""

from __future__ import annotations


class NotSent(Exception):
    """A message was not sent. ``permanent``: it makes no sense to try this one again."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.permanent = permanent
