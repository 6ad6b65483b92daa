"""The edits with which ``restore --undo`` takes single steps back: of a chat, of a document, small
or large. Called by restore_undo.py.
"""

from __future__ import annotations

import os

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.large import LargeFile
from shenyu_data.datadir.replace import Live
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_edit import remove, replace
from shenyu_data.model.chats_merge import merge
from shenyu_data.model.documents import MAX_PARSED_VALUES, Unparsable
from shenyu_data.model.layout import HISTORIES, JSON_SUFFIX, Kind
from shenyu_data.operations.cleanup_documents import is_large, is_large_size
from shenyu_data.operations.cleanup_undo import chats_back, saved_attributes
from shenyu_data.operations.cleanup_undo_large import (
    SavedDocument,
    large_chats_back,
    large_document_back,
)
from shenyu_data.operations.journal import Digests, Step
from shenyu_data.operations.live_document import Change, Edit, Refused, kept_attributes
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.operations.restore_wanted import Saved, document_at
from shenyu_data.repository.format import FileEntry, FileState
from shenyu_data.repository.repository import Repository


def kind_of_step(step: Step) -> Kind:
    """Return what kind of document a step wrote."""
    parts = step.path.split(b"/")
    if step.user is None:
        return "other"
    if parts[0] == HISTORIES and len(parts) == 3 and parts[2].endswith(JSON_SUFFIX):
        return "other" if parts[2].startswith(b".") else "history"
    return "user" if parts[0] == b"users" else "other"


class UndoEdits:
    """Makes the edits that take steps back. ``first_saved`` is the snapshot before all of them,
    ``root`` the open data directory. ``overwrite``: also what was changed since.
    """

    def __init__(
        self, repository: Repository, first_saved: bytes, root: int, *, overwrite: bool
    ) -> None:
        self._repository = repository
        self._root = root
        self._overwrite = overwrite
        self._first_saved = first_saved
        self._digests = Digests(repository)
        self._snapshots: dict[bytes, Saved] = {}

    def of(self, step: Step) -> Edit:
        """Return the edit that takes one step back."""
        return self._chat_back(step) if step.chat is not None else self._document_back(step)

    def _read(self, snapshot: bytes | None, step: Step) -> tuple[FileEntry, bytes] | None:
        if snapshot is None:
            return None
        return self._snapshot(snapshot).read(step.user, step.path)

    def _snapshot(self, snapshot: bytes) -> Saved:
        if snapshot not in self._snapshots:
            self._snapshots[snapshot] = Saved(self._repository, snapshot)
        return self._snapshots[snapshot]

    def _large(self, step: Step, live: Live | None) -> SavedDocument | None:
        """Return the document out of which chats were taken, if it is to be followed as a stream:
        it, or what is there now, is too large for memory.
        """
        if step.removed is None or step.before is None or not step.path.endswith(JSON_SUFFIX):
            return None
        owner = self._snapshot(step.before).owner(step.user, step.path)
        entry = document_at(owner, step.path)
        if owner is None or entry is None or entry.state == FileState.UNREADABLE:
            return None
        large = live is not None and (live.data is None or is_large(live.data))
        large = large or is_large_size(entry.size)
        if not large and entry.size > MAX_PARSED_VALUES:  # each value takes a byte at least
            large = is_large(owner.reader.read(entry))
        return SavedDocument(owner, entry) if large else None

    def _opened(self, step: Step) -> LargeFile:
        above, _, name = step.path.rpartition(b"/")
        folder = open_folder(self._root, above)
        try:
            return LargeFile(folder, name)
        finally:
            os.close(folder)

    def _chat_back(self, step: Step) -> Edit:
        key = step.chat or ""

        def edit(live: Live | None) -> Change | None:
            if live is None:
                return None
            try:
                history = read_history(live.data or b"")
            except Unparsable as error:
                raise Refused(
                    code="live-torn", message=f"the live history cannot be read: {error}"
                ) from None
            index = next(iter(history.find(key)), None)
            if index is None or history.inside is None:
                return None
            now = chat_digest(self._digests, history.chats[index].value)
            if step.before is None:
                if now != step.wrote and not self._overwrite:
                    raise Refused(
                        code="changed-since",
                        message="the chat was changed after it was restored; it is left there",
                    )
                if len(history.chats) == 1 and self._read(self._first_saved, step) is None:
                    return Change(None, None)
                return Change(remove(history, index), kept_attributes(live))
            saved = self._read(step.before, step)
            if saved is None:
                raise Refused(code="not-saved", message="the safety snapshot has no such history")
            source = read_history(saved[1])
            old = source.chats[source.find(key)[0]]
            if now == chat_digest(self._digests, old.value):
                return None
            if now != step.wrote and not self._overwrite:
                raise Refused(
                    code="changed-since",
                    message="the chat was changed after it was restored; it is left as it is",
                )
            return Change(replace(history, index, source, old), kept_attributes(live))

        return edit

    def _document_back(self, step: Step) -> Edit:
        def edit(live: Live | None) -> Change | None:
            large = self._large(step, live)
            if large is not None and live is None:
                return large_document_back(large, self._digests)
            if large is not None and live is not None:
                return large_chats_back(
                    step,
                    live,
                    lambda: self._opened(step),
                    large,
                    self._digests,
                    overwrite=self._overwrite,
                )
            saved = self._read(step.before, step)
            if step.before is not None and saved is None:
                raise Refused(
                    code="not-saved", message="the safety snapshot does not hold the document"
                )
            old = saved[1] if saved is not None else None
            if live is None or (live.data is not None and live.data == old):
                if live is not None or old is None or saved is None:
                    return None
                return Change(old, saved_attributes(saved[0]))
            if step.removed is not None and saved is not None:
                return chats_back(step, live, saved, self._digests, overwrite=self._overwrite)
            as_written = live.data is not None and self._digests.of(live.data) == step.wrote
            if not as_written and not self._overwrite:
                return self._merged_back(step, live, old)
            if saved is None:
                return Change(None, None)
            return Change(old, saved_attributes(saved[0]))

        return edit

    def _merged_back(self, step: Step, live: Live, old: bytes | None) -> Change | None:
        """Return the old history with what the application wrote since."""
        put = self._read(step.snapshot, step)
        try:
            if put is None or live.data is None or kind_of_step(step) != "history":
                raise ValueError
            merged = merge(put[1], live.data, old if old is not None else b"[]")
            if merged.conflicts:
                raise ValueError
        except (ValueError, Unparsable):
            raise Refused(
                code="changed-since",
                message="it was changed after it was restored; it is left as it is",
            ) from None
        if old is None and not read_history(merged.data).chats:
            return Change(None, None)
        return None if merged.data == live.data else Change(merged.data, kept_attributes(live))
