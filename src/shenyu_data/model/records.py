"""What the application writes: users, histories, chats, messages, in both layouts. Pure parsing.

Backup only needs an outline of a document, that it is whole and how much it holds, and takes it in
one pass with messages left raw; whoever needs the words decodes them then.
"""

from __future__ import annotations

import zlib
from typing import Literal

import msgspec

from shenyu_data.model.documents import Unparsable, parse
from shenyu_data.model.layout import GZIP_SUFFIX, Kind

MAX_PARSED_BYTES = 32 << 20
"""Documents larger than this are kept byte for byte, without a look inside."""

_MOST_MEMBERS = 64  # the rest is copied for each: more would only be there to keep us busy

State = Literal["whole", "unparsed", "torn"]


class Outline(msgspec.Struct, frozen=True):
    """How a document looks from outside.

    ``whole``: it parses (or is of a kind that is not parsed); ``unparsed``: too large or too deep
    to be parsed safely; ``torn``: empty, cut off, or otherwise not JSON.
    """

    state: State
    chats: int = 0
    messages: int = 0


class _ChatOutline(msgspec.Struct):
    messages: list[msgspec.Raw] = []


_decode_array = msgspec.json.Decoder(list[_ChatOutline]).decode
_decode_chat = msgspec.json.Decoder(_ChatOutline).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode

WHOLE = Outline("whole")
UNPARSED = Outline("unparsed")
TORN = Outline("torn")


def outline(kind: Kind, path: bytes, data: bytes) -> Outline:
    """Given a document's kind, its path (for ``.gz``) and its bytes, return its outline. Never
    raises.
    """
    if kind == "other":
        return WHOLE
    if path.endswith(GZIP_SUFFIX):
        unpacked = gunzip(data, MAX_PARSED_BYTES)
        if unpacked is None:
            return TORN
        data = unpacked
    if len(data) > MAX_PARSED_BYTES:
        return UNPARSED
    try:
        if kind == "user":
            _decode_any(data)
            return WHOLE
        try:
            if data[:1] == b"[":
                chats = _decode_array(data)
                return Outline("whole", len(chats), sum([len(chat.messages) for chat in chats]))
            return Outline("whole", 1, len(_decode_chat(data).messages))
        except msgspec.ValidationError:
            _decode_any(data)  # JSON of another shape; that it parses is all that is asked of it
            return WHOLE
    except RecursionError:
        return UNPARSED
    except msgspec.DecodeError:
        return _outline_as_the_application_reads(kind, data)


def _outline_as_the_application_reads(kind: Kind, data: bytes) -> Outline:
    """Outline what msgspec refuses: an escape of half a character is JSON for the application."""
    if b"\\u" not in data:
        return TORN
    try:
        value = parse(data)
    except Unparsable:
        return TORN
    if kind == "user":
        return WHOLE
    chats = [
        chat for chat in (value if isinstance(value, list) else [value]) if isinstance(chat, dict)
    ]
    messages = [chat.get("messages") for chat in chats]
    return Outline("whole", len(chats), sum([len(m) for m in messages if isinstance(m, list)]))


def gunzip(data: bytes, limit: int) -> bytes | None:
    """Unpack gzip ``data`` to at most ``limit`` + 1 bytes (so that more can be told from enough).

    A few members in a row are one document, and zeros may follow, as for gzip itself. Return None
    if it is cut off, is not gzip, or something else follows.
    """
    parts: list[bytes] = []
    room = limit + 1
    for _ in range(_MOST_MEMBERS):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            parts.append(unpacker.decompress(data, room))
        except zlib.error:
            return None
        room -= len(parts[-1])
        if not room:
            break
        if not unpacker.eof:
            return None
        data = unpacker.unused_data
        if not data.strip(b"\0"):
            break
    else:
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)
