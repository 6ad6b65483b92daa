"""Random lives of a history, with snapshots at any moment, and then a repair: every chat that a
snapshot or a fragment holds is there, but for those that somebody removed.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.chats import read_history
from shenyu_data.model.mend import mend_history
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.vanished import HistoryPast, with_chats
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, settle
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory
from tests.properties.lives import Life, told, whole_in

NAME = b"chat-history.json"
USER = f"{7:064x}"
LIVES = int(os.environ.get("SHENYU_DATA_TEST_LIVES", "6"))


class Told:
    """A history's past, told what happens in a life, and what a repair would make of it."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._past = HistoryPast()

    def snapshot(self, *, safety: bool) -> None:
        now = self._life.now
        if now is None:
            if not safety:
                self._past.absent()
        elif self._life.is_torn:
            self._past.torn(now, b"")
        else:
            self._past.whole(read_history(now), None, b"", telling=not safety)
        self._life.saved(safety=safety)

    def repair(self) -> bytes | None:
        now = self._life.now
        if now is None:
            return None
        if self._life.is_torn:
            mended = mend_history(NAME, now, self._past.expected())
            return mended.data if mended is not None else b"[]"
        live = read_history(now)
        return with_chats(live, self._past.vanished(live, None))


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_no_chat_is_lost_that_nobody_removed(chance: random.Random, steps: int) -> None:
    life = Life(chance.randrange)
    past = Told(life)
    for _ in range(steps):
        life.step()
        if chance.randrange(2):
            past.snapshot(safety=chance.randrange(4) == 0)
        if chance.randrange(8) == 0 and (data := past.repair()) is not None:
            life.repaired(data)
    data = past.repair()
    if data is not None:
        found = {chat["id"]: chat for chat in json.loads(data)}
        assert life.must_have() <= found.keys(), told(life)
        if not life.is_torn:
            assert all(found[chat["id"]] == chat for chat in life.chats)
        else:
            assert whole_in(life.now or b"") <= found.keys()
        life.repaired(data)
        assert past.repair() == data


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_nobody_is_given_back_what_they_deleted(chance: random.Random, steps: int) -> None:
    life = Life(chance.randrange, calm=True)
    past = Told(life)
    past.snapshot(safety=False)
    for _ in range(steps):
        life.step()
        assert past.repair() == life.now
        past.snapshot(safety=chance.randrange(4) == 0)
        assert past.repair() == life.now


@pytest.fixture(scope="module")
def keys() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.mark.parametrize("seed", range(LIVES))
def test_a_whole_repair_loses_no_chat_that_nobody_removed(
    keys: Repository, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    repository = copy_in_memory(keys)
    data = Application(tmp_path / "data")
    data.add_user(USER, [])
    path = data.folder / f"histories/{USER}/chat-history.json"
    life = Life(chance.randrange)

    def put() -> None:
        if life.now is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(life.now)
            os.utime(path, (1_600_000_000, 1_600_000_000))

    def mend() -> bytes:
        options = RepairOptions(path=f"histories/{USER}", state=str(tmp_path / "s"), quiet_s=0.01)
        repair(repository, str(data.folder), options, CollectingMonitor())
        return path.read_bytes() if path.exists() else b"[]"

    for _ in range(6):
        for _ in range(1 + chance.randrange(3)):
            life.step()
        put()
        settle(data.folder)
        backup(str(data.folder), repository, BackupOptions(jobs=1), CollectingMonitor())
        life.saved()
    for _ in range(chance.randrange(3)):
        life.step()
    put()
    if life.now is not None:
        must_have = life.must_have()
        found = {chat["id"] for chat in json.loads(mend())}
        assert must_have <= found, told(life)
        there = path.read_bytes() if path.exists() else b"[]"
        assert mend() == there
