"""Two writers that contradict each other about a document that is watched: nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.replace import Live
from shenyu_data.operations.journal import Began, Digests, open_journals
from shenyu_data.operations.live_document import Change, LiveDocument, kept_attributes
from shenyu_data.operations.live_watch import DocumentWatch

PATH = "histories/ben/chat-history.json"


def chat(number: int, *words: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": word} for word in words]
    return {"id": number, "title": "t", "messages": messages}


def text(*chats: dict[str, Any]) -> bytes:
    return json.dumps(chats, indent=2).encode()


def test_what_was_merged_is_kept_if_the_application_contradicts_it(tmp_path: Path) -> None:
    """One process writes into what was displaced, another one goes on from what was put there, and
    takes back a message that the first one answered.
    """
    path = tmp_path / "data" / PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(text(chat(1, "a", "x")))
    first = os.open(path, os.O_RDWR)
    began = Began(operation="restore", time_ms=1, repository=b"", data="d", snapshot=None)

    def edit(live: Live | None) -> Change:
        assert live is not None
        return Change(text(chat(2, "back"), chat(1, "a", "x")), kept_attributes(live))

    data, state = str(tmp_path / "data"), str(tmp_path / "state")
    with open_journals(state) as journals, open_root(data) as root:
        folder = open_folder(root, os.path.dirname(PATH).encode())
        document = LiveDocument(
            folder, PATH.encode(), "history", journals.begin(began), Digests(b"k" * 32), 0.2
        )
        watch = DocumentWatch(root, document)
        document.change(edit)
        os.pwrite(first, text(chat(1, "a", "x", "first")), 0)
        os.close(first)
        watch.look()
        assert "first" in path.read_text()
        path.write_bytes(text(chat(2, "back"), chat(1, "a", "second")))
        while not watch.look():
            pass
        document.close()
    codes = [finding.code for finding in watch.findings]
    kept = list(path.parent.glob(".shenyu-data-kept-*"))
    everything = path.read_text() + "".join(one.read_text() for one in kept)
    assert "second" in path.read_text()
    assert "first" in everything
    assert codes == ["displaced-kept", "changed-since"]
