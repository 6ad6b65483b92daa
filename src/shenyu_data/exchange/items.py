"""What an export carries, whatever its format: folders, files and links, as values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

ItemKind = Literal["folder", "file", "link"]

WHOLE_BYTES = 1 << 20
"""A file larger than this travels in pieces of at most this size."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a data directory at a relative ``path``; ``data`` is a file's contents, or where
    a link leads.

    Of a file in pieces ``data`` is None: they follow. ``mtime_ns`` and ``owner`` are None where
    nothing is known of them. Files of one directory with the same ``same`` are names of one file.
    """

    kind: ItemKind
    path: bytes
    data: bytes | None = b""
    mode: int = 0o600
    mtime_ns: int | None = None
    owner: tuple[int, int] | None = None
    same: str | None = None
    torn: bool = False


class Piece(msgspec.Struct, frozen=True):
    """The next bytes of the file in pieces that came last."""

    data: bytes


class PiecesEnd(msgspec.Struct, frozen=True):
    """The file in pieces is complete."""

    size: int
    torn: bool


class Damage(msgspec.Struct, frozen=True):
    """A record that cannot be used: which, as a person finds it, and why."""

    where: str
    why: str


class LeftOut(msgspec.Struct, frozen=True):
    """A record that has no place in a data directory, or leads out of it: which, and why."""

    where: str
    why: str


Record = Item | Piece | PiecesEnd | Damage | LeftOut


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Cut contents into pieces, between characters where they are UTF-8."""
    start = 0
    while start < len(data):
        end = min(start + WHOLE_BYTES, len(data))
        for back in range(4):
            if end == len(data) or data[end - back] & 0xC0 != 0x80:
                end -= back if end < len(data) else 0
                break
        yield data[start:end]
        start = end
