"""Cleanups of histories that are too large for memory: they are followed as streams, and all that
is promised of small ones is kept. So the tests of those are run again here with small limits.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir import replace
from shenyu_data.model.errors import NothingToTakeBack
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import cleanup_documents, cleanup_saved, safety
from shenyu_data.operations.cleanup import cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import T0, Interleaving
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import PASSPHRASE, look, take
from tests.integration.test_cleanup import (
    ALL,
    ANNA,
    CHATS,
    HALF,
    OTHER,
    Place,
    contents,
    dated,
    old,
    place,
    test_a_chat_that_only_an_older_verified_snapshot_holds_may_go,
    test_a_document_written_since_the_plan_is_planned_anew,
    test_a_full_disk_leaves_every_document_as_it_was,
    test_chats_expire_by_their_own_clocks_in_both_layouts_and_the_rest_stays,
    test_empty_histories_and_folders_go_and_fresh_ones_stay,
    test_holds_win_over_every_rule,
    test_killed_at_any_step_each_document_is_old_or_new_and_can_be_finished_or_taken_back,
    test_nothing_goes_that_no_verified_snapshot_holds,
    test_of_all_users_together_the_oldest_go_until_the_others_have_room,
    test_the_plan_equals_what_is_done_and_doing_it_again_does_nothing,
    test_undo_puts_chats_into_a_history_that_went_on,
    test_undo_takes_a_cleanup_back_to_the_last_byte,
    test_what_cannot_be_read_is_left_alone_and_named,
    test_what_stays_keeps_mode_and_time_and_a_compressed_history_its_settings,
)

__all__ = [
    "place",
    "test_a_chat_that_only_an_older_verified_snapshot_holds_may_go",
    "test_a_document_written_since_the_plan_is_planned_anew",
    "test_a_full_disk_leaves_every_document_as_it_was",
    "test_chats_expire_by_their_own_clocks_in_both_layouts_and_the_rest_stays",
    "test_empty_histories_and_folders_go_and_fresh_ones_stay",
    "test_holds_win_over_every_rule",
    "test_killed_at_any_step_each_document_is_old_or_new_and_can_be_finished_or_taken_back",
    "test_nothing_goes_that_no_verified_snapshot_holds",
    "test_of_all_users_together_the_oldest_go_until_the_others_have_room",
    "test_the_plan_equals_what_is_done_and_doing_it_again_does_nothing",
    "test_undo_puts_chats_into_a_history_that_went_on",
    "test_undo_takes_a_cleanup_back_to_the_last_byte",
    "test_what_cannot_be_read_is_left_alone_and_named",
    "test_what_stays_keeps_mode_and_time_and_a_compressed_history_its_settings",
]

LIMIT = 600
"""More than a chat of these tests, less than two."""


@pytest.fixture(autouse=True, params=["half in memory", "never in memory"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let histories be large that are not: those that may still be in memory whole, or not."""
    monkeypatch.setattr(cleanup_documents, "MAX_PARSED_BYTES", LIMIT)
    monkeypatch.setattr(cleanup_saved, "LARGE_BYTES", LIMIT)
    if request.param == "never in memory":
        monkeypatch.setattr(replace, "MOST_BYTES", LIMIT)


def codes(monitor: CollectingMonitor) -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in monitor.findings]


def test_something_else_between_its_chats_leaves_a_history_alone(place: Place) -> None:
    text = (place.root / CHATS).read_bytes().replace(b"[", b"[1, ", 1)
    place.data.write(CHATS, text)
    old(place.root / CHATS)
    monitor = CollectingMonitor()
    place.clean(ALL, unsaved_too=True, monitor=monitor)
    assert codes(monitor) == [("too-large", CHATS)]
    assert "stands between its chats" in monitor.findings[0].message
    assert (place.root / CHATS).read_bytes() == text
    assert place.days(OTHER) == []


def test_a_chat_that_is_no_json_leaves_a_history_alone(place: Place) -> None:
    text = (place.root / CHATS).read_bytes().replace(b'"title":', b'"title" ', 1)
    place.data.write(CHATS, text)
    old(place.root / CHATS)
    monitor = CollectingMonitor()
    place.clean(ALL, unsaved_too=True, monitor=monitor)
    assert ("live-torn", CHATS) in codes(monitor)
    assert (place.root / CHATS).read_bytes() == text


def test_a_chat_of_too_many_values_leaves_a_history_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup_documents, "MAX_PARSED_VALUES", 5)
    before = (place.root / CHATS).read_bytes()
    monitor = CollectingMonitor()
    place.clean(ALL, monitor=monitor)
    assert ("too-large", CHATS) in codes(monitor)
    assert (place.root / CHATS).read_bytes() == before


def test_undo_of_one_of_two_chats_with_the_same_id_brings_the_other_back(place: Place) -> None:
    twice = [dated(900), dated(900, 3)]
    twice[1]["messages"][0]["timestamp"] = dated(5)["id"]  # by which this one expires
    place.data.write(CHATS, [dated(950), *twice, dated(700)])
    old(place.root / CHATS)
    place.save()
    place.clean(HALF)
    assert place.days(CHATS) == [950, 900, 700]
    place.data.prepend_chat(ANNA, dated(999))
    assert place.undo().findings == []
    assert place.days(CHATS) == [999, 950, 900, 900, 700]


def test_undo_leaves_a_torn_history_alone_unless_told(place: Place) -> None:
    before = (place.root / CHATS).read_bytes()
    place.clean(HALF)
    torn = (place.root / CHATS).read_bytes()[:-3]
    place.data.write(CHATS, torn)
    assert ("changed-since", CHATS) in codes(place.undo())
    assert (place.root / CHATS).read_bytes() == torn
    place.undo(overwrite=True)
    assert (place.root / CHATS).read_bytes() == before


def test_a_disk_that_is_full_at_an_undo_leaves_every_document_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.clean(HALF)
    before = contents(place)
    with monkeypatch.context() as patches:

        def full(descriptor: int, chunks: Any) -> int:
            raise OSError(28, "No space left on device")

        patches.setattr(replace, "write_all", full)
        assert ("not-written", CHATS) in codes(place.undo())
    assert (place.root / CHATS).read_bytes() == before[CHATS]
    place.undo()
    assert len(place.days(CHATS)) == 10


def test_an_undo_killed_at_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "repo"))
    storage.create()
    place = Place(tmp_path, storage)
    before = contents(place)
    number, killed = 0, True
    while killed:
        place.state = str(tmp_path / f"state{number}")
        for name, data in before.items():
            place.data.write(name, data)
            old(place.root / name)
        place.clean(Policy(rule=HALF.rule, only=frozenset(["chat-history"])))
        place.data.prepend_chat(ANNA, dated(999))
        old(place.root / CHATS)
        went_on = (place.root / CHATS).read_bytes()
        killed = dies_at(number, partial(place.undo), after=(safety, "backup"))
        there = (place.root / CHATS).read_bytes()
        assert there == went_on or place.days(CHATS) == [999, *range(990, 0, -100)], number
        with suppress(NothingToTakeBack):
            place.undo()
        assert place.days(CHATS) == [999, *range(990, 0, -100)], number
        assert not list(place.root.rglob(".shenyu-data-*")), number
        number += 1
    assert number > 5


SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))


@pytest.mark.parametrize("seed", range(SEEDS // 5))
def test_beside_a_writer_nothing_is_lost_that_neither_the_policy_nor_the_writer_removed(
    tmp_path: Path, seed: int
) -> None:
    user, expired = f"{1:064x}", 20
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(tmp_path / "data")
    data.add_user(user, [chat(number, messages=2) for number in range(30, 0, -1)])
    take(repository, data)
    assert look(repository).errors == {}
    path = data.folder / f"histories/{user}/chat-history.json"
    interleaving = Interleaving(path, random.Random(seed))
    writer = interleaving.writer
    monitor = CollectingMonitor()
    options = CleanupOptions(
        policy=Policy(rule=Rule(older_than_s=86_400)),
        now_ms=T0 + expired + 1 + 86_400_000,
        state=str(tmp_path / "state"),
    )
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            cleanup(repository, str(data.folder), options, monitor)
    assert writer.met_torn == 0, "the writer met a torn file: one of ours"
    numbers = [item["id"] - T0 for item in json.loads(path.read_bytes())]
    aside = list(path.parent.glob(".shenyu-data*"))
    assert all(left.name.startswith(".shenyu-data-kept-") for left in aside)
    everything = path.read_text() + "".join(left.read_text() for left in aside)
    kept = {number for number in range(expired + 1, 31) if str(T0 + number) not in everything}
    assert kept == set(), codes(monitor)
    assert aside or set(range(expired + 1, 31)) <= set(numbers)
    assert [text for text in writer.messages if text not in everything] == [], codes(monitor)
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes(monitor)
