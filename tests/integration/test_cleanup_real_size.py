"""A cleanup of a history that really is too large for memory takes no more of it than its chats."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

from shenyu_data.model.expiry import Policy, Rule
from tests.integration.test_cleanup import ANNA, CHATS, Place, dated, old

MEGABYTE = 1_000_000
COUNT = 70


def test_memory_is_bounded_by_the_largest_chat(tmp_path: Path) -> None:
    place = Place(tmp_path)
    words = "x" * (MEGABYTE - 200)
    with (place.root / CHATS).open("w") as file:
        for number in range(COUNT):
            chat = {**dated(900 - 10 * number), "title": words}
            file.write((",\n  " if number else "[\n  ") + json.dumps(chat))
        file.write("\n]")
    old(place.root / CHATS)
    place.save()
    before = (place.root / CHATS).read_bytes()
    policy = Policy(rule=Rule(keep_newest=COUNT // 2), only=frozenset(["chat-history"]))
    tracemalloc.start()
    try:
        stats = place.clean(policy)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stats.done.chats == COUNT - COUNT // 2
    assert peak_bytes < 30 * MEGABYTE
    assert len(place.data.chats(ANNA)) == COUNT // 2
    place.undo()
    assert (place.root / CHATS).read_bytes() == before
