"""Findings that wait until a JSON document can be written: a few in memory, millions in a file.

The document says how many there are before it says which. Called by the terminal's Monitor.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator

import msgspec

from shenyu_data.model.findings import Finding

MOST_IN_MEMORY = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Finding).decode
_LENGTH_BYTES = 4
_BUFFERED_BYTES = 1 << 16


class KeptFindings:
    """Findings in their order. Past a bound they are written into a nameless temporary file; if
    that cannot be, they stay in memory: what was found must not end what is done.
    """

    def __init__(self) -> None:
        self._first: list[Finding] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._file: int | None = None
        self._written_bytes = 0
        self._is_full = False
        self._count = 0

    def append(self, finding: Finding) -> None:
        """Keep a finding."""
        self._count += 1
        if len(self._first) < MOST_IN_MEMORY:
            self._first.append(finding)
            return
        text = _encode(_encodable(finding))
        self._waiting += (len(text).to_bytes(_LENGTH_BYTES, "little"), text)
        self._waiting_bytes += len(text)
        if self._waiting_bytes > _BUFFERED_BYTES and not self._is_full:
            self._write()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[Finding]:
        """Yield them in their order; as often as is wanted."""
        yield from self._first
        if self._file is not None:
            with open(self._file, "rb", closefd=False) as file:
                file.seek(0)
                left = self._written_bytes
                while left > 0:
                    size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
                    yield _decode(file.read(size))
                    left -= _LENGTH_BYTES + size
        for text in self._waiting[1::2]:
            yield _decode(text)

    def _made(self) -> int:
        """Make the file, which is gone with the last who knows of these findings."""
        import tempfile  # late: it takes 4 ms, and findings are few

        with tempfile.TemporaryFile(prefix="shenyu-data-") as file:
            descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = self._made()
            left = memoryview(b"".join(self._waiting))
            place = self._written_bytes
            while left:
                done = os.pwrite(self._file, left, place)
                left, place = left[done:], place + done
        except OSError:
            self._is_full = True  # what was written of it is passed over
            return
        self._written_bytes = place
        self._waiting, self._waiting_bytes = [], 0


def _encodable(finding: Finding) -> Finding:
    """Return a finding whose words can be written: half a character comes out as an escape."""
    try:
        for word in (finding.path, finding.message, finding.pointer or "", finding.hint):
            word.encode()
    except UnicodeEncodeError:
        return msgspec.structs.replace(
            finding,
            path=_escaped(finding.path),
            message=_escaped(finding.message),
            pointer=None if finding.pointer is None else _escaped(finding.pointer),
            hint=_escaped(finding.hint),
        )
    return finding


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
