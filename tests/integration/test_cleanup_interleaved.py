"""Cleanups interleaved, call by call, with an application that rewrites the same file."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.cleanup import cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.restore_live import LiveOptions
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import T0, Interleaving
from shenyu_data.testing.scenario import PASSPHRASE, look, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
CHATS, EXPIRED = 30, 20
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))
DAY_S = 86_400
NOW = T0 + EXPIRED + 1 + DAY_S * 1000
MAY_BE_SAID = {"live-busy", "displaced-kept", "torn-document", "live-torn", "not-saved"}


class Place:
    """A history of thirty chats, saved and verified; the last twenty of them are old."""

    def __init__(self, folder: Path) -> None:
        self.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.chats = [chat(number, messages=2) for number in range(CHATS, 0, -1)]
        self.data.add_user(USER, self.chats)
        take(self.repository, self.data)
        assert look(self.repository).errors == {}
        self.state = str(folder / "state")
        self.path = self.data.folder / PATH


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("interleaved"))


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_nothing_is_lost_that_neither_the_policy_nor_the_writer_removed(
    place: Place, seed: int
) -> None:
    chance = random.Random(seed)
    place.data.write(PATH, place.chats)
    for left in place.path.parent.glob(".shenyu-data*"):
        left.unlink()
    interleaving = Interleaving(place.path, chance)
    writer = interleaving.writer
    monitor = CollectingMonitor()
    options = CleanupOptions(
        policy=Policy(rule=Rule(older_than_s=DAY_S)),
        now_ms=NOW,
        state=place.state,
    )
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            stats = cleanup(place.repository, str(place.data.folder), options, monitor)
    codes = [finding.code for finding in monitor.findings]
    assert set(codes) <= MAY_BE_SAID
    assert writer.met_torn == 0, "the writer met a torn file: one of ours"
    live = json.loads(place.path.read_bytes())
    numbers = [item["id"] - T0 for item in live]
    assert len(numbers) == len(set(numbers))
    assert set(range(EXPIRED + 1, CHATS + 1)) <= set(numbers), codes
    aside = list(place.path.parent.glob(".shenyu-data*"))
    assert all(path.name.startswith(".shenyu-data-kept-") for path in aside)
    everything = place.path.read_text() + "".join(path.read_text() for path in aside)
    assert [text for text in writer.messages if text not in everything] == [], codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes
    if stats.done.chats and not stats.busy:
        went_on = {
            item["id"] - T0
            for item in live
            if any(message["content"] in writer.messages for message in item["messages"])
        }
        old = {number for number in numbers if number <= EXPIRED}
        assert old <= went_on, "what expired is gone, but for what the user went on with"
    if stats.done.chats:
        _take_back(place, everything)


def _take_back(place: Place, before: str) -> None:
    options = LiveOptions(quiet_s=0.01, state=place.state, overwrite=False)
    undo(place.repository, str(place.data.folder), options, CollectingMonitor())
    live = place.path.read_text()
    numbers = [item["id"] - T0 for item in json.loads(live)]
    assert set(range(1, CHATS + 1)) <= set(numbers)
    assert len(numbers) == len(set(numbers))
    assert {text for text in before.split('"') if text.startswith("<")} <= set(live.split('"'))
