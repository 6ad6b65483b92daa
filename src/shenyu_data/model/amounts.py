"""Amounts as people read them. Pure."""

from __future__ import annotations


def bytes_text(count: int) -> str:
    """Return a number of bytes in the unit that suits it, powers of 1000."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return ``1 object`` or ``12,345 objects``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
