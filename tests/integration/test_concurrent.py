"""Backups into one repository at once: all are whole, and the next goes on from one of them."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shenyu_data.repository import packs
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, rich_directory, settle
from shenyu_data.testing.faulty import FaultyStorage
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Taken,
    bring_back,
    check_whole,
    look,
    take,
)
from shenyu_data.testing.tree import read_tree


def change(data: Application, number: int) -> None:
    data.prepend_chat("bob", chat(900 + number))
    data.prepend_chat(f"{5:064x}", chat(950 + number))
    data.add_user(f"new{number}", [chat(300 + number)])


def check_all(repository: Repository, data: Application, taken: list[Taken]) -> None:
    """Assert that every snapshot is whole, and that backups go on."""
    for item in taken:
        check_whole(repository, item)
    assert not look(repository).errors
    after = take(repository, data)
    assert after.stats.parent in {item.snapshot for item in taken}
    assert after.findings == []
    assert after.stats.totals == taken[-1].stats.totals
    check_whole(repository, after)
    change(data, 99)
    again = take(repository, data)
    assert again.stats.parent == after.snapshot
    check_whole(repository, again)
    check_whole(repository, take(repository, data, full=True))
    assert not look(repository).errors


@pytest.mark.parametrize("kind", ["first", "incremental", "full"])
@pytest.mark.parametrize("inner_full", [False, True], ids=["inner-incremental", "inner-full"])
def test_another_backup_may_run_between_any_two_writes(
    tmp_path: Path, kind: str, inner_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both meet the same new users at once and give them different keys."""
    monkeypatch.setattr(packs, "PACK_BYTES", 1500)
    start, _ = create_repository(MemoryStorage(), PASSPHRASE)
    assert isinstance(start.storage, MemoryStorage)
    data = rich_directory(tmp_path / "data")
    earlier = []
    if kind != "first":
        earlier.append(take(start, data))
        change(data, 0)
    at_put, done = 0, False
    while not done:
        storage = MemoryStorage()
        storage.objects.update(start.storage.objects)
        repository = Repository(storage, start.keys)
        inner: list[Taken] = []
        puts = 0

        def run_another(
            _: str,
            repository: Repository = repository,
            inner: list[Taken] = inner,
            at_put: int = at_put,
        ) -> None:
            nonlocal puts
            if puts == at_put:
                inner.append(take(repository, data, full=inner_full))
            puts += 1

        outer_repository = Repository(FaultyStorage(storage, before_put=run_another), start.keys)
        outer = take(outer_repository, data, full=kind == "full")
        done = not inner
        at_put += 1 if at_put < 2 else 3
        for item in (*earlier, *inner, outer):
            check_whole(repository, item)
        errors = look(repository).errors
        assert not errors
        after = take(repository, data)
        assert after.findings == []
        assert after.stats.parent in {item.snapshot for item in (*inner, outer)}
        check_whole(repository, after)
        full = take(repository, data, full=True)
        check_whole(repository, full)
    assert at_put > 3


def test_threads_back_up_at_once(tmp_path: Path) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    settle(data.folder)
    taken: list[Taken] = []
    threads = [
        threading.Thread(target=lambda full=full: taken.append(take(repository, data, full=full)))
        for full in (False, True, False, True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(threads)
    check_all(repository, data, taken)


@pytest.mark.parametrize("first", [True, False], ids=["first", "incremental"])
def test_processes_back_up_at_once(tmp_path: Path, first: bool) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, recovery_key = create_repository(storage, PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    for number in range(420):  # enough for worker processes
        data.add_user(f"user{number}", [chat(number)])
    if not first:
        take(repository, data)
        for number in range(0, 420, 2):
            data.prepend_chat(f"user{number}", chat(5000 + number))
        change(data, 1)
    settle(data.folder)
    tree = read_tree(data.folder)
    flags = ["--repo", storage.folder, "--data", str(data.folder), "--jobs", "2"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "shenyu_data.cli.main", "backup", *flags, *extra],
            env={**os.environ, "SHENYU_DATA_PASSPHRASE": recovery_key},
            stdout=subprocess.DEVNULL,
        )
        for extra in ([], ["--full"], [])
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    snapshots = repository.snapshots()
    assert len(snapshots) == 4 - first
    for snapshot in snapshots[-3:]:
        restored = bring_back(repository, snapshot.id)
        assert restored.findings == []
        assert restored.tree == tree
    assert not look(repository).errors
    after = take(repository, data)
    assert after.findings == []
    assert after.stats.parent in {snapshot.id for snapshot in snapshots[-3:]}
    check_whole(repository, after)
