"""A folder that cannot be listed whole: the snapshot says so, and nobody else pays for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage

HISTORY = b'[{"id": 1, "title": "t", "messages": []}]'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two users, of whom ``deep`` has folders nested too deep to be entered."""
    folder = tmp_path / "data"
    for user in ("deep", "plain"):
        (folder / "histories" / user).mkdir(parents=True)
        (folder / "histories" / user / "chat-history.json").write_bytes(HISTORY)
    nest(folder / "histories" / "deep")
    return folder


def nest(folder: Path) -> None:
    """Nest folders one by one, for a path as long as that cannot be given at once everywhere."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 2):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def take(
    data: Path, repository: Repository, *, full: bool = False
) -> tuple[BackupStats, CollectingMonitor]:
    monitor = CollectingMonitor()
    return backup(str(data), repository, BackupOptions(full=full), monitor), monitor


def restored_users(repository: Repository, stats: BackupStats, target: Path) -> list[str]:
    root = repository.root(stats.snapshot)
    restore(repository, root, str(target), RestoreOptions(), CollectingMonitor())
    return sorted(path.parent.name for path in target.glob("histories/*/chat-history.json"))


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_every_snapshot_that_lacks_a_folder_is_degraded_and_says_why_once(
    data: Path, full: bool
) -> None:
    repository, _ = create_repository(MemoryStorage(), "secret")
    for options in (False, full):  # the first backup is full anyway
        stats, monitor = take(data, repository, full=options)
        assert stats.degraded
        assert [f.code for f in monitor.findings] == ["unreadable-folder"]


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_who_was_deleted_is_gone_though_a_folder_of_another_cannot_be_listed(
    data: Path, tmp_path: Path, full: bool
) -> None:
    repository, _ = create_repository(MemoryStorage(), "secret")
    take(data, repository)
    shutil.rmtree(data / "histories" / "plain")
    stats, _ = take(data, repository, full=full)
    assert stats.changes.gone == 1
    assert stats.totals.histories == 1
    assert restored_users(repository, stats, tmp_path / "target") == ["deep"]


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_a_stranger_folder_that_cannot_be_listed_keeps_what_was_known_of_it_and_no_deleted_user(
    data: Path, tmp_path: Path, full: bool
) -> None:
    shutil.rmtree(data / "histories" / "deep" / "d")
    known = data
    for name in ["uploads", *["d"] * (MAX_DEPTH - 1)]:  # as deep as is entered
        known /= name
    known.mkdir(parents=True)
    (known / "note.txt").write_bytes(b"kept")
    repository, _ = create_repository(MemoryStorage(), "secret")
    assert not take(data, repository)[0].degraded
    shutil.rmtree(data / "histories" / "plain")
    # One folder more above it: the file is still there, but too deep now to be met.
    (data / "uploads").rename(data / "d")
    (data / "uploads").mkdir()
    (data / "d").rename(data / "uploads" / "d")
    stats, _ = take(data, repository, full=full)
    assert stats.degraded
    assert restored_users(repository, stats, tmp_path / "target") == ["deep"]
    kept = tmp_path / "target" / known.relative_to(data) / "note.txt"
    assert kept.read_bytes() == b"kept"
