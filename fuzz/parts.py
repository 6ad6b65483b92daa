"""One input cut into the several things that a reader takes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

NONE = object()
"""What :func:`python` returns for what is no JSON."""


class Drip:
    """Gives bytes a few at a time, as pipes do."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file = io.BytesIO(data)
        self._size = size

    def read(self, count: int = -1) -> bytes:
        """As of a file."""
        return self._file.read(self._size if count < 0 else min(count, self._size))


def first(data: bytes) -> tuple[int, bytes]:
    """Return the first byte as a number, and the rest."""
    return (data[0], data[1:]) if data else (0, b"")


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Cut in two at a byte 0xfe, which stands in no text; else the second is empty."""
    one, _, two = data.partition(b"\xfe")
    return one, two


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    """Cut into blocks of a size."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def raises(kinds: tuple[type[BaseException], ...], call: Callable[[], object]) -> bool:
    """Whether a call raises one of these errors; others pass."""
    try:
        call()
    except kinds:
        return True
    return False


def python(data: bytes) -> Any:
    """Return the value of a document as Python's own parser reads it, with what JavaScript takes
    and no more; NONE if it is no JSON, or so deep that this cannot tell.
    """
    try:
        return json.loads(data.decode(), parse_constant=_none, parse_int=_integer)
    except (ValueError, RecursionError):
        return NONE


def _none(name: str) -> NoReturn:
    raise ValueError(name)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= 4300 else float(digits)
