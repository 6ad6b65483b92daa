"""Removing everything of one user from the data directory, for good. For erasure alone.

No link is followed: of one, the link itself goes. What a file held is overwritten before its last
name goes; what a file system or a disk that never writes in place keeps elsewhere is out of reach.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection
from contextlib import suppress

from shenyu_data.datadir.folder import FOLDER_FLAGS
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, path_of
from shenyu_data.storage.atomic import overwrite

_TRIES = 8  # at a folder into which the application writes meanwhile
_BLOCK_BYTES = 512  # what st_blocks counts
_WRITING = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ABSENT = (errno.ENOENT, errno.ENAMETOOLONG)


class Remover:
    """Given a data directory and a user's name, removes what there is, each time it is called.

    ``leftovers`` are names in ``users/`` of what replacements of the user's file left there.

    Counts what it did: ``documents`` (names of files) and their ``document_bytes``, how many of
    them were ``overwritten``, ``links``. What could not be removed is reported, each path once, and
    makes ``complete`` false until it is gone.
    """

    def __init__(
        self,
        data: str,
        owner: bytes,
        report: Callable[[Finding], None],
        leftovers: Collection[bytes] = (),
    ) -> None:
        self._data = data
        self._owner = owner
        self._leftovers = leftovers
        self._tell = report
        self._failed: set[bytes] = set()
        self._reported: set[bytes] = set()
        self._linked: dict[tuple[int, int], bytes] = {}
        self._top = -1
        self._lifted = False
        self.documents = 0
        self.document_bytes = 0
        self.overwritten = 0
        self.links = 0

    @property
    def complete(self) -> bool:
        """Whether everything that was met the last time is gone."""
        return not self._failed

    def remove(self) -> int:
        """Remove what is there now; return how many names of files, links and the like that was.

        Folders do not count: the application makes them again, empty. Raise DataDirectoryError if
        the data directory, or a folder in which it could be, cannot be opened.
        """
        self._failed.clear()
        removed = 0
        try:
            with DataFolders(self._data) as folders:
                if not folders.listed:
                    raise OSError(errno.ENOTDIR, "users or histories is a link, or not ours")
                if folders.users is not None:
                    removed += self._remove_user_files(folders.users)
                if folders.histories is not None:
                    removed += self._remove_history(folders.histories)
        except OSError as error:
            raise DataDirectoryError(
                f"cannot open the data directory {self._data}: {error.strerror}",
                hint="Run it as the application's user, with --data naming the folder that holds "
                "users/ and histories/.",
            ) from error
        return removed

    def report_links(self) -> None:
        """Report the files that have further names, which only whoever made them can know."""
        for (_, inode), path in self._linked.items():
            self._report(
                path,
                "hard-link-remains",
                f"the file, of inode {inode}, is still there under another name (hard link)",
                f"Look for it with `find DIR -xdev -inum {inode}`, and remove it by hand.",
            )
        self._linked.clear()

    def _remove_user_files(self, users: int) -> int:
        removed = 0
        for place, suffix in ((Place.USER_FILE, JSON_SUFFIX), (Place.USER_FILE_GZIP, GZIP_SUFFIX)):
            name = self._owner + suffix
            found = _look(users, name)
            if found is not None and not stat.S_ISDIR(found.st_mode):  # users/x.json/ is nobody's
                removed += self._remove_entry(users, name, path_of(self._owner, place, b""), found)
        for name in self._leftovers:
            if (found := _look(users, name)) is not None and not stat.S_ISDIR(found.st_mode):
                removed += self._remove_entry(users, name, b"users/" + name, found)
        if removed:
            os.fsync(users)
        return removed

    def _remove_history(self, histories: int) -> int:
        path = path_of(self._owner, Place.HISTORY_FOLDER, b"")
        found = _look(histories, self._owner)
        if found is None:
            return 0
        if stat.S_ISDIR(found.st_mode):
            removed = self._remove_folder(histories, self._owner, path, 0)
        elif stat.S_ISLNK(found.st_mode):
            removed = self._remove_entry(histories, self._owner, path, found)
        else:
            return 0  # a file directly in histories/ is nobody's
        os.fsync(histories)
        return removed

    def _remove_folder(self, above: int, name: bytes, path: bytes, depth: int) -> int:
        """Remove a folder with everything in it; return how many names that were no folders."""
        removed = 0
        try:
            folder = os.open(name, FOLDER_FLAGS, dir_fd=above)
        except OSError as error:
            self._note(path, error)
            return 0
        if depth == 0:
            self._top = folder
        tries = _TRIES
        try:
            while tries:
                self._lifted = False
                removed += self._empty(folder, path, depth)
                tries -= not self._lifted
                try:
                    os.rmdir(name, dir_fd=above)
                except OSError as error:
                    # Something was written into it since; what cannot be removed is noted already.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        self._note(path, error)
                        break
                else:
                    break
        finally:
            os.close(folder)
        return removed

    def _empty(self, folder: int, path: bytes, depth: int) -> int:
        removed = 0
        try:
            names = [os.fsencode(name) for name in os.listdir(folder)]
        except OSError as error:
            self._note(path, error)
            return 0
        for name in names:
            below = path + b"/" + name
            found = _look(folder, name)
            if found is None:
                continue
            if not stat.S_ISDIR(found.st_mode):
                removed += self._remove_entry(folder, name, below, found)
            elif depth < MAX_DEPTH:
                removed += self._remove_folder(folder, name, below, depth + 1)
            else:
                self._lift(folder, name, below)
        os.fsync(folder)
        return removed

    def _lift(self, folder: int, name: bytes, path: bytes) -> None:
        """Move a folder that is nested too deep up, from where the next try removes it."""
        try:
            up = os.urandom(16).hex()
            os.rename(name, up, src_dir_fd=folder, dst_dir_fd=self._top)
            self._lifted = True
        except OSError as error:
            self._note(path, error)

    def _remove_entry(self, folder: int, name: bytes, path: bytes, found: os.stat_result) -> int:
        is_file = stat.S_ISREG(found.st_mode)
        wiped = is_file and found.st_nlink == 1 and _wipe(folder, name)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._note(path, error)
            return 0
        if is_file:
            self.documents += 1
            self.document_bytes += found.st_size
            self.overwritten += wiped
            inode = (found.st_dev, found.st_ino)
            self._linked.pop(inode, None)
            if found.st_nlink > 1:
                self._linked[inode] = path
        elif stat.S_ISLNK(found.st_mode):
            self.links += 1
            self._report(
                path,
                "link-target-remains",
                "this was a link; it was removed, and what it led to was not touched",
                "See whether what it led to is the user's, and remove it by hand.",
            )
        return 1

    def _note(self, path: bytes, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            return  # somebody else was faster
        self._failed.add(path)
        if path in self._reported:
            return
        self._reported.add(path)
        self._tell(
            Finding(
                code="not-removed",
                severity="error",
                path=printable(path),
                message=f"cannot be removed: {error.strerror}",
                hint="Run it as the application's user, or as root; then again.",
            )
        )

    def _report(self, path: bytes, code: str, message: str, hint: str) -> None:
        self._tell(
            Finding(code=code, severity="warning", path=printable(path), message=message, hint=hint)
        )


def _look(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _wipe(folder: int, name: bytes) -> bool:
    """Overwrite a file that has no other name; return whether that could be done.

    Not one with holes: it may be of any size, and filling it would fill the disk.
    """
    try:
        descriptor = os.open(name, _WRITING, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        has_holes = found.st_size > found.st_blksize + found.st_blocks * _BLOCK_BYTES
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or has_holes:
            return False
        with suppress(OSError):
            overwrite(descriptor)
            return True
        return False
    finally:
        os.close(descriptor)
