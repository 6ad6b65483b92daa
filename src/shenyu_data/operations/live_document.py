"""One live document under change: exchanged, watched until it is settled, and mended meanwhile.

Called by operations that change live data. The versions that were there are kept in memory
meanwhile. What the application wrote, into the document or into a file that was displaced, goes on
from one of them: if not from the last, it is merged with what came since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from shenyu_data.datadir.capture import stream
from shenyu_data.datadir.exchange import writers_held_off
from shenyu_data.datadir.replace import (
    Attributes,
    Changed,
    Fill,
    Live,
    displaced_name,
    is_quiet,
    keep_for_owner,
    kept_name,
    new_token,
    put,
    read_live,
    take_away,
)
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_versions import Versions
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Kind
from shenyu_data.operations.journal import Digests, Journal, Settled, Step, Swap
from shenyu_data.operations.live_made import MadeDocument

TRIES = 40
QUIET_S = 2.0
"""How long a document that the application is at work on is watched after the exchange."""
IDLE_S = 0.03
"""As QUIET_S, of one that was there and whole, that nobody wrote lately and nobody has open for
writing.
"""
LATELY_S = 10.0

_UNNOTICED = 3
"""So many tries without anybody noticing; from then on writers are held off, for milliseconds."""
_PATIENT = 30
"""From this try on it is done even if a writer waits."""

_HOLD_OFF_S = 0.5
_MOST_S = 60.0
_ROUNDS = 60


class Refused(Exception):
    """A change that must not be made, and why, as a finding says it."""

    def __init__(self, *, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Change:
    """What a document becomes: bytes, or whatever ``fill`` writes where they are too many; or
    nothing (``remove``). ``step`` is what the journal says of it. ``in_use``: the application may
    have read the document a moment ago, however old it is, or found none. ``wrote`` is the digest
    of what ``fill`` writes, if it is known: then what a kill leaves can be told from other files.
    """

    def __init__(
        self,
        data: bytes | None,
        attributes: Attributes | None,
        *,
        fill: Fill | None = None,
        step: Step | None = None,
        in_use: bool = False,
        wrote: bytes | None = None,
    ) -> None:
        self.in_use = in_use
        self.wrote = wrote
        self.data = data
        self.attributes = attributes
        self._fill = fill
        self.step = step

    def fill(self, write: Callable[[bytes], object]) -> None:
        """Write what the document becomes, piece by piece."""
        if self._fill is not None:
            self._fill(write)
        else:
            write(self.data or b"")

    @property
    def remove(self) -> bool:
        """Whether nothing takes the document's place."""
        return self.attributes is None

    @property
    def is_streamed(self) -> bool:
        """Whether what it becomes is never in memory whole."""
        return self.data is None and not self.remove


Edit = Callable[[Live | None], Change | None]
"""Given the document as it is now (None: there is none), say what it becomes; None: leave it."""


class _Displaced:
    """One exchange: by which name the displaced file is found, and what it held when last seen."""

    def __init__(self, token: str, live: Live | None) -> None:
        self.token = token
        self.seen = None if live is None else live.data
        self.stat = None if live is None else (live.stat.st_size, live.stat.st_mtime_ns)
        self.open = live is not None


class LiveDocument:
    """A document at ``path`` under the open folder ``root``. It stands in the open ``folder``,
    which this takes over and closes in the end.
    """

    def __init__(
        self,
        root: int,
        folder: int,
        path: bytes,
        kind: Kind,
        journal: Journal,
        digests: Digests,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._root = root
        self._folder = folder
        self._path = path
        self._name = path.rpartition(b"/")[2]
        self._kind: Kind = kind
        self._journal = journal
        self._digests = digests
        self._quiet_s = quiet_s
        self._busy = False
        self._changed_at = 0.0
        self._exchanges: list[_Displaced] = []
        self._versions = Versions()
        self.findings: list[Finding] = []
        self._give_up_at: float | None = None
        self._rounds = 0
        self._made: MadeDocument | None = None
        self._looked_at: tuple[int, int, int] | None = None

    @property
    def due_at(self) -> float:
        """When it will have been watched long enough, on the monotonic clock."""
        return self._changed_at + (self._quiet_s if self._busy else min(IDLE_S, self._quiet_s))

    @property
    def held_bytes(self) -> int:
        """How much memory the watch over it takes."""
        seen = (item.seen or b"" for item in self._exchanges)
        made = (self._made.data or b"",) if self._made is not None else ()
        held = {id(data): len(data) for data in (*self._versions.all, *seen, *made)}  # often one
        return sum(held.values())

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)

    def change(self, edit: Edit) -> Change | None:
        """Make the change that ``edit`` asks for, on the document as it is at that moment.

        ``edit`` is asked again whenever the application was quicker. Raise Refused as it does, or
        with ``live-busy`` if the application always is; OSError if it cannot be written.
        """
        for attempt in range(TRIES):
            try:
                if attempt < _UNNOTICED:
                    return self._try(edit, attempt, lambda: False)
                with writers_held_off(self._folder, self._name, _HOLD_OFF_S) as waiting:
                    # Who waits has the old file and will write to it: best to let him do it first.
                    patient = attempt < _PATIENT
                    return self._try(edit, attempt, waiting if patient else lambda: False)
            except Changed:
                self._busy = True
        raise Refused(
            code="live-busy",
            message="the application rewrites it faster than it can be replaced",
        )

    def _try(self, edit: Edit, attempt: int, is_wanted: Callable[[], bool]) -> Change | None:
        live = read_live(self._folder, self._name, self._kind)
        if live is not None and not live.whole and self._is_written(live):
            raise Changed
        change = edit(live)
        if change is not None:
            self._exchange(live, change, is_wanted, durable=attempt == 0)
        return change

    def _exchange(
        self, live: Live | None, change: Change, is_wanted: Callable[[], bool], *, durable: bool
    ) -> None:
        token = new_token()
        lines: list[Step | Swap] = [] if change.step is None else [change.step]
        before_digest = self._digest_of(live)
        wrote = change.wrote or self._digests.of(change.data or b"")
        lines.append(Swap(path=self._path, token=token, before=before_digest, wrote=wrote))
        self._busy |= change.in_use
        if live is None:
            # Who looked for it a moment ago and found none writes it whole.
            self._busy |= self._kind != "other"
        else:
            # Who read a torn one took it for empty, and must not write that later.
            self._busy |= _age_s(live) < LATELY_S or not live.whole
        self._journal.write(*lines, durable=durable)
        if change.attributes is not None:
            put(
                self._folder,
                self._name,
                token,
                live,
                change.fill,
                change.attributes,
                is_wanted=is_wanted,
            )
        elif live is not None:
            take_away(self._folder, self._name, token, live)
        self._exchanges.append(_Displaced(token, live))
        known = live is None or live.data is not None
        if self._kind == "history" and known and not change.is_streamed:
            self._versions.put((live.data if live else None) or b"", change.data or b"")
        elif live is None and self._kind != "other" and not change.remove:
            with suppress(FileNotFoundError):
                self._made = MadeDocument(self._folder, self._name, self._kind, change.data)
        self._changed_at = time.monotonic()

    def _digest_of(self, live: Live | None) -> bytes:
        if live is None or live.data is not None:
            return self._digests.of((live.data if live is not None else None) or b"")
        digest = self._digests.hasher()
        stream(self._folder, self._name, digest.update)
        return digest.digest(16)

    def look(self) -> bool:
        """Look whether the document and what was displaced are quiet, and mend what is to be
        mended; return whether it is settled: watched for long enough, or given up.

        Then nothing of ours is left beside it, but for what could not be merged; ``findings`` say
        what was seen.
        """
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + _MOST_S + self._quiet_s
        late = now > self._give_up_at or self._rounds > _ROUNDS
        due = now >= self.due_at
        if not self._exchanges or (self._look(due=due, late=late) and due):
            return True
        if late:
            self._give_up()
        return late

    def _give_up(self) -> None:
        """Leave nothing behind under a name that nobody looks at, and nothing lost."""
        self._report("live-busy", "the application does not leave it alone long enough")
        for item in self._exchanges:
            with suppress(FileNotFoundError):
                if item.open and not self._removed(item):
                    self._keep(item)
        with suppress(OSError, Unparsable):
            live = read_live(self._folder, self._name, self._kind)
            if self._versions.all and live and live.data and not self._versions.goes_on(live.data):
                self._keep_version(self._versions.all[-1])

    def _removed(self, item: _Displaced) -> bool:
        """Remove a displaced file that nobody writes to and that is as it was; else return False.

        Raise FileNotFoundError.
        """
        name = displaced_name(item.token)
        quiet = self._is_quiet(name)
        found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        if not quiet or (found.st_size, found.st_mtime_ns) != item.stat:
            return False
        self._remove(item)
        return True

    def _remove(self, item: _Displaced) -> None:
        os.unlink(displaced_name(item.token), dir_fd=self._folder)
        self._journal.write(Settled(item.token), durable=False)
        item.open = False

    def _look(self, *, due: bool, late: bool) -> bool:
        """Merge what arrived, put back what was lost; return whether there was nothing to do."""
        changed_at = self._changed_at
        quiet = True
        for item in list(self._exchanges):
            if item.open:
                quiet &= self._look_at_displaced(item, due=due, late=late)
        quiet &= self._look_at_live(due=due)
        return quiet and self._changed_at == changed_at

    def _look_at_displaced(self, item: _Displaced, *, due: bool, late: bool) -> bool:
        """Merge what arrived in a displaced file; once that is ``due``, remove it."""
        name = displaced_name(item.token)
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            now = (found.st_size, found.st_mtime_ns)
            if now == item.stat and not due:
                return True
            # However late: who has it open still writes, and removed it would be lost.
            if not self._is_quiet(name):
                self._busy = True
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
        self._busy = True
        self._rounds += 1
        try:
            self.change(edit)
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

    def _keep(self, item: _Displaced) -> None:
        kept = keep_for_owner(self._root, self._folder, item.token, self._path)
        item.open = False
        self._journal.write(Settled(item.token))
        self._report_kept(kept)

    def _keep_version(self, data: bytes) -> None:
        """Keep what should be there beside the document, in which it could not be put."""
        token = new_token()
        kept = kept_name(token, self._name)
        attributes = Attributes(0o600, None, None)
        put(self._folder, kept, token, None, lambda write: write(data), attributes)
        self._report_kept(self._path.rpartition(b"/")[0] + b"/" + kept)

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
            found = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            now = (found.st_ino, found.st_size, found.st_mtime_ns)
            if now == self._looked_at and not due:
                return True
            live = read_live(self._folder, self._name, self._kind)
        except OSError:
            return True
        self._looked_at = now
        if live is None or live.data is None:
            return True
        if not live.whole:
            return not self._is_written(live)
        return self._goes_on(live.data) or self._put_again()

    def _is_as_made(self) -> bool:
        """Say so if the application wrote over what was made; return whether it did not."""
        made, self._made = self._made, None
        try:
            if made is None or not made.is_written_over():
                return True
        except OSError:
            return True
        self._report("changed-since", "the application wrote over what was made; it stands")
        return False

    def _is_written(self, live: Live) -> bool:
        """Whether a document that is not whole may become so: somebody writes it, or just did."""
        with suppress(OSError):
            return _age_s(live) < self._quiet_s or not self._is_quiet(self._name)
        return False

    def _is_quiet(self, name: bytes) -> bool:
        return is_quiet(self._folder, name, int(self._quiet_s * 1e9), time.time_ns())

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
        self.findings.append(conflict_finding(code, self._path, message))


def kept_attributes(live: Live) -> Attributes:
    """Return the attributes of a document that is changed in part: its own, but for the time."""
    found = live.stat
    return Attributes(found.st_mode & 0o7777, (found.st_uid, found.st_gid), None)


def conflict_finding(code: str, path: bytes, message: str) -> Finding:
    """Return the finding about a live document that was not changed, or not as it should be."""
    return Finding(
        code=code,
        severity="error",
        path=printable(path),
        message=message,
        hint=HINTS.get(code, "See the message."),
    )


HINTS = {
    "changed-since": "With --overwrite it is replaced; the safety snapshot keeps what is there.",
    "live-torn": "Restore the whole history with --history instead of --chat.",
    "live-busy": "Try again when the application has less to do, or stop it for a moment.",
    "in-the-way": "See what stands there and who made it; links are never followed.",
    "not-saved": "What is there could not be saved first, so it is left alone: mend that, or move "
    "it away.",
    "written-since": "Compare it with the export; importing that again with --policy merge brings "
    "chats in that are missing.",
    "displaced-kept": "Compare it with the document, take over what is missing, then remove it.",
}


def _data(live: Live | None) -> bytes:
    return (live.data if live else None) or b""


def _age_s(live: Live) -> float:
    return abs(time.time() - live.stat.st_mtime)
