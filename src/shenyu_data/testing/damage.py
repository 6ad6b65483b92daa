"""Ways to damage a repository, one object at a time: what disks, people and attackers do to files.

Each returns the action's name and does it to any storage, through ``delete`` and ``put``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from shenyu_data.storage.protocol import Storage


class DamageAction(NamedTuple):
    """One way to damage ``objects``; ``apply`` does it."""

    title: str
    objects: tuple[str, ...]
    apply: Callable[[Storage], None]


def flip(name: str, position: int, bit: int = 0) -> DamageAction:
    """Flip one bit of the byte at ``position`` (negative: from the end)."""

    def apply(storage: Storage) -> None:
        data = bytearray(storage.read(name))
        data[position] ^= 1 << bit
        write_again(storage, name, bytes(data))

    return DamageAction(f"flip bit {bit} of byte {position} of {name}", (name,), apply)


def truncate(name: str, size: int) -> DamageAction:
    """Cut an object off at ``size`` bytes (negative: so many from its end)."""

    def apply(storage: Storage) -> None:
        write_again(storage, name, storage.read(name)[:size])

    return DamageAction(f"cut {name} off at {size}", (name,), apply)


def zero(name: str, start: int, stop: int) -> DamageAction:
    """Fill a range with zeros, as a file system does after a crash."""

    def apply(storage: Storage) -> None:
        data = bytearray(storage.read(name))
        data[start:stop] = bytes(len(data[start:stop]))
        write_again(storage, name, bytes(data))

    return DamageAction(f"zero {name} from {start} to {stop}", (name,), apply)


def append(name: str, extra: bytes) -> DamageAction:
    """Add bytes at the end of an object."""

    def apply(storage: Storage) -> None:
        write_again(storage, name, storage.read(name) + extra)

    return DamageAction(f"append {len(extra)} bytes to {name}", (name,), apply)


def delete(*names: str) -> DamageAction:
    """Remove objects."""

    def apply(storage: Storage) -> None:
        for name in names:
            storage.delete(name)

    return DamageAction(f"delete {', '.join(names)}", names, apply)


def swap(first: str, second: str) -> DamageAction:
    """Let two objects change places."""

    def apply(storage: Storage) -> None:
        one, other = storage.read(first), storage.read(second)
        write_again(storage, first, other)
        write_again(storage, second, one)

    return DamageAction(f"swap {first} and {second}", (first, second), apply)


def replay(name: str, older: str) -> DamageAction:
    """Put an older, authentic object of the same kind in the place of ``name``."""

    def apply(storage: Storage) -> None:
        write_again(storage, name, storage.read(older))

    return DamageAction(f"put {older} in the place of {name}", (name,), apply)


def each_way(
    name: str, size: int, others: Iterable[str], chance: random.Random
) -> Iterator[DamageAction]:
    """Yield every kind of damage to one object; ``others`` are objects of the same kind."""
    for position in sorted({0, size // 2, size - 1, *(chance.randrange(size) for _ in range(2))}):
        yield flip(name, position, chance.randrange(8))
    for length in sorted({0, 1, size // 2, size - 1}):
        yield truncate(name, length)
    yield zero(name, size // 3, size // 3 + 16)
    yield delete(name)
    for other in others:
        yield swap(name, other)
        yield replay(name, other)


def write_again(storage: Storage, name: str, data: bytes) -> None:
    """Let the object hold ``data`` instead: what no part of the program ever does."""
    storage.delete(name)
    storage.put(name, [data])
