"""A repository in a local folder: one file per object, written atomically and durably."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence

from shenyu_data.model.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
)
from shenyu_data.storage.atomic import TEMPORARY_PREFIX, overwrite, sync_folder, write_file
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, check_name, is_name_part

_OPEN_FILES = 16

_DAMAGE = (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""A bad sector; a folder, link or socket in a file's place: trouble of one object, not of all."""


class LocalStorage:
    """Given a folder (which :meth:`create` makes), keep objects in it as files of mode 0600.

    Only the folder's path is pickled; each process opens its own files.
    """

    def __init__(self, folder: str) -> None:
        self._open_files: dict[str, int] = {}
        self.folder = os.path.abspath(folder)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return LocalStorage, (self.folder,)

    def __del__(self) -> None:
        for descriptor in self._open_files.values():
            os.close(descriptor)

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return self.folder

    def create(self) -> None:
        """Make the folder, mode 0700, and the folders above it. Raise StorageError if it holds
        anything.
        """
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if os.listdir(self.folder):
                raise StorageError(
                    f"{self.folder} is not empty",
                    hint="Choose a new or empty folder for the repository.",
                )
            sync_folder(os.path.dirname(self.folder))
        except OSError as error:
            raise _translate(error, "create", self.folder) from error

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """Write the object's file atomically and durably."""
        folder, _, base = self._path(name).rpartition("/")
        try:
            descriptor = self._open_folder(folder)
            try:
                return write_file(base, chunks, folder=descriptor, replace=False)
            finally:
                os.close(descriptor)
        except FileExistsError:
            raise ObjectExists(f"the object {name} already exists in {self.folder}") from None
        except OSError as error:
            raise _translate(error, "write", os.path.join(folder, base)) from error

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a part of an object's file; the last few files read stay open."""
        try:
            with self._lock:  # another thread may close the file, and its number go to the next
                descriptor = self._open(name)
                if length is None:
                    length = max(0, os.fstat(descriptor).st_size - offset)
                data = os.pread(descriptor, length, offset)
                if len(data) < length:  # the end of the file, or a short read of a large range
                    parts = [data]
                    while data and (missing := length - sum(map(len, parts))) > 0:
                        data = os.pread(descriptor, missing, offset + length - missing)
                        parts.append(data)
                    data = b"".join(parts)
        except FileNotFoundError:
            raise ObjectMissing(f"the object {name} is missing from {self.folder}") from None
        except OSError as error:
            if error.errno in _DAMAGE:
                raise ObjectDamaged(
                    f"{name} is damaged: {self._path(name)} cannot be read: {error.strerror}",
                    hint="Check the disk; `shenyu-data verify --read-data` says what it affects.",
                ) from error
            raise _translate(error, "read", self._path(name)) from error
        return data

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects in one folder (or with "" in all), sorted by name."""
        if not folder:
            folders = [entry.name for entry in self._scan("") if entry.is_dir()]
            inside = (info for name in folders if is_name_part(name) for info in self.list(name))
            yield from sorted([*_objects(self._scan(""), ""), *inside])
            return
        yield from sorted(_objects(self._scan(folder), f"{folder}/"))

    def delete(self, name: str) -> None:
        """Unlink an object's file and fsync its folder."""
        path = self._path(name)
        try:
            with self._lock:
                if (descriptor := self._open_files.pop(name, None)) is not None:
                    os.close(descriptor)
            os.unlink(path)
            sync_folder(os.path.dirname(path))
        except FileNotFoundError:
            raise ObjectMissing(f"the object {name} is missing from {self.folder}") from None
        except OSError as error:
            raise _translate(error, "delete", path) from error

    def destroy(self, name: str) -> None:
        """Overwrite an object's file with zeros, durably, then delete it.

        A file with further names (hard links) is emptied under all of them.
        """
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                overwrite(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise ObjectMissing(f"the object {name} is missing from {self.folder}") from None
        except OSError as error:
            if error.errno not in _DAMAGE:  # of a link or a folder there is nothing to overwrite
                raise _translate(error, "overwrite", path) from error
        self.delete(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """Overwrite and remove old temporary files."""
        if not folder:
            inside = [entry.name for entry in self._scan("") if entry.is_dir(follow_symlinks=False)]
            return sum(self._sweep(name, older_than_s) for name in ("", *inside))
        return self._sweep(folder, older_than_s)

    def _sweep(self, folder: str, older_than_s: float) -> int:
        swept = 0
        latest = time.time() - older_than_s
        for entry in self._scan(folder):
            if not entry.name.startswith(TEMPORARY_PREFIX):
                continue
            path = os.path.join(self.folder, folder, entry.name)
            try:
                found = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or found.st_mtime > latest:
                    continue
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    if found.st_nlink == 1:  # else it was killed between its name and the end
                        overwrite(descriptor)
                finally:
                    os.close(descriptor)
                os.unlink(path)
            except FileNotFoundError:
                continue  # it had not been killed, only slow
            except OSError as error:
                raise _translate(error, "remove", path) from error
            swept += found.st_size
        return swept

    def keeps_versions(self) -> bool:
        """Say no: what snapshots of the file system may keep, nobody can know."""
        return False

    def old_versions(self, folder: str) -> OldVersions:
        """Say that there are none, as :meth:`keeps_versions` does."""
        return OldVersions(0)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, check_name(name))

    def _open_folder(self, folder: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(folder, flags)
        except FileNotFoundError:
            if not os.path.isdir(self.folder):  # an unmounted disk must not become a new folder
                raise
            os.makedirs(folder, mode=0o700, exist_ok=True)
            sync_folder(self.folder)
            return os.open(folder, flags)

    def _open(self, name: str) -> int:
        descriptor = self._open_files.get(name)
        if descriptor is None:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path(name), flags)
            if len(self._open_files) >= _OPEN_FILES:
                os.close(self._open_files.pop(next(iter(self._open_files))))
            self._open_files[name] = descriptor
        return descriptor

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                yield from entries
        except FileNotFoundError:
            if not os.path.isdir(self.folder):
                raise StorageError(
                    f"there is no folder {self.folder}",
                    hint="Check the repository's location, and that its disk is mounted.",
                ) from None
        except OSError as error:
            raise _translate(error, "list", os.path.join(self.folder, folder)) from error


def _objects(entries: Iterator[os.DirEntry[str]], prefix: str) -> Iterator[ObjectInfo]:
    for entry in entries:
        if is_name_part(entry.name) and entry.is_file(follow_symlinks=False):
            try:
                size = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # deleted since it was listed
            yield ObjectInfo(prefix + entry.name, size)


def _translate(error: OSError, action: str, path: str) -> StorageError:
    reason = error.strerror or str(error)
    message = f"cannot {action} {path}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(message, hint="Make room where the repository lies, then run it again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(message, hint="Check the folder's owner and mode, or run as its owner.")
    return StorageError(message, hint="Check that the repository's disk is mounted and healthy.")
