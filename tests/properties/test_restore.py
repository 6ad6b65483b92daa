"""Whatever a data directory holds, a restore gives it back: contents, names, modes, times."""

import functools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.restore import RestoreOptions, RestoreStats, restore
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.strategies import YEAR_2400_NS, chats, trees
from shenyu_data.testing.tree import Item, Tree, build_tree, read_tree, tree_folder

DEGRADED = {"torn-document", "restored-degraded", "special-file"}


@functools.cache
def template() -> tuple[dict[str, bytes], Repository]:
    """Make one repository, once: deriving a key from a passphrase takes 0.1 s."""
    storage = MemoryStorage()
    repository, _ = create_repository(storage, "passphrase")
    return dict(storage.objects), repository


def new_repository() -> Repository:
    objects, made = template()
    storage = MemoryStorage()
    storage.objects.update(objects)
    return Repository(storage, made.keys)


def take(data: Path, repository: Repository, *, full: bool = False) -> tuple[BackupStats, set[str]]:
    monitor = CollectingMonitor()
    stats = backup(str(data), repository, BackupOptions(full=full), monitor)
    return stats, {finding.code for finding in monitor.findings}


def put_back(
    repository: Repository, target: Path, stats: BackupStats, user: bytes | None = None
) -> tuple[RestoreStats, set[str]]:
    monitor = CollectingMonitor()
    root = repository.root(stats.snapshot)
    done = restore(repository, root, str(target), RestoreOptions(user=user), monitor)
    return done, {finding.code for finding in monitor.findings}


def assert_same(found: Tree, wanted: Tree) -> None:
    assert found.nodes == wanted.nodes
    assert found.hard_links == wanted.hard_links


def assert_round_trip(data: Path, target: Path, repository: Repository) -> None:
    before = read_tree(data)
    stats, codes = take(data, repository)
    assert codes <= DEGRADED
    assert ("special-file" in codes) == bool(before.special())
    assert read_tree(data) == before, "a backup changes nothing"
    done, codes = put_back(repository, target, stats)
    assert (done.failed, done.damaged) == (0, 0)
    assert done.torn == stats.totals.torn
    assert codes <= DEGRADED
    assert_same(read_tree(target), before.without(before.special()))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees())
def test_a_restore_gives_back_the_tree_as_it_was(plan: dict[bytes, Item]) -> None:
    with tree_folder() as base:
        build_tree(base / "data", plan)
        assert_round_trip(base / "data", base / "target", new_repository())


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=30)
@given(trees(max_items=8), trees(max_items=8))
def test_each_of_two_snapshots_restores_as_the_tree_was_then(
    first: dict[bytes, Item], second: dict[bytes, Item]
) -> None:
    with tree_folder() as base:
        repository = new_repository()
        data = base / "data"
        build_tree(base / "first", first)
        build_tree(base / "second", second)
        (base / "first").rename(data)
        before = read_tree(data)
        one, _ = take(data, repository)
        data.rename(base / "away")
        (base / "second").rename(data)
        after = read_tree(data)
        two, _ = take(data, repository)
        again, _ = take(data, repository, full=True)
        for number, (stats, wanted) in enumerate([(one, before), (two, after), (again, after)]):
            put_back(repository, base / f"target{number}", stats)
            found = read_tree(base / f"target{number}")
            assert_same(found, wanted.without(wanted.special()))
        assert not verify(
            repository, VerifyOptions(read_percent=100), CollectingMonitor()
        ).damaged_objects


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=30)
@given(trees(special=False))
def test_restoring_each_user_alone_gives_that_user_as_it_was(plan: dict[bytes, Item]) -> None:
    with tree_folder() as base:
        data, repository = base / "data", new_repository()
        build_tree(data, plan)
        wanted = read_tree(data)
        stats, _ = take(data, repository)
        for user in users_of(wanted):
            target = base / "target"
            put_back(repository, target, stats, user)
            mine = (b"users/%b.json" % user, b"users/%b.json.gz" % user, b"histories/%b" % user)

            def belongs(path: bytes, mine: tuple[bytes, ...] = mine) -> bool:
                return path in mine or path.startswith(mine[2] + b"/")

            expected = wanted.below(belongs)
            for path in mine[:2]:
                if path in expected and expected[path].kind == "folder":
                    del expected[path]  # users/x.json/ is a folder that belongs to nobody
            if mine[2] in expected and expected[mine[2]].kind not in ("folder", "link"):
                del expected[mine[2]]  # and so is a file directly in histories/
            found = read_tree(target).below(lambda path: path not in (b"", b"users", b"histories"))
            assert found == expected
            target.rename(base / os.urandom(8).hex())


def users_of(tree: Tree) -> set[bytes]:
    users = set()
    for path, node in tree.nodes.items():
        top, _, name = path.partition(b"/")
        if top == b"histories" and name and b"/" not in name and node.kind in ("folder", "link"):
            users.add(name)
        if top == b"users" and name and b"/" not in name and node.kind != "folder":
            for suffix in (b".json", b".json.gz"):
                owner = name.removesuffix(suffix)
                if owner != name and owner not in (b"", b".", b".."):
                    users.add(owner)
                    break
    return users


PIECE = b"0123456789abcdef" * 64


@pytest.mark.parametrize(
    ("size", "place"),
    [
        ((2 << 20) - 1, "histories/anna/chat-history.json"),
        (2 << 20, "notes.txt"),
        ((2 << 20) + 1, "notes.txt"),
        ((5 << 20) + 7, "histories/anna/notes.txt"),
        ((32 << 20) + 3, "histories/anna/chat-history.json"),
    ],
)
def test_large_documents_come_back_whole(size: int, place: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    content = b"".join(os.urandom(64) + PIECE for _ in range(size // len(PIECE) + 1))[:size]
    plan = {
        place.encode(): Item("file", content),
        b"histories/anna/small.json": Item("file", chats(2, "small", array=True)),
    }
    build_tree(data, plan)
    assert_round_trip(data, tmp_path / "target", new_repository())


def test_a_large_document_of_which_little_changed_comes_back_whole(tmp_path: Path) -> None:
    data, repository = tmp_path / "data", new_repository()
    path = b"histories/anna/chat-history.json"
    content = chats(40_000, "the same again and again", array=True)
    assert len(content) > 4 << 20
    wanted = []
    for number in range(4):
        build_tree(data, {path: Item("file", content, mtime_ns=number * 10**9)})
        wanted.append((take(data, repository)[0], read_tree(data)))
        middle = len(content) // (number + 2)
        content = content[:middle] + b" " * number + content[middle:]
        (data / os.fsdecode(path)).unlink()
    assert wanted[1][0].stored_bytes < wanted[0][0].stored_bytes / 4
    for number, (stats, tree) in enumerate(wanted):
        put_back(repository, tmp_path / str(number), stats)
        assert_same(read_tree(tmp_path / str(number)), tree)


def test_a_file_of_the_year_2400_is_backed_up_like_any_other(tmp_path: Path) -> None:
    plan = {b"users/anna.json": Item("file", b"{}", mtime_ns=YEAR_2400_NS)}
    build_tree(tmp_path / "data", plan)
    assert_round_trip(tmp_path / "data", tmp_path / "target", new_repository())


def test_names_of_one_file_with_several_owners_are_one_file_again(tmp_path: Path) -> None:
    one = b"histories/anna/chat-history.json"
    plan = {
        one: Item("file", b"[]"),
        b"histories/ben/chat-history.json": Item("file", same_as=one),
        b"users/cleo.json": Item("file", same_as=one),
        b"shared.txt": Item("file", same_as=one),
    }
    build_tree(tmp_path / "data", plan)
    assert_round_trip(tmp_path / "data", tmp_path / "target", new_repository())
    assert os.stat(tmp_path / "target" / "shared.txt").st_nlink == 4


def test_files_that_were_one_when_they_were_read_at_different_times_keep_their_own_contents(
    tmp_path: Path,
) -> None:
    """A file with two owners, rewritten within one tick of the clock between its two readings."""
    data, repository = tmp_path / "data", new_repository()
    one = b"histories/anna/torn.json"
    plan = {one: Item("file", b"[1,"), b"histories/ben/torn.json": Item("file", same_as=one)}
    build_tree(data, plan)
    stats, _ = take(data, repository)
    done, _ = put_back(repository, tmp_path / "target", stats)
    assert done.torn == 2
    assert_same(read_tree(tmp_path / "target"), read_tree(data))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_of_files_folders_and_links_are_restored_by_root(tmp_path: Path) -> None:
    data = tmp_path / "data"
    plan = {
        b"users/anna.json": Item("file", b"{}", 0o4755),
        b"histories/anna/chat-history.json": Item("file", b"[]"),
        b"histories/anna/link": Item("link", b"/nowhere"),
        b"empty": Item("folder", mode=0o700),
    }
    build_tree(data, plan)
    for number, path in enumerate(sorted(read_tree(data).nodes)):
        full = os.path.join(os.fsencode(data), path)
        os.chown(full, 1000 + number, 2000 + number, follow_symlinks=False)
    os.chmod(data / "users/anna.json", 0o4755)
    assert_round_trip(data, tmp_path / "target", new_repository())


def test_many_shared_folders_do_not_use_up_the_open_files(tmp_path: Path) -> None:
    import resource

    plan = {b"other/%04d/%d/file" % (n, n): Item("file", b"%d" % n) for n in range(400)}
    build_tree(tmp_path / "data", plan)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(map(int, os.listdir("/proc/self/fd")))  # what other tests left open is not at stake
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 180, hard))
    try:
        assert_round_trip(tmp_path / "data", tmp_path / "target", new_repository())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
