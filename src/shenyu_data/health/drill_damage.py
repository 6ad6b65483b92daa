"""How a drill does harm to copies: to restored documents, and to what is read of a repository.

Called by the negative control alone. The repository itself is never written to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.model.layout import GZIP_SUFFIX
from shenyu_data.model.records import MAX_PARSED_BYTES, gunzip
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, Storage

_CHATS = msgspec.json.Decoder(list[msgspec.Raw])


class DamagedReads:
    """A storage over another one: what is read of objects in ``folder`` comes back with one bit
    changed, or, if they are ``missing``, not at all. Nothing can be written through it.
    """

    def __init__(self, inner: Storage, folder: str, *, missing: bool = False) -> None:
        self._inner = inner
        self._prefix = f"{folder}/"
        self._missing = missing

    @property
    def location(self) -> str:
        """The inner storage's."""
        return self._inner.location

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As the inner storage, but for the damage."""
        if not name.startswith(self._prefix):
            return self._inner.read(name, offset, length)
        if self._missing:
            raise ObjectMissing(f"the object {name} is missing, in a drill's negative control")
        data = bytearray(self._inner.read(name, offset, length))
        if data:
            data[len(data) // 2] ^= 1
        return bytes(data)

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """As the inner storage."""
        return self._inner.list(folder)

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """Refuse."""
        raise PermissionError(name)

    def delete(self, name: str) -> None:
        """Refuse."""
        raise PermissionError(name)

    def destroy(self, name: str) -> None:
        """Refuse."""
        raise PermissionError(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """Refuse."""
        raise PermissionError(folder)

    def keeps_versions(self) -> bool | None:
        """As the inner storage."""
        return self._inner.keeps_versions()

    def old_versions(self, folder: str) -> OldVersions | None:
        """As the inner storage."""
        return self._inner.old_versions(folder)


def without_a_chat(path: bytes, data: bytes) -> bytes | None:
    """Return a history without its first chat; None if it is no array of objects."""
    is_gzip = path.endswith(GZIP_SUFFIX)
    plain = gunzip(data, MAX_PARSED_BYTES) if is_gzip else data
    try:
        chats = _CHATS.decode(plain or b"")
    except msgspec.DecodeError:
        return None
    if not chats or not all(bytes(chat).lstrip().startswith(b"{") for chat in chats):
        return None
    left = msgspec.json.encode(chats[1:])
    if not is_gzip:
        return left
    import gzip  # late: it takes 2 ms, and such a history is rare

    return gzip.compress(left, mtime=0)


def reach(folder: str, path: bytes) -> bytes:
    """Return a path in a restored folder, open to us whatever modes were restored."""
    full = os.fsencode(folder)
    for part in path.split(b"/"):
        os.chmod(full, 0o700)
        full = os.path.join(full, part)
    return full


def read_copy(folder: str, path: bytes) -> bytes:
    """Return the bytes of a restored document."""
    full = reach(folder, path)
    os.chmod(full, 0o600)
    with open(full, "rb") as file:
        return file.read()


def write_copy(folder: str, path: bytes, data: bytes | bytearray) -> None:
    """Give a file other bytes and set its time back: nothing else may give it away."""
    full = reach(folder, path)
    before = os.stat(full)
    with open(full, "wb") as file:
        file.write(data)
    os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))
