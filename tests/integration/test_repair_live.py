"""Repairs interleaved, call by call, with an application that rewrites the same history; and on a
disk that is full.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.operations.restore_wanted import Saved
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.failing import fill_up
from shenyu_data.testing.interleaving import T0, Interleaving
from shenyu_data.testing.scenario import PASSPHRASE, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))
OLD = [chat(number, messages=2) for number in range(12, 0, -1)]
NEW = [chat(number, messages=2) for number in range(15, 3, -1)]
SHRUNKEN = json.dumps(NEW[:3], ensure_ascii=False, indent=2).encode()
TORN = json.dumps(NEW, ensure_ascii=False, indent=2).encode()[:-900]


class Place:
    """A history in a repository, and where it is torn."""

    def __init__(self, folder: Path) -> None:
        self.repository: Repository = create_repository(MemoryStorage(), PASSPHRASE)[0]
        self.data = Application(folder / "data")
        self.data.add_user(USER, OLD)
        take(self.repository, self.data)
        assert isinstance(self.repository.storage, MemoryStorage)
        self._objects = dict(self.repository.storage.objects)
        self.path = self.data.folder / PATH

    def tear(self, content: bytes = TORN) -> None:
        """Begin anew, with a repository that holds the one good version."""
        storage = MemoryStorage()
        storage.objects.update(self._objects)
        self.repository = Repository(storage, self.repository.keys)
        for left in self.path.parent.glob(".shenyu-data*"):
            left.unlink()
        self.path.write_bytes(content)
        os.utime(self.path, (1_600_000_000, 1_600_000_000))

    def is_saved(self, snapshot: bytes, content: bytes) -> bool:
        """Whether a snapshot holds the history so."""
        return Saved(self.repository, snapshot).holds(USER.encode(), PATH.encode(), content)

    def repair(self, state: Path, *, alone: bool = False, quiet_s: float = 2.0) -> Any:
        monitor = CollectingMonitor()
        options = RepairOptions(
            path=f"histories/{USER}", user=USER.encode(), state=str(state), quiet_s=quiet_s
        )
        repository = None if alone else self.repository
        return repair(repository, str(self.data.folder), options, monitor), monitor.findings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("repair-live"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_of_the_writer_nor_of_the_repair_is_lost(
    place: Place, tmp_path: Path, seed: int
) -> None:
    place.tear()
    interleaving = Interleaving(place.path, random.Random(seed))
    writer = interleaving.writer
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            stats, findings = place.repair(tmp_path / "state", alone=bool(seed % 2))
    codes = [finding.code for finding in findings]
    live = place.path.read_text()
    numbers = [item["id"] - T0 for item in json.loads(live)]
    assert len(numbers) == len(set(numbers))
    aside = list(place.path.parent.glob(".shenyu-data*"))
    assert all(path.name.startswith(".shenyu-data-kept-") for path in aside)
    everything = live + "".join(path.read_text() for path in aside)
    if stats.changed and not stats.busy:
        wanted = set(range(15, 7, -1)) | (set() if seed % 2 else set(range(12, 0, -1)))
        if stats.items[0].code == "shrunken-history" and not place.is_saved(stats.safety, TORN):
            wanted = set(range(12, 0, -1))  # the application overwrote it before anybody saved it
        assert wanted - set(numbers) == set(), codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes
    assert [text for text in writer.messages if text not in everything] == [], codes


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_shrunken_history_is_filled_up_beside_a_writer(
    place: Place, tmp_path: Path, seed: int
) -> None:
    place.tear(SHRUNKEN)
    interleaving = Interleaving(place.path, random.Random(seed))
    writer = interleaving.writer
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            stats, findings = place.repair(tmp_path / "state")
    codes = [finding.code for finding in findings]
    live = place.path.read_text()
    numbers = [item["id"] - T0 for item in json.loads(live)]
    assert len(numbers) == len(set(numbers))
    everything = live + "".join(
        path.read_text() for path in place.path.parent.glob(".shenyu-data*")
    )
    if stats.changed and not stats.busy:
        assert set(range(12, 0, -1)) - set(numbers) == set(), codes
    kept = {15, 14, 13, *writer.chats}
    assert [one for one in kept if str(T0 + one) not in everything] == [], codes
    assert [text for text in writer.messages if text not in everything] == [], codes


@pytest.mark.parametrize("alone", [False, True], ids=["with snapshots", "alone"])
def test_on_a_disk_that_is_full_nothing_is_lost_and_with_room_it_is_mended(
    place: Place, tmp_path: Path, alone: bool
) -> None:
    failures = 0
    for room in range(1000):
        place.tear()
        state = tmp_path / str(room)
        with pytest.MonkeyPatch.context() as patches:
            full = fill_up(patches, room)
            with suppress(OSError, ShenyuDataError):
                place.repair(state, alone=alone, quiet_s=0.01)
        there = place.path.read_bytes()
        if there != TORN:
            assert {one["id"] - T0 for one in json.loads(there)} >= set(range(15, 7, -1))
            if alone:
                assert [
                    Quarantine(str(state)).get(one.id)[1] for one in Quarantine(str(state)).list()
                ] == [TORN]
        place.repair(state, alone=alone, quiet_s=0.01)
        found = {one["id"] - T0 for one in json.loads(place.path.read_bytes())}
        assert found >= set(range(15, 7, -1)) | (set() if alone else set(range(12, 0, -1)))
        assert list(place.path.parent.glob(".shenyu-data*")) == []
        if not full:
            break
        failures += 1
    assert failures > 3
