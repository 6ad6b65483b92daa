"""Pseudo-random numbers, the same on every machine and Python. For the modules that make data.

Everything comes from SHAKE-128 and from additions and multiplications, which IEEE 754 defines to
the last bit; `random` promises less between versions, and `math.exp` less between C libraries.
"""

import struct
from collections.abc import Sequence
from hashlib import shake_128
from typing import TypeVar

T = TypeVar("T")

_BLOCK_DRAWS = 2048
_UNPACK = struct.Struct(f"<{_BLOCK_DRAWS}H").unpack


class Draws:
    """An endless stream of random numbers for one key.

    >>> Draws("seed", 1).below(10) == Draws("seed", 1).below(10)
    True
    """

    def __init__(self, *key: str | int) -> None:
        """Start the stream of this key; equal keys give equal streams."""
        self._key = "\x1f".join(map(str, key)).encode()
        self._block = 0
        self._at = 0
        self._values: tuple[int, ...] = ()

    def take(self, count: int) -> tuple[int, ...]:
        """Return the next `count` (at most 2048) numbers of 16 bits."""
        end = self._at + count
        if end > len(self._values):
            # The few draws left of the old block are dropped: cheaper than joining two tuples.
            self._values = _UNPACK(
                shake_128(self._key + b"\x1f%d" % self._block).digest(2 * _BLOCK_DRAWS)
            )
            self._block += 1
            self._at, end = 0, count
        values = self._values[self._at : end]
        self._at = end
        return values

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1; `bound` is at most 2**32."""
        high, low = self.take(2)
        return ((high << 16 | low) * bound) >> 32

    def chance(self, percent: int) -> bool:
        """Return True in `percent` of 100 draws."""
        return self.below(100) < percent

    def pick(self, options: Sequence[T]) -> T:
        """Return one of `options`, each as likely as the others."""
        return options[self.below(len(options))]

    def log_normal(self, median: float, sigma: float) -> float:
        """Return a log-normal number; `sigma` is the deviation of its natural logarithm."""
        # Twelve uniform numbers add up to a nearly normal one of deviation 1.
        normal = (sum(self.take(12)) - 6 * 65535) / 65536
        factor = 1 + normal * sigma / 1024
        for _ in range(10):  # (1 + x/1024) ** 1024, nearly e ** x
            factor *= factor
        return median * factor
