"""A full disk: the backup says where, nothing that was there suffers, with room it goes on."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.health import drill_sandbox
from shenyu_data.health.drill import EVERYONE, DrillOptions, drill
from shenyu_data.health.drill_ledger import ledgers
from shenyu_data.health.store import open_store
from shenyu_data.model.errors import (
    EXIT_FAILED,
    SandboxUnusable,
    ShenyuDataError,
    StorageFull,
)
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.repository import packs
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, rich_directory
from shenyu_data.testing.catalogs import said, said_anew
from shenyu_data.testing.faulty import FaultyStorage
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, check_whole, look, take
from shenyu_data.testing.tree import read_tree

DISK_BYTES = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB; its last bytes can be used up and given back."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={DISK_BYTES},mode=700".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        why = os.strerror(ctypes.get_errno())
        pytest.skip(f"a real full disk needs root and the right to mount: {why}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), 2)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take what room there is, but for ``leave_bytes``."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(bytes(max(0, free - leave_bytes)))
    return ballast


def test_a_full_sandbox_is_said_and_is_no_damage(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, _ = create_repository(storage, PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    data.add_user("large", [chat(number, messages=200) for number in range(20)])
    take(repository, data)
    fill(small_disk, 200_000)
    root = repository.find("latest")

    def drilled() -> ShenyuDataError:
        options = DrillOptions(share=EVERYONE, sandbox=str(small_disk))
        with open_store(str(tmp_path / "state")) as store:
            with pytest.raises(SandboxUnusable, match="no room") as caught:
                drill(repository, root, store, options, CollectingMonitor(), 1)
            assert [item.failing for item in ledgers(store, 1)] == [0]
        assert [path.name for path in small_disk.iterdir()] == ["ballast"]
        return caught.value

    assert "are needed at once" in drilled().message
    monkeypatch.setattr(drill_sandbox, "_SPARE_BYTES", -(1 << 30))  # it fills up meanwhile
    assert "are needed at once" not in drilled().message


def random_looking(number: int) -> dict[str, object]:
    """Return a chat that does not compress to nothing."""
    return {**chat(number), "noise": os.urandom(30_000).hex()}


def program(*arguments: str, secret: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shenyu_data.cli.main", *arguments],
        env={**os.environ, "SHENYU_DATA_PASSPHRASE": secret},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_backup_to_a_full_disk_fails_cleanly_and_goes_on_with_room(
    small_disk: Path, tmp_path: Path
) -> None:
    storage = LocalStorage(str(small_disk / "repository"))
    storage.create()
    repository, recovery_key = create_repository(storage, PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    first = take(repository, data)
    for number in range(4):
        data.add_user(f"large{number}", [random_looking(number)])
    flags = ("--repo", storage.folder, "--data", str(data.folder))
    for leave_bytes in (0, 40_000, 100_000):  # in the pack; after it, before all is named
        ballast = fill(small_disk, leave_bytes)
        done = program("backup", *flags, secret=recovery_key)
        assert done.returncode == EXIT_FAILED, done.stderr
        assert "Traceback" not in done.stderr
        assert storage.folder in done.stderr
        assert "No space left" in done.stderr
        assert "room" in done.stderr
        here = Repository(LocalStorage(storage.folder), repository.keys)
        check_whole(here, first)
        assert set(look(here).errors) <= {
            f"snapshots/{item.id.hex()}.copy" for item in here.snapshots()
        }
        ballast.unlink()
        for pack in (small_disk / "repository" / "packs").iterdir():  # what prune will do
            if f"packs/{pack.name}" in unused(here):
                pack.unlink()
    here = Repository(LocalStorage(storage.folder), repository.keys)
    check_whole(here, take(here, data))
    check_whole(here, first)
    assert not look(here).errors


def unused(repository: Repository) -> set[str]:
    """Return packs that no snapshot uses: what is not missed when it is gone."""
    assert isinstance(repository.storage, LocalStorage)
    copy = MemoryStorage()
    for info in repository.storage.list(""):
        copy.put(info.name, [repository.storage.read(info.name)])
    found = set()
    for name in [name for name in copy.objects if name.startswith("packs/")]:
        data = copy.objects.pop(name)
        if name not in look(Repository(copy, repository.keys), read=False).errors:
            found.add(name)
        copy.objects[name] = data
    return found


def test_a_restore_to_a_full_disk_names_what_is_not_written_and_leaves_no_half_documents(
    small_disk: Path, tmp_path: Path
) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(tmp_path / "data")
    for number in range(40):
        data.add_user(f"user{number}", [random_looking(number)])
    taken = take(repository, data)
    restored = bring_back(repository, taken.snapshot, overwrite=str(small_disk))
    assert restored.stats is not None
    assert restored.stats.failed > 0
    assert restored.stats.damaged == 0
    said = {finding.path.encode() for finding in restored.findings}
    assert {finding.code for finding in restored.findings} == {"not-written"}
    assert any("No space left" in finding.message for finding in restored.findings)
    was = taken.tree.nodes
    files = {path: node for path, node in restored.tree.nodes.items() if node.kind == "file"}
    assert files
    for path, node in files.items():
        assert node == was[path], "a document was written in part"
    missing = {path for path, node in was.items() if node.kind == "file"} - files.keys()
    assert missing <= said


def test_the_command_exits_with_3_when_a_restore_runs_out_of_room(
    small_disk: Path, tmp_path: Path
) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, recovery_key = create_repository(storage, PASSPHRASE)
    data = Application(tmp_path / "data")
    for number in range(30):
        data.add_user(f"user{number}", [random_looking(number)])
    taken = take(repository, data)
    target = small_disk / "restored"
    flags = ("--repo", storage.folder, "--to", str(target))
    done = program("restore", "latest", *flags, secret=recovery_key)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
    target = tmp_path / "elsewhere"
    flags = ("--repo", storage.folder, "--to", str(target))
    assert program("restore", "latest", *flags, secret=recovery_key).returncode == 0
    assert read_tree(target) == taken.tree


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_wherever_the_room_ends_nothing_is_lost(
    tmp_path: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 1500)
    storage = MemoryStorage()
    repository, _ = create_repository(storage, PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    first = take(repository, data)
    data.prepend_chat("bob", chat(900, messages=30))
    data.add_user("dave", [chat(300), chat(301)])
    failed = 0
    for room_bytes in range(0, 40_000, 600):
        copy = MemoryStorage()
        copy.objects.update(storage.objects)
        faulty = FaultyStorage(copy, room_bytes=room_bytes)
        here = Repository(faulty, repository.keys)
        try:
            whole = take(here, data, full=full)
        except StorageFull as error:
            failed += 1
            assert faulty.location in error.message
            assert "room" in error.hint
        else:
            check_whole(here, whole)
            break
        check_whole(here, first)
        assert all(name.endswith(".copy") for name in look(here).errors)
        faulty.make_room(1 << 20)
        again = take(here, data, full=full)
        check_whole(here, again)
        assert not look(here).errors
    else:
        raise AssertionError("it never had room enough")
    assert failed > 3


@pytest.mark.parametrize("built", [False, True], ids=["building", "refreshing"])
def test_a_full_disk_keeps_no_list_of_chats_from_its_answer(
    small_disk: Path, tmp_path: Path, built: bool
) -> None:
    data = Application(tmp_path / "data")
    for number in range(200):
        data.add_user(f"user-{number}", [chat(number)])
    state = small_disk / "state"
    options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
    monitor = CollectingMonitor()
    if built:
        ask(options, said, monitor)
        assert monitor.findings == []
    ballast = fill(small_disk)
    data.add_user("user-0", [chat(1000 + number) for number in range(300)])
    assert ask(options, said, monitor) == said_anew(data.folder)
    assert [finding.code for finding in monitor.findings] == ["catalog-not-kept"]
    ballast.unlink()
    monitor.findings.clear()
    assert ask(options, said, monitor) == said_anew(data.folder)
    assert monitor.findings == []
