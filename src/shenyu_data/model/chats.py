"""The chats of one history as pieces of its bytes: where each lies, which it is, how old it is.
Pure.

A history is an array of chats (the application's) or one chat (the guide's). Whoever changes one
chat of it leaves the bytes of all others as they are: see ``chats_edit.py``, ``chats_merge.py``.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec

from shenyu_data.model.documents import MOST_DEPTH, Unparsable, integer, is_deep, parse
from shenyu_data.model.notes import is_number

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_BLANKS = b" \t\r\n"
_GAP = re.compile(rb"[ \t\r\n,]*")
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_decode_value = msgspec.json.Decoder().decode

Identity = tuple[str, int]
"""Which chat it is within its history: what tells chats apart, and how many such came before."""


class Chat(NamedTuple):
    """One chat: its identity, its bytes (``start`` to ``end`` of its history), its value."""

    identity: Identity
    start: int
    end: int
    value: Any

    @property
    def key(self) -> str | None:
        """Its id as :func:`chat_key` gives it; None if it has none."""
        return chat_key(self.value.get("id")) if isinstance(self.value, dict) else None

    @property
    def messages(self) -> int:
        """How many messages it holds."""
        found = self.value.get("messages") if isinstance(self.value, dict) else None
        return len(found) if isinstance(found, list) else 0


class History(NamedTuple):
    """A history's bytes and its chats, in the order of the file.

    ``inside`` is what lies between the brackets of an array; None if the file is one chat.
    """

    data: bytes
    chats: list[Chat]
    inside: tuple[int, int] | None

    def text(self, index: int) -> bytes:
        """Return the bytes of one chat."""
        return self.text_of(self.chats[index])

    def text_of(self, chat: Chat) -> bytes:
        """Return the bytes of one of its chats."""
        return self.data[chat.start : chat.end]

    def find(self, key: str) -> list[int]:
        """Return where the chats with this id stand."""
        return [index for index, chat in enumerate(self.chats) if chat.key == key]

    @property
    def messages(self) -> int:
        """How many messages all chats hold."""
        return sum(chat.messages for chat in self.chats)


def read_history(data: bytes) -> History:
    """Find the chats of a history. Raise Unparsable if the application could not read it, or if it
    holds neither an array nor an object.
    """
    _check(data)
    start = len(data) - len(data.lstrip(_BLANKS))
    end = len(data.rstrip(_BLANKS))
    if data[start : start + 1] == b"{":
        value = chat_value(data)
        name, count = _identity(value, {})
        # The only chat of its file is the same chat, whatever becomes of its words.
        identity = (name if name.startswith("#") else "=", count)
        return History(data, [Chat(identity, start, end, value)], None)
    if data[start : start + 1] != b"[":
        raise _no_history()
    chats: list[Chat] = []
    seen: dict[str, int] = {}
    for first, last in _lengths(data, start) or _elements(data, start):
        value = chat_value(data[first:last])
        chats.append(Chat(_identity(value, seen), first, last, value))
    return History(data, chats, (start + 1, end - 1))


def chat_key(identity: object) -> str | None:
    """Return what tells chats apart: a number and the same digits in a string are one chat."""
    if isinstance(identity, str):
        return identity
    if isinstance(identity, float) and identity.is_integer():
        return str(int(identity))
    return str(identity) if is_number(identity) else None


def as_text(value: object) -> str | None:
    """Return a value that should be text as text; one of another type as JSON."""
    if value is None or isinstance(value, str):
        return value
    return chat_key(value) or json.dumps(value, ensure_ascii=False)


def same_value(one: object, other: object) -> bool:
    """Whether two JSON values are the same, in whatever order their members stand."""
    return canonical(one) == canonical(other)


def _check(data: bytes) -> None:
    try:
        _decode_any(data)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError:
        try:
            parse(data)  # says what is wrong, or takes what only the application does
        except Unparsable as problem:
            if problem.code != "not-utf8":
                raise
            parse(data.decode("utf-8", "replace").encode())


def chat_value(text: bytes) -> Any:
    """Return the value of one chat, as the application reads it. Raise Unparsable, also if it nests
    deeper than :data:`MOST_DEPTH`.
    """
    value = _decoded(text)
    if text.count(b"[") + text.count(b"{") > MOST_DEPTH and is_deep(value):
        raise _too_deep()
    return value


def _decoded(text: bytes) -> Any:
    try:
        return _decode_value(text)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            replaced = text.decode("utf-8", "replace")
            return json.loads(replaced, parse_constant=_no_constant, parse_int=integer)
        except RecursionError:
            raise _too_deep() from None
        except ValueError:
            raise _no_history() from None


def chat_places(data: bytes) -> list[tuple[int, int]]:
    """Return where the chats of an array begin and end; none of what is none, or is odd."""
    if data[:1] != b"[":
        return []
    return _lengths(data, 0)


def _lengths(data: bytes, start: int) -> list[tuple[int, int]]:
    """As :func:`_elements`, ten times as fast, but none for what only the application takes."""
    try:
        raws = _decode_raws(data)
    except (msgspec.DecodeError, RecursionError):
        return []
    found: list[tuple[int, int]] = []
    position = start + 1
    for raw in raws:
        gap = _GAP.match(data, position)
        begin = gap.end() if gap is not None else position
        position = begin + len(bytes(raw))
        found.append((begin, position))
    return found


def _elements(data: bytes, start: int) -> list[tuple[int, int]]:
    """Return where the elements of the array at ``start`` begin and end; it is known to be JSON."""
    found: list[tuple[int, int]] = []
    depth, first = 0, start + 1
    for token in _TOKEN.finditer(data, start):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if (mark == ord(",") and depth == 1) or depth == 0:
            piece = data[first : token.start()]
            text = piece.strip(_BLANKS)
            if text:
                begin = first + len(piece) - len(piece.lstrip(_BLANKS))
                found.append((begin, begin + len(text)))
            first = token.end()
        if depth == 0:
            break
    return found


def _identity(value: object, seen: dict[str, int]) -> Identity:
    key = chat_key(value.get("id")) if isinstance(value, dict) else None
    if key is None:  # the same words are the same chat
        import hashlib  # late: it takes 5 ms, and chats have ids

        digest = hashlib.blake2b(canonical(value).encode("utf-8", "surrogatepass"), digest_size=16)
        name = "=" + digest.hexdigest()
    else:
        name = "#" + key
    count = seen.get(name, 0)
    seen[name] = count + 1
    return name, count


def canonical(value: object) -> str:
    """Return the one text for all JSON texts of the same value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def as_written(value: object) -> bytes:
    """Return a JSON value as the application writes it."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=2).encode()
    except UnicodeEncodeError:  # half a character
        return json.dumps(value, indent=2).encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _too_deep() -> Unparsable:
    return _unparsable("json-too-deep", "warning", "JSON nested so deep that it is not looked into")


def _no_history() -> Unparsable:
    return _unparsable("not-json", "error", "neither an array of chats nor one chat")


def _unparsable(code: str, severity: Literal["error", "warning"], message: str) -> Unparsable:
    return Unparsable(
        code=code,
        severity=severity,
        message=message,
        hint="Restore the document, or see what wrote it.",
    )
