"""The local cache of a remote storage: it saves requests, and never matters otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shenyu_data.model.errors import ObjectMissing
from shenyu_data.storage import cache as cache_module
from shenyu_data.storage.cache import CachedStorage, fetched_anew
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.recording import RecordingStorage
from shenyu_data.testing.storage_suite import StorageSuite

NAME = "manifests/0123456789abcdef0123456789abcdef"
DATA = bytes(range(256)) * 100


class TestCachedStorage(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return CachedStorage(far(tmp_path), str(tmp_path / "cache"))


class TestCachedStorageOfAFolderThatCannotBeUsed(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        (tmp_path / "file").write_bytes(b"")
        return CachedStorage(far(tmp_path), str(tmp_path / "file" / "cache"))


def far(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(str(tmp_path / "far"))
    storage.create()
    return storage


@pytest.fixture
def watched(tmp_path: Path) -> RecordingStorage:
    """A storage that counts what is asked of it, with one manifest."""
    storage = RecordingStorage(far(tmp_path))
    storage.put(NAME, [DATA])
    storage.forget()
    return storage


def opened(watched: RecordingStorage, tmp_path: Path, limit_bytes: int = 1 << 20) -> CachedStorage:
    """Open the cache as another process would: knowing nothing."""
    watched.forget()
    return CachedStorage(watched, str(tmp_path / "cache"), limit_bytes)


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_what_was_read_once_is_read_no_more(watched: RecordingStorage, tmp_path: Path) -> None:
    storage = opened(watched, tmp_path)
    assert storage.read(NAME, 10, 20) == DATA[10:30]
    assert storage.read(NAME, 1000, 30) == DATA[1000:1030]
    assert len(watched.of("read")) == 1
    again = opened(watched, tmp_path)
    assert again.read(NAME) == DATA
    assert again.read(NAME, len(DATA) - 5, 100) == DATA[-5:]
    assert again.read(NAME, len(DATA) + 5, 100) == b""
    assert watched.of("read") == []
    assert len(watched.of("list")) == 1


def test_what_was_put_need_not_be_fetched(watched: RecordingStorage, tmp_path: Path) -> None:
    opened(watched, tmp_path).put("snapshots/ab", [b"first", b"second"])
    assert opened(watched, tmp_path).read("snapshots/ab", 5) == b"second"
    assert watched.of("read") == []


def test_keys_and_packs_leave_nothing_on_the_disk(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    storage = opened(watched, tmp_path)
    for folder in ("keys", "slots", "packs", "tombstones"):
        storage.put(f"{folder}/a", [b"secret" * 10])
        assert storage.read(f"{folder}/a", 6, 6) == b"secret"
    assert files(tmp_path) == []


def test_a_keyring_is_fetched_once_and_forgotten_when_it_is_gone(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    storage = opened(watched, tmp_path)
    watched.inner.put("keys/a", [DATA])
    for start in range(0, 500, 50):
        assert storage.read("keys/a", start, 50) == DATA[start : start + 50]
    assert len(watched.of("read")) == 1
    watched.inner.delete("keys/a")
    assert list(storage.list("keys")) == []
    with pytest.raises(ObjectMissing):
        storage.read("keys/a", 0, 50)


def test_the_memory_for_keyrings_is_bounded(
    watched: RecordingStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "REMEMBERED_BYTES", 1000)
    storage = opened(watched, tmp_path)
    for number in range(8):
        storage.put(f"keys/{number}", [bytes([number]) * 200])
        storage.put(f"keys/large{number}", [bytes([number]) * 251])
    for _ in range(2):
        for number in range(8):
            assert storage.read(f"keys/{number}", 5, 3) == bytes([number]) * 3
            assert storage.read(f"keys/large{number}", 250, 3) == bytes([number])
    assert sum(map(len, storage._remembered.values())) <= 1000


def test_an_object_that_is_gone_is_missing_although_it_was_kept(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    opened(watched, tmp_path).read(NAME)
    watched.inner.delete(NAME)
    with pytest.raises(ObjectMissing):
        opened(watched, tmp_path).read(NAME, 0, 5)


def test_an_object_that_was_cut_off_is_read_as_it_is_now(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    opened(watched, tmp_path).read(NAME)
    (tmp_path / "far" / NAME).write_bytes(DATA[:10])
    assert opened(watched, tmp_path).read(NAME) == DATA[:10]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "longer", "link", "folder", "other"])
def test_a_harmed_entry_is_fetched_anew(
    watched: RecordingStorage, tmp_path: Path, harm: str
) -> None:
    storage = opened(watched, tmp_path)
    storage.put("manifests/ff", [DATA[::-1]])
    storage.read(NAME)
    [entry] = [path for path in files(tmp_path) if path.name.endswith(NAME[10:])]
    content = bytearray(entry.read_bytes())
    if harm == "flip":
        content[-7] ^= 1
        entry.write_bytes(content)
    elif harm in ("cut", "empty", "longer"):
        harmed = {"cut": content[:-1], "empty": bytearray(), "longer": content + b"x"}
        entry.write_bytes(harmed[harm])
    elif harm == "other":  # the sound entry of another object in its place
        entry.write_bytes((entry.parent / "manifests_ff").read_bytes())
    else:
        entry.unlink()
        entry.mkdir() if harm == "folder" else entry.symlink_to(tmp_path / "far" / NAME)
    again = opened(watched, tmp_path)
    assert again.read(NAME, 3, 9) == DATA[3:12]
    assert len(watched.of("read")) == 1
    if harm != "folder":
        assert opened(watched, tmp_path).read(NAME) == DATA
        assert watched.of("read") == []


def test_a_deleted_object_leaves_the_cache(watched: RecordingStorage, tmp_path: Path) -> None:
    storage = opened(watched, tmp_path)
    for remove in (storage.delete, storage.destroy):
        storage.read(NAME)
        assert len(files(tmp_path)) == 1
        remove(NAME)
        assert files(tmp_path) == []
        storage.put(NAME, [DATA])


def test_its_files_are_for_their_owner_alone(watched: RecordingStorage, tmp_path: Path) -> None:
    opened(watched, tmp_path).read(NAME)
    [entry] = files(tmp_path)
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_may_enter_is_not_used(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    opened(watched, tmp_path).read(NAME)
    [entry] = files(tmp_path)
    entry.unlink()
    entry.parent.chmod(0o755)
    assert opened(watched, tmp_path).read(NAME) == DATA
    assert files(tmp_path) == []


def test_what_was_not_used_for_longest_goes_first(
    watched: RecordingStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_ROOM_CHECK_BYTES", 1)
    for number in range(6):
        opened(watched, tmp_path, 3000).put(f"manifests/{number}", [bytes(800)])
        for path in files(tmp_path):
            found = path.stat()
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - 10**9))
        if number >= 1:  # the first is used again and again
            opened(watched, tmp_path, 3000).read("manifests/0")
    assert [path.name for path in files(tmp_path)] == ["manifests_0", "manifests_4", "manifests_5"]


def test_too_large_an_object_is_read_by_parts(
    watched: RecordingStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LARGEST_BYTES", len(DATA) - 1)
    storage = opened(watched, tmp_path)
    assert storage.read(NAME, 5, 5) == DATA[5:10]
    assert watched.read_bytes == 5
    assert files(tmp_path) == []


def test_who_has_to_see_what_is_there_gets_an_empty_cache(
    watched: RecordingStorage, tmp_path: Path
) -> None:
    storage = opened(watched, tmp_path)
    storage.read(NAME)
    flipped = DATA[:-1] + b"?"
    (tmp_path / "far" / NAME).write_bytes(flipped)
    with fetched_anew(storage) as anew:
        assert anew.read(NAME) == flipped
        assert anew.read(NAME, 3, 4) == flipped[3:7]
        assert len(watched.of("read")) == 2
        assert isinstance(anew, CachedStorage)
        folder = anew.folder
    assert not os.path.exists(folder)
    with fetched_anew(watched) as same:
        assert same is watched
