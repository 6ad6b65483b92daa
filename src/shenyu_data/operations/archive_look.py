"""Looking into histories and their archives before chats move between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.replace import MOST_BYTES, InTheWay, Live, read_live
from shenyu_data.model.chats import History, read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import is_archive_name
from shenyu_data.model.records import gunzip
from shenyu_data.operations.live_document import Refused


@contextmanager
def opened(root: int, path: bytes) -> Iterator[int]:
    """Open the folder at a path under the open folder ``root``, for a while. Raise OSError."""
    folder = open_folder(root, path)
    try:
        yield folder
    finally:
        os.close(folder)


def readable(root: int, path: bytes) -> tuple[History, Live] | None:
    """Read a history or an archive; None if there is none that can be looked into."""
    try:
        return look(root, path)
    except (OSError, Unparsable, Refused):
        return None


def look(root: int, path: bytes) -> tuple[History, Live] | None:
    """Read a history or an archive; None if there is none.

    Raise Refused or Unparsable if it cannot be looked into, OSError if it cannot be read.
    """
    above, _, name = path.rpartition(b"/")
    try:
        with opened(root, above) as folder:
            live = read_live(folder, name, "history")
    except InTheWay:
        return None  # a link or the like is no history
    if live is None:
        return None
    if not live.whole:
        raise Refused(code="live-torn", message="it is not whole")
    return history_of_file(name, live), live


def left_finding(path: bytes, error: OSError | Unparsable | Refused) -> Finding:
    """Return the finding about a history or archive that could not be looked into."""
    if isinstance(error, Refused):
        why = error.message
    else:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return Finding(
        code="live-torn",
        severity="error",
        path=printable(path),
        message=f"no chat of it moves: {why}",
        hint="`shenyu-data validate` says what is wrong; restore the history.",
    )


def history_of_file(name: bytes, live: Live) -> History:
    """Return the chats of a history or an archive. Raise Refused if there are none to be had."""
    data = live.data
    if data is not None and is_archive_name(name):
        data = gunzip(data, MOST_BYTES)
    if data is None or len(data) > MOST_BYTES:
        raise Refused(code="live-torn", message="it is damaged, or too large")
    try:
        return read_history(data)
    except Unparsable as error:
        raise Refused(code="live-torn", message=f"it cannot be read: {error}") from None


def state_of(live: Live) -> tuple[int, ...]:
    """Return what is another if the file is another one, or was written."""
    found = live.stat
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
