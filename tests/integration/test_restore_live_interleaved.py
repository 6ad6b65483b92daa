"""In-place restores interleaved, call by call, with an application that rewrites the same file."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.restore_live import LiveOptions, restore_in_place
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import T0, Interleaving
from shenyu_data.testing.scenario import PASSPHRASE, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
CHATS = 30
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))


class Place:
    """A history of thirty chats in a repository, of which some were deleted since."""

    def __init__(self, folder: Path) -> None:
        self.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.data.add_user(USER, [chat(number, messages=2) for number in range(CHATS, 0, -1)])
        self.snapshot = take(self.repository, self.data).snapshot
        self.state = str(folder / "state")
        self.path = self.data.folder / PATH

    def options(self, **more: Any) -> LiveOptions:
        return LiveOptions(user=USER.encode(), quiet_s=2.0, state=self.state, jobs=1, **more)


@pytest.fixture(scope="module")
def repository_and_data(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("interleaved"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_of_the_writer_nor_of_the_restore_is_lost(
    repository_and_data: Place, tmp_path: Path, seed: int
) -> None:
    place = repository_and_data
    chance = random.Random(seed)
    gone = chance.sample(range(1, CHATS + 1), 3)
    kept = [number for number in range(CHATS, 0, -1) if number not in gone]
    place.data.write(PATH, [chat(number, messages=2) for number in kept])
    for left in place.path.parent.glob(".shenyu-data*"):
        left.unlink()
    interleaving = Interleaving(place.path, chance)
    writer = interleaving.writer
    monitor = CollectingMonitor()
    restored = []
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            for number in gone[:2]:
                stats = restore_in_place(
                    place.repository,
                    place.repository.root(place.snapshot),
                    str(place.data.folder),
                    place.options(chat=str(T0 + number)),
                    monitor,
                )
                if stats.changed and not stats.busy:
                    restored.append(number)
    assert writer.met_torn == 0, "the writer met a torn file: one of ours"
    codes = [finding.code for finding in monitor.findings]
    live = place.path.read_text()
    numbers = [item["id"] - T0 for item in json.loads(live)]
    assert len(numbers) == len(set(numbers))
    assert {*kept, *restored} - set(numbers) == set(), codes
    aside = list(place.path.parent.glob(".shenyu-data*"))
    assert all(path.name.startswith(".shenyu-data-kept-") for path in aside)
    assert codes.count("displaced-kept") == len(aside)
    # The safety snapshot may meet a torn document; nothing is kept but by who has to give up.
    assert set(codes) <= {"live-busy", "displaced-kept", "torn-document"}
    assert not aside or "live-busy" in codes
    everything = live + "".join(path.read_text() for path in aside)
    assert [text for text in writer.messages if text not in everything] == [], codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes
