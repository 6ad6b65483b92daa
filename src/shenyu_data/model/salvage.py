"""The chats that can still be had from a history that is torn, overwritten or full of NULs. Pure.

One pass over the bytes, whatever they are: wherever an object begins it is followed token by token
until it ends or breaks; after a break the search goes on behind it. Nothing is read more than a few
times, so that no input takes more than linear time.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from shenyu_data.model.chats import chat_key, chat_value
from shenyu_data.model.documents import MOST_DEPTH, Unparsable, is_deep, parse

_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+"'
_PLAIN = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null"
_BLANK = rb"[ \t\r\n]*+"
_MEMBER = _STRING + _BLANK + rb":" + _BLANK + rb"(?>" + _STRING + rb"|" + _PLAIN + rb")" + _BLANK
_FLAT = rb"\{" + _BLANK + _MEMBER + rb"(?>," + _BLANK + _MEMBER + rb")*+\}"

_TOKEN = re.compile(
    _BLANK
    + rb"(?:(?P<string>" + _STRING + rb")|(?P<flat>" + _FLAT + rb")"
    + rb"|(?P<mark>[\[\]{},:])|(?P<plain>" + _PLAIN + rb"))"
)  # fmt: skip
"""One token; an object without objects in it, such as a message, is one, too."""

_OBJECT = re.compile(rb'\{[ \t\r\n]*+"')
_MESSAGES = b'"messages"'
_TELLING = {b'"id"': "id", b'"title"': "title", b'"role"': "role"}


class Piece(NamedTuple):
    """One chat: its bytes, its id as :func:`chat_key` gives it, its messages.

    ``whole``: it is all there. Otherwise it was cut off, and ``data`` is what was before that,
    closed, or it held bytes that are no UTF-8, and each has become U+FFFD.
    """

    data: bytes
    key: str | None
    messages: int
    whole: bool

    @property
    def value(self) -> Any:
        """What the bytes say."""
        return chat_value(self.data)


def salvage(data: bytes) -> list[Piece]:
    """Return every chat that is in the bytes, in their order; one that is there twice, twice.

    A chat is an object with an array ``messages``, or one with ``id`` and ``title``; of a chat that
    is cut off, all messages that are whole, if there are any.
    """
    spans: list[_Span] = []
    position = 0
    while (found := _OBJECT.search(data, position)) is not None:
        scan = _Scan(data, found.start())
        position = scan.run()
        spans += scan.spans
    pieces = (_piece(data, span) for span in sorted(spans))
    return [piece for piece in pieces if piece is not None]


class _Span(NamedTuple):
    """Where a chat lies, and what must be added to close it if it is cut off."""

    start: int
    end: int
    closing: bytes


class _Frame:
    """An array or object that is open: where it began, and what of it is whole."""

    __slots__ = ("end", "is_object", "key", "members", "of_messages", "sound", "start")

    def __init__(self, start: int, *, is_object: bool, of_messages: bool) -> None:
        self.start = start
        self.is_object = is_object
        self.of_messages = of_messages
        self.end = start + 1  # of the last whole member or element
        self.key = b""
        self.members: set[str] = set()
        self.sound = True  # of messages: nothing but messages so far

    @property
    def is_chat(self) -> bool:
        """Whether it has the members of a chat."""
        return "messages" in self.members or (
            {"id", "title"} <= self.members and "role" not in self.members
        )


class _Scan:
    """Follows one object from its beginning to its end, or to where it breaks."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._position = start + 1
        self._stack = [_Frame(start, is_object=True, of_messages=False)]
        self._wanted = "key or end"
        self._last_string = start
        self.spans: list[_Span] = []

    def run(self) -> int:
        """Return from where to search on."""
        while self._stack:
            token = _TOKEN.match(self._data, self._position)
            if token is None or not self._take(token):
                self._break()
                # A string that was cut off swallows the beginning of what was written after it.
                return max(self._stack[0].start + 1, self._resume(token))
            self._position = token.end()
        return self._position

    def _resume(self, token: re.Match[bytes] | None) -> int:
        if len(self._stack) > MOST_DEPTH:
            return self._position
        return max(self._last_string + 1, self._stack[0].start + 1)

    def _take(self, token: re.Match[bytes]) -> bool:
        kind = token.lastgroup
        start = token.start(kind or 0)
        if kind == "mark":
            return self._take_mark(self._data[start], start, token.end())
        if kind == "string":
            self._last_string = start
            if self._wanted in ("key", "key or end"):
                self._stack[-1].key = token["string"]
                self._wanted = "colon"
                return True
        if self._wanted not in ("value", "value or end"):
            return False
        if kind == "flat":
            self._last_string = token.end() - 1
        self._whole(token.end(), is_message=kind == "flat" and b'"role"' in token["flat"])
        return True

    def _take_mark(self, mark: int, start: int, end: int) -> bool:
        frame, wanted = self._stack[-1], self._wanted
        if mark == ord(":"):
            self._wanted = "value"
            return wanted == "colon"
        if mark == ord(","):
            self._wanted = "key" if frame.is_object else "value"
            return wanted == "comma or end"
        if mark in b"[{":
            if wanted not in ("value", "value or end") or len(self._stack) > MOST_DEPTH:
                return False
            of_messages = frame.is_object and frame.key == _MESSAGES and mark == ord("[")
            self._stack.append(_Frame(start, is_object=mark == ord("{"), of_messages=of_messages))
            self._wanted = "key or end" if mark == ord("{") else "value or end"
            return True
        ends = "key or end" if frame.is_object else "value or end"
        if wanted not in ("comma or end", ends) or frame.is_object != (mark == ord("}")):
            return False
        self._close(end)
        return True

    def _close(self, end: int) -> None:
        frame = self._stack.pop()
        if frame.is_object and frame.is_chat:
            while self.spans and self.spans[-1].start > frame.start:
                self.spans.pop()  # it lies in this one
            self.spans.append(_Span(frame.start, end, b""))
        if self._stack:
            is_message = frame.is_object and "role" in frame.members and not frame.is_chat
            if frame.of_messages:
                self._stack[-1].members.add("messages")
            self._whole(end, is_message=is_message)

    def _whole(self, end: int, *, is_message: bool) -> None:
        """Note that a value ended, and with it an element or a member."""
        frame = self._stack[-1]
        if frame.is_object:
            if name := _TELLING.get(frame.key):
                frame.members.add(name)
        elif frame.of_messages:
            frame.sound = frame.sound and is_message
        if frame.sound:
            frame.end = end
        self._wanted = "comma or end"

    def _break(self) -> None:
        """Note the chats that are cut off here, with what of them is whole."""
        for frame, inner in zip(self._stack, [*self._stack[1:], None], strict=True):
            if not frame.is_object:
                continue
            if inner is not None and inner.of_messages:
                if inner.end > inner.start + 1:
                    self.spans.append(_Span(frame.start, inner.end, b"]}"))
            elif "messages" in frame.members:
                self.spans.append(_Span(frame.start, frame.end, b"}"))


def _piece(data: bytes, span: _Span) -> Piece | None:
    text = data[span.start : span.end] + span.closing
    whole = not span.closing
    try:
        text.decode()
    except UnicodeDecodeError:
        text, whole = text.decode("utf-8", "replace").encode(), False
    try:
        value = parse(text)
    except Unparsable:
        return None
    if not isinstance(value, dict):
        return None
    messages = value.get("messages")
    count = len(messages) if isinstance(messages, list) else 0
    return Piece(text, chat_key(value.get("id")), count, whole) if count or whole else None


def compose(pieces: list[bytes], like: bytes) -> bytes:
    """Return an array of chats, indented as the history ``like`` began."""
    begins = re.match(rb"[\xef\xbb\xbf\s]*\[([ \t\r\n]*)\{", like)
    blank = begins[1] if begins is not None else b"\n  "
    if not pieces:
        return b"[]"
    last = blank.rstrip(b" \t")
    return b"".join((b"[", blank, (b"," + blank).join(pieces), last, b"]"))


def first_object(data: bytes) -> bytes | None:
    """Return the first whole object of a document that should be one, without what stands around
    it: a byte order mark, NUL bytes, the rest of an older version. None if there is none.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0").decode("utf-8", "surrogateescape")
    if not text.startswith("{"):
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text)
        return None if is_deep(value) else text[:end].encode()
    except (ValueError, RecursionError, UnicodeEncodeError):
        return None
