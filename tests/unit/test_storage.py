"""Every storage passes the one suite; what only a local folder can get wrong stands below it."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shenyu_data.model.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
)
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import ObjectInfo, Storage
from shenyu_data.testing.faulty import Crash, FaultyStorage, Moment
from shenyu_data.testing.recording import RecordingStorage, StorageCall
from shenyu_data.testing.storage_suite import StorageSuite


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    return storage


class TestLocalStorage(StorageSuite):
    @pytest.fixture
    def storage(self, local: LocalStorage) -> Storage:
        return local


class TestMemoryStorage(StorageSuite):
    crosses_processes = False

    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestRecordingStorage(StorageSuite):
    @pytest.fixture
    def storage(self, local: LocalStorage) -> Storage:
        return RecordingStorage(local)


class TestFaultyStorage(StorageSuite):
    @pytest.fixture
    def storage(self, local: LocalStorage) -> Storage:
        return FaultyStorage(local)


# ------------------------------------------------------------------------------ a local folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        storage = LocalStorage(str(tmp_path / "above" / "repository"))
        storage.create()
        storage.put("packs/a", [b"x"])
        storage.put("top", [b"x"])
    finally:
        os.umask(old)
    folder = Path(storage.folder)
    assert [mode_of(folder), mode_of(folder / "packs")] == [0o700, 0o700]
    assert [mode_of(folder / "packs/a"), mode_of(folder / "top")] == [0o600, 0o600]


def test_a_strict_umask_leaves_files_readable_by_their_owner(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        storage = LocalStorage(str(tmp_path / "repository"))
        storage.create()
        storage.put("packs/a", [b"x"])
    finally:
        os.umask(old)
    assert mode_of(Path(storage.folder) / "packs/a") == 0o600


def test_create_refuses_a_folder_that_holds_anything(tmp_path: Path) -> None:
    (tmp_path / "somebody's file").write_bytes(b"precious")
    with pytest.raises(StorageError, match="not empty"):
        LocalStorage(str(tmp_path)).create()
    assert (tmp_path / "somebody's file").read_bytes() == b"precious"


def test_create_in_a_place_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot create"):
        LocalStorage(str(tmp_path / "file" / "repository")).create()


def test_foreign_files_are_not_objects(local: LocalStorage) -> None:
    local.put("packs/a", [b"x"])
    folder = Path(local.folder)
    for name in (".tmp-0123", ".DS_Store", "Thumbs.db", "notes~", "under_score", "with space"):
        (folder / name).write_bytes(b"foreign")
        (folder / "packs" / name).write_bytes(b"foreign")
    (folder / "lost+found").mkdir()
    (folder / "lost+found" / "a").write_bytes(b"foreign")
    (folder / "packs" / "folder").mkdir()
    (folder / "packs" / "folder" / "a").write_bytes(b"foreign")
    (folder / os.fsdecode(b"not-\xff-text")).write_bytes(b"foreign")
    os.mkfifo(folder / "packs" / "fifo")
    assert list(local.list("")) == [ObjectInfo("packs/a", 1)]
    assert list(local.list("packs")) == [ObjectInfo("packs/a", 1)]


def test_links_are_neither_listed_nor_followed(local: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not of this repository")
    local.put("packs/real", [b"x"])
    (Path(local.folder) / "packs" / "link").symlink_to(tmp_path / "elsewhere")
    (Path(local.folder) / "packs" / "dangling").symlink_to(tmp_path / "nothing")
    assert [info.name for info in local.list("packs")] == ["packs/real"]
    for name in ("packs/link", "packs/dangling"):
        with pytest.raises(ObjectDamaged, match=name):
            local.read(name)
        with pytest.raises(ObjectExists):
            local.put(name, [b"through the link"])
    assert (tmp_path / "elsewhere").read_bytes() == b"not of this repository"
    assert not (tmp_path / "nothing").exists()


def test_what_cannot_be_read_as_a_file_is_damage_to_that_object_alone(local: LocalStorage) -> None:
    local.put("packs/real", [b"x"])
    folder = Path(local.folder) / "packs"
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    for name in ("packs/folder", "packs/socket"):
        with pytest.raises(ObjectDamaged, match=name):
            local.read(name)


def test_a_bad_sector_is_damage_to_that_object_alone(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put("packs/a", [b"x"])

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(ObjectDamaged, match=r"packs/a .*Input/output error"):
        local.read("packs/a")


def test_an_unmounted_folder_is_not_made_again(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "mounted" / "repository"))
    storage.create()
    storage.put("packs/a", [b"x"])
    os.rename(tmp_path / "mounted", tmp_path / "unmounted")
    for action in (
        lambda: storage.put("packs/b", [b"x"]),
        lambda: storage.put("top", [b"x"]),
        lambda: list(storage.list("")),
        lambda: list(storage.list("packs")),
    ):
        with pytest.raises(StorageError) as raised:
            action()
        assert storage.folder in raised.value.message
        assert "mounted" in raised.value.hint
    assert not (tmp_path / "mounted").exists()


def test_an_object_deleted_while_a_folder_is_listed_is_left_out(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("packs/a", "packs/b", "packs/c"):
        local.put(name, [b"x"])
    scan = LocalStorage._scan

    def scan_then_lose(self: LocalStorage, folder: str) -> object:
        entries = list(scan(self, folder))
        (Path(self.folder) / "packs" / "b").unlink(missing_ok=True)
        return iter(entries)

    monkeypatch.setattr(LocalStorage, "_scan", scan_then_lose)
    assert [info.name for info in local.list("packs")] == ["packs/a", "packs/c"]


@pytest.mark.parametrize("call", ["write", "writev", "fsync", "link"])
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageError)]
)
def test_a_put_that_fails_leaves_nothing_and_can_be_made_again(
    local: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    kind: type[StorageError],
) -> None:
    local.put("packs/before", [b"x"])
    real: Callable[..., object] = getattr(os, call)
    outcomes = []
    for at in range(4):  # of every such call that a put makes, let one fail
        calls = 0

        def fail(*args: object, at: int = at, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at + 1:
                raise OSError(number, os.strerror(number))
            return real(*args, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                local.put("packs/new", [b"one", b"two"])
            except kind as error:
                assert local.folder in error.message
                assert error.hint
                outcomes.append(at)
                assert os.listdir(Path(local.folder) / "packs") == ["before"]
        if at not in outcomes:
            break
        local.put("packs/new", [b"one", b"two"])
        assert local.read("packs/new") == b"onetwo"
        local.delete("packs/new")
    assert outcomes or call == "write"


def test_without_hard_links_an_object_is_still_not_overwritten(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    local.put("packs/a", [b"first"])
    with pytest.raises(ObjectExists):
        local.put("packs/a", [b"second"])
    assert local.read("packs/a") == b"first"
    assert os.listdir(Path(local.folder) / "packs") == ["a"]


def test_a_put_is_durable_before_it_returns(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data is synced before it gets its name, and the folder after."""
    local.put("packs/first", [b"x"])
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def note_fsync(descriptor: int) -> None:
        kind = os.fstat(descriptor).st_mode
        order.append("sync folder" if stat.S_ISDIR(kind) else "sync data")
        fsync(descriptor)

    def note_link(*args: str, **keywords: int) -> None:
        order.append("name")
        link(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    local.put("packs/a", [b"x"])
    assert order == ["sync data", "name", "sync folder"]
    order.clear()
    local.put("manifests/a", [b"x"])
    assert order == ["sync folder", "sync data", "name", "sync folder"]
    order.clear()
    local.delete("packs/a")
    assert order == ["sync folder"]


def test_open_files_are_bounded_and_closed(local: LocalStorage) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        local.put(f"packs/{number}", [b"x"])
        local.read(f"packs/{number}")
    assert len(os.listdir("/proc/self/fd")) - before < 40


# ------------------------------------------------------------------------------ the wrappers


def test_a_recording_storage_counts_calls_and_bytes() -> None:
    storage = RecordingStorage(MemoryStorage())
    storage.put("packs/a", [b"12345"])
    storage.read("packs/a", 1, 3)
    list(storage.list("packs"))
    storage.delete("packs/a")
    with pytest.raises(ObjectMissing):
        storage.read("packs/a")
    assert storage.calls == [
        StorageCall("put", "packs/a", 5),
        StorageCall("read", "packs/a", 3),
        StorageCall("list", "packs", 0),
        StorageCall("delete", "packs/a", 0),
    ]
    assert (storage.put_bytes, storage.read_bytes) == (5, 3)
    assert storage.of("put", "keys") == []


@pytest.mark.parametrize(
    ("moment", "names"), [("before", ["a"]), ("halfway", ["a"]), ("after", ["a", "b"])]
)
def test_a_faulty_storage_dies_at_the_put_it_was_told_to(
    local: LocalStorage, moment: Moment, names: list[str]
) -> None:
    storage = FaultyStorage(local, at_put=1, moment=moment)
    storage.put("a", [b"x"])
    with pytest.raises(Crash):
        storage.put("b", [b"xx"])
    assert [info.name for info in local.list("")] == names
    for late in (lambda: storage.put("c", [b""]), lambda: storage.read("a")):
        with pytest.raises(Crash):
            late()
    hidden = [name for name in os.listdir(local.folder) if name.startswith(".tmp-")]
    assert bool(hidden) == (moment == "halfway")


def test_a_faulty_storage_fails_once_and_works_again() -> None:
    storage = FaultyStorage(MemoryStorage(), at_put=0, error=StorageError("the cable was pulled"))
    with pytest.raises(StorageError, match="cable"):
        storage.put("a", [b"x"])
    storage.put("a", [b"x"])


def test_a_faulty_storage_fills_up_and_has_room_again() -> None:
    storage = FaultyStorage(MemoryStorage(), room_bytes=10)
    storage.put("a", [b"12345678"])
    with pytest.raises(StorageFull):
        storage.put("b", [b"123"])
    storage.put("b", [b"12"])
    storage.make_room(100)
    storage.put("c", [b"123"])


# --------------------------------------------------------------------------------- destroying


def test_a_destroyed_file_is_overwritten_under_all_its_names(
    local: LocalStorage, tmp_path: Path
) -> None:
    local.put("keys/a", [b"secret" * 400_000])
    other = tmp_path / "other name"
    os.link(os.path.join(local.folder, "keys/a"), other)
    local.destroy("keys/a")
    assert other.read_bytes() == bytes(6 * 400_000)
    with pytest.raises(ObjectMissing):
        local.read("keys/a")


def test_destroying_follows_no_link(local: LocalStorage, tmp_path: Path) -> None:
    local.put("keys/a", [b"x"])
    target = tmp_path / "target"
    target.write_bytes(b"of a stranger")
    link = Path(local.folder, "keys/b")
    link.symlink_to(target)
    local.destroy("keys/b")
    assert target.read_bytes() == b"of a stranger"
    assert not link.is_symlink()
