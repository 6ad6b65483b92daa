"""A backup of some users alone: theirs is new, everything else as in the parent, and it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.repository.snapshots import find_snapshot
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, rich_directory, settle
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, check_whole, look, take
from shenyu_data.testing.tree import read_tree


@pytest.fixture
def start(tmp_path: Path) -> tuple[Repository, Application]:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    return repository, rich_directory(tmp_path / "data")


def take_some(repository: Repository, data: Application, *users: bytes) -> BackupStats:
    settle(data.folder)
    options = BackupOptions(only_users=frozenset(users), safety=True, tag="before-restore")
    monitor = CollectingMonitor()
    stats = backup(str(data.folder), repository, options, monitor)
    assert monitor.findings == []
    return stats


def test_only_the_users_named_are_looked_at(start: tuple[Repository, Application]) -> None:
    repository, data = start
    first = take(repository, data)
    data.prepend_chat("bob", chat(900))
    data.prepend_chat(f"{3:064x}", chat(901))
    data.add_user("new", [chat(902)])
    stats = take_some(repository, data, b"bob", b"new", b"nobody")
    root = repository.root(stats.snapshot)
    assert (root.partial, root.safety, root.kind) == (True, True, "incremental")
    assert root.parent == first.snapshot
    assert stats.totals.chats == first.stats.totals.chats + 2
    there = bring_back(repository, stats.snapshot)
    assert there.findings == []
    now = read_tree(data.folder).nodes
    changed = {
        path for path, node in there.tree.nodes.items() if first.tree.nodes.get(path) != node
    }
    files = {path for path in changed if there.tree.nodes[path].kind == "file"}
    assert files == {
        b"histories/bob/chat-history.json",
        b"histories/new/chat-history.json",
        b"users/new.json",
    }
    assert all(there.tree.nodes[path] == now[path] for path in files)
    assert not look(repository).errors
    check_whole(repository, take(repository, data))  # the next one looks at everything again


def test_a_deleted_user_is_gone_from_it_alone(start: tuple[Repository, Application]) -> None:
    repository, data = start
    first = take(repository, data)
    data.remove("users/bob.json") if (data.folder / "users/bob.json").exists() else None
    data.remove("histories/bob/chat-history.json")
    data.remove("histories/bob/old/deep/kept.bin")
    for folder in ("old/deep", "old", ""):
        (data.folder / "histories/bob" / folder).rmdir()
    stats = take_some(repository, data, b"bob")
    there = bring_back(repository, stats.snapshot).tree.nodes
    assert not [path for path in there if b"/bob" in path]
    assert {path for path in first.tree.nodes if b"/bob" not in path} == set(there)
    check_whole(repository, first)


def test_without_a_parent_everything_is_taken(start: tuple[Repository, Application]) -> None:
    repository, data = start
    stats = take_some(repository, data, b"bob")
    root = repository.root(stats.snapshot)
    assert (root.partial, root.safety, root.kind) == (False, True, "full")
    assert bring_back(repository, stats.snapshot).tree == read_tree(data.folder)


def test_many_of_them_keep_their_layers_few(start: tuple[Repository, Application]) -> None:
    repository, data = start
    take(repository, data)
    for number in range(30):
        data.prepend_chat("bob", chat(1000 + number))
        stats = take_some(repository, data, b"bob")
    root = repository.root(stats.snapshot)
    assert max(len(ref.sections) for ref in root.buckets.values()) <= 13
    assert bring_back(repository, stats.snapshot).tree == read_tree(data.folder)


def test_names_by_time_pass_over_safety_snapshots(start: tuple[Repository, Application]) -> None:
    repository, data = start
    first = take(repository, data)
    safety = take_some(repository, data, b"bob").snapshot
    snapshots = repository.snapshots()
    assert find_snapshot(snapshots, "latest").id == first.snapshot
    assert find_snapshot(snapshots, "2999-01-01").id == first.snapshot
    assert find_snapshot(snapshots, safety.hex()[:12]).id == safety
    assert find_snapshot(snapshots[1:], "latest").id == safety


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("others", [True, False])
def test_a_users_file_takes_the_place_of_the_folder_that_the_parent_has_there(
    start: tuple[Repository, Application], others: bool, link: bool
) -> None:
    repository, data = start
    (data.folder / "users" / "zoe.json").mkdir()
    bucket = repository.keys.shared_bucket(b"users/zoe.json")
    names = (f"other{number}" for number in range(100_000) if others)
    same = next((x for x in names if repository.keys.shared_bucket(x.encode()) == bucket), None)
    if same is not None:
        data.write(same, b"shared, in the same bucket")
    first = take(repository, data)
    (data.folder / "users" / "zoe.json").rmdir()
    data.add_user("zoe", [chat(1)])
    if link:
        data.remove("users/zoe.json")
        (data.folder / "users" / "zoe.json").symlink_to(".")
    stats = take_some(repository, data, b"zoe")
    there = bring_back(repository, stats.snapshot)
    assert there.findings == []
    assert there.tree.nodes[b"users/zoe.json"].kind == ("link" if link else "file")
    assert same is None or there.tree.nodes[same.encode()] == first.tree.nodes[same.encode()]
    assert stats.totals.documents == first.stats.totals.documents + 2 - link
    assert not look(repository).errors
    check_whole(repository, take(repository, data))
