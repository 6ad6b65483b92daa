"""Destroying an owner's keys, seen from backup, restore and verify."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from shenyu_data.model.errors import OwnerErased, RepositoryError, ShenyuDataError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.show import show_user
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.erasure import DestroyedKeys, destroy_keys, sweep_dead_keys
from shenyu_data.repository.format import KEYRINGS, PACKS
from shenyu_data.repository.keyring import Keyring, write_keyring
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import chat
from shenyu_data.testing.beside import Beside, Meanwhile
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.scenario import Past, Taken, bring_back, check_whole, look, rich_past, take
from shenyu_data.testing.tree import Tree

BOB = b"bob"


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


def erase(repository: Repository, user: bytes = BOB, time_ms: int = 1) -> DestroyedKeys:
    pseudonym = repository.keys.user_pseudonym(user)
    return destroy_keys(repository.storage, repository.keys, pseudonym, time_ms)


def without(tree: Tree, user: str) -> dict[bytes, object]:
    name = user.encode()
    return {
        path: item
        for path, item in tree.nodes.items()
        if path != b"users/" + name + b".json"
        and path != b"histories/" + name
        and not path.startswith(b"histories/" + name + b"/")
    }


def contents(tree: Tree) -> dict[bytes, object]:
    return dict(tree.nodes)


def remove_live(past: Past, user: str = "bob") -> None:
    shutil.rmtree(past.data.folder / "histories" / user, ignore_errors=True)
    (past.data.folder / "users" / f"{user}.json").unlink(missing_ok=True)


def test_no_snapshot_gives_the_user_and_every_snapshot_gives_all_others(past: Past) -> None:
    erase(past.repository)
    for taken in past.taken:
        restored = bring_back(past.repository, taken.snapshot)
        assert restored.findings == []
        assert restored.stats is not None and restored.stats.erased == 1
        assert contents(restored.tree) == without(taken.tree, "bob")


def test_asking_for_the_erased_user_says_so(past: Past, tmp_path: Path) -> None:
    erase(past.repository)
    root = past.repository.root(past.taken[-1].snapshot)
    with pytest.raises(OwnerErased, match="bob was erased"):
        show_user(past.repository, root, BOB)
    with pytest.raises(OwnerErased, match="bob was erased"):
        options = RestoreOptions(user=BOB)
        restore(past.repository, root, str(tmp_path / "to"), options, CollectingMonitor())


def test_no_pack_and_no_manifest_is_touched(past: Past) -> None:
    storage = past.repository.storage
    before = {info.name for info in storage.list("")}
    done = erase(past.repository)
    after = {info.name for info in storage.list("")}
    assert {name.partition("/")[0] for name in before - after} == {KEYRINGS}
    assert {name.partition("/")[0] for name in after - before} == {KEYRINGS, "tombstones"}
    assert sorted(done.objects) == sorted(before - after)
    assert done.failures == []


def test_the_key_is_nowhere_in_the_repository(past: Past) -> None:
    storage, keys = past.repository.storage, past.repository.keys
    pseudonym = keys.user_pseudonym(BOB)
    before = Keyring(storage, keys).bucket(pseudonym[0])[pseudonym]
    assert before
    erase(past.repository)
    for item in Keyring(storage, keys).objects:
        for bucket in range(256):
            assert all(owner != pseudonym for owner, _ in item.bucket(bucket))


def test_verify_calls_it_sound_and_counts(past: Past) -> None:
    erase(past.repository)
    verified = look(past.repository)
    assert verified.errors == {}
    assert verified.stats.erased_records > 0
    assert [item.code for item in verified.findings if item.severity != "info"] == []


@pytest.mark.parametrize("full", [False, True])
def test_the_next_backup_goes_on_without_the_user(past: Past, full: bool) -> None:
    erase(past.repository)
    remove_live(past)
    past.data.prepend_chat(f"{5:064x}", chat(904))
    taken = take(past.repository, past.data, full=full)
    assert taken.findings == []
    check_whole(past.repository, taken)
    root = past.repository.root(taken.snapshot)
    assert root.totals.users == sum(
        path.startswith(b"users/") and item.kind == "file" and path.count(b"/") == 1
        for path, item in taken.tree.nodes.items()
    )
    assert look(past.repository).errors == {}


@pytest.mark.parametrize("full", [False, True])
def test_a_user_who_comes_back_is_backed_up_anew(past: Past, full: bool) -> None:
    erase(past.repository)
    remove_live(past)
    past.data.add_user("bob", [chat(1)])
    taken = take(past.repository, past.data, full=full)
    assert taken.findings == []
    check_whole(past.repository, taken)
    old = bring_back(past.repository, past.taken[0].snapshot)
    assert contents(old.tree) == without(past.taken[0].tree, "bob")
    again = take(past.repository, past.data)
    assert again.stats.read_documents == 0
    check_whole(past.repository, again)


def test_a_snapshot_of_some_users_alone_leaves_the_erased_one_out_as_well(past: Past) -> None:
    erase(past.repository)
    remove_live(past)
    options = BackupOptions(only_users=frozenset([b"alice"]))
    stats = backup(str(past.data.folder), past.repository, options, CollectingMonitor())
    restored = bring_back(past.repository, stats.snapshot)
    assert restored.stats is not None and restored.stats.erased == 0
    assert look(past.repository).errors == {}
    assert f"users/{5:064x}.json".encode() in restored.tree.nodes
    assert stats.totals.histories == stats.before.histories - 1


def test_a_user_whose_files_are_still_there_is_backed_up_anew(past: Past) -> None:
    """Nothing but the keys was erased; the documents are the owner's to remove."""
    erase(past.repository)
    taken = take(past.repository, past.data)
    assert taken.findings == []
    check_whole(past.repository, taken)


def test_damage_of_a_user_who_came_back_is_called_damage(past: Past) -> None:
    erase(past.repository)
    remove_live(past)
    past.data.add_user("bob", [chat(1)])
    taken = take(past.repository, past.data)
    repository = past.copy()
    assert isinstance(repository.storage, MemoryStorage)
    pseudonym = repository.keys.user_pseudonym(BOB)
    layers = layers_of(repository.root(taken.snapshot), pseudonym[0])
    row = SectionReader(repository.storage, repository.keys, pseudonym[0], layers).rows()[pseudonym]
    name = f"manifests/{row.layer.manifest.hex()}"
    data = bytearray(repository.storage.objects[name])
    data[row.layer.offset + row.offset + 20] ^= 1
    repository.storage.objects[name] = bytes(data)
    restored = bring_back(repository, taken.snapshot)
    assert restored.stats is not None
    assert (restored.stats.damaged, restored.stats.erased) == (1, 0)
    assert name in look(repository).errors


def test_an_old_keyring_that_comes_back_opens_nothing_and_is_reported_and_swept(past: Past) -> None:
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    old = {name: data for name, data in storage.objects.items() if name.startswith(KEYRINGS)}
    erase(past.repository)
    storage.objects.update(old)
    restored = bring_back(past.repository, past.taken[0].snapshot)
    assert contents(restored.tree) == without(past.taken[0].tree, "bob")
    assert "destroyed-key-back" in {item.code for item in look(past.repository).findings}
    assert sweep_dead_keys(storage, past.repository.keys)
    assert "destroyed-key-back" not in {item.code for item in look(past.repository).findings}
    assert bring_back(past.repository, past.taken[1].snapshot).findings == []
    assert sweep_dead_keys(storage, past.repository.keys) == []


def test_half_a_destroyed_keyring_that_a_backup_mends_is_destroyed_again(past: Past) -> None:
    """A backup may list an object's two copies between the destruction of one and the other."""
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    old = {name: data for name, data in storage.objects.items() if name.startswith(KEYRINGS)}
    erase(past.repository)
    destroyed = next(name for name in sorted(old) if name not in storage.objects)
    storage.objects[destroyed] = old[destroyed]
    remove_live(past)
    take(past.repository, past.data)
    assert not {destroyed, f"{destroyed}.copy"} & set(storage.objects)
    assert "destroyed-key-back" not in {item.code for item in look(past.repository).findings}


def test_erasing_twice_does_no_more_than_once(past: Past) -> None:
    first = erase(past.repository, time_ms=1)
    second = erase(past.repository, time_ms=2)
    assert second.tombstone == first.tombstone
    assert second.objects == []


@pytest.mark.parametrize("moment", MOMENTS[::2])
def test_killed_anywhere_the_user_is_whole_or_gone_and_again_finishes(
    past: Past, moment: Moment
) -> None:
    for at in range(100):
        repository = past.copy()
        faulty = FaultyStorage(repository.storage, at_change=at, moment=moment)
        try:
            erase(Repository(faulty, repository.keys))
        except Crash:
            assert at < 99
        else:
            break
        restored = bring_back(repository, past.taken[2].snapshot)
        assert restored.findings == []
        assert contents(restored.tree) in (
            contents(past.taken[2].tree),
            without(past.taken[2].tree, "bob"),
        )
        erase(repository)
        restored = bring_back(repository, past.taken[2].snapshot)
        assert contents(restored.tree) == without(past.taken[2].tree, "bob")
        assert {item.code for item in look(repository).findings} <= {"unused-objects"}
    assert at > 4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("folder", ["packs", "keys", "manifests", "snapshots"])
@pytest.mark.parametrize("who", ["bob", "dora"])  # known to the repository, and new to it
def test_an_erasure_while_a_backup_runs_leaves_nothing(
    past: Past, folder: str, who: str, full: bool
) -> None:
    repository = past.copy()
    storage = repository.storage
    past.data.add_user("dora", [chat(7)])
    past.data.add_user("emil", [chat(8)])
    past.data.prepend_chat("bob", chat(950))

    acts = iter([True])

    def meanwhile(name: str) -> None:
        if name.startswith(folder) and next(acts, False):
            remove_live(past, who)
            erase(repository, who.encode())

    faulty = Repository(FaultyStorage(storage, before_put=meanwhile), repository.keys)
    monitor = CollectingMonitor()
    try:
        stats = backup(str(past.data.folder), faulty, BackupOptions(full=full), monitor)
    except ShenyuDataError as error:
        assert "Run the backup again" in error.hint
    else:
        restored = bring_back(repository, stats.snapshot)
        assert restored.findings == []
        assert f"histories/{who}".encode() not in restored.tree.nodes
        assert b"users/emil.json" in restored.tree.nodes
    assert look(repository).errors == {}
    pseudonym = repository.keys.user_pseudonym(who.encode())
    assert Keyring(storage, repository.keys).bucket(pseudonym[0]).get(pseudonym, []) == []
    taken = take(repository, past.data)
    check_whole(repository, taken)


def neighbour(repository: Repository) -> str:
    """Return the name of a user who shares Bob's bucket."""
    bucket = repository.keys.user_bucket(BOB)
    names = (f"neighbour{number}" for number in count())
    return next(name for name in names if repository.keys.user_bucket(name.encode()) == bucket)


@pytest.mark.parametrize("full", [False, True])
def test_an_erasure_while_a_backup_runs_leaves_others_their_last_good_versions(
    past: Past, full: bool
) -> None:
    repository = past.copy()
    other = neighbour(repository)
    past.data.add_user(other, [chat(1), chat(2)])
    before = take(repository, past.data)
    past.data.write(f"histories/{other}/chat-history.json", b'[{"id": 1')
    past.data.prepend_chat("bob", chat(950))
    acts = iter([True])

    def meanwhile(name: str) -> None:
        if name.startswith(PACKS) and next(acts, False):
            remove_live(past)
            erase(repository)

    faulty = Repository(FaultyStorage(repository.storage, before_put=meanwhile), repository.keys)
    taken = take(faulty, past.data, full=full)
    assert next(acts, False) is False
    good = bring_back(repository, taken.snapshot, last_good=True)
    assert {item.code for item in good.findings} == {"restored-degraded"}
    path = f"histories/{other}/chat-history.json".encode()
    assert good.tree.nodes[path] == before.tree.nodes[path]
    found = bring_back(repository, taken.snapshot).tree.nodes
    wanted = without(taken.tree, "bob")
    for folder in (b"users", b"histories"):  # their times, with what was removed from them
        found.pop(folder), wanted.pop(folder)
    assert found == wanted
    assert taken.stats.changes.changed == 1  # the torn one; Bob's is not there any more


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("at_call", range(3, 60, 6))
def test_an_erasure_at_any_moment_costs_nobody_else_a_last_good_version(
    past: Past, at_call: int, full: bool
) -> None:
    """It replaces keyring objects, perhaps between their being listed and read."""
    repository = past.copy()
    other = neighbour(repository)
    past.data.add_user(other, [chat(1), chat(2)])
    before = take(repository, past.data)
    past.data.write(f"histories/{other}/chat-history.json", b'[{"id": 1')

    def erase_bob() -> None:
        remove_live(past)
        erase(repository)

    beside = Beside(repository.storage, Meanwhile("call", at_call, erase_bob))
    taken = take(Repository(beside, repository.keys), past.data, full=full)
    assert {item.code for item in taken.findings} <= {"torn-document", "copy-mended"}
    good = bring_back(repository, taken.snapshot, last_good=True)
    path = f"histories/{other}/chat-history.json".encode()
    assert good.tree.nodes[path] == before.tree.nodes[path]


@pytest.mark.parametrize("at_put", range(6))
def test_a_backup_while_a_user_is_erased_holds_nothing_that_seems_damaged(
    past: Past, at_put: int
) -> None:
    """The application has not stopped writing: the backup meets the user whom it is too late to
    save, and may store another key.
    """
    repository = past.copy()
    puts = iter(range(100))
    made: list[Taken] = []

    def meanwhile(_: str) -> None:
        if next(puts) == at_put:
            made.append(take(repository, past.data))

    faulty = FaultyStorage(repository.storage, before_put=meanwhile)
    kept = {info.name: faulty.read(info.name) for info in faulty.list(KEYRINGS)}
    erase(Repository(faulty, repository.keys))
    for taken in made:
        restored = bring_back(repository, taken.snapshot)
        assert restored.findings == []
        assert contents(restored.tree) in (without(taken.tree, "bob"), contents(taken.tree))
    assert look(repository).errors == {}
    pseudonym = repository.keys.user_pseudonym(BOB)
    alive = Keyring(repository.storage, repository.keys).bucket(pseudonym[0]).get(pseudonym, [])
    assert bool(alive) == any(
        b"histories/bob" in bring_back(repository, taken.snapshot).tree.nodes for taken in made
    )
    assert isinstance(repository.storage, MemoryStorage)
    repository.storage.objects.update(kept)
    assert look(repository).errors == {}


@pytest.mark.parametrize("folder", ["keys", "manifests", "snapshots"])
def test_who_comes_back_while_another_backup_still_runs_is_kept(past: Past, folder: str) -> None:
    """The one that was begun before the erasure must not take the new key for the old."""
    repository = past.copy()
    past.data.add_user("dora", [chat(7)])
    made: list[Taken] = []

    def meanwhile(name: str) -> None:
        if name.startswith(folder) and not made:
            erase(repository)
            made.append(take(repository, past.data))

    faulty = Repository(FaultyStorage(repository.storage, before_put=meanwhile), repository.keys)
    with suppress(ShenyuDataError):
        backup(str(past.data.folder), faulty, BackupOptions(), CollectingMonitor())
    check_whole(repository, made[0])
    options = BackupOptions(only_users=frozenset([b"alice"]))
    stats = backup(str(past.data.folder), repository, options, CollectingMonitor())
    assert b"histories/bob" in bring_back(repository, stats.snapshot).tree.nodes
    check_whole(repository, take(repository, past.data))
    assert look(repository).errors == {}


def test_the_tombstone_names_neither_the_user_nor_the_key(past: Past) -> None:
    erase(past.repository)
    storage = past.repository.storage
    for info in storage.list("tombstones"):
        data = storage.read(info.name)
        assert BOB not in data
        assert past.repository.keys.user_pseudonym(BOB) not in data


def test_another_repositorys_tombstones_do_not_open(past: Past) -> None:
    erase(past.repository)
    other = Repository(past.repository.storage, Secrets(b"x" * 32, b"y" * 16))
    assert len(Keyring(other.storage, other.keys).tombstones) == 0


def test_a_key_that_a_backup_stores_in_the_middle_of_an_erasure_is_dead_as_well(
    past: Past,
) -> None:
    """Also for whoever puts an old copy of that very keyring object back."""
    repository = past.copy()
    assert isinstance(repository.storage, MemoryStorage)
    pseudonym = repository.keys.user_pseudonym(BOB)
    old: dict[str, bytes] = {}

    def meanwhile(name: str) -> None:
        if name.startswith("tombstones") and not old:
            write_keyring(
                repository.storage, repository.keys, {pseudonym[0]: [(pseudonym, b"k" * 32)]}
            )
            assert isinstance(repository.storage, MemoryStorage)
            objects = repository.storage.objects
            old.update({key: objects[key] for key in objects if key.startswith(KEYRINGS)})

    faulty = Repository(FaultyStorage(repository.storage, before_put=meanwhile), repository.keys)
    erase(faulty)
    repository.storage.objects.update(old)
    assert pseudonym not in Keyring(repository.storage, repository.keys).bucket(pseudonym[0])


def test_two_erasures_at_once_bring_neither_key_back(past: Past) -> None:
    """Each stores the other keys of a keyring object anew, and may have read them too early."""
    for number in range(8):
        repository = past.copy()
        pseudonyms = [repository.keys.user_pseudonym(user) for user in (BOB, b"alice")]
        puts = iter(range(100))

        def meanwhile(
            name: str, number: int = number, puts: Iterator[int] = puts, of: Repository = repository
        ) -> None:
            if next(puts) == number:
                erase(of, b"alice")

        faulty = Repository(
            FaultyStorage(repository.storage, before_put=meanwhile), repository.keys
        )
        erase(faulty)
        if next(puts) <= number:
            break
        for item in Keyring(repository.storage, repository.keys).objects:
            for pseudonym in pseudonyms:
                assert pseudonym not in {owner for owner, _ in item.bucket(pseudonym[0])}
    assert number > 3


@pytest.mark.parametrize("both", [False, True])
def test_a_user_does_not_come_back_without_a_word_when_the_tombstone_is_damaged(
    past: Past, both: bool
) -> None:
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    old = {name: data for name, data in storage.objects.items() if name.startswith(KEYRINGS)}
    erase(past.repository)
    storage.objects.update(old)
    for name in [name for name in storage.objects if name.startswith("tombstones/")]:
        if both or not name.endswith(".copy"):
            storage.objects[name] = storage.objects[name][:20]
    restored = bring_back(past.repository, past.taken[-1].snapshot)
    if both:
        assert restored.stats is not None and restored.stats.damaged == 1
        (finding,) = restored.findings
        assert "who was erased" in finding.message
        with pytest.raises(RepositoryError, match="who was erased"):
            options = PruneOptions(retention=Retention(keep_last=1))
            plan_prune(past.repository, options, CollectingMonitor(), now_ms=1)
    else:
        assert contents(restored.tree) == without(past.taken[-1].tree, "bob")
