"""What becomes of a document that cannot be parsed: what is whole in it, brought together with its
last good version. Pure.

No chat is lost that one of the two holds. Of a chat that is whole in both the document's version
counts, since it is newer; one that is cut off in the document only adds messages.
"""

from __future__ import annotations

import gzip
import zlib
from functools import cached_property
from typing import Any, NamedTuple

from shenyu_data.model.chats import as_written, canonical, read_history, same_value
from shenyu_data.model.documents import Unparsable, parse
from shenyu_data.model.layout import GZIP_SUFFIX, Kind
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.rules import check, prove
from shenyu_data.model.salvage import Piece, compose, first_object, salvage

UNPARSABLE = frozenset(
    (
        *("empty-file", "blank-file", "torn-json", "trailing-data", "not-json", "not-utf8"),
        *("byte-order-mark", "damaged-gzip"),
    )
)
"""Codes of documents that the application takes for empty: what repair is for."""

_BROKEN_USER = frozenset(("user-shape", "missing-field", "wrong-type", "id-mismatch"))
"""Codes, at severity error, of users that parse and that the application cannot use."""


_MOST_CUT_OFF = 100
"""A document has as many chats that are cut off as writers tore it; more make no sense of it."""


class Mended(NamedTuple):
    """A document that is whole again. ``salvaged`` chats come from the document, whole, ``partial``
    ones as far as they went, ``restored`` ones from its last good version.
    """

    data: bytes
    salvaged: int
    partial: int
    restored: int


def trouble(kind: Kind, owner: bytes | None, name: bytes, data: bytes) -> str | None:
    """Return the code of what makes a document one to repair; None if it is none."""
    if kind == "other" or prove(kind, owner, name, data) is not None:
        return None
    for finding in check(kind, owner, name, "", data).findings:
        if finding.code in UNPARSABLE:
            return finding.code
        if kind == "user" and finding.severity == "error" and finding.code in _BROKEN_USER:
            return finding.code
    return None


def normalise(data: bytes) -> bytes | None:
    """Return a document without a byte order mark and NUL bytes around it, if it is whole then:
    the same value, and every byte of it as it was. None if that does not make it whole.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").strip(b"\0")
    if text == data or not text:
        return None
    try:
        parse(text)
    except Unparsable:
        return None
    return text


def mend_user(owner: bytes | None, name: bytes, data: bytes) -> bytes | None:
    """Return the user that the bytes begin with, if it is one the application can use."""
    if len(data) > MAX_PARSED_BYTES:
        return None
    found = first_object(data)
    return found if found is not None and trouble("user", owner, name, found) is None else None


def mend_history(name: bytes, data: bytes, good: bytes | None) -> Mended | None:
    """Return the history that a document's bytes and its last good version are together; the good
    version byte for byte if the document adds nothing. None if neither holds a chat.
    """
    if name.endswith(GZIP_SUFFIX):
        return _mend_compressed(data, good)
    if len(data) > MAX_PARSED_BYTES:
        return None
    return mend(salvage(data), data, good)


def _mend_compressed(data: bytes, good: bytes | None) -> Mended | None:
    plain = None if good is None else _unpacked(good)
    fragment = _unpacked(data)
    mended = mend(salvage(fragment), fragment, plain)
    if mended is None or (good is not None and mended.data == plain):
        return mended and mended._replace(data=good or b"")
    return mended._replace(data=gzip.compress(mended.data, mtime=0))


def _unpacked(data: bytes) -> bytes:
    """Return as much as can be unpacked."""
    unpacker = zlib.decompressobj(wbits=31)
    parts = []
    view = memoryview(data)
    try:
        for start in range(0, len(data), 4096):  # what fails does not take along what came before
            parts.append(unpacker.decompress(view[start : start + 4096], MAX_PARSED_BYTES))
            if unpacker.eof or sum(map(len, parts)) >= MAX_PARSED_BYTES:
                break
    except zlib.error:
        pass
    return b"".join(parts)[:MAX_PARSED_BYTES]


class _Entry:
    """One chat of the result: its bytes, and its value once somebody asks.

    ``only``: its document is one chat, which is the same one whatever is in it.
    """

    def __init__(self, piece: Piece, *, only: bool) -> None:
        self.piece = piece
        self.only = only
        self.extended = False

    @cached_property
    def value(self) -> Any:
        return self.piece.value

    @property
    def messages(self) -> list[Any]:
        found = self.value.get("messages") if isinstance(self.value, dict) else None
        return found if isinstance(found, list) else []

    @property
    def name(self) -> str:
        """What tells chats apart: the id or, without one, the words."""
        if self.only:
            return "="
        return "=" + canonical(self.value) if self.piece.key is None else "#" + self.piece.key

    def put(self, messages: list[Any]) -> None:
        """Give it more messages."""
        self.value = {**self.value, "messages": messages}
        text = as_written(self.value).replace(b"\n", b"\n  ")  # it stands in an array
        self.piece = self.piece._replace(data=text, messages=len(messages))
        self.extended = True


def mend(pieces: list[Piece], like: bytes, good: bytes | None) -> Mended | None:
    """Bring what was salvaged together with the last good version; None if there is no chat."""
    old, single = _good_chats(good, like)
    # One that is cut off may have lost its id; one that is whole has it or is another chat.
    known_keys = {piece.key for piece in [*old, *pieces] if piece.whole or piece.key is not None}
    only = single and len(known_keys) < 2
    ours = [_Entry(piece, only=only) for piece in old]
    theirs = _once([_Entry(piece, only=only) for piece in pieces if piece.whole])
    newer = {entry.name for entry in theirs}
    known = {entry.name: entry for entry in ours}
    changed = any(
        entry.name not in known or not same_value(entry.value, known[entry.name].value)
        for entry in theirs
    )
    result = _in_order(ours, theirs) if changed else list(ours)
    partial = looked_at = 0
    above: str | None = None
    for entry in [_Entry(piece, only=only) for piece in pieces]:
        looked_at += not entry.piece.whole
        if not entry.piece.whole and looked_at <= _MOST_CUT_OFF:
            partial += _add_partial(result, entry, above)
        above = entry.name
    if good is not None and not changed and not partial:
        return Mended(good, 0, 0, len(ours))
    if not result:
        return None
    restored = sum(entry.name not in newer and not entry.extended for entry in ours)
    data = _written(result, like, good, single=single)
    return Mended(data, len(theirs), partial, restored)


def _good_chats(good: bytes | None, like: bytes) -> tuple[list[Piece], bool]:
    """Return the chats of the last good version, and whether the document is one chat and no
    array.
    """
    try:
        history = None if good is None else read_history(good)
    except Unparsable:
        history = None
    if history is None:
        return [], _begun(like) == b"{"
    found = [Piece(history.text_of(chat), chat.key, chat.messages, True) for chat in history.chats]
    return found, history.inside is None


def _begun(data: bytes) -> bytes:
    """Return the first character of a document."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n\0")[:1]


def _once(entries: list[_Entry]) -> list[_Entry]:
    """Of a chat that is there several times return one, with the messages of all."""
    found: dict[str, _Entry] = {}
    for entry in entries:
        first = found.setdefault(entry.name, entry)
        if first is not entry and not _begins(entry.messages, first.messages):
            size = _common(first.messages, entry.messages)
            first.put([*first.messages, *entry.messages[size:]])
    return list(found.values())


def _in_order(ours: list[_Entry], theirs: list[_Entry]) -> list[_Entry]:
    """Return theirs in their order, and each of ours that is not among them beside the neighbour
    that it had: after the last one above it that is still there, else before the first below it.
    """
    there = {entry.name for entry in theirs}
    before: dict[str, list[_Entry]] = {}
    after: dict[str, list[_Entry]] = {}
    waiting: list[_Entry] = []
    above: str | None = None
    for entry in ours:
        if entry.name not in there:
            waiting.append(entry)
            continue
        (before if above is None else after)[above or entry.name] = waiting
        above, waiting = entry.name, []
    if above is not None:
        after[above] = waiting
        waiting = []
    result: list[_Entry] = []
    for entry in theirs:
        result += [*before.get(entry.name, ()), entry, *after.get(entry.name, ())]
    return result + waiting


def _add_partial(result: list[_Entry], cut: _Entry, above: str | None) -> bool:
    """Add what a chat that was cut off holds beyond what is known of it; whether there was any.

    A chat that is not known goes below the one that stood above it in the document.
    """
    if cut.piece.key is None and not cut.only:
        if any(_begins(cut.messages, entry.messages) for entry in result):
            return False
    else:
        for entry in result:
            if entry.name == cut.name:
                more = len(cut.messages) > len(entry.messages)
                if more and _begins(entry.messages, cut.messages):
                    entry.put(cut.messages)
                    return True
                return False
    names = [entry.name for entry in result] if above is not None else []
    result.insert(names.index(above) + 1 if above in names else 0, cut)
    return True


def _begins(short: list[Any], long: list[Any]) -> bool:
    return len(short) <= len(long) and same_value(short, long[: len(short)])


def _common(one: list[Any], two: list[Any]) -> int:
    """Return how many messages two conversations have in common."""
    pairs = zip(one, two, strict=False)
    return next((index for index, pair in enumerate(pairs) if not same_value(*pair)), len(one))


def _written(result: list[_Entry], like: bytes, good: bytes | None, *, single: bool) -> bytes:
    """Return a history: one chat where it was one and is one, else an array."""
    if single and len(result) == 1:
        return result[0].piece.data
    usual = like if _begun(like) == b"[" or good is None else good
    return compose([entry.piece.data for entry in result], usual)
