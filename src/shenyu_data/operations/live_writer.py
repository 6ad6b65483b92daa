"""Changing many live documents: one exchange after another, each watched until it is settled; and
finishing what a killed operation left. Called by operations that change live data.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from shenyu_data.datadir.aside import sweep_asides
from shenyu_data.datadir.folder import make_folder, open_folder
from shenyu_data.datadir.new_files import sweep
from shenyu_data.datadir.replace import (
    InTheWay,
    displaced_name,
    is_quiet,
    keep_for_owner,
    read_live,
)
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import NEW_PREFIX, Kind
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.journal import (
    IMPORT,
    IMPORT_FRESH,
    Digests,
    Ended,
    Folder,
    Journal,
    Journals,
    Settled,
    Swap,
)
from shenyu_data.operations.live_document import (
    Edit,
    LiveDocument,
    Refused,
    conflict_finding,
)
from shenyu_data.repository.repository import Repository

_MOST_WATCHED = 64
_MOST_WATCHED_BYTES = 64 << 20


class LiveWriter:
    """Applies edits to documents under the open folder ``root`` and counts how they went."""

    def __init__(
        self,
        root: int,
        journal: Journal,
        digests: Digests,
        quiet_s: float,
        report: Callable[[Finding], None],
    ) -> None:
        self._root = root
        self._journal = journal
        self._digests = digests
        self._quiet_s = quiet_s
        self._report = report
        self._watched: deque[LiveDocument] = deque()
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
    ) -> None:
        """Change one document; ``make`` its folders if they are missing.

        If what is there is not saved yet, its path is added to ``later``, if that is given.
        """
        try:
            folder = self._open(path.rpartition(b"/")[0], folder_mode, make)
        except FileNotFoundError:
            self.unchanged += 1  # nothing is there, and nothing is to be made
            return
        except OSError as error:
            self._fail(path, error)
            return
        document = LiveDocument(
            self._root, folder, path, kind, self._journal, self._digests, self._quiet_s
        )
        try:
            change = document.change(edit)
        except Refused as refused:
            self._refuse(path, refused, later)
        except OSError as error:
            self._fail(path, error)
        else:
            self._count(change is None, change is not None and change.remove)
            if change is not None:
                self._watch(document)
                return
        document.close()

    def _watch(self, document: LiveDocument) -> None:
        self._watched.append(document)
        while self._watched and (
            len(self._watched) > _MOST_WATCHED
            or sum(item.held_bytes for item in self._watched) > _MOST_WATCHED_BYTES
            or self._watched[0].due_at <= time.monotonic()
        ):
            self._settle(self._watched.popleft())

    def drain(self) -> None:
        """Watch what was changed until all of it is quiet."""
        while self._watched:
            self._settle(self._watched.popleft())

    def let_pass(self, seconds: float) -> None:
        """Wait, so that whoever read a document before has written it."""
        time.sleep(seconds)

    def _settle(self, document: LiveDocument) -> None:
        try:
            for finding in document.settle():
                self.busy += finding.code == "live-busy"
                self.refused += finding.code != "live-busy"
                self._report(finding)
        finally:
            document.close()

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

    def _count(self, unchanged: bool, removed: bool) -> None:
        self.unchanged += unchanged
        self.removed += removed
        self.changed += not unchanged and not removed

    def _refuse(self, path: bytes, refused: Refused, later: set[bytes] | None) -> None:
        if refused.code == "not-saved" and later is not None:
            later.add(path)
            return
        self.busy += refused.code == "live-busy"
        self.refused += refused.code != "live-busy"
        self._report(conflict_finding(refused.code, path, refused.message))

    def _fail(self, path: bytes, error: OSError) -> None:
        if isinstance(error, InTheWay) or error.errno in _IN_THE_WAY:
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


_IN_THE_WAY = frozenset((20, 40, 21))  # ENOTDIR, ELOOP, EISDIR


def recover(
    repository: Repository | bytes,
    root: int,
    journals: Journals,
    quiet_s: float,
    monitor: Monitor,
) -> None:
    """Finish what killed operations left beside documents: nothing of it is lost.

    A displaced document that is as it was when it was displaced is removed; in another one the
    application wrote, and it is kept for a person to look at. Without a repository, what operations
    with one left waits for the next that has it.
    """
    sweep_imports(root, journals)
    for journal in list(journals.newest_first()):
        if journal.is_ended():
            continue
        began = journal.began()
        of_none = began is not None and not began.repository
        if isinstance(repository, bytes) and not of_none:
            continue
        digests = Digests(journals.key() if of_none else repository)
        settled = [_recover(root, swap, digests, quiet_s, monitor) for swap in _unsettled(journal)]
        if all(settled):
            journal.write(Ended())


def _unsettled(journal: Journal) -> list[Swap]:
    found: dict[str, Swap] = {}
    for line in journal.read():
        if isinstance(line, Swap):
            found[line.token] = line
        elif isinstance(line, Settled):
            found.pop(line.token, None)
    return list(found.values())


def sweep_imports(root: int, journals: Journals) -> None:
    """Remove what imports that were killed left under names that nobody reads."""
    runs, known = [], []
    for journal in journals.newest_first():
        known.append(journal.run)
        began = journal.began()
        imported = began is not None and began.operation in (IMPORT, IMPORT_FRESH)
        if imported and not journal.is_ended():
            runs.append(journal.run)
    if runs:
        sweep(root, runs)
    # A worker that outlives the killed import for a moment may come after the first look.
    sweep_asides(root, known)


def _recover(root: int, swap: Swap, digests: Digests, quiet_s: float, monitor: Monitor) -> bool:
    """Settle what one exchange left; False if it could not be looked at, and is to be tried again.

    What cannot be dealt with is reported: whoever goes on has other documents to change.
    """
    try:
        folder = open_folder(root, swap.path.rpartition(b"/")[0])
    except FileNotFoundError:
        return True
    except OSError as error:
        return _unrecovered(swap, error, monitor)
    try:
        with suppress(FileNotFoundError):
            os.unlink(NEW_PREFIX + swap.token.encode(), dir_fd=folder)
        quiet = _await_quiet(folder, swap.token, quiet_s)
        live = read_live(folder, displaced_name(swap.token), "other")
        if live is None:
            return True
        as_it_was = live.data is not None and digests.of(live.data) in (swap.before, swap.wrote)
        if quiet and as_it_was:
            os.unlink(displaced_name(swap.token), dir_fd=folder)
            return True
        kept = keep_for_owner(root, folder, swap.token, swap.path)
        monitor.report(
            conflict_finding(
                "displaced-kept",
                swap.path,
                "the application wrote to it while an operation that was killed replaced it; what "
                f"it wrote is kept as {printable(kept)}",
            )
        )
        return True
    except OSError as error:
        return _unrecovered(swap, error, monitor)
    finally:
        os.close(folder)


def _unrecovered(swap: Swap, error: OSError, monitor: Monitor) -> bool:
    """Say that what an exchange left cannot be looked at; return whether nobody ever will."""
    name = printable(displaced_name(swap.token))
    above = swap.path.rpartition(b"/")[0]
    if isinstance(error, InTheWay) or error.errno in _IN_THE_WAY:
        message = (
            "what an operation that was killed displaced cannot be had back: a link or the like "
            f"stands in the place of {name} in {printable(above)}/"
        )
        monitor.report(conflict_finding("in-the-way", swap.path, message))
        return True
    monitor.report(
        Finding(
            code="not-recovered",
            severity="error",
            path=printable(swap.path),
            message=f"what an operation that was killed displaced cannot be looked at ({name}): "
            f"{error.strerror or error}",
            hint="Check the owner and mode of its folder; the next operation tries again.",
        )
    )
    return False


def _await_quiet(folder: int, token: str, quiet_s: float) -> bool:
    """Wait until nobody writes to a displaced document any more, but not for ever; whether nobody
    does.
    """
    until = time.monotonic() + 2 * quiet_s
    with suppress(FileNotFoundError):
        while not is_quiet(folder, displaced_name(token), int(quiet_s * 1e9), time.time_ns()):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
    return True
