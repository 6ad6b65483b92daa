"""Watching what an import made anew: whoever looked for a document before it was there may write it
a moment later, and over it. For ``import_apply.py``; docs/design/exchange.md says why it is so.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.made import written_since

_HEAD = struct.Struct("<HI")


class Watch:
    """Remembers what was made under the open folder ``root``, in the file ``notes``: what looks are
    is said in datadir/made.py. ``quiet_s`` 0: the application is stopped, nothing is remembered.
    """

    def __init__(self, root: int, notes: BinaryIO, quiet_s: float) -> None:
        self._root = root
        self._notes = notes
        self._quiet_s = quiet_s
        self._until = 0.0
        self._is_empty = True

    def note(self, folder: bytes, looks: bytes) -> None:
        """Remember documents that have just got their names in a folder."""
        if not self._quiet_s or not looks:
            return
        self._notes.write(_HEAD.pack(len(folder), len(looks)))
        self._notes.write(folder)
        self._notes.write(looks)
        self._until = time.monotonic() + self._quiet_s
        self._is_empty = False

    def written(self, let_pass: Callable[[float], None]) -> Iterator[bytes]:
        """Yield the paths of documents that were written since they were made, once enough time
        has passed after the last one; then all are forgotten.
        """
        if self._is_empty:
            return
        let_pass(max(0.0, self._until - time.monotonic()))
        self._notes.seek(0)
        for path, group in groupby(self._remembered(), key=itemgetter(0)):
            try:
                folder = open_folder(self._root, path)
            except OSError:  # taken away, or something else is in its place
                continue
            try:
                for _, looks in group:
                    for name in written_since(folder, looks):
                        yield b"%b/%b" % (path, name) if path else name
            finally:
                os.close(folder)
        self._notes.seek(0)
        self._notes.truncate()
        self._is_empty = True

    def _remembered(self) -> Iterator[tuple[bytes, bytes]]:
        while head := self._notes.read(_HEAD.size):
            folder_bytes, looks_bytes = _HEAD.unpack(head)
            yield self._notes.read(folder_bytes), self._notes.read(looks_bytes)
