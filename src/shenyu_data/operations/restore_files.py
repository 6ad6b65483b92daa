"""How a restore puts one document or one link into an open folder, never through a link.

Called by operations/restore.py and its workers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.repository.documents import DocumentReader
from shenyu_data.repository.format import FileEntry, LastGood, LinkEntry
from shenyu_data.storage.atomic import (
    NEW_FILE_FLAGS,
    TEMPORARY_PREFIX,
    set_attributes,
    write_all,
    write_file,
)


class Attributes(NamedTuple):
    """What a file gets when its contents are written; ``owner`` None: it stays ours."""

    mode: int
    owner: tuple[int, int] | None
    mtime_ns: int


def write_document(folder: int, name: bytes, data: bytes, attributes: Attributes) -> None:
    """Write a document that is in memory; a file or link in the way gives way to it."""
    mode, owner, mtime_ns = attributes
    try:
        descriptor = os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
    except FileExistsError:
        write_file(
            name, [data], folder=folder, replace=True, mode=mode, owner=owner, mtime_ns=mtime_ns
        )
        return
    try:
        try:
            if os.write(descriptor, data) != len(data):
                os.lseek(descriptor, 0, os.SEEK_SET)
                write_all(descriptor, [data])
        except OSError:
            os.unlink(name, dir_fd=folder)  # half a document is worse than none
            raise
        set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
    finally:
        os.close(descriptor)


def stream_document(
    folder: int,
    name: bytes,
    documents: DocumentReader,
    version: FileEntry | LastGood,
    attributes: Attributes,
) -> tuple[int, blake3]:
    """Write a document that memory may not hold, under a temporary name until it proved sound.

    Return its size and the hash of its contents. Raises as :meth:`DocumentReader.read` does.
    """
    mode, owner, mtime_ns = attributes
    size, contents = 0, blake3()
    temporary = TEMPORARY_PREFIX + os.urandom(8).hex()
    descriptor = os.open(temporary, NEW_FILE_FLAGS, 0o600, dir_fd=folder)

    def write(piece: bytes) -> None:
        nonlocal size
        size += write_all(descriptor, [piece])
        contents.update(piece)

    try:
        try:
            documents.stream(version, write)
            set_attributes(descriptor, mode=mode, owner=owner, mtime_ns=mtime_ns)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    return size, contents


def restore_link(entry: LinkEntry, path: bytes, folder: int) -> None:
    """Make the link at ``path``, whose open folder is ``folder``; what is in the way gives way."""
    name = path.rpartition(b"/")[2]
    try:
        os.symlink(entry.target, name, dir_fd=folder)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        os.symlink(entry.target, name, dir_fd=folder)
    if os.geteuid() == 0:
        os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
    times = (entry.mtime_ns, entry.mtime_ns)
    os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
