"""Links of an export, and files of several names, made anew. For ``import_apply.py``."""

from __future__ import annotations

import os
import stat

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.new_files import NewFiles
from shenyu_data.operations.import_checks import Entry
from shenyu_data.operations.import_edits import contents_digest

_MOST_SAME = 100_000


class SameFiles:
    """Remembers the first file of each that has several names."""

    def __init__(self, root: int, files: NewFiles) -> None:
        self._root = root
        self._files = files
        self._first: dict[str, tuple[bytes, bytes]] = {}

    def remember(self, entry: Entry) -> None:
        """Remember a file that is there, if it is the first of its names."""
        same = entry.item.same
        if same is not None and same not in self._first and len(self._first) < _MOST_SAME:
            self._first[same] = (entry.path, contents_digest(entry))

    def join(self, entry: Entry) -> os.stat_result | None:
        """Make a file another name of one that came before; None if there is none that is the same.

        What waits for its name gets it first.
        """
        first = self._first.get(entry.item.same or "")
        if first is None or first[1] != contents_digest(entry):
            return None
        self._files.flush()
        above, _, name = entry.path.rpartition(b"/")
        first_above, _, first_name = first[0].rpartition(b"/")
        folder = self._files.folder(above)
        try:
            source = open_folder(self._root, first_above)
            try:
                os.link(
                    first_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False
                )
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(source)
        except OSError:
            return None


def make_link(folder: int, entry: Entry, owner: tuple[int, int] | None) -> bool:
    """Make a link in an open folder; return False if it is there already.

    Raise NotADirectoryError, "something is in the way", if something else is; OSError.
    """
    name, target = entry.path.rpartition(b"/")[2], entry.item.data or b""
    try:
        os.symlink(target, name, dir_fd=folder)
    except FileExistsError:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode) or os.readlink(name, dir_fd=folder) != target:
            raise NotADirectoryError(20, "it is there, and is not this link") from None
        return False
    if owner is not None:
        os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
    if (mtime_ns := entry.item.mtime_ns) is not None:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)
    return True
