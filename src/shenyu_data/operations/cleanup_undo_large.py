"""Putting chats back that a cleanup took out of a history too large for memory. Called by
operations/restore_undo.py.

The live history and the saved one are followed side by side. In memory are the largest chats and,
of each chat, what tells it from others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from shenyu_data.datadir.chat_parts import Insertion, Part, history_parts, write_with
from shenyu_data.datadir.large import LargeFile, memory_pieces
from shenyu_data.datadir.replace import Changed, Fill, Live
from shenyu_data.model.chats import chat_key
from shenyu_data.model.documents import Unparsable
from shenyu_data.operations.cleanup_documents import content_digest, digest_of, hashed, large_value
from shenyu_data.operations.cleanup_large import open_unchanged
from shenyu_data.operations.cleanup_undo import changed_since, saved_attributes
from shenyu_data.operations.journal import Digests, Step
from shenyu_data.operations.live_document import Change, kept_attributes
from shenyu_data.operations.past import OwnerDocuments
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.repository.format import FileEntry


class SavedDocument(NamedTuple):
    """A document of the safety snapshot, and what reads it."""

    owner: OwnerDocuments
    entry: FileEntry

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes. Raise RepositoryError."""
        return self.owner.reader.pieces(self.entry)


def large_document_back(saved: SavedDocument, digests: Digests) -> Change:
    """Put the saved document in its place, whole. Raise RepositoryError."""
    return _streamed(
        lambda write: saved.owner.reader.stream(saved.entry, write), saved, digests, live=None
    )


def large_chats_back(
    step: Step,
    live: Live,
    opened: Callable[[], LargeFile],
    saved: SavedDocument,
    digests: Digests,
    *,
    overwrite: bool,
) -> Change | None:
    """As :func:`shenyu_data.operations.cleanup_undo.chats_back`, chat by chat. In a history that
    went on, a chat goes behind the one it stood behind, as far as the order is still the same.

    Raise Refused if what is there cannot be followed, RepositoryError if the saved one cannot be.
    """
    try:
        digest, names = _live_names(live, opened, digests)
    except Unparsable:
        if overwrite:
            return large_document_back(saved, digests)
        raise changed_since() from None
    if digest == step.wrote:
        return large_document_back(saved, digests)
    slots = _slots(_missing(step, saved, names, digests), names)
    if not slots:
        return None

    def fill(write: Callable[[bytes], object]) -> None:
        hasher = digests.hasher()
        pieces = _pieces(live, opened, lambda piece: hasher.update(piece))
        stored = enumerate(history_parts(saved.pieces()))
        insertions = (Insertion(before, _taken(stored, wanted)) for before, wanted in slots)
        try:
            write_with(history_parts(pieces), insertions, write)
        except (FileNotFoundError, Unparsable):
            raise Changed from None
        if hasher.digest(16) != digest:
            raise Changed

    return _streamed(fill, saved, digests, live=live)


def _streamed(fill: Fill, saved: SavedDocument, digests: Digests, live: Live | None) -> Change:
    hasher = digests.hasher()
    fill(hasher.update)
    attributes = saved_attributes(saved.entry) if live is None else kept_attributes(live)
    return Change(None, attributes, fill=fill, wrote=hasher.digest(16))


def _pieces(
    live: Live, opened: Callable[[], LargeFile], tell: Callable[[bytes], object]
) -> Iterator[bytes]:
    if live.data is not None:
        for piece in memory_pieces(live.data):
            tell(piece)
            yield piece
        return
    with opened() as file:
        for piece in file.pieces():
            tell(piece)
            yield piece


def _live_names(
    live: Live, opened: Callable[[], LargeFile], digests: Digests
) -> tuple[bytes, list[bytes]]:
    """Return the journal's digest of the live history, and the names of its chats. Raise Changed if
    it is not the one that was looked at, Unparsable.
    """
    hasher = digests.hasher()
    if live.data is not None:
        pieces = hashed(memory_pieces(live.data), hasher)
        names = [name for _, name in _named(history_parts(pieces))]
        return hasher.digest(16), names
    with open_unchanged(opened, live) as file:
        names = [name for _, name in _named(history_parts(hashed(file.pieces(), hasher)))]
        if not file.is_as_it_was():
            raise Changed
    return hasher.digest(16), names


def _named(parts: Iterator[Part]) -> Iterator[tuple[object, bytes]]:
    """Yield the value of each chat, and what tells it from others: its id or else its words."""
    for part in parts:
        if part.chat is not None:
            value = large_value(part.chat)
            key = chat_key(value.get("id")) if isinstance(value, dict) else None
            if key is None:
                yield value, content_digest(value)
            else:
                yield value, digest_of(b"#" + key.encode("utf-8", "surrogatepass"))


class _Stored(NamedTuple):
    """A chat of the saved history; ``missing``: it was taken out and is not there again."""

    name: bytes
    missing: bool


def _missing(
    step: Step, saved: SavedDocument, names: Sequence[bytes], digests: Digests
) -> list[_Stored]:
    removed = frozenset(step.removed or ())
    stored = [
        (name, chat_digest(digests, value) in removed)
        for value, name in _named(history_parts(saved.pieces()))
    ]
    again = Counter(names)  # of chats with the same id, so many came back as are more than stayed
    again.subtract(name for name, gone in stored if not gone)
    found = []
    for name, gone in stored:
        if gone and again[name] > 0:
            again[name] -= 1
            gone = False
        found.append(_Stored(name, gone))
    return found


def _slots(
    stored: Sequence[_Stored], names: Sequence[bytes]
) -> list[tuple[int | None, frozenset[int]]]:
    """Return before which live chat (None: behind the last) which saved ones go; in order."""
    where: dict[bytes, int] = {}
    for index, name in enumerate(names):
        where.setdefault(name, index)
    slots: list[tuple[int | None, frozenset[int]]] = []
    waiting: list[int] = []
    last = -1

    def place(before: int) -> None:
        if waiting:
            slots.append((before if before < len(names) else None, frozenset(waiting)))
            waiting.clear()

    for index, chat in enumerate(stored):
        at = where.get(chat.name, -1)
        if chat.missing:
            waiting.append(index)
        elif at > last:
            place(at if last < 0 else last + 1)
            last = at
    place(len(names) if last < 0 else last + 1)
    return slots


def _taken(stored: Iterator[tuple[int, Part]], wanted: frozenset[int]) -> Iterator[bytes]:
    """Go on in the saved history until all of these chats were met."""
    left = len(wanted)
    while left:
        index, part = next(stored)
        if index in wanted and part.chat is not None:
            left -= 1
            yield part.chat
