"""One live document under change: what becomes of it, the exchange, and what it leaves to watch.

Called by operations that change live data. What is watched afterwards, and mended, is in
``live_watch.py``.
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
    is_quiet,
    new_token,
    put,
    read_live,
    take_away,
)
from shenyu_data.model.chats_versions import Versions
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Kind
from shenyu_data.operations.journal import Digests, Journal, Step, Swap
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


class Displaced:
    """One exchange: by which name the displaced file is found, and what it held when last seen."""

    def __init__(self, token: str, live: Live | None) -> None:
        self.token = token
        self.seen = None if live is None else live.data
        self.stat = None if live is None else (live.stat.st_size, live.stat.st_mtime_ns)
        self.open = live is not None
        """Whether it is still there, as far as is known."""


class LiveDocument:
    """A document at ``path`` that stands in the open ``folder``, which this takes over and closes
    in the end. It remembers what its exchanges displaced, and its versions, until it is settled.
    """

    def __init__(
        self,
        folder: int,
        path: bytes,
        kind: Kind,
        journal: Journal,
        digests: Digests,
        quiet_s: float = QUIET_S,
    ) -> None:
        self.folder = folder
        self.path = path
        self.name = path.rpartition(b"/")[2]
        self.kind: Kind = kind
        self.journal = journal
        self.quiet_s = quiet_s
        self.displaced: list[Displaced] = []
        self.versions = Versions()
        """Of a history, all that is known of what the application may have read."""
        self.made: MadeDocument | None = None
        self.busy = False
        """Whether the application is, or may be, at work on it."""
        self.changed_at = 0.0
        """When it was last exchanged, on the monotonic clock."""
        self._digests = digests

    @property
    def due_at(self) -> float:
        """When it will have been watched long enough, on the monotonic clock."""
        return self.changed_at + (self.quiet_s if self.busy else min(IDLE_S, self.quiet_s))

    @property
    def held_bytes(self) -> int:
        """How much memory the watch over it takes."""
        seen = (item.seen or b"" for item in self.displaced)
        made = (self.made.data or b"",) if self.made is not None else ()
        held = {id(data): len(data) for data in (*self.versions.all, *seen, *made)}  # often one
        return sum(held.values())

    def close(self) -> None:
        """Close the folder."""
        os.close(self.folder)

    def read(self) -> Live | None:
        """Return it as it is now; None if there is none. Raise OSError."""
        return read_live(self.folder, self.name, self.kind)

    def change(self, edit: Edit) -> Change | None:
        """Make the change that ``edit`` asks for, on the document as it is at that moment.

        ``edit`` is asked again whenever the application was quicker. Raise Refused as it does, or
        with ``live-busy`` if the application always is; OSError if it cannot be written.
        """
        for attempt in range(TRIES):
            try:
                if attempt < _UNNOTICED:
                    return self._try(edit, attempt, lambda: False)
                with writers_held_off(self.folder, self.name, _HOLD_OFF_S) as waiting:
                    # Who waits has the old file and will write to it: best to let him do it first.
                    patient = attempt < _PATIENT
                    return self._try(edit, attempt, waiting if patient else lambda: False)
            except Changed:
                self.busy = True
        raise Refused(
            code="live-busy",
            message="the application rewrites it faster than it can be replaced",
        )

    def _try(self, edit: Edit, attempt: int, is_wanted: Callable[[], bool]) -> Change | None:
        live = self.read()
        if live is not None and not live.whole and self.is_written(live):
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
        lines.append(Swap(path=self.path, token=token, before=before_digest, wrote=wrote))
        self.busy |= change.in_use
        if live is None:
            # Who looked for it a moment ago and found none writes it whole.
            self.busy |= self.kind != "other"
        else:
            # Who read a torn one took it for empty, and must not write that later.
            self.busy |= _age_s(live) < LATELY_S or not live.whole
        self.journal.write(*lines, durable=durable)
        if change.attributes is not None:
            put(
                self.folder,
                self.name,
                token,
                live,
                change.fill,
                change.attributes,
                is_wanted=is_wanted,
            )
        elif live is not None:
            take_away(self.folder, self.name, token, live)
        self.displaced.append(Displaced(token, live))
        known = live is None or live.data is not None
        if self.kind == "history" and known and not change.is_streamed:
            self.versions.put((live.data if live else None) or b"", change.data or b"")
        elif live is None and self.kind != "other" and not change.remove:
            with suppress(FileNotFoundError):
                self.made = MadeDocument(self.folder, self.name, self.kind, change.data)
        self.changed_at = time.monotonic()

    def _digest_of(self, live: Live | None) -> bytes:
        if live is None or live.data is not None:
            return self._digests.of((live.data if live is not None else None) or b"")
        digest = self._digests.hasher()
        stream(self.folder, self.name, digest.update)
        return digest.digest(16)

    def is_written(self, live: Live) -> bool:
        """Whether a document that is not whole may become so: somebody writes it, or just did."""
        with suppress(OSError):
            return _age_s(live) < self.quiet_s or not self.is_quiet(self.name)
        return False

    def is_quiet(self, name: bytes) -> bool:
        """Whether nobody writes to the file of that name in its folder, nor did lately."""
        return is_quiet(self.folder, name, int(self.quiet_s * 1e9), time.time_ns())


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


def _age_s(live: Live) -> float:
    return abs(time.time() - live.stat.st_mtime)
