"""After damage the next backup says what is wrong, and is whole: the live data has it all."""

import random
from pathlib import Path

import pytest

from shenyu_data.model.errors import RepositoryError
from shenyu_data.repository.repository import Repository
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.damage import append, delete, flip, truncate, write_again
from shenyu_data.testing.scenario import (
    Past,
    Taken,
    bring_back,
    check_whole,
    look,
    rich_past,
    take,
)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


def names(repository: Repository, folder: str) -> list[str]:
    return [info.name for info in repository.storage.list(folder)]


def codes(taken: Taken) -> set[str]:
    return {finding.code for finding in taken.findings}


def spoil(repository: Repository, name: str, how: str) -> None:
    size = len(repository.storage.read(name))
    action = {
        "missing": delete(name),
        "cut off": truncate(name, size // 2),
        "altered": flip(name, size // 2),
    }[how]
    action.apply(repository.storage)


def spoil_everywhere(repository: Repository, folder: str) -> None:
    """Flip a byte every few hundred bytes: nothing of the folder is left to read."""
    for name in names(repository, folder):
        data = bytearray(repository.storage.read(name))
        for position in range(8, len(data), 30):
            data[position] ^= 0x40
        write_again(repository.storage, name, bytes(data))


def change_everything(data: Application) -> None:
    for number in range(6):
        data.prepend_chat(f"{number:064x}", chat(5000 + number))
    data.prepend_chat("bob", chat(5010))


@pytest.mark.parametrize(
    ("how", "full"),
    [
        ("missing", False),
        ("cut off", False),
        ("missing", True),
        ("cut off", True),
        ("altered", True),  # an incremental backup opens no records of users that did not change
    ],
)
def test_a_damaged_manifest_is_told_and_its_users_are_read_anew(
    past: Past, how: str, full: bool
) -> None:
    for name in names(past.repository, "manifests"):
        repository = past.copy()
        spoil(repository, name, how)
        hurt = [item for item in past.taken if bring_back(repository, item.snapshot).findings]
        taken = take(repository, past.data, full=full)
        assert ("parent-damaged" in codes(taken)) == (past.taken[-1] in hurt)
        check_whole(repository, taken)
        assert not taken.stats.degraded
        after = take(repository, past.data)
        assert after.findings == []
        check_whole(repository, after)


def test_with_all_manifests_lost_an_incremental_backup_is_whole(past: Past) -> None:
    delete(*names(past.repository, "manifests")).apply(past.repository.storage)
    taken = take(past.repository, past.data)
    assert "parent-damaged" in codes(taken)
    assert taken.stats.totals == past.taken[-1].stats.totals
    check_whole(past.repository, taken)


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_users_gone_with_their_damaged_manifest_do_not_haunt_the_next_snapshot(
    past: Past, full: bool
) -> None:
    """Nobody of a bucket is left in the data directory, and its parent section cannot be read."""
    delete(*names(past.repository, "manifests")).apply(past.repository.storage)
    for path in sorted(past.data.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    past.data.write("users/zoe.json", {"id": "zoe"})
    taken = take(past.repository, past.data, full=full)
    assert taken.stats.totals.documents == 1
    check_whole(past.repository, taken)


@pytest.mark.parametrize("how", ["missing", "cut off", "altered"])
def test_a_full_backup_stores_again_what_damaged_packs_lost_and_says_so(
    past: Past, how: str
) -> None:
    for name in names(past.repository, "packs"):
        repository = past.copy()
        spoil(repository, name, how)
        hurt = bring_back(repository, past.taken[-1].snapshot).stats
        assert hurt is not None
        taken = take(repository, past.data, full=True)
        check_whole(repository, taken)
        assert bool(codes(taken)) == bool(hurt.damaged)


def test_with_all_packs_spoilt_a_full_backup_is_whole(past: Past) -> None:
    spoil_everywhere(past.repository, "packs")
    assert look(past.repository).stats.damaged_objects == len(names(past.repository, "packs"))
    taken = take(past.repository, past.data, full=True)
    assert codes(taken)
    check_whole(past.repository, taken)
    check_whole(past.repository, take(past.repository, past.data))


@pytest.mark.parametrize("how", ["missing", "cut off", "altered"])
def test_a_document_that_changed_does_not_lean_on_damaged_packs(past: Past, how: str) -> None:
    for name in names(past.repository, "packs"):
        spoil(past.repository, name, how)
    change_everything(past.data)
    taken = take(past.repository, past.data)
    restored = bring_back(past.repository, taken.snapshot).tree.nodes
    for path, node in taken.tree.nodes.items():
        if b"chat-history" in path:
            was = past.taken[-1].tree.nodes.get(path)
            if was is None or was.content != node.content:
                assert restored[path] == node


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_users_whose_key_is_lost_get_a_new_one(past: Past, full: bool) -> None:
    delete(*names(past.repository, "keys")).apply(past.repository.storage)
    change_everything(past.data)
    taken = take(past.repository, past.data, full=full)
    assert "parent-damaged" in codes(taken)
    if full:
        check_whole(past.repository, taken)
    else:
        restored = bring_back(past.repository, taken.snapshot).tree.nodes
        for user in (f"{number:064x}".encode() for number in range(6)):
            path = b"histories/%b/chat-history.json" % user
            assert restored[path] == taken.tree.nodes[path]


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_with_the_newest_snapshot_lost_an_older_one_is_the_parent(past: Past, full: bool) -> None:
    newest = past.taken[-1].snapshot.hex()
    for name in (f"snapshots/{newest}", f"snapshots/{newest}.copy"):
        flip(name, 99).apply(past.repository.storage)
    taken = take(past.repository, past.data, full=full)
    assert "parent-damaged" in codes(taken)
    assert taken.stats.parent == past.taken[-2].snapshot
    check_whole(past.repository, taken)


def test_with_all_snapshots_lost_the_next_backup_is_a_whole_full_one(past: Past) -> None:
    for name in names(past.repository, "snapshots"):
        flip(name, 99).apply(past.repository.storage)
    with pytest.raises(RepositoryError):
        past.repository.find("latest")
    taken = take(past.repository, past.data)
    assert "parent-damaged" in codes(taken)
    assert taken.stats.kind == "full"
    check_whole(past.repository, taken)


def test_latest_is_not_quietly_an_older_snapshot(past: Past) -> None:
    """The newest cannot be read: whoever asks for the latest must not get another unawares."""
    newest = past.taken[-1].snapshot.hex()
    for name in (f"snapshots/{newest}", f"snapshots/{newest}.copy"):
        flip(name, 99).apply(past.repository.storage)
    with pytest.raises(RepositoryError, match=newest[:8]):
        past.repository.find(newest[:8])
    with pytest.raises(RepositoryError, match=newest[:8]):
        past.repository.find("latest")
    assert past.repository.find(past.taken[-2].snapshot.hex()).id == past.taken[-2].snapshot


def test_the_next_backup_stores_missing_second_copies_again(past: Past) -> None:
    chance = random.Random(1)
    whole = sorted(names(past.repository, ""))
    for base in {name.removesuffix(".copy") for name in whole if name.endswith(".copy")}:
        delete(chance.choice((base, base + ".copy"))).apply(past.repository.storage)
    taken = take(past.repository, past.data)
    assert codes(taken) == {"copy-mended"}
    assert set(whole) <= set(names(past.repository, ""))
    assert look(past.repository).findings == []


def test_strangers_files_stop_nothing(past: Past) -> None:
    storage = past.repository.storage
    folders = ("", "slots/", "keys/", "packs/", "manifests/", "snapshots/")
    strangers = {
        folder + name for folder in folders for name in ("readme.txt", "00ff", "x" * 32, "a.copy")
    }
    for name in strangers:
        storage.put(name, [b"left here by somebody"])
    taken = take(past.repository, past.data)
    assert codes(taken) <= {"parent-damaged"}
    check_whole(past.repository, taken)
    assert strangers == look(past.repository).errors.keys()
    assert set(names(past.repository, "")) >= strangers
    assert not any("readme.txt.copy" in name for name in names(past.repository, ""))


def test_bytes_appended_to_objects_hide_nothing(past: Past) -> None:
    for name in names(past.repository, ""):
        append(name, b"more").apply(past.repository.storage)
    for taken in past.taken:
        if bring_back(past.repository, taken.snapshot).error is None:
            check_whole(past.repository, taken)
    check_whole(past.repository, take(past.repository, past.data, full=True))
