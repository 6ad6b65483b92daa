"""Counting different things in bounded memory. Pure."""

from __future__ import annotations

from math import log

MOST_EXACT = 1024
"""Up to so many the count is exact; beyond, within some percent up to a few hundred thousand."""

_BITS = 1 << 17


class Distinct:
    """How many different things were added. None of them is kept: only their hashes, of a kind that
    nobody outside of this process can foresee, so that no names can be chosen to count as one.
    """

    __slots__ = ("_bits", "_seen", "_set")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._bits: bytearray | None = None
        self._set = 0

    def add(self, thing: bytes) -> None:
        """Count a thing, if it is a new one."""
        number = hash(thing)
        if self._bits is not None:
            self._mark(number)
            return
        self._seen.add(number)
        if len(self._seen) > MOST_EXACT:
            self._bits = bytearray(_BITS // 8)
            for one in self._seen:
                self._mark(one)
            self._seen = set()

    def _mark(self, number: int) -> None:
        bits = self._bits
        if bits is None:
            return
        place = number & (_BITS - 1)
        if not bits[place >> 3] & 1 << (place & 7):
            bits[place >> 3] |= 1 << (place & 7)
            self._set += 1

    def __len__(self) -> int:
        if self._bits is None:
            return len(self._seen)
        # Of bits set at random, as many are still clear as say how many were drawn.
        clear = max(_BITS - self._set, 1)
        return max(MOST_EXACT, round(_BITS * log(_BITS / clear)))
