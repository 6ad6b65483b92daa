"""A day of use: what the application does to a data directory between two backups. For tests too.

Files are rewritten as the application rewrites them: whole, in place, through the same inode.
"""

import heapq
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.documents import iso, json_text, new_chat, new_exchange
from benchmarks.draws import Draws
from benchmarks.text import CHINESE, ENGLISH

_DAY_MS = 86_400_000
_FIRST_DAY_MS = 1_750_000_000_000


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What a day of use touched: paths below the data directory, and how much was written."""

    histories: tuple[str, ...]
    users: tuple[str, ...]
    chats_added: int
    messages_added: int
    written_bytes: int


def _history_paths(directory: Path) -> Iterator[str]:
    with os.scandir(directory / "histories") as folders:
        for folder in folders:
            if folder.is_dir():
                for name in os.listdir(folder.path):
                    if name.endswith(".json"):
                        yield f"histories/{folder.name}/{name}"


def _rewrite(path: Path, value: object) -> int:
    """Truncate and write, as the application does; return the bytes written."""
    content = json_text(value).encode()
    path.write_bytes(content)
    return len(content)


def _use(history: Any, draws: Draws, moment_ms: int) -> tuple[int, int]:
    """Add to a history in place; return how many chats and how many messages are new."""
    text = json.dumps(history, ensure_ascii=False)
    language = CHINESE if len(text.encode()) > 1.5 * len(text) else ENGLISH
    chats = history if isinstance(history, list) else [history]
    if isinstance(history, dict) or (chats and draws.chance(25)):
        exchange = new_exchange(draws, language)
        chats[0]["messages"].extend(exchange)
        return 0, len(exchange)
    system = next(
        (m["content"] for c in chats[:1] for m in c["messages"] if m["role"] == "system"), ""
    )
    added = [
        new_chat(draws, moment_ms - 3_600_000 * number, language=language, system=system)
        for number in range(2 if draws.chance(15) else 1)
    ]
    history[:0] = added
    return len(added), sum(len(chat["messages"]) for chat in added)


def day_of_use(directory: Path, *, seed: int, fraction: float) -> DayOfUse:
    """Given a data directory, rewrite `fraction` (0 to 1) of its histories and their users' files.

    Most of these histories get a new chat (some two) before the others; in the rest, and in files
    that hold a single chat, the newest chat goes on. The users' `lastSeen` follows. The same
    directory and seed give the same bytes.
    """
    total = sum(1 for _ in _history_paths(directory))
    # Chosen by a hash of the path: the order in which a file system lists must not matter.
    chosen = heapq.nsmallest(
        round(total * fraction),
        _history_paths(directory),
        key=lambda path: sha256(f"{seed}:{path}".encode()).digest(),
    )
    users: list[str] = []
    chats_added = messages_added = written_bytes = 0
    for path in sorted(chosen):
        draws = Draws("day", seed, path)
        moment_ms = _FIRST_DAY_MS + seed * _DAY_MS + draws.below(_DAY_MS)
        history = json.loads((directory / path).read_bytes())
        chats, messages = _use(history, draws, moment_ms)
        chats_added += chats
        messages_added += messages
        written_bytes += _rewrite(directory / path, history)
        user_path = f"users/{path.split('/')[1]}.json"
        if user_path in users[-1:] or not (directory / user_path).exists():
            continue
        user = json.loads((directory / user_path).read_bytes())
        if "lastSeen" in user:
            user["lastSeen"] = iso(moment_ms)
            written_bytes += _rewrite(directory / user_path, user)
            users.append(user_path)
    return DayOfUse(tuple(sorted(chosen)), tuple(users), chats_added, messages_added, written_bytes)
