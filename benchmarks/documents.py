"""The documents of one synthetic user, in either layout. For `benchmarks.data` and `.day`.

`application_user` and `guide_user` yield pairs: a path below the data directory, and the value that
the JSON file at this path holds.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

from benchmarks import vocabulary as v
from benchmarks.draws import Draws
from benchmarks.text import CHINESE, ENGLISH, Author, Language

Json = dict[str, Any]
Document = tuple[str, Json | list[Json]]

_NOW_MS = 1_750_000_000_000  # the newest possible chat: 15 June 2025
_DAY_MS = 86_400_000
# Chats older than this have the digits in a string for an id.
_STRING_IDS_UNTIL_MS = _NOW_MS - 90 * _DAY_MS
_CANVASES = 400
# One user in 2500 has a history of this many bytes: the heavy tail of real data.
_HEAVY_BYTES = (1_600_000, 2_600_000, 1_100_000, 4_200_000)
# How many chats each of 13 users has in the guide's layout: 120 together, whatever the seed.
_GUIDE_CHATS = (4, 1, 12, 7, 2, 35, 9, 3, 18, 5, 10, 6, 8)

_scalar = json.JSONEncoder(ensure_ascii=False).encode


def json_text(value: Any, line: str = "\n") -> str:
    """Return `value` as `json.dumps(value, ensure_ascii=False, indent=2)` does, in half the time.

    Given an indent, the standard library leaves its C encoder for a chain of generators. `line`
    begins the line that closes the value.
    """
    inner = line + "  "
    if isinstance(value, dict) and value:
        members = [f"{_scalar(key)}: {json_text(member, inner)}" for key, member in value.items()]
        return f"{{{inner}{f',{inner}'.join(members)}{line}}}"
    if isinstance(value, list) and value:
        return f"[{inner}{f',{inner}'.join([json_text(member, inner) for member in value])}{line}]"
    return _scalar(value)


def iso(moment_ms: int) -> str:
    """Return milliseconds since 1970 as JavaScript's `toISOString` writes them."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03d}Z"


@lru_cache(maxsize=_CANVASES)
def _canvas(key: str, number: int) -> str:
    """Return the picture that one kind of device draws: a data URL of a file shaped like a PNG."""
    draws = Draws("canvas", key, number)
    header = (
        b"\x89PNG\r\n\x1a\n"
        + bytes.fromhex("0000000d49484452000000dc0000001e08060000")
        + draws.below(2**32).to_bytes(5)
    )
    deflated = bytes(
        value & 255 for value in draws.take(min(2000, int(draws.log_normal(1250, 0.4))))
    )
    body = b"\x00\x00" + len(deflated).to_bytes(2) + b"IDAT" + deflated
    end = bytes.fromhex("0000000049454e44ae426082")
    return "data:image/png;base64," + base64.b64encode(header + body + end).decode()


def _fingerprint(draws: Draws, seed: int, index: int) -> Json:
    fonts = [font for font, draw in zip(v.FONTS, draws.take(len(v.FONTS)), strict=True) if draw & 3]
    version = 100 + draws.below(30)
    system = draws.pick(
        ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "Linux; Android 14; K")
    )
    # Devices share canvases, some much more often than others; a few draw one of their own.
    place = draws.below(_CANVASES) * draws.below(_CANVASES) // _CANVASES
    shared = not draws.chance(8)
    return {
        "userAgent": f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{version}.0.0.0 Safari/537.36",
        "language": draws.pick(("zh-CN", "zh-CN", "en-US", "en-GB", "zh-TW")),
        "colorDepth": draws.pick((24, 24, 24, 30)),
        "screenResolution": draws.pick(
            ([1920, 1080], [2560, 1440], [1440, 900], [393, 852], [1536, 864])
        ),
        "timezone": draws.pick(
            ("Asia/Shanghai", "Asia/Shanghai", "Europe/Berlin", "America/New_York")
        ),
        "cookiesEnabled": True,
        "localStorage": True,
        "sessionStorage": True,
        "fonts": fonts,
        "canvasFingerprint": _canvas("pool", place)
        if shared
        else _canvas.__wrapped__(f"own{seed}", index),
        "webglVendor": draws.pick(
            ("Google Inc. (Intel)", "Google Inc. (NVIDIA)", "Google Inc. (Apple)", "WebKit")
        ),
        "webglRenderer": f"ANGLE (Renderer {draws.below(60)}, Direct3D11 vs_5_0 ps_5_0, D3D11)",
    }


def _messages(
    draws: Draws, language: Language, system: str, wanted_bytes: float
) -> tuple[list[Json], int]:
    """Return the messages of one chat that stops near `wanted_bytes`, and their size in bytes."""
    author = Author(draws, language)
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    size = len(system.encode())
    for _ in range(1 + draws.below(4) * draws.below(4)):
        for role, content in (("user", author.question()), ("assistant", author.answer())):
            messages.append({"role": role, "content": content})
            size += len(content.encode()) + 70
        if size >= wanted_bytes:
            break
    return messages, size


def _title(messages: list[Json]) -> str:
    question = next(message["content"] for message in messages if message["role"] == "user")
    return str(question[:30]).replace("\n", " ")


def _persona(draws: Draws, language: Language) -> str:
    """Return the system prompt that a user gives to all their chats."""
    return (
        draws.pick(v.SYSTEM_PROMPTS) + "\n" + Author(draws, language).paragraph(1 + draws.below(3))
    )


def new_chat(
    draws: Draws,
    moment_ms: int,
    *,
    language: Language,
    system: str = "",
    wanted_bytes: float = 6000,
) -> Json:
    """Return one chat of the application's layout, begun at `moment_ms` (ms since 1970)."""
    messages, _ = _messages(draws, language, system, wanted_bytes)
    identity = str(moment_ms) if moment_ms < _STRING_IDS_UNTIL_MS else moment_ms
    chat: Json = {"id": identity, "title": _title(messages), "messages": messages}
    if draws.chance(60):
        chat["timestamp"] = iso(moment_ms)
    return chat


def new_exchange(draws: Draws, language: Language) -> list[Json]:
    """Return a question and its answer, to be added to a chat."""
    author = Author(draws, language)
    return [
        {"role": "user", "content": author.question()},
        {"role": "assistant", "content": author.answer()},
    ]


def _history(draws: Draws, language: Language, system: str, wanted_bytes: float) -> list[Json]:
    """Return chats, newest first, that come near `wanted_bytes` of text together."""
    chats: list[Json] = []
    moment_ms = _NOW_MS - draws.below(60 * _DAY_MS)
    size = 0.0
    while size < wanted_bytes:
        chat = new_chat(
            draws, moment_ms, language=language, system=system, wanted_bytes=wanted_bytes - size
        )
        chats.append(chat)
        size += 150 + sum(len(message["content"].encode()) + 70 for message in chat["messages"])
        moment_ms -= 60_000 + draws.below(12 * _DAY_MS)
    return chats


def application_user(seed: int, index: int) -> Iterator[Document]:
    """Yield the documents of user `index`: of each 100 users, 260 documents."""
    draws = Draws("application", seed, index)
    user = sha256(f"{seed}:{index}".encode()).hexdigest()
    language = CHINESE if draws.chance(50) else ENGLISH
    persona = _persona(draws, language)
    place = (
        index * 37 % 100
    )  # spreads the users with more and with fewer histories, and keeps their number exact
    keys = (
        ["chat-history"] * (place < 97)
        + ["sn43-history"] * (place % 20 < 11)
        + ["notes-history"] * (place >= 92)
    )
    last_seen = _NOW_MS - draws.below(30 * _DAY_MS)
    for key in keys:
        wanted_bytes = draws.log_normal(5700, 1.1)
        if index % 2500 == 250 and key == "chat-history":
            wanted_bytes = _HEAVY_BYTES[index // 2500 % len(_HEAVY_BYTES)]
        system = persona if key != "chat-history" or draws.chance(20) else ""
        yield f"histories/{user}/{key}.json", _history(draws, language, system, wanted_bytes)
    yield (
        f"users/{user}.json",
        {
            "id": user,
            "fingerprint": _fingerprint(draws, seed, index),
            "firstSeen": iso(last_seen - draws.below(400 * _DAY_MS)),
            "lastSeen": iso(last_seen),
        },
    )


def guide_user(seed: int, index: int) -> Iterator[Document]:
    """Yield the documents of user `index`: of each 13 users, 133 documents."""
    draws = Draws("guide", seed, index)
    user = f"{draws.pick(v.GIVEN_NAMES).lower()}.{draws.pick(v.SURNAMES).lower()}{index}"
    language = CHINESE if draws.chance(50) else ENGLISH
    created_ms = _NOW_MS - draws.below(500 * _DAY_MS)
    for number in range(1, 1 + _GUIDE_CHATS[index % len(_GUIDE_CHATS)]):
        system = draws.pick(v.SYSTEM_PROMPTS) if draws.chance(25) else ""
        messages, _ = _messages(draws, language, system, draws.log_normal(2900, 0.9))
        created_ms += draws.below(5 * _DAY_MS)
        chat: Json = {"id": f"chat{number}", "messages": messages, "timestamp": iso(created_ms)}
        if draws.chance(70):
            chat["model"] = draws.pick(("small-chat-1", "large-chat-2"))
            chat["settings"] = {"temperature": draws.below(11) / 10, "max_tokens": 2048}
        yield f"histories/{user}/chat{number}.json", chat
    profile: Json = {"id": user, "created_at": iso(created_ms)}
    if draws.chance(80):
        profile["name"] = draws.pick(v.GIVEN_NAMES)
        profile["settings"] = {
            "theme": draws.pick(("light", "dark")),
            "fontSize": 12 + draws.below(8),
        }
        profile["preferences"] = {
            "language": draws.pick(("zh", "en")),
            "notifications": draws.chance(50),
        }
    yield f"users/{user}.json", profile
