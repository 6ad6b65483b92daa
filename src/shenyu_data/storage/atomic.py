"""The one way a file comes to be in a data directory or in a local repository: whole, durable, or
not.

A temporary file in the same folder, fsync, a name, fsync of the folder. A crash at any point leaves
either the old state or the new one, and at worst a temporary file (``.tmp-…``) that nothing reads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

TEMPORARY_PREFIX = ".tmp-"

NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
"""How a file is opened that must not be there before."""

_BUFFERS_A_CALL = 512  # below every system's IOV_MAX
_ZEROS_BYTES = 1 << 20


def write_file(
    name: str | bytes,
    chunks: Sequence[bytes],
    *,
    folder: int,
    replace: bool,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    mtime_ns: int | None = None,
) -> int:
    """Write ``chunks``, joined, to the file ``name`` in the folder open as descriptor ``folder``;
    return its size.

    With ``replace`` an existing file (or link: it is not followed) gives way at once; without,
    FileExistsError is raised. ``owner`` is (uid, gid). Raises OSError as the system does; then
    the folder is as it was (or a replaced file is new, where only syncing the folder failed).
    """
    with new_file(name, folder=folder, replace=replace) as descriptor:
        size = write_all(descriptor, chunks)
        set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
    return size


@contextmanager
def passing_file(name: str | bytes, *, folder: int) -> Iterator[int]:
    """Give a new file of a passing ``name``, open for writing and mode 0600, which is closed when
    the block is left; left by an exception, it is removed. Nothing is durable yet.

    Raises OSError, FileExistsError if there is one of that name.
    """
    descriptor = os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


@contextmanager
def new_file(name: str | bytes, *, folder: int, replace: bool) -> Iterator[int]:
    """Give a new file, open for writing and mode 0600, that gets its ``name``, durably, when the
    block is left; left by an exception, it is removed. As :func:`write_file`.
    """
    temporary = TEMPORARY_PREFIX + os.urandom(8).hex()
    descriptor = os.open(temporary, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            _name_without_replacing(temporary, name, folder)
    except BaseException:
        _remove_quietly(temporary, folder)
        raise
    try:
        os.fsync(folder)
    except OSError:
        if not replace:
            _remove_quietly(name, folder)
        raise


def write_all(descriptor: int, chunks: Sequence[bytes]) -> int:
    """Write the chunks one after another; return how many bytes that were."""
    total = 0
    for start in range(0, len(chunks), _BUFFERS_A_CALL):
        batch = chunks[start : start + _BUFFERS_A_CALL]
        wanted = sum(map(len, batch))
        written = os.writev(descriptor, batch)
        if written < wanted:  # a signal, a very large write, or a disk that is filling up
            rest = memoryview(b"".join(batch))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        total += wanted
    return total


def overwrite(descriptor: int) -> None:
    """Put zeros over all of an open file's bytes, durably. What a file system or a disk that never
    writes in place keeps of them elsewhere is out of reach.
    """
    size = os.fstat(descriptor).st_size
    for start in range(0, size, _ZEROS_BYTES):
        write_all(descriptor, [bytes(min(_ZEROS_BYTES, size - start))])
    os.fsync(descriptor)


def remove_for_good(path: str) -> None:
    """Overwrite a file and remove it; a link is removed, and not followed. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    else:
        try:
            overwrite(descriptor)
        finally:
            os.close(descriptor)
    os.unlink(path)


def remove_temporaries(folder: str) -> None:
    """Remove for good what writers that were killed left in a folder in which nobody writes now;
    there need not be one. Raises OSError.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(TEMPORARY_PREFIX):
            remove_for_good(os.path.join(folder, name))


def set_attributes(
    descriptor: int, *, mode: int, owner: tuple[int, int] | None, mtime_ns: int | None
) -> None:
    """Give an open file, mode 0600 and ours until now, its owner, mode and modification time, in
    that order.
    """
    if owner is not None and owner != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, *owner)
    if mode != 0o600:  # after the owner: changing the owner clears set-id bits
        os.fchmod(descriptor, mode)
    if mtime_ns is not None:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def sync_folder(path: str | bytes) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name_without_replacing(temporary: str, name: str | bytes, folder: int) -> None:
    # A hard link fails if the name is taken, where a rename would silently replace the file.
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        try:  # a file system without hard links; the moment between look and rename stays open
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    else:
        _remove_quietly(temporary, folder)


def _remove_quietly(name: str | bytes, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return  # it was named already, or it is a temporary file that nothing reads


def make_private(folder: str) -> None:
    """Make a folder, and those above it that are missing, for its owner alone, durably: what is
    made durable in it must not go with it. Raises OSError.
    """
    above = os.path.dirname(folder)
    if above and not os.path.isdir(above):
        make_private(above)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    else:
        sync_folder(above or os.curdir)
