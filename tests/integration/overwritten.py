"""One user's history and its snapshots, for tests of what repair makes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.repair import RepairOptions, RepairStats, repair
from shenyu_data.operations.restore_live import LiveOptions
from shenyu_data.operations.shrunken import Scope, report_shrunken
from shenyu_data.repository.repository import Repository
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import take

USER = f"{7:064x}"
PATH = f"histories/{USER}/chat-history.json"
ARCHIVE = f"histories/{USER}/chat-history.archive.json.gz"
USER_DOCUMENT = {
    "id": USER,
    "fingerprint": {"userAgent": "x"},
    "firstSeen": "2026-01-02T03:04:05.678Z",
    "lastSeen": "2026-01-02T03:04:05.678Z",
}
T0 = 1_700_000_000_000


def chats(*numbers: int) -> list[dict[str, Any]]:
    return [chat(number, 2) for number in numbers]


def written(*numbers: int) -> bytes:
    return json.dumps(chats(*numbers), ensure_ascii=False, indent=2).encode()


def torn(*numbers: int) -> bytes:
    """Give a history of which all but the last chat is whole."""
    return written(*numbers)[:-60]


class Place:
    """One user's history, its snapshots, and what repair makes of it."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.data = Application(folder / "data")
        self.state = folder / "state"
        self.taken: list[bytes] = []
        self.data.write(f"users/{USER}.json", {**USER_DOCUMENT})

    @property
    def path(self) -> Path:
        return self.data.folder / PATH

    def holds(self, content: bytes | list[dict[str, Any]]) -> Place:
        """Let the application write this, a while ago."""
        self.data.write(PATH, content)
        os.utime(self.path, (1_600_000_000, 1_600_000_000))
        return self

    def take(self, *, safety: bool = False) -> Place:
        """Take a snapshot."""
        if safety:
            options = BackupOptions(safety=True, jobs=1)
            stats = backup(str(self.data.folder), self.repository, options, CollectingMonitor())
            self.taken.append(stats.snapshot)
        else:
            self.taken.append(take(self.repository, self.data).snapshot)
        return self

    def snapshots(self, *versions: bytes) -> Place:
        """Take a snapshot of each version."""
        for version in versions:
            self.holds(version).take()
        return self

    def repair(self, **more: Any) -> tuple[RepairStats, list[str]]:
        monitor = CollectingMonitor()
        options = RepairOptions(state=str(self.state), quiet_s=0.05, **more)
        stats = repair(self.repository, str(self.data.folder), options, monitor)
        return stats, [finding.code for finding in monitor.findings]

    def found(self) -> list[int]:
        return [one["id"] - T0 for one in json.loads(self.path.read_bytes())]

    def shrunken(self) -> list[str]:
        """Give what is said of shrunken histories."""
        monitor = CollectingMonitor()
        count = report_shrunken(
            self.repository, str(self.data.folder), Scope(), str(self.state), monitor
        )
        assert count.shrunken == len(monitor.findings)
        return [finding.message for finding in monitor.findings]

    def live_options(self) -> LiveOptions:
        return LiveOptions(state=str(self.state), quiet_s=0.05)
