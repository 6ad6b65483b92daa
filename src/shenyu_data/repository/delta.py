"""What a new version of a document shares with the old one. Pure.

The application rewrites a history whole but changes little of it: chats are put in front, messages
are added to one of them. The common beginning and end are found by halving; between them,
runs of equal lines are (the application writes one member a line).
"""

from __future__ import annotations

from typing import NamedTuple

MIN_COPY_BYTES = 128
"""Shorter matches are stored again: naming them costs as much."""


class Piece(NamedTuple):
    """``length`` bytes of the new version: from ``old_offset`` of the old one, or new if that is
    None.
    """

    old_offset: int | None
    start: int  # in the new version
    length: int


def compare(old: bytes, new: bytes) -> list[Piece]:
    """Return the pieces that make up ``new``, in order, without gaps."""
    head = _common_prefix(old, new)
    tail = _common_suffix(old, new, min(len(old), len(new)) - head)
    matches = [(0, 0, head)]
    matches += _equal_lines(old, head, len(old) - tail, new, head, len(new) - tail)
    matches.append((len(old) - tail, len(new) - tail, tail))
    pieces: list[Piece] = []
    position = 0
    for old_offset, start, length in matches:
        if length < MIN_COPY_BYTES:
            continue
        if start > position:
            pieces.append(Piece(None, position, start - position))
        pieces.append(Piece(old_offset, start, length))
        position = start + length
    if position < len(new):
        pieces.append(Piece(None, position, len(new) - position))
    return pieces


def _common_prefix(a: bytes, b: bytes) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:  # a[:low] == b[:low] holds throughout
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(a: bytes, b: bytes, limit: int) -> int:
    low, high = 0, limit
    while low < high:  # the last ``low`` bytes are equal throughout
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _equal_lines(
    old: bytes, old_start: int, old_end: int, new: bytes, start: int, end: int
) -> list[tuple[int, int, int]]:
    """Return (old offset, new offset, length) of runs of equal lines, in the order of ``new``."""
    if old_end - old_start < MIN_COPY_BYTES or end - start < MIN_COPY_BYTES:
        return []
    old_lines = old[old_start:old_end].splitlines(keepends=True)
    where: dict[bytes, int] = {}
    offsets = []
    offset = old_start
    for number, line in enumerate(old_lines):
        where.setdefault(line, number)
        offsets.append(offset)
        offset += len(line)
    matches: list[tuple[int, int, int]] = []
    expected = -1  # the old line that would continue the current run
    position = start
    for line in new[start:end].splitlines(keepends=True):
        if 0 <= expected < len(old_lines) and old_lines[expected] == line:
            found: int | None = expected
        else:
            found = where.get(line)
        if found is None:
            expected = -1
        else:
            if matches and found == expected:
                old_offset, run_start, length = matches[-1]
                matches[-1] = (old_offset, run_start, length + len(line))
            else:
                matches.append((offsets[found], position, len(line)))
            expected = found + 1
        position += len(line)
    return matches
