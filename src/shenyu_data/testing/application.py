"""A small data directory that a test writes as the application does. For tests.

What a directory holds is compared with :func:`shenyu_data.testing.tree.read_tree`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shenyu_data.datadir.capture import is_settled

_PAUSE_S = 0.002


def settle(folder: str | Path) -> None:
    """Wait until a backup believes what stat says of every file under ``folder``, however young;
    not for times that lie in the future: those no backup ever believes.
    """
    for above, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(above, name))
            while not is_settled(found) and found.st_mtime_ns <= time.time_ns():
                time.sleep(_PAUSE_S)


def chat(number: int, messages: int = 4, about: str = "") -> dict[str, Any]:
    """Return one chat as the application writes it."""
    return {
        "id": 1_700_000_000_000 + number,
        "title": f"关于 {about or number} 的对话",
        "messages": [
            {
                "role": ("user", "assistant")[turn % 2],
                "content": f"{about} 第 {number} 个对话的第 {turn} 条消息 {number * 7919 + turn} "
                + "风雨夜行 the quick brown fox " * (1 + (number + turn) % 3),
            }
            for turn in range(messages)
        ],
    }


class Application:
    """Writes documents as the application does: whole files, in place."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        (self.folder / "users").mkdir(parents=True, exist_ok=True)
        (self.folder / "histories").mkdir(exist_ok=True)

    def write(self, path: str, document: object) -> None:
        """Write a document: bytes as they are, anything else as JSON in the application's style."""
        if not isinstance(document, bytes):
            document = json.dumps(document, ensure_ascii=False, indent=2).encode()
        full = self.folder / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(document)

    def add_user(
        self, user: str, chats: Iterable[dict[str, Any]], key: str = "chat-history"
    ) -> None:
        """Write a user's two documents."""
        self.write(f"users/{user}.json", {"id": user, "firstSeen": "2026-01-02T03:04:05.678Z"})
        self.write(f"histories/{user}/{key}.json", list(chats))

    def chats(self, user: str, key: str = "chat-history") -> list[dict[str, Any]]:
        """Return the chats of a user's history."""
        history = self.folder / f"histories/{user}/{key}.json"
        found: list[dict[str, Any]] = json.loads(history.read_bytes())
        return found

    def prepend_chat(self, user: str, new: dict[str, Any], key: str = "chat-history") -> None:
        """Put a chat in front of a user's history, as the application does."""
        self.write(f"histories/{user}/{key}.json", [new, *self.chats(user, key)])

    def remove(self, path: str) -> None:
        """Remove a document."""
        (self.folder / path).unlink()


def rich_directory(folder: str | Path) -> Application:
    """Write a little of everything: both layouts, links, odd names, files that belong to nobody."""
    data = Application(folder)
    for number in range(6):
        chats = [chat(number * 10 + index) for index in range(number + 1)]
        data.add_user(f"{number:064x}", chats)
    data.add_user("alice", [chat(100)], key="0")
    data.write("histories/alice/7.json", chat(101))
    data.write("histories/bob/chat-history.json", [chat(200, messages=40)])
    data.write("histories/bob/old/deep/kept.bin", bytes(range(256)) * 3)
    data.write("users/carol.json", b"{}")
    data.write("notes.txt", b"kept byte for byte\n")
    data.write("example/user.json", {"id": "example"})
    data.write("users/a b\u202ec.json", {"id": "odd"})
    (data.folder / "histories" / "alice" / "link.json").symlink_to("../../notes.txt")
    os.link(data.folder / "notes.txt", data.folder / "example" / "same-notes.txt")
    (data.folder / "empty").mkdir(mode=0o750)
    return data
