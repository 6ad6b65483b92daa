"""Naming what the workers of an import wrote aside, and the journal's lines about it. For
``import_apply.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shenyu_data.datadir.aside import Move, place, read_back, remove_aside
from shenyu_data.datadir.exchange import sync_all
from shenyu_data.datadir.new_files import NewFiles
from shenyu_data.datadir.replace import Attributes
from shenyu_data.exchange.items import Item
from shenyu_data.operations.import_checks import Entry, whose
from shenyu_data.operations.import_task import Written
from shenyu_data.operations.import_watch import Watch
from shenyu_data.operations.journal import Folder, Journal, TakenBack

MOST_STEPS = 100_000
"""An import of more new documents than this cannot be taken back: a journal is read whole."""

_MOST_SEALED = 10_000

_BATCH_BYTES = 32 << 20
"""So much is made durable, and then named, at a time, while workers write what comes next."""

_LEFT_BYTES = 8 << 20
"""So much is left to the main process, in memory, at a time."""


class StepNotes:
    """Writes the steps of an import into its journal, until there are too many of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._steps = 0

    @property
    def kept(self) -> bool:
        """Whether steps are still written down."""
        return self._steps <= MOST_STEPS

    def note(self, lines: bytes, steps: int) -> None:
        """Write lines about so many steps that come next, durably."""
        if self._steps > MOST_STEPS:
            return
        self._steps += steps
        if self._steps <= MOST_STEPS:
            self._journal.write_encoded(lines)
        else:
            self._journal.write(TakenBack())

    def note_folder(self, path: bytes) -> None:
        """Write down a folder that is about to be made."""
        if self.kept:
            self._journal.write(Folder(path), durable=False)


class Placer:
    """Gives what workers wrote aside its place, in batches. ``fail`` is told what cannot be had.

    ``created`` and ``folders`` count what has its place.
    """

    def __init__(
        self,
        root: int,
        files: NewFiles,
        notes: StepNotes,
        fail: Callable[[bytes, OSError], None],
        watch: Watch,
        *,
        exact: bool,
        fresh: bool,
    ) -> None:
        self._root = root
        self._files = files
        self._notes = notes
        self._fail = fail
        self._watch = watch
        self._exact = exact
        self._fresh = fresh
        self._batch: list[Written] = []
        self._batch_bytes = self._left_bytes = 0
        self._sealed: dict[bytes, Attributes] = {}
        self.created = 0
        self.folders = 0

    def add(self, part: Written) -> bool:
        """Add a part to the batch; return whether it should be settled."""
        self._batch.append(part)
        self._batch_bytes += part.written_bytes
        self._left_bytes += sum(entry.size for entry in part.left)
        return self._batch_bytes > _BATCH_BYTES or self._left_bytes > _LEFT_BYTES

    def settle(self) -> Iterator[Entry]:
        """Make the batch durable and name it; yield what workers left, and what could not be named
        because somebody took its place, each to be dealt with before the next.
        """
        batch, self._batch = self._batch, []
        self._batch_bytes = self._left_bytes = 0
        if any(part.moves for part in batch):
            sync_all(self._root)
            lines = b"".join(part.notes for part in batch)
            self._notes.note(lines, sum(part.steps for part in batch))
        for part in batch:
            if part.moves:
                yield from self._place(part)
            yield from part.left
            if part.moves:
                remove_aside(self._root, part.name)

    def unseal(self, path: bytes) -> None:
        """Give a folder its attributes in the end, as something else comes into it."""
        folder = b"/".join(path.split(b"/", 2)[:2])
        if folder != path and (attributes := self._sealed.pop(folder, None)) is not None:
            self._files.note_folder(folder, attributes)

    def _place(self, part: Written) -> Iterator[Entry]:
        done, taken = place(self._root, part.name, part.moves, self._files.folder)
        for move in done:
            self.created += move.documents
            folder = move.path if move.is_folder else move.path.rpartition(b"/")[0]
            self._watch.note(folder, move.looks)
            if move.is_folder:
                self._files.remember_made(move.path)
                self._remember_sealed(move)
        for move in taken:
            if move.attributes is not None and self._fresh:
                self._files.note_folder(move.path, move.attributes)
            try:
                found = list(read_back(self._root, part.name, move))
            except OSError as error:
                self._fail(move.path, error)
                continue
            for back in found:
                user, kind = whose(back.path)
                mode, owner, mtime_ns = back.attributes
                item = Item(
                    kind="file",
                    path=back.path,
                    data=back.data,
                    mode=mode,
                    owner=owner if self._exact else None,
                    mtime_ns=mtime_ns,
                )
                yield Entry(item, user, kind, None, len(back.data))

    def _remember_sealed(self, move: Move) -> None:
        """Remember a folder's attributes: whatever comes into it yet sets its time."""
        if move.attributes is None:
            return
        self.folders += 1
        if not move.sealed:
            self._files.note_folder(move.path, move.attributes)
            return
        self._sealed[move.path] = move.attributes
        if len(self._sealed) > _MOST_SEALED:
            del self._sealed[next(iter(self._sealed))]
