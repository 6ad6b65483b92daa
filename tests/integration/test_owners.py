"""What root makes in the data directory belongs to whom the application runs as, or it is lost to
it: it could neither read nor write it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.operations.repair_put_back import put_back
from shenyu_data.operations.restore_live import LiveOptions, restore_in_place
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import PASSPHRASE, take

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")

APPLICATION = (12_345, 23_456)


class Place:
    def __init__(self, folder: Path) -> None:
        self.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.data.add_user("bob", [chat(2), chat(1)])
        self.state = str(folder / "state")
        self.history = self.data.folder / "histories/bob/chat-history.json"
        self.give()

    def give(self) -> None:
        root = self.data.folder
        for path in (root, *root.rglob("*")):
            os.chown(path, *APPLICATION)

    def owners(self) -> set[tuple[int, int]]:
        root = self.data.folder
        stats = [path.stat() for path in (root, *root.rglob("*"))]
        return {(found.st_uid, found.st_gid) for found in stats}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("chat_id", [None, "1700000000001"])
def test_a_folder_that_a_restore_makes_is_the_applications(
    place: Place, chat_id: str | None
) -> None:
    taken = take(place.repository, place.data)
    shutil.rmtree(place.data.folder / "histories")
    options = LiveOptions(user=b"bob", chat=chat_id, state=place.state, quiet_s=0.01)
    root = place.repository.root(taken.snapshot)
    restore_in_place(place.repository, root, str(place.data.folder), options, SilentMonitor())
    assert place.history.exists()
    assert place.owners() == {APPLICATION}


@pytest.mark.parametrize("gone", [False, True])
def test_a_document_that_is_put_back_is_the_applications(place: Place, gone: bool) -> None:
    torn = b'[{"id": 1700000000001, "messages": [{"role": "user", "content": "a"}]}, {"id"'
    place.history.write_bytes(b"nothing" if gone else torn)
    os.utime(place.history, (1_600_000_000, 1_600_000_000))
    options = RepairOptions(state=place.state, quiet_s=0.01)
    data = str(place.data.folder)
    repair(None, data, options, SilentMonitor())
    assert place.history.exists() is not gone
    assert place.owners() == {APPLICATION}
    [kept] = Quarantine(place.state).list()
    put_back(None, data, kept.id, options, SilentMonitor())
    assert place.history.read_bytes() == (b"nothing" if gone else torn)
    assert place.owners() == {APPLICATION}
