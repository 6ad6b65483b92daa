"""What a copy has done so far, on this machine, so that one that was cut off goes on.

The journal is a file of sealed frames: no more can be learnt from it than from the destination. It
is only ever a saving: without it, or with half of it, the copy does the rest again.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from shenyu_data.model.errors import RepositoryError
from shenyu_data.repository.crypto import Secrets
from shenyu_data.storage.atomic import make_private

_SIZE = struct.Struct("<I")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_journal(folder: str, snapshot: bytes) -> None:
    """Forget how far the copy of a snapshot had come: it is there."""
    with suppress(OSError):
        os.unlink(_path(folder, snapshot))


def _path(folder: str, snapshot: bytes) -> str:
    return os.path.join(folder, f"copy-{snapshot.hex()}")


class Journal:
    """Given the folder for such files, the snapshot that is being copied, and what else the journal
    is of (``bound_to``), keep frames.

    ``error`` says why that failed, if it did: the copy goes on without.
    """

    def __init__(self, folder: str, snapshot: bytes, keys: Secrets, bound_to: bytes) -> None:
        self._path = _path(folder, snapshot)
        self._keys = keys
        self._bound_to = b"copy" + snapshot + bound_to
        self._file = -1
        self.error: OSError | None = None
        try:
            if not os.path.isabs(folder):  # there is no home
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
            make_private(folder)
            self._file = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            self.error = error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def frames(self) -> Iterator[bytes]:
        """Yield what was added, oldest first; from the first frame that is not whole, or not of
        this journal, drop everything.
        """
        if self.error is not None:
            return
        size, position = os.fstat(self._file).st_size, 0
        while position < size:
            start = os.pread(self._file, _SIZE.size, position)
            length = _SIZE.unpack(start)[0] if len(start) == _SIZE.size else size
            if length > size - position:
                break
            sealed = os.pread(self._file, length, position + _SIZE.size)
            try:
                frame = self._keys.unseal("copies", sealed, self._bound_to, self._path)
            except RepositoryError:
                break
            position += _SIZE.size + length
            yield frame
        else:
            return
        os.ftruncate(self._file, position)

    def add(self, frame: bytes) -> None:
        """Keep a frame; when this returns it is durable."""
        if self.error is not None:
            return
        sealed = self._keys.seal("copies", frame, self._bound_to)
        data = memoryview(_SIZE.pack(len(sealed)) + sealed)
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            self.error = error
