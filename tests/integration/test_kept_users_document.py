"""What of a user's document could not be merged is the user's: backed up and erased as such."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shenyu_data.datadir import exchange as exchange_module
from shenyu_data.datadir import replace
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import erase as erase_module
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.restore_live import LiveOptions, restore_in_place
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, take

LATE = b'{"id": "bob", "fingerprint": {"userAgent": "late"}}'


class Place:
    """Bob's document was changed since it was backed up."""

    def __init__(self, folder: Path) -> None:
        self.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.data.add_user("bob", [chat(1)])
        self.state = str(folder / "state")
        self.path = self.data.folder / "users/bob.json"
        self.snapshot = take(self.repository, self.data).snapshot
        self.data.write("users/bob.json", {"id": "bob", "name": "changed"})

    def restore(self) -> CollectingMonitor:
        monitor = CollectingMonitor()
        options = LiveOptions(user=b"bob", state=self.state, quiet_s=0.05)
        root = self.repository.root(self.snapshot)
        restore_in_place(self.repository, root, str(self.data.folder), options, monitor)
        return monitor

    def ours(self) -> list[Path]:
        return list(self.data.folder.rglob(".shenyu-data-*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(erase_module, "LONG_LOOK_S", 0.0)  # nothing is written back here
    return Place(tmp_path)


def check_erased(place: Place, folder: Path) -> None:
    """Assert that a backup and an erasure from now on leave nothing of the user."""
    (kept,) = place.ours()
    assert kept.parent == place.data.folder / "histories/bob"
    assert kept.read_bytes() == LATE
    taken = take(place.repository, place.data)
    assert taken.findings == []
    assert taken.stats.totals.users == 1
    data = str(place.data.folder)
    options = EraseOptions(receipt=str(folder / "receipt.json"), state=place.state)
    plan = plan_erase(data, place.repository, b"bob")
    assert erase(data, place.repository, plan, options, CollectingMonitor()).complete
    assert place.ours() == []
    restored = bring_back(place.repository, taken.snapshot)
    assert [path for path in restored.tree.nodes if b"bob" in path] == []


def test_what_is_written_to_a_users_document_while_it_is_restored(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = exchange_module.exchange

    def exchange_and_write(folder: int, one: bytes, other: bytes) -> bool:
        descriptor = os.open(other, os.O_WRONLY | os.O_TRUNC, dir_fd=folder)
        answer = exchange(folder, one, other)
        os.write(descriptor, LATE)
        os.close(descriptor)
        return answer

    monkeypatch.setattr(replace, "exchange", exchange_and_write)
    monitor = place.restore()
    assert [finding.code for finding in monitor.findings] == ["displaced-kept"]
    assert "histories/bob/.shenyu-data-kept-" in monitor.findings[0].message
    check_erased(place, tmp_path)


def test_what_a_killed_restore_displaced_and_the_application_wrote_to(
    place: Place, tmp_path: Path
) -> None:
    def displaced() -> list[Path]:
        return [path for path in place.ours() if "displaced" in path.name]

    assert any(dies_at(number, place.restore) and displaced() for number in range(100))
    displaced()[0].write_bytes(LATE)
    codes = [finding.code for finding in place.restore().findings]
    assert codes == ["displaced-kept"]
    check_erased(place, tmp_path)
