"""Histories with chats that nest so deep that nothing unfolds them: torn, and mended."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.repair import RepairOptions, plan_repair
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.scenario import PASSPHRASE
from tests.integration.overwritten import T0, Place

DEPTHS = pytest.mark.parametrize("depth", [250, 900, 5000])


def plain(number: int) -> bytes:
    return json.dumps({"id": T0 + number, "title": "t", "messages": []}).encode()


def deep(number: int, depth: int) -> bytes:
    return plain(number)[:-1] + b', "more": ' + b"[" * depth + b"]" * depth + b"}"


def history(*chats: bytes) -> bytes:
    return b"[\n  " + b",\n  ".join(chats) + b"\n]"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(create_repository(MemoryStorage(), PASSPHRASE)[0], tmp_path)


def held(place: Place) -> set[int]:
    found = re.findall(rb'"id": (\d+)', place.path.read_bytes())
    return {int(number) - T0 for number in found}


@DEPTHS
@pytest.mark.parametrize("rest", [b"", history(plain(4), plain(3))[:-20]], ids=["empty", "torn"])
def test_a_deep_last_good_version_comes_back_with_all_its_chats(
    place: Place, depth: int, rest: bytes
) -> None:
    place.snapshots(history(plain(2), deep(1, depth))).holds(rest)
    place.repair()
    assert held(place) >= {2, 1}
    assert deep(1, depth) in place.path.read_bytes()


@DEPTHS
def test_a_deep_chat_that_is_whole_in_a_torn_history_stays_whole(place: Place, depth: int) -> None:
    place.snapshots(history(plain(2), plain(1)))
    place.holds(history(deep(3, depth), plain(2))[:-20]).repair()
    assert held(place) == {3, 2, 1}
    assert deep(3, depth) in place.path.read_bytes()


@DEPTHS
def test_a_torn_history_whose_only_whole_chat_is_deep_is_not_taken_away(
    place: Place, depth: int
) -> None:
    stats, _ = place.holds(history(deep(3, depth), plain(2))[:-20]).repair()
    assert (stats.changed, stats.removed) == (1, 0)
    assert held(place) == {3}


@DEPTHS
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "old"])
@pytest.mark.parametrize("lost", [3, 30], ids=["a little", "more"])
def test_validate_and_repair_agree_on_what_is_wrong(
    place: Place, depth: int, fresh: bool, lost: int
) -> None:
    place.holds(history(plain(2), deep(1, depth))[:-lost])
    if fresh:
        os.utime(place.path)
    monitor = CollectingMonitor()
    validate(str(place.data.folder), ValidateOptions(jobs=1), monitor)
    options = RepairOptions(state=str(place.state))
    plan = plan_repair(None, str(place.data.folder), options, CollectingMonitor())
    said = {one.code for one in monitor.findings} - {"json-too-deep"}
    assert said == {item.code for item in plan.items} == {"torn-json"}
