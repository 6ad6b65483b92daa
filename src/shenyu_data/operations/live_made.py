"""A document that was made where there was none, and is no history that could be merged: whether
the application wrote over it. For ``live_document.py`` and ``live_watch.py``.
"""

from __future__ import annotations

import os

from shenyu_data.datadir.made import look_of, written_since
from shenyu_data.datadir.replace import read_live
from shenyu_data.model.layout import Kind
from shenyu_data.model.user_rules import is_same_but_the_visit


class MadeDocument:
    """Remembers how a document looks that was just made in an open folder. Raises OSError."""

    def __init__(self, folder: int, name: bytes, kind: Kind, data: bytes | None) -> None:
        """``data`` None: it is too large for memory."""
        self._folder = folder
        self._name = name
        self._kind = kind
        self.data = data
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self._look = look_of(name, found, named=False)

    def is_written_over(self) -> bool:
        """Whether somebody wrote it since, and had not read it. Raises OSError."""
        if not any(written_since(self._folder, self._look)):
            return False
        live = read_live(self._folder, self._name, self._kind)
        if live is None or live.data is None or self.data is None:
            return live is not None
        return live.data != self.data and not (
            self._kind == "user" and is_same_but_the_visit(self.data, live.data)
        )
