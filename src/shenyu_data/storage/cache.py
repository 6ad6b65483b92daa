"""A local cache of a remote repository's small sealed objects, so that looking costs no requests.

What is kept is immutable and sealed: manifests and snapshots. Never keys: erasing a user must leave
none behind; keyrings are only kept in memory while the process lives, and only as long as the
storage lists them. The cache can be deleted at any time, and nothing in it is trusted: an entry is
used only if its checksum is right and the storage still lists an object of that name and size.
"""

from __future__ import annotations

import functools
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from blake3 import blake3

from shenyu_data.storage.atomic import make_private, write_file
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, Storage, check_name

KEPT = ("manifests", "snapshots")
"""The folders whose objects are kept in files."""

REMEMBERED = "keys"
"""The folder whose objects are kept in memory."""

REMEMBERED_BYTES = 16 << 20
"""How much is kept in memory; a quarter of it of one object at most."""

CACHE_BYTES = 1 << 30
"""How much is kept of one repository; what was not used for longest goes first."""

LARGEST_BYTES = 64 << 20
"""A larger object is not kept: fetching it whole could cost more than it saves."""

_MAGIC = b"shenyu-data cache 1\n"
_HEAD_BYTES = len(_MAGIC) + 32
_ROOM_CHECK_BYTES = 64 << 20
_TEMPORARY_BYTES = 256 << 20
_OPEN_ENTRIES = 64
_LISTING_S = 60.0  # how long it is believed that what was listed is there


class CachedStorage:
    """Do what ``inner`` does, reading what is in ``folder`` from there and keeping it there.

    Trouble with the folder is nobody's concern: then everything is asked of ``inner``.
    """

    def __init__(self, inner: Storage, folder: str, limit_bytes: int = CACHE_BYTES) -> None:
        self._entries: dict[str, int] = {}
        self.inner = inner
        self.folder = os.path.join(folder, blake3(inner.location.encode()).hexdigest(length=16))
        self._base = folder
        self._limit_bytes = limit_bytes
        self._sizes: dict[str, dict[str, int]] = {}
        self._listed_at: dict[str, float] = {}
        self._too_large: set[str] = set()
        self._remembered: dict[str, bytes] = {}
        self._since_room_check = _ROOM_CHECK_BYTES
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.inner, self._base, self._limit_bytes)

    def __del__(self) -> None:
        for descriptor in self._entries.values():
            os.close(descriptor)

    @property
    def location(self) -> str:
        """The inner storage's."""
        return self.inner.location

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """As the inner storage; then it is kept, as it is likely to be read next time."""
        size = self.inner.put(name, chunks)
        if _is_kept(name) and size <= LARGEST_BYTES:
            with self._lock:
                if (sizes := self._sizes.get(name.partition("/")[0])) is not None:
                    sizes[name] = size
            self._keep(name, chunks)
        return size

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a part of an object, from the cache if it is there; else all of it is fetched."""
        if name.startswith(f"{REMEMBERED}/"):
            return self._recall(name, offset, length)
        if not _is_kept(name) or name in self._too_large:
            return self.inner.read(name, offset, length)
        with self._lock:
            size = self._listed(name)
            descriptor = None if size is None else self._open(name, size)
            if size is not None and descriptor is not None:
                wanted = max(0, size - offset)
                if length is not None:
                    wanted = min(wanted, length)
                data = os.pread(descriptor, wanted, _HEAD_BYTES + offset)
                if len(data) == wanted:
                    return data
                self._drop(name)
        if size is not None and size > LARGEST_BYTES:
            self._too_large.add(name)
            return self.inner.read(name, offset, length)
        whole = self.inner.read(name)
        if size is not None:
            self._keep(name, [whole])
        return whole[offset : None if length is None else offset + length]

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """As the inner storage, always."""
        found = list(self.inner.list(folder))
        if folder in KEPT:
            with self._lock:
                self._note(folder, found)
        elif folder == REMEMBERED:
            there = {info.name for info in found}
            with self._lock:
                for name in self._remembered.keys() - there:
                    del self._remembered[name]
        yield from found

    def delete(self, name: str) -> None:
        """Drop it from the cache, then delete it."""
        self._forget(name)
        self.inner.delete(name)

    def destroy(self, name: str) -> None:
        """Drop it from the cache, then destroy it."""
        self._forget(name)
        self.inner.destroy(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """As the inner storage."""
        return self.inner.sweep(folder, older_than_s)

    def keeps_versions(self) -> bool | None:
        """As the inner storage."""
        return self.inner.keeps_versions()

    def old_versions(self, folder: str) -> OldVersions | None:
        """As the inner storage."""
        return self.inner.old_versions(folder)

    def _recall(self, name: str, offset: int, length: int | None) -> bytes:
        """Return a part of an object that is read in many small ones, from memory if it fits."""
        whole = self._remembered.get(name)
        if whole is None:
            most = REMEMBERED_BYTES // 4
            start = b"" if name in self._too_large else self.inner.read(name, 0, most + 1)
            if not 0 < len(start) <= most:
                self._too_large.add(name)
                return self.inner.read(name, offset, length)
            whole = start
            with self._lock:
                self._remembered[name] = whole
                while sum(map(len, self._remembered.values())) > REMEMBERED_BYTES:
                    del self._remembered[next(iter(self._remembered))]
        return whole[offset : None if length is None else offset + length]

    def _listed(self, name: str) -> int | None:
        """Return the size of an object that the storage is known to hold, or None."""
        folder = name.partition("/")[0]
        if time.monotonic() > self._listed_at.get(folder, -_LISTING_S) + _LISTING_S:
            self._note(folder, list(self.inner.list(folder)))
        return self._sizes[folder].get(name)

    def _note(self, folder: str, found: Sequence[ObjectInfo]) -> None:
        self._sizes[folder] = {info.name: info.size for info in found}
        self._listed_at[folder] = time.monotonic()

    def _open(self, name: str, size: int) -> int | None:
        """Return an open, sound entry; drop one that is not sound."""
        if name in self._entries:
            return self._entries[name]
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            sound = _is_sound(descriptor, name, size)
            if sound:
                os.utime(descriptor)  # the time of last use
        except OSError:
            sound = False
        if not sound:
            os.close(descriptor)
            self._drop(name)
            return None
        self._entries[name] = descriptor
        if len(self._entries) > _OPEN_ENTRIES:
            os.close(self._entries.pop(next(iter(self._entries))))
        return descriptor

    def _keep(self, name: str, chunks: Sequence[bytes]) -> None:
        digest = blake3(name.encode())
        for chunk in chunks:
            digest.update(chunk)
        with suppress(OSError):
            folder = self._open_folder()
            try:
                base = os.path.basename(self._path(name))
                head = _MAGIC + digest.digest()
                written = write_file(base, [head, *chunks], folder=folder, replace=True)
            finally:
                os.close(folder)
            with self._lock:
                self._since_room_check += written
                if self._since_room_check >= _ROOM_CHECK_BYTES:
                    self._since_room_check = 0
                    self._make_room()

    def _open_folder(self) -> int:
        """Open the cache's folder, made if need be; raise OSError if it is not ours alone."""
        make_private(self.folder)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.folder, flags)
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            os.close(descriptor)
            raise PermissionError(f"{self.folder} is not ours alone")
        return descriptor

    def _make_room(self) -> None:
        files = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    files.append((found.st_mtime_ns, found.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit_bytes:
                break
            with suppress(FileNotFoundError):  # another process makes room, too
                os.unlink(path)
            total -= size

    def _forget(self, name: str) -> None:
        with self._lock:
            self._sizes.get(name.partition("/")[0], {}).pop(name, None)
            self._remembered.pop(name, None)
            self._drop(name)

    def _drop(self, name: str) -> None:
        if (descriptor := self._entries.pop(name, None)) is not None:
            os.close(descriptor)
        if _is_kept(name):
            with suppress(OSError):
                os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name.replace("/", "_"))  # "_" is in no object's name


@contextmanager
def fetched_anew(storage: Storage) -> Iterator[Storage]:
    """Give a storage that knows nothing from earlier, for whoever has to see what is really there:
    instead of its cache it has an empty one, for as long as the block lasts.
    """
    if not isinstance(storage, CachedStorage):
        yield storage
        return
    with tempfile.TemporaryDirectory(prefix="shenyu-data-cache-") as folder:
        yield CachedStorage(storage.inner, folder, _TEMPORARY_BYTES)


def _is_kept(name: str) -> bool:
    folder, _, base = check_name(name).partition("/")
    return folder in KEPT and base != "" and not base.endswith(".copy")


def _is_sound(descriptor: int, name: str, size: int) -> bool:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != _HEAD_BYTES + size:
        return False
    content = os.pread(descriptor, found.st_size, 0)
    digest = blake3(name.encode())
    digest.update(memoryview(content)[_HEAD_BYTES:])
    return content[:_HEAD_BYTES] == _MAGIC + digest.digest()


@functools.lru_cache(maxsize=4)
def _reopen(inner: Storage, folder: str, limit_bytes: int) -> CachedStorage:
    """Let all tasks of a worker share one, with what it knows."""
    return CachedStorage(inner, folder, limit_bytes)
