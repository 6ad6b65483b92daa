"""The index of words is made in bounded memory, however large the chats are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from shenyu_data.datadir.catalog_pages import Listing
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import chats_search
from shenyu_data.operations.catalog import CatalogOptions
from shenyu_data.operations.chats_search import SearchPage, search_chats
from shenyu_data.operations.listings import PageOptions
from shenyu_data.testing.application import Application, chat

MEGABYTE = 1_000_000
CHATS, CHARACTERS = 60, 10_000


def search(data: Application, words: str, *, index: bool = False) -> SearchPage:
    options = CatalogOptions(data=str(data.folder), state=str(data.folder.parent / "state"), jobs=1)
    page = PageOptions(limit=1000)
    return search_chats(options, Listing(words=words), page, CollectingMonitor(), index=index)


def test_large_chats_are_indexed_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats_search, "_BYTES_A_TASK", MEGABYTE // 5)
    monkeypatch.setattr(chats_search, "_BYTES_A_TRANSACTION", MEGABYTE // 5)
    data = Application(tmp_path / "data")
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + CHARACTERS)))
    for number in range(CHATS):
        about = letters[number:] + letters[:number]
        data.add_user(f"user{number}", [chat(number, messages=0, about=about)])
    search(data, "no such words")  # makes the catalog
    other = Application(tmp_path / "other")
    other.add_user("user", [chat(0, messages=0, about=letters)])
    search(other, letters[:5], index=True)  # imports, and fills caches that are bounded
    tracemalloc.start()
    try:
        found = search(data, letters[100:105], index=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.indexed
    assert len(found.chats) == CHATS
    assert peak_bytes < 5 * MEGABYTE


def test_wherever_parts_end_every_chat_is_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Application(tmp_path / "data")
    data.add_user("cleo", [chat(number, about="候鸟迁徙" * (number % 4)) for number in range(30)])
    size = len("候鸟迁徙") * 3 + 200
    for number, most in enumerate((1, size, 3 * size)):
        monkeypatch.setattr(chats_search, "_BYTES_A_TASK", most)
        monkeypatch.setattr(chats_search, "_BYTES_A_TRANSACTION", most)
        data.add_user(f"dora{number}", [chat(100 + number, about="迁徙"), chat(200 + number)])
        for path in tmp_path.rglob("catalog-text.db"):
            path.unlink()
        found = search(data, "迁徙", index=True)
        assert found.indexed
        assert len(found.chats) == 22 + number + 1
        assert found.read == len(found.chats)
