"""Watching a live document that was changed until it is settled, and mending it meanwhile.

For ``live_writer.py``. The versions that were there are kept in memory meanwhile. What the
application wrote, into the document or into a file that was displaced, goes on from one of them: if
not from the last, it is merged with what came since.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from shenyu_data.datadir.replace import (
    Attributes,
    Live,
    displaced_name,
    keep_for_owner,
    kept_name,
    new_token,
    put,
    read_live,
)
from shenyu_data.model.chats import read_history
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.journal import Settled
from shenyu_data.operations.live_document import (
    Change,
    Displaced,
    Edit,
    LiveDocument,
    Refused,
    conflict_finding,
    kept_attributes,
)

_MOST_S = 60.0
_ROUNDS = 60


class DocumentWatch:
    """Watches a ``document`` under the open folder ``root`` that was changed."""

    def __init__(self, root: int, document: LiveDocument) -> None:
        self.document = document
        self.findings: list[Finding] = []
        self._root = root
        self._folder = document.folder
        self._versions = document.versions
        self._give_up_at: float | None = None
        self._rounds = 0
        self._looked_at: tuple[int, int, int] | None = None

    def look(self) -> bool:
        """Look whether the document and what was displaced are quiet, and mend what is to be
        mended; return whether it is settled: watched for long enough, or given up.

        Then nothing of ours is left beside it, but for what could not be merged; ``findings`` say
        what was seen.
        """
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + _MOST_S + self.document.quiet_s
        late = now > self._give_up_at or self._rounds > _ROUNDS
        due = now >= self.document.due_at
        if not self.document.displaced or (self._look(due=due, late=late) and due):
            return True
        if late:
            self._give_up()
        return late

    def _give_up(self) -> None:
        """Leave nothing behind under a name that nobody looks at, and nothing lost."""
        self._report("live-busy", "the application does not leave it alone long enough")
        for item in self.document.displaced:
            with suppress(FileNotFoundError):
                if item.open and not self._removed(item):
                    self._keep(item)
        with suppress(OSError, Unparsable):
            live = self.document.read()
            if self._versions.all and live and live.data and not self._versions.goes_on(live.data):
                self._keep_version(self._versions.all[-1])

    def _removed(self, item: Displaced) -> bool:
        """Remove a displaced file that nobody writes to and that is as it was; else return False.

        Raise FileNotFoundError.
        """
        name = displaced_name(item.token)
        quiet = self.document.is_quiet(name)
        found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        if not quiet or (found.st_size, found.st_mtime_ns) != item.stat:
            return False
        self._remove(item)
        return True

    def _remove(self, item: Displaced) -> None:
        os.unlink(displaced_name(item.token), dir_fd=self._folder)
        self.document.journal.write(Settled(item.token), durable=False)
        item.open = False

    def _look(self, *, due: bool, late: bool) -> bool:
        """Merge what arrived, put back what was lost; return whether there was nothing to do."""
        changed_at = self.document.changed_at
        quiet = True
        for item in list(self.document.displaced):
            if item.open:
                quiet &= self._look_at_displaced(item, due=due, late=late)
        quiet &= self._look_at_live(due=due)
        return quiet and self.document.changed_at == changed_at

    def _look_at_displaced(self, item: Displaced, *, due: bool, late: bool) -> bool:
        """Merge what arrived in a displaced file; once that is ``due``, remove it."""
        name = displaced_name(item.token)
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            now = (found.st_size, found.st_mtime_ns)
            if now == item.stat and not due:
                return True
            # However late: who has it open still writes, and removed it would be lost.
            if not self.document.is_quiet(name):
                self.document.busy = True
                return False
            displaced = read_live(self._folder, name, "other")
        except FileNotFoundError:
            item.open = False
            return True
        data = displaced.data if displaced is not None else None
        arrived = now != item.stat  # all there is to know of one too large for memory
        if data is not None:
            arrived = data != item.seen and bool(data.strip())
        if arrived:
            merged = data is not None and self._merge_back(data)
            if merged is None and not late:
                return False  # the document is rewritten all the time: once more
            if not merged:
                self._keep(item)
                return True
        item.stat = now
        if arrived:
            item.seen = data
            return False
        if due:
            self._remove(item)
        return True

    def _merge_back(self, arrived: bytes) -> bool | None:
        """Merge what arrived into the document; None if that is too busy, False if it cannot be."""
        if not self._versions.all:
            return False

        def edit(live: Live | None) -> Change | None:
            ours = self._versions.with_what_came_since(_data(live))
            merged = self._versions.merged(arrived, ours.data)
            if ours.conflicts or merged.conflicts:
                raise Refused(code="changed-since", message="both changed the same chat")
            return self._become(live, merged.data)

        return self._bring_together(edit)

    def _bring_together(self, edit: Edit) -> bool | None:
        """Change the document; None if it is too busy, False if it contradicts what came to it."""
        self.document.busy = True
        self._rounds += 1
        try:
            self.document.change(edit)
        except Refused as refused:
            return None if refused.code == "live-busy" else False
        except (Unparsable, ValueError, OSError):
            return False
        return True

    def _become(self, live: Live | None, data: bytes) -> Change | None:
        if data == _data(live) or (data == b"[]" and live is None):
            return None
        if not self._versions.all[-1] and not read_history(data).chats:
            return Change(None, None)  # it was taken away
        return Change(data, kept_attributes(live) if live else Attributes(0o600, None, None))

    def _keep(self, item: Displaced) -> None:
        kept = keep_for_owner(self._root, self._folder, item.token, self.document.path)
        item.open = False
        self.document.journal.write(Settled(item.token))
        self._report_kept(kept)

    def _keep_version(self, data: bytes) -> None:
        """Keep what should be there beside the document, in which it could not be put."""
        token = new_token()
        kept = kept_name(token, self.document.name)
        attributes = Attributes(0o600, None, None)
        put(self._folder, kept, token, None, lambda write: write(data), attributes)
        self._report_kept(self.document.path.rpartition(b"/")[0] + b"/" + kept)

    def _report_kept(self, kept: bytes) -> None:
        self._report(
            "displaced-kept",
            "the application wrote to it while it was replaced, and that could not be merged; it "
            f"is kept as {printable(kept)}",
        )

    def _look_at_live(self, *, due: bool) -> bool:
        """If the application went on from an older version, bring both together."""
        if not self._versions.all:
            return not due or self._is_as_made()
        try:
            found = os.stat(self.document.name, dir_fd=self._folder, follow_symlinks=False)
            now = (found.st_ino, found.st_size, found.st_mtime_ns)
            if now == self._looked_at and not due:
                return True
            live = self.document.read()
        except OSError:
            return True
        self._looked_at = now
        if live is None or live.data is None:
            return True
        if not live.whole:
            return not self.document.is_written(live)
        return self._goes_on(live.data) or self._put_again()

    def _is_as_made(self) -> bool:
        """Say so if the application wrote over what was made; return whether it did not."""
        made, self.document.made = self.document.made, None
        try:
            if made is None or not made.is_written_over():
                return True
        except OSError:
            return True
        self._report("changed-since", "the application wrote over what was made; it stands")
        return False

    def _goes_on(self, data: bytes) -> bool:
        try:
            return self._versions.goes_on(data)
        except Unparsable:
            return True

    def _put_again(self) -> bool:
        def edit(live: Live | None) -> Change | None:
            if live is None or live.data is None:
                return None
            try:
                merged = self._versions.with_what_came_since(live.data)
            except ValueError:  # one of them is a single chat
                merged = None
            if merged is not None and not merged.conflicts:
                change = self._become(live, merged.data)
                if change is None:
                    self._versions.stands(live.data)
                return change
            if last := self._versions.all[-1]:
                self._keep_version(last)  # it may hold what the application wrote elsewhere
            self._versions.stands(live.data)
            self._report(
                "changed-since",
                "the application went on with what was replaced; its version stands",
            )
            return None

        self._bring_together(edit)
        return False

    def _report(self, code: str, message: str) -> None:
        self.findings.append(conflict_finding(code, self.document.path, message))


def _data(live: Live | None) -> bytes:
    return (live.data if live else None) or b""
