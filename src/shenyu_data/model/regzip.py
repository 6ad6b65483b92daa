"""Compressing a changed document as it was compressed before. Pure."""

from __future__ import annotations

import zlib

_FIXED_BYTES = 10
_EXTRA, _NAME, _COMMENT, _CHECK = 4, 8, 16, 2  # flags: what follows the fixed part of the header
_LEVELS = {2: 9, 4: 1}
_USUAL_LEVEL = 6


def gzip_like(old: bytes, plain: bytes) -> bytes:
    """Return ``plain`` as one gzip member with the header of ``old``, which is gzip: its name, its
    time, its system, and the level that it tells (best, fastest, or the usual one).
    """
    header = old[: _header_bytes(old)]
    packer = zlib.compressobj(_LEVELS.get(old[8], _USUAL_LEVEL), zlib.DEFLATED, -15)
    body = packer.compress(plain) + packer.flush()
    check = zlib.crc32(plain).to_bytes(4, "little")
    return b"".join((header, body, check, (len(plain) & 0xFFFFFFFF).to_bytes(4, "little")))


def _header_bytes(data: bytes) -> int:
    flags, end = data[3], _FIXED_BYTES
    if flags & _EXTRA:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = data.index(b"\0", end) + 1
    return end + 2 * bool(flags & _CHECK)
