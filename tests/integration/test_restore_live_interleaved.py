"""In-place restores interleaved, call by call, with an application that rewrites the same file."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import live_document
from shenyu_data.operations.cleanup import cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Wish
from shenyu_data.operations.restore_live import LiveOptions, LiveStats, restore_in_place
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import T0, Interleaving
from shenyu_data.testing.scenario import PASSPHRASE, look, take

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
CHATS = 30
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))
DECOMPRESSED = (31, 32, 36)
MAY_BE_SAID = {"live-busy", "displaced-kept", "torn-document", "changed-since", "not-saved"}


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
                if stats.changed and not stats.busy and not stats.refused:
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
    # The safety snapshot may meet a torn document; nothing is kept but by who has to give up, or
    # where both went on with the same conversation in ways that contradict each other.
    assert set(codes) <= {"live-busy", "changed-since", "displaced-kept", "torn-document"}
    assert not aside or {"live-busy", "changed-since"} & set(codes)
    assert aside or "changed-since" not in codes
    everything = live + "".join(path.read_text() for path in aside)
    assert [text for text in writer.messages if text not in everything] == [], codes
    assert [one for one in writer.chats if str(T0 + one) not in everything] == [], codes


def played(place: Place, seed: int, act: Callable[[CollectingMonitor], LiveStats]) -> None:
    """Let an operation bring a history back that is missing, and the writer make it meanwhile."""
    interleaving = Interleaving(place.path, random.Random(seed))
    monitor = CollectingMonitor()
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            stats = act(monitor)
    codes = [finding.code for finding in monitor.findings]
    assert interleaving.writer.met_torn == 0, "the writer met a torn file: one of ours"
    assert set(codes) <= MAY_BE_SAID
    numbers = [item["id"] - T0 for item in json.loads(place.path.read_bytes())]
    assert len(numbers) == len(set(numbers))
    if not (stats.busy or stats.refused):
        assert set(range(1, CHATS + 1)) - set(numbers) == set(), codes


@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 12), 27, 36, 39, 46}))
def test_a_missing_history_comes_back_though_the_writer_makes_it_meanwhile(
    tmp_path: Path, seed: int
) -> None:
    place = Place(tmp_path)
    place.path.unlink()

    def restore(monitor: CollectingMonitor) -> LiveStats:
        root = place.repository.root(place.snapshot)
        options = place.options()
        return restore_in_place(place.repository, root, str(place.data.folder), options, monitor)

    played(place, seed, restore)


@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 12), 36, 41}))
def test_an_undo_brings_a_missing_history_back_though_the_writer_makes_it_meanwhile(
    tmp_path: Path, seed: int
) -> None:
    place = Place(tmp_path)
    assert look(place.repository).errors == {}
    options = CleanupOptions(
        policy=Policy(rule=Rule(older_than_s=1)),
        now_ms=T0 + 1_000_000,
        state=place.state,
        quiet_s=0.0,
    )
    cleanup(place.repository, str(place.data.folder), options, CollectingMonitor())
    place.path.unlink(missing_ok=True)
    played(
        place,
        seed,
        lambda monitor: undo(place.repository, str(place.data.folder), place.options(), monitor),
    )


@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 12), *DECOMPRESSED}))
def test_a_history_is_decompressed_or_stays_compressed_though_the_writer_makes_it_meanwhile(
    tmp_path: Path, seed: int
) -> None:
    place = Place(tmp_path)
    packed = place.path.with_name("chat-history.json.gz")
    data, user = str(place.data.folder), USER.encode()

    def options(wish: Wish) -> CompressOptions:
        return CompressOptions(wish=wish, user=user, state=place.state)

    compress(data, options(Wish(way="compress", offline=True)), CollectingMonitor())
    interleaving = Interleaving(place.path, random.Random(seed))
    writer, monitor = interleaving.writer, CollectingMonitor()
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        with interleaving:
            done = compress(data, options(Wish(way="decompress")), monitor)
    live = place.path.read_text()
    numbers = {item["id"] - T0 for item in json.loads(live)}
    if done.documents or not packed.exists():
        assert set(range(1, CHATS + 1)) - numbers == set()
    else:
        assert [finding.code for finding in monitor.findings] == ["compressed-twin"]
        there = {item["id"] - T0 for item in json.loads(gzip.decompress(packed.read_bytes()))}
        assert set(range(1, CHATS + 1)) == there
    assert writer.met_torn == 0
    assert [text for text in writer.messages if text not in live] == []
    assert [one for one in writer.chats if str(T0 + one) not in live] == []


def test_a_machine_that_stalls_makes_no_document_older(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    interleaving = Interleaving(path, random.Random(1))
    with pytest.MonkeyPatch.context() as patches:
        interleaving.patch(patches)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"[]")
        os.close(descriptor)
        time.sleep(0.05)
        age_s = live_document.time.time() - path.stat().st_mtime  # type: ignore[attr-defined]
    assert 0 <= age_s < 0.01
