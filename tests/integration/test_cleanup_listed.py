"""A plan of a cleanup lists every user and chat without having them in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import cleanup_plan
from shenyu_data.operations.cleanup_plan import plan_cleanup
from tests.integration.test_cleanup import ALL, Place, dated

MEGABYTE = 1_000_000
USERS, CHATS_EACH, TASK_USERS = 600, 25, 50


def test_every_user_and_chat_is_listed_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup_plan, "_TASK_USERS", TASK_USERS)
    monkeypatch.setattr(cleanup_plan, "_MOST_TASK_USERS", 2)  # so that buckets are cut
    place = Place(tmp_path)
    for number in range(USERS):
        history = place.root / "histories" / f"user{number}" / "chat-history.json"
        history.parent.mkdir()
        history.write_text(json.dumps([dated(900 - day) for day in range(CHATS_EACH)]))
    options = place.options(ALL, unsaved_too=True, every=True)
    tracemalloc.start()
    try:
        plan = plan_cleanup(place.repository, str(place.root), options, CollectingMonitor())
        sizes = [item.amounts.size_bytes for item in plan.users]
        chats = sum(1 for _ in plan.chats)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sizes) == len(plan.users) >= USERS
    assert sizes == sorted(sizes, reverse=True)
    assert chats == len(plan.chats) == plan.total.chats >= USERS * CHATS_EACH
    assert peak_bytes < 6 * MEGABYTE
