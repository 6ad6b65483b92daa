"""Looking at and changing the files of a folder, around what is measured. For `works`."""

import gzip
import os
from pathlib import Path


def stamps_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return size, time and inode of every file below a folder."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in found}


def leave_for_a_day(path: Path) -> None:
    """Make a file look as if nobody had written to it for a day."""
    moment = path.stat().st_mtime - 86_400
    os.utime(path, (moment, moment))


def empty_files(folder: Path) -> None:
    """Give back the room that restored files take, but not yet the files themselves.

    ext4 without a journal avoids an inode for half a minute after its file was deleted, and looks
    at all of these whenever it makes a file: deleting here made the next restore ten times slower.
    """
    for directory, _, names in os.walk(folder):
        for name in names:
            os.truncate(os.path.join(directory, name), 0)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a small folder, by its path there."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def unpacked_files(folder: Path) -> dict[str, bytes]:
    """Return every file as it was before it was compressed."""
    return {
        path.removesuffix(".gz"): gzip.decompress(content) if path.endswith(".gz") else content
        for path, content in files_of(folder).items()
    }
