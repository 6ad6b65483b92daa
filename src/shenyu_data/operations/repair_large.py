"""What becomes of a torn history if it, or its last good version, is too large to be looked into in
memory, or too deep to be unfolded. Called by operations/repair_edits.py.

Both are followed as streams, chat by chat; in memory are the largest chat and, of each chat, what
tells it from others. Of a torn one that is large, the chats before the break count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.datadir.chat_stream import ChatScan
from shenyu_data.datadir.large import Blocks, memory_blocks
from shenyu_data.datadir.replace import Fill
from shenyu_data.model.chats import chat_key, chat_value
from shenyu_data.model.documents import MOST_DEPTH, Unparsable
from shenyu_data.model.salvage import salvage

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


class Mixed(NamedTuple):
    """What becomes of a large history: how it is written, how many chats come from the document
    and how many from snapshots.
    """

    fill: Fill
    salvaged: int
    restored: int


def mix(live: Blocks | bytes, good: Blocks | None) -> Mixed | None:
    """Bring a torn history, bytes if it is not large, together with its last good version. None if
    neither holds a chat. Raise what reading them raises.
    """

    def chats(write: Callable[[bytes], object]) -> tuple[int, int]:
        seen: set[bytes] = set()
        counts = [0, 0]

        def put(which: int, piece: bytes) -> None:
            name = _name(piece)
            if name not in seen:
                seen.add(name)
                write((b",\n  " if sum(counts) else b"[\n  ") + piece)
                counts[which] += 1

        if isinstance(live, bytes):
            for piece in _pieces_of(live):
                put(0, piece)
        else:
            _each_chat(live, lambda piece: put(0, piece))
        if good is not None:
            _each_chat(good, lambda piece: put(1, piece))
        write(b"\n]" if sum(counts) else b"[]")
        return counts[0], counts[1]

    salvaged, restored = chats(len)
    return Mixed(chats, salvaged, restored) if salvaged or restored else None


def holds_deep(data: bytes) -> bool:
    """Whether one of the chats before the break of a history nests so deep that it is not unfolded:
    what unfolds histories would drop it.
    """
    if data.count(b"[") + data.count(b"{") <= MOST_DEPTH:
        return False
    found = False

    def look(piece: bytes) -> None:
        nonlocal found
        try:
            chat_value(piece)
        except Unparsable as why:
            found = found or why.code == "json-too-deep"

    _each_chat(memory_blocks(data), look)
    return found


def _pieces_of(data: bytes) -> Iterator[bytes]:
    """Yield the chats of a torn history: those before the break, however deep, then all others."""
    before: list[bytes] = []
    _each_chat(memory_blocks(data), before.append)
    yield from before
    yield from (piece.data for piece in salvage(data) if piece.whole)


def _each_chat(blocks: Blocks, put: Callable[[bytes], object]) -> None:
    """Give away the chats of an array as far as it goes."""
    scan = ChatScan()
    ended = False

    def take(block: bytes) -> None:
        nonlocal ended
        if ended:
            return
        try:
            for piece in scan.feed(block):
                for chat in _sound(piece.data):
                    put(chat)
        except Unparsable:
            ended = True

    blocks(take)


def _sound(piece: bytes) -> Iterator[bytes]:
    """Yield a chat that is JSON, as the application reads it."""
    if piece[:1] != b"{":
        return
    try:
        piece.decode()
    except UnicodeDecodeError:
        piece = piece.decode("utf-8", "replace").encode()
    with suppress(msgspec.DecodeError):
        with suppress(RecursionError):  # nested deeply; its brackets are right
            _decode_any(piece)
        yield piece


class _Named(msgspec.Struct):
    id: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


def _name(piece: bytes) -> bytes:
    """Return what tells a chat from others: its id or, without one, its bytes."""
    key = None
    with suppress(msgspec.DecodeError, RecursionError):
        key = chat_key(_decode_named(piece).id)
    return blake3(piece if key is None else b"#" + key.encode("utf-8", "surrogatepass")).digest(16)
