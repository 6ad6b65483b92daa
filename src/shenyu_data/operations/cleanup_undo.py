"""Taking a cleanup back: chats into their places, files, folders. Called by
operations/restore_undo.py.
"""

from __future__ import annotations

import os
from contextlib import suppress

from shenyu_data.datadir.folder import FOLDER_FLAGS, open_folder
from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_edit import remove_all
from shenyu_data.model.chats_merge import merge
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.layout import GZIP_SUFFIX
from shenyu_data.operations.journal import Digests, FolderGone, Step
from shenyu_data.operations.live_document import Change, Refused, kept_attributes
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.repository.format import FileEntry


def chats_back(
    step: Step, live: Live, saved: tuple[FileEntry, bytes], digests: Digests, *, overwrite: bool
) -> Change | None:
    """Put the chats that a step took out of a history back in their places.

    A history that is as it was left becomes what it was, to the last byte. In one that went on,
    chats that came since stay, and so does a chat that is there again. Raise Refused if that cannot
    be told apart.
    """
    entry, old = saved
    whole = Change(old, saved_attributes(entry))
    now = live.data or b""
    if step.path.endswith(GZIP_SUFFIX):
        if overwrite or digests.of(now) == step.wrote:
            return whole
        raise changed_since()
    try:
        kept = _without(step, old, digests)
        if kept == now:
            return whole
        merged = merge(kept, old, now)
    except (ValueError, Unparsable):
        merged = None
    if merged is None or (merged.conflicts and merged.data == now):
        if overwrite:
            return whole
        raise changed_since()
    return None if merged.data == now else Change(merged.data, kept_attributes(live))


def _without(step: Step, old: bytes, digests: Digests) -> bytes:
    """Return what was left of a history. Raise Unparsable."""
    if step.wrote is None:
        return b"[]"
    history, removed = read_history(old), set(step.removed or ())
    gone = [
        index
        for index, chat in enumerate(history.chats)
        if chat_digest(digests, chat.value) in removed
    ]
    return remove_all(history, gone)


def make_folders(root: int, folders: list[FolderGone]) -> None:
    """Make folders that were removed, as they were; those that are there again stay."""
    for gone in folders:
        above, _, name = gone.path.rstrip(b"/").rpartition(b"/")
        with suppress(FileExistsError, FileNotFoundError):
            descriptor = open_folder(root, above)
            try:
                os.mkdir(name, 0o700, dir_fd=descriptor)
                made = os.open(name, FOLDER_FLAGS, dir_fd=descriptor)
                try:
                    if os.geteuid() == 0:
                        os.fchown(made, gone.uid, gone.gid)
                    os.fchmod(made, gone.mode)
                finally:
                    os.close(made)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def saved_attributes(entry: FileEntry) -> Attributes:
    """Return the attributes of a document that comes back from a snapshot."""
    owner = (entry.uid, entry.gid) if os.geteuid() == 0 else None
    return Attributes(entry.mode, owner, entry.mtime_ns)


def changed_since() -> Refused:
    """Return the refusal to take back what cannot be told from what came since."""
    return Refused(
        code="changed-since",
        message="it was changed after it was cleaned up; it is left as it is",
    )
