"""What makes a history sound: an array of chats (the application's) or one chat (the guide's).

Pure. :func:`count_sound_history` proves most documents sound in one typed pass;
:func:`check_history` takes the time to say what is wrong with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from shenyu_data.model.notes import Notes, is_number, shown
from shenyu_data.model.user_rules import Time

ROLES = ("user", "assistant", "system")
Role = Literal["user", "assistant", "system"]

T = TypeVar("T")
U = TypeVar("U")


class Held(NamedTuple):
    """How much a history holds."""

    chats: int
    messages: int


# Two passes, each typed: the first knows every field, and so reads all text there is, which proves
# it UTF-8; the second, for histories with more fields, skips those and looks at the bytes instead.


class _KnownMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Role
    content: str


class _KnownChat(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    messages: list[_KnownMessage]
    id: int | str | None = None
    title: str | None = None
    timestamp: Time = None
    model: Any = None
    settings: Any = None


class _KnownListedChat(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    id: int | str
    messages: list[_KnownMessage]
    title: str | None = None
    timestamp: Time = None
    model: Any = None
    settings: Any = None


class _Message(msgspec.Struct, gc=False):
    role: Role
    content: str


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Message]
    id: int | str | None = None
    title: str | None = None
    timestamp: Time = None


class _ListedChat(msgspec.Struct, gc=False):
    id: int | str
    messages: list[_Message]
    title: str | None = None
    timestamp: Time = None


_decode_known_chat = msgspec.json.Decoder(_KnownChat).decode
_decode_known_array = msgspec.json.Decoder(list[_KnownListedChat]).decode
_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_array = msgspec.json.Decoder(list[_ListedChat]).decode


def count_sound_history(data: bytes, *, array_only: bool) -> Held | None:
    """Given a history's bytes, return what it holds if it is sound. None means: not proven.

    ``array_only`` says that one chat will not do, because the application itself reads the file.
    """
    if data[:1] == b"[":
        chats = _decode_either(data, _decode_known_array, _decode_array)
        if chats is None or (len(chats) > 1 and len({str(c.id) for c in chats}) != len(chats)):
            return None
        return Held(len(chats), sum([len(chat.messages) for chat in chats]))
    if array_only:
        return None
    chat = _decode_either(data, _decode_known_chat, _decode_chat)
    return Held(1, len(chat.messages)) if chat is not None else None


def _decode_either(
    data: bytes, decode_known: Callable[[bytes], T], decode: Callable[[bytes], U]
) -> T | U | None:
    try:
        return decode_known(data)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    try:
        value = decode(data)
        if not data.isascii():
            data.decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value


def check_history(value: object, notes: Notes, *, array_only: bool) -> Held:
    """Note everything wrong with the history ``value``; return what it holds all the same."""
    if isinstance(value, dict):
        if array_only:
            notes.add(
                code="single-chat",
                severity="warning",
                message="one chat, where the application expects an array of chats",
                pointer="",
                hint="The application takes it for empty and overwrites it: wrap it in [ ].",
            )
        return Held(1, _check_chat(value, "", notes))
    if not isinstance(value, list):
        notes.wrong_type(value, "an array of chats, or one chat", "")
        return Held(0, 0)
    messages = 0
    pointers: dict[str, str] = {}
    for number, chat in enumerate(value):
        pointer = f"/{number}"
        if not isinstance(chat, dict):
            notes.wrong_type(chat, "an object (a chat)", pointer)
            continue
        messages += _check_chat(chat, pointer, notes)
        if chat.get("id") is None:
            notes.missing("id", pointer, severity="warning")
        elif (key := _key(chat["id"])) is not None:
            first = pointers.setdefault(key, f"{pointer}/id")
            if first != f"{pointer}/id":
                _note_duplicate(chat["id"], first, f"{pointer}/id", notes)
    return Held(sum([isinstance(chat, dict) for chat in value]), messages)


def _check_chat(chat: dict[str, object], pointer: str, notes: Notes) -> int:
    """Note what is wrong with one chat; return how many messages it holds."""
    identity = chat.get("id")
    if identity is not None and not isinstance(identity, str) and not is_number(identity):
        notes.wrong_type(identity, "a number or a string", f"{pointer}/id")
    notes.optional(chat.get("title"), str, "a string", f"{pointer}/title")
    notes.time(chat.get("timestamp"), f"{pointer}/timestamp")
    if "messages" not in chat:
        notes.missing("messages", pointer)
        return 0
    messages = chat["messages"]
    if not isinstance(messages, list):
        notes.wrong_type(messages, "an array of messages", f"{pointer}/messages")
        return 0
    for number, message in enumerate(messages):
        _check_message(message, f"{pointer}/messages/{number}", notes)
    return len(messages)


def _check_message(message: object, pointer: str, notes: Notes) -> None:
    if not isinstance(message, dict):
        notes.wrong_type(message, "an object (a message)", pointer)
        return
    for field in ("role", "content"):
        if field not in message:
            notes.missing(field, pointer)
        elif not isinstance(message[field], str):
            notes.wrong_type(message[field], "a string", f"{pointer}/{field}")
    role = message.get("role")
    if isinstance(role, str) and role not in ROLES:
        notes.add(
            code="unknown-role",
            severity="warning",
            message=f"the role {shown(role)} is none of {', '.join(ROLES)}",
            pointer=f"{pointer}/role",
            hint="The application shows only these; the message is kept as it is.",
        )


def _key(identity: object) -> str | None:
    """Return what tells chats apart: a number and the same digits in a string are one chat."""
    if isinstance(identity, str):
        return identity
    if isinstance(identity, float) and identity.is_integer():
        return str(int(identity))
    return str(identity) if is_number(identity) else None


def _note_duplicate(identity: object, first: str, second: str, notes: Notes) -> None:
    notes.add(
        code="duplicate-chat-id",
        severity="warning",
        message=f"the chat {shown(identity)} is there twice: {first} and {second}",
        pointer=second,
        hint="The application confuses them when it merges or deletes: give one of them another "
        "id, or remove it.",
    )
