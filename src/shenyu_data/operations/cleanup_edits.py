"""What a cleanup makes of one live document, at the moment of the exchange. Called by
operations/cleanup.py.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from shenyu_data.datadir.large import LargeFile
from shenyu_data.datadir.replace import Attributes, Changed, Live
from shenyu_data.model.chats import Chat, History, same_value
from shenyu_data.model.chats_edit import remove_all
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, Place, path_of
from shenyu_data.model.regzip import gzip_like
from shenyu_data.operations.cleanup_documents import digest_of, is_large
from shenyu_data.operations.cleanup_large import Taken, fill_without, open_unchanged, take_out
from shenyu_data.operations.cleanup_owner import Removal
from shenyu_data.operations.cleanup_saved import version_contents
from shenyu_data.operations.cleanup_values import Amounts
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.journal import Digests, Step
from shenyu_data.operations.live_document import Change, Refused
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.operations.restore_wanted import Saved, document_at
from shenyu_data.repository.format import FileState


class Apply(Protocol):
    """The cleanup that is under way."""

    @property
    def digests(self) -> Digests:
        """Those of its journal."""

    def again(self, user: bytes, planned: Removal, data: bytes | None) -> Removal | None:
        """Plan a document anew that was written since; without ``data`` it is read. None: nothing
        that was planned before goes.
        """

    def open(self, user: bytes, name: bytes) -> LargeFile:
        """Open a history to be followed as a stream. Raises OSError."""


class RemovalEdit:
    """What becomes of one document; ``amounts`` is what went when it was last asked."""

    def __init__(self, apply: Apply, user: bytes, removal: Removal, saved: Saved) -> None:
        self.path = path_of(user, Place.IN_HISTORY_FOLDER, removal.name)
        self.amounts = Amounts()
        self._apply = apply
        self._user = user
        self._removal = removal
        self._saved = saved

    def __call__(self, live: Live | None) -> Change | None:
        """Say what the document becomes."""
        if live is None:
            return None
        name, data = self._removal.name, live.data
        if data is None or (name.endswith(JSON_SUFFIX) and is_large(data)):
            return self._large(live)
        removal: Removal | None = self._removal
        if digest_of(data) != self._removal.digest:
            removal = self._apply.again(self._user, self._removal, data)
        if removal is None:
            return None
        try:
            history = read_chats(name, data)
        except Unparsable:
            return None
        gone = [history.chats[index] for index in removal.indexes]
        self._check_saved(data, gone, whole=removal.whole)
        self._count(history, gone, whole=removal.whole)
        digests = self._apply.digests
        gone_digests = [chat_digest(digests, chat.value) for chat in gone]
        if removal.whole:
            return Change(None, None, step=self._step(None, gone_digests))
        new = remove_all(history, removal.indexes)
        if name.endswith(GZIP_SUFFIX):
            new = gzip_like(data, new)
        step = self._step(digests.of(new), gone_digests)
        return Change(new, _as_it_was(live), step=step)

    def _large(self, live: Live) -> Change | None:
        """As :meth:`__call__`, of a history that is followed as a stream."""
        planned, removal = self._removal, self._removal
        owner = self._saved.owner(self._user, self.path)
        keys = [] if owner is None else owner.keys
        try:
            with open_unchanged(self._opened, live) as file:
                taken = take_out(file, removal.indexes, self._apply.digests, keys)
                if taken.digest != removal.digest:
                    again = self._apply.again(self._user, planned, None)
                    if again is None:
                        return None
                    removal = again
                    taken = take_out(file, removal.indexes, self._apply.digests, keys)
                if taken.digest != removal.digest or not file.is_as_it_was():
                    raise Changed
        except Unparsable:
            return None
        self._check_large_saved(taken, live.stat.st_size, whole=removal.whole)
        self.amounts = Amounts(
            chats=len(removal.indexes),
            messages=taken.messages,
            size_bytes=taken.size_bytes,
            documents=1,
            files=int(removal.whole),
        )
        if removal.whole:
            return Change(None, None, step=self._step(None, taken.removed))
        return Change(
            None,
            _as_it_was(live),
            fill=fill_without(self._opened, taken.digest, removal.indexes),
            step=self._step(taken.left, taken.removed),
            wrote=taken.left,
        )

    def _opened(self) -> LargeFile:
        return self._apply.open(self._user, self._removal.name)

    def _step(self, wrote: bytes | None, removed: list[bytes]) -> Step:
        return Step(
            path=self.path,
            user=self._user,
            chat=None,
            snapshot=None,
            before=self._saved.snapshot,
            wrote=wrote,
            removed=removed,
        )

    def _count(self, history: History, gone: list[Chat], *, whole: bool) -> None:
        self.amounts = Amounts(
            chats=len(gone),
            messages=sum(chat.messages for chat in gone),
            size_bytes=sum(chat.end - chat.start for chat in gone),
            documents=1,
            files=int(whole),
        )

    def _check_saved(self, data: bytes, gone: list[Chat], *, whole: bool) -> None:
        """Raise Refused if the safety snapshot does not hold what is about to be removed."""
        if self._saved.holds(self._user, self.path, data):
            return
        saved = None if whole else self._saved.read(self._user, self.path)
        if saved is not None:
            with suppress(Unparsable):
                kept = read_chats(self._removal.name, saved[1])
                there = {chat.identity: chat for chat in kept.chats}
                if all(
                    chat.identity in there and same_value(there[chat.identity].value, chat.value)
                    for chat in gone
                ):
                    return
        raise _not_in_it()

    def _check_large_saved(self, taken: Taken, size: int, *, whole: bool) -> None:
        owner = self._saved.owner(self._user, self.path)
        entry = document_at(owner, self.path)
        if owner is not None and entry is not None and entry.state != FileState.UNREADABLE:
            if entry.size == size and entry.digest in taken.versions:
                return
            with suppress(Unparsable):
                name = self._removal.name
                if not whole and set(taken.contents) <= version_contents(owner, name, entry):
                    return
        raise _not_in_it()


def _not_in_it() -> Refused:
    return Refused(code="not-saved", message="the safety snapshot does not hold what is there now")


def _as_it_was(live: Live) -> Attributes:
    """Return a document's own attributes. Its time stays: it is the clock of those of its chats
    that have none.
    """
    found = live.stat
    return Attributes(found.st_mode & 0o7777, (found.st_uid, found.st_gid), found.st_mtime_ns)
