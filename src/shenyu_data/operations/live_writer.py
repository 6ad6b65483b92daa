"""Changing many live documents: one exchange after another, each watched until it is settled.
Called by operations that change live data.

Watching takes two seconds for what the application may have in hand. Meanwhile the next documents
are changed: what is watched waits in a queue, and is looked at when its time has come.
"""

from __future__ import annotations

import heapq
import itertools
import os
import resource
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from shenyu_data.datadir.folder import make_folder, open_folder
from shenyu_data.datadir.replace import is_in_the_way
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Kind
from shenyu_data.operations.journal import Digests, Folder, Journal
from shenyu_data.operations.live_document import Edit, LiveDocument, Refused, conflict_finding
from shenyu_data.operations.live_watch import DocumentWatch

_MOST_WATCHED = 512
_MOST_WATCHED_BYTES = 64 << 20
_POLL_S = 0.005

Result = Literal["changed", "removed", "unchanged", "left"]
"""``left``: it was said why."""

Then = Callable[[bool], None]
"""What follows when a document is settled: whether it became what it was to be."""


class _Waiting(NamedTuple):
    """What is to be looked at, and when, on the monotonic clock; the number keeps their order.
    Without a watch, nothing but time is to pass.
    """

    at: float
    number: int
    held_bytes: int
    watch: DocumentWatch | None
    then: Then | None


class LiveWriter:
    """Applies edits to documents under the open folder ``root`` and counts how they went."""

    def __init__(
        self,
        root: int,
        journal: Journal,
        digests: Digests,
        quiet_s: float,
        report: Callable[[Finding], None],
        *,
        share: int = 1,
    ) -> None:
        """``share``: so many writers are at work at once, and each takes its part of the memory."""
        self._root = root
        self._journal = journal
        self._digests = digests
        self._quiet_s = quiet_s
        self._report = report
        self._waiting: list[_Waiting] = []  # a heap
        self._numbers = itertools.count()
        self._held_bytes = 0
        self._most_bytes = _MOST_WATCHED_BYTES // share
        self._most = _most_open()
        self._is_working = False
        self.changed = self.removed = self.unchanged = 0
        self.refused = self.busy = self.failed = 0

    def apply(
        self,
        path: bytes,
        kind: Kind,
        edit: Edit,
        *,
        folder_mode: int = 0o700,
        make: bool = True,
        later: set[bytes] | None = None,
        then: Then | None = None,
    ) -> Result:
        """Change one document; ``make`` its folders if they are missing. If it is changed, ``then``
        is called when it is settled, maybe before this returns.

        If what is there is not saved yet, its path is added to ``later``, if that is given.
        """
        try:
            folder = self._open(path.rpartition(b"/")[0], folder_mode, make)
        except FileNotFoundError:
            self.unchanged += 1  # nothing is there, and nothing is to be made
            return "unchanged"
        except OSError as error:
            self._fail(path, error)
            return "left"
        document = LiveDocument(folder, path, kind, self._journal, self._digests, self._quiet_s)
        result: Result = "left"
        try:
            change = document.change(edit)
        except Refused as refused:
            self._refuse(path, refused, later)
        except OSError as error:
            self._fail(path, error)
        except BaseException:
            document.close()
            raise
        else:
            result = self._count(change is None, change is not None and change.remove)
            if change is not None:
                self._wait(document.due_at, DocumentWatch(self._root, document), then)
                return result
        document.close()
        return result

    def after(self, seconds: float, then: Then) -> None:
        """Call ``then`` when so much time has passed, and go on with others meanwhile."""
        self._wait(time.monotonic() + seconds, None, then)

    def drain(self) -> None:
        """Watch what was changed until all of it is quiet."""
        self._work_off(everything=True)

    def close(self) -> None:
        """Let go of what is still watched: after an error, as the next operation finishes it."""
        for item in self._waiting:
            if item.watch is not None:
                item.watch.document.close()
        self._waiting.clear()
        self._held_bytes = 0

    def __enter__(self) -> LiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def let_pass(self, seconds: float) -> None:
        """Wait, so that whoever read a document before has written it."""
        time.sleep(seconds)

    def _wait(self, at: float, watch: DocumentWatch | None, then: Then | None) -> None:
        self._push(at, watch, then)
        self._work_off(everything=False)

    def _push(self, at: float, watch: DocumentWatch | None, then: Then | None) -> None:
        held_bytes = watch.document.held_bytes if watch is not None else 0
        self._held_bytes += held_bytes
        item = _Waiting(at, next(self._numbers), held_bytes, watch, then)
        heapq.heappush(self._waiting, item)

    def _work_off(self, *, everything: bool) -> None:
        """Look at what is due; wait for more only if ``everything`` is to be done, or if there is
        too much.
        """
        if self._is_working:
            return  # what follows a document changes another one
        self._is_working = True
        try:
            while self._waiting and (
                everything
                or self._waiting[0].at <= time.monotonic()
                or len(self._waiting) > self._most
                or self._held_bytes > self._most_bytes
            ):
                item = heapq.heappop(self._waiting)
                self._held_bytes -= item.held_bytes
                self._look(item)
        finally:
            self._is_working = False

    def _look(self, item: _Waiting) -> None:
        """Look at what is waiting; if it is not settled, it waits on."""
        watch, early_s = item.watch, item.at - time.monotonic()
        if watch is None:
            time.sleep(max(0.0, early_s))
            self._follow(item.then, well=True)
            return
        if early_s > 0:  # nothing else is to be done: look more often than it must be
            time.sleep(min(_POLL_S, early_s))
        document = watch.document
        try:
            settled = watch.look()
        except BaseException:
            document.close()
            raise
        if not settled:
            self._push(max(document.due_at, time.monotonic() + _POLL_S), watch, item.then)
            return
        document.close()
        for finding in watch.findings:
            self.busy += finding.code == "live-busy"
            self.refused += finding.code != "live-busy"
            self._report(finding)
        self._follow(item.then, well=not watch.findings)

    def _follow(self, then: Then | None, *, well: bool) -> None:
        if then is not None:
            then(well)

    def _open(self, path: bytes, mode: int, make: bool) -> int:
        try:
            return open_folder(self._root, path)
        except FileNotFoundError:
            if not make:
                raise
        parts = path.split(b"/")
        for count in range(1, len(parts) + 1):
            above = b"/".join(parts[:count])
            try:
                os.close(open_folder(self._root, above))
            except FileNotFoundError:
                self._journal.write(Folder(above))
        return make_folder(self._root, path, mode=mode)

    def _count(self, unchanged: bool, removed: bool) -> Result:
        self.unchanged += unchanged
        self.removed += removed
        self.changed += not unchanged and not removed
        return "unchanged" if unchanged else "removed" if removed else "changed"

    def _refuse(self, path: bytes, refused: Refused, later: set[bytes] | None) -> None:
        if refused.code == "not-saved" and later is not None:
            later.add(path)
            return
        self.busy += refused.code == "live-busy"
        self.refused += refused.code != "live-busy"
        self._report(conflict_finding(refused.code, path, refused.message))

    def _fail(self, path: bytes, error: OSError) -> None:
        if is_in_the_way(error):
            self.refused += 1
            message = f"something stands in its way: {error.strerror or 'it is no regular file'}"
            self._report(conflict_finding("in-the-way", path, message))
            return
        self.failed += 1
        self._report(
            Finding(
                code="not-written",
                severity="error",
                path=printable(path),
                message=f"it could not be written: {error.strerror or error}",
                hint="Check the free space, owner and mode of the data directory.",
            )
        )


def _most_open() -> int:
    """Return how many documents are watched at most: each has its folder open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_WATCHED if allowed < 0 else min(_MOST_WATCHED, allowed // 2)
