"""Taking chats out of a live history that is too large for memory, at the moment of the exchange.
Called by operations/cleanup_edits.py; opening one also by operations/cleanup_undo_large.py.

It is followed three times: to see that it still is what was planned and what the journal must say
of it, to write what is left of it, and by whoever exchanges both, to say what was there. Each
time its digest tells whether it was the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from shenyu_data.datadir.chat_parts import Part, history_parts, write_without
from shenyu_data.datadir.large import LargeFile
from shenyu_data.datadir.replace import Changed, Fill, Live, identity_of
from shenyu_data.model.chats import Chat
from shenyu_data.model.documents import Unparsable
from shenyu_data.operations.cleanup_documents import content_digest, hashed, large_value
from shenyu_data.operations.journal import Digests
from shenyu_data.operations.live_document import Refused
from shenyu_data.operations.restore_edits import chat_digest
from shenyu_data.repository.crypto import DIGEST_BYTES, OwnerKeys


def open_unchanged(opened: Callable[[], LargeFile], live: Live) -> LargeFile:
    """Open a history that is to be exchanged, once its stat is one that no later write can leave.

    Raise Changed if it is not the one that was looked at, Refused if its time is that of a moment
    to come; OSError as the system does.
    """
    try:
        file = opened()
    except FileNotFoundError:
        raise Changed from None
    try:
        if identity_of(file.stat) != identity_of(live.stat):
            raise Changed
        if not file.settle():
            raise Refused(code="live-busy", message="by its time, it is being written")
    except BaseException:
        file.close()
        raise
    return file


class Taken(NamedTuple):
    """What is known of a history and of the chats that are to go, without their words: the
    history's digest for a cleanup, and for snapshots under each of the owner's keys; of the chats
    what they say, as a cleanup and as the journal has it; the journal's digest of what is left.
    """

    digest: bytes
    versions: list[bytes]
    contents: list[bytes]
    removed: list[bytes]
    left: bytes
    messages: int
    size_bytes: int


def take_out(
    file: LargeFile, indexes: Collection[int], digests: Digests, keys: Sequence[OwnerKeys]
) -> Taken:
    """Follow a history and say what it is to take these chats out of it. Raise Unparsable."""
    gone = frozenset(indexes)
    contents, removed = list[bytes](), list[bytes]()
    messages = size_bytes = 0
    mine, versions, left = blake3(), [key.new_digest() for key in keys], digests.hasher()

    def parts() -> Iterator[Part]:
        nonlocal messages, size_bytes
        for index, part in enumerate(history_parts(hashed(file.pieces(), mine, *versions))):
            if index in gone and part.chat is not None:
                value = large_value(part.chat)
                contents.append(content_digest(value))
                removed.append(chat_digest(digests, value))
                messages += Chat(("", 0), 0, 0, value).messages
                size_bytes += len(part.chat)
            yield part

    write_without(parts(), gone, left.update)
    return Taken(
        mine.digest(16),
        [version.digest(DIGEST_BYTES) for version in versions],
        contents,
        removed,
        left.digest(16),
        messages,
        size_bytes,
    )


def fill_without(opened: Callable[[], LargeFile], digest: bytes, indexes: Collection[int]) -> Fill:
    """Return what writes a history without these chats. It raises Changed if the history is not the
    one of that digest any more.
    """
    gone = frozenset(indexes)

    def fill(write: Callable[[bytes], object]) -> None:
        mine = blake3()
        try:
            with opened() as file:
                write_without(history_parts(hashed(file.pieces(), mine)), gone, write)
        except (FileNotFoundError, Unparsable):
            raise Changed from None
        if mine.digest(16) != digest:
            raise Changed

    return fill
