"""A new repository key: nothing is lost, nothing is rewritten, and old keys open nothing new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shenyu_data.model.errors import (
    RepositoryError,
    ShenyuDataError,
    StorageFull,
    UsageError,
    WrongKey,
)
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations import backup_owner
from shenyu_data.operations.copy import CopyOptions, copy, plan_copy
from shenyu_data.operations.key_rotation import (
    Begun,
    begin_rotation,
    finish_rotation,
    plan_rotation,
)
from shenyu_data.operations.keys import add_key, export_key, list_keys
from shenyu_data.operations.prune import prune
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import BUCKETS
from shenyu_data.repository.generations import outdated_keyrings, reseal_keyrings
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.keyslots import slot_names
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.beside import Beside, Meanwhile
from shenyu_data.testing.damage import delete, flip
from shenyu_data.testing.faulty import Crash, FaultyStorage
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Past,
    bring_back,
    check_whole,
    look,
    rich_past,
    take,
)

BULK = ("packs/", "manifests/")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return rich_past(tmp_path_factory.mktemp("past") / "data")


@pytest.fixture
def past(made: Past) -> Past:
    """Give a repository with a past, opened with its recovery key, to do anything to."""
    return made._replace(repository=open_repository(made.copy().storage, made.recovery_key))


def rotate(repository: Repository, secret: str) -> Begun:
    """Rotate as ``key rotate`` does; nothing may be reported."""
    monitor = CollectingMonitor()
    begun = begin_rotation(repository, plan_rotation(repository), secret, "in use")
    finish_rotation(begun.repository, monitor)
    assert monitor.findings == []
    return begun


def objects(storage: Storage) -> dict[str, bytes]:
    assert isinstance(storage, MemoryStorage)
    return storage.objects


def bulk(storage: Storage) -> dict[str, bytes]:
    return {name: data for name, data in objects(storage).items() if name.startswith(BULK)}


def owner_keys(storage: Storage, keys: Secrets) -> set[bytes]:
    """Give every owner key that somebody with these secrets can have."""
    return {
        key
        for item in Keyring(storage, keys).objects
        for bucket in range(BUCKETS)
        for _, key in rows_of(item, bucket)
    }


def rows_of(item: object, bucket: int) -> list[tuple[bytes, bytes]]:
    with suppress(RepositoryError):
        return item.bucket(bucket)  # type: ignore[attr-defined, no-any-return]
    return []


# ------------------------------------------------------------------------------ what it gives


def test_everything_restores_after_a_rotation_and_no_pack_or_manifest_was_touched(
    past: Past,
) -> None:
    storage = past.repository.storage
    before = bulk(storage)
    begun = rotate(past.repository, past.recovery_key)
    assert bulk(storage) == before
    for secret in (past.recovery_key, begun.recovery_key):
        assert secret is not None
        repository = open_repository(storage, secret)
        assert repository.keys.older == (past.repository.keys.master,)
        for taken in past.taken:
            check_whole(repository, taken)
    assert look(repository).findings == []
    assert len(slot_names(storage)) == 2


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_what_did_not_change_does_not_look_changed_after_a_rotation(past: Past, full: bool) -> None:
    take(past.repository, past.data)  # other tests share the directory, and change it
    rotate(past.repository, past.recovery_key)
    repository = open_repository(past.repository.storage, past.recovery_key)
    packs = bulk(repository.storage)
    taken = take(repository, past.data, full=full)
    changes = taken.stats.changes
    assert (changes.new, changes.changed, changes.gone) == (0, 0, 0)
    assert not {name for name in bulk(repository.storage).keys() - packs if "packs" in name}
    check_whole(repository, taken)


def test_a_document_too_large_to_be_parsed_does_not_look_changed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_owner, "MAX_PARSED_BYTES", 1000)
    storage = MemoryStorage()
    _, recovery = create_repository(storage, "passphrase")
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1, messages=30)])
    repository = open_repository(storage, recovery)
    take(repository, data)
    for _ in range(2):
        rotate(repository, recovery)
        repository = open_repository(storage, recovery)
        taken = take(repository, data, full=True)
        assert taken.stats.changes.changed == 0
        check_whole(repository, taken)


def test_a_document_written_after_a_rotation_is_told_apart_shared_and_restored(
    past: Past, tmp_path: Path
) -> None:
    rotate(past.repository, past.recovery_key)
    repository = open_repository(past.repository.storage, past.recovery_key)
    data = Application(tmp_path / "data")
    data.add_user("bob", [chat(200, messages=40)])
    first = take(repository, data, full=True)
    data.prepend_chat("bob", chat(950))
    second = take(repository, data)
    assert second.stats.changes.changed == 1
    assert second.stats.stored_bytes < first.stats.stored_bytes
    for taken in (first, second, *past.taken):
        check_whole(repository, taken)
    assert look(repository).findings == []


def test_rotating_again_and_again_keeps_everything(past: Past) -> None:
    repository = past.repository
    masters = [repository.keys.master]
    for _ in range(3):
        rotate(repository, past.recovery_key)
        repository = open_repository(repository.storage, past.recovery_key)
        take(repository, past.data)
        masters.append(repository.keys.master)
    assert (repository.keys.master, *repository.keys.older) == tuple(reversed(masters))
    assert len(set(masters)) == 4
    for taken in past.taken:
        check_whole(repository, taken)
    assert look(repository).findings == []
    generations = [name for name in objects(repository.storage) if name.startswith("generations/")]
    assert len(generations) == 2, "one object and its copy"


def test_the_slot_of_the_secret_in_use_is_known_to_the_next_snapshot(past: Past) -> None:
    rotate(past.repository, past.recovery_key)
    repository = open_repository(past.repository.storage, past.recovery_key)
    take(repository, past.data)
    (used,) = [slot for slot in list_keys(repository, {}, []) if slot.last_used_ms is not None]
    assert (used.label, used.yours) == ("in use", True)


# --------------------------------------------------------------------- what it takes away


def test_other_slots_go_and_can_be_added_again(past: Past) -> None:
    other = new_recovery_key()
    add_key(past.repository, other, "anna")
    plan = plan_rotation(past.repository)
    assert {slot.label for slot in plan.leaving} == {
        "anna",
        "passphrase given at init",
        "recovery key shown at init",
    }
    rotate(past.repository, past.recovery_key)
    with pytest.raises(WrongKey):
        open_repository(past.repository.storage, other)
    repository = open_repository(past.repository.storage, past.recovery_key)
    assert add_key(repository, other, "anna").opens
    check_whole(open_repository(past.repository.storage, other), past.taken[-1])


def test_with_the_old_repository_key_alone_no_owner_key_can_be_had(past: Past) -> None:
    stolen = past.repository.keys
    storage = past.repository.storage
    assert owner_keys(storage, stolen)
    rotate(past.repository, past.recovery_key)
    take(open_repository(storage, past.recovery_key), past.data)
    assert owner_keys(storage, stolen) == set()
    restored = bring_back(Repository(storage, stolen), past.taken[-1].snapshot)
    assert not [node for node in restored.tree.nodes.values() if node.kind != "folder"]


def test_with_the_old_key_and_an_old_keyring_nothing_written_since_can_be_read(
    past: Past, tmp_path: Path
) -> None:
    storage = past.repository.storage
    old = dict(objects(storage))
    stolen = Repository(MemoryStorage(), past.repository.keys)
    rotate(past.repository, past.recovery_key)
    repository = open_repository(storage, past.recovery_key)
    data = Application(tmp_path / "data")
    for user in ("bob", "dave"):
        data.add_user(user, [chat(999, messages=30)])
    new = take(repository, data, full=True)
    objects(stolen.storage).update(objects(storage) | old)  # all there ever was
    with pytest.raises(RepositoryError):
        stolen.root(new.snapshot)
    forged = Repository(stolen.storage, past.repository.keys)
    root = repository.root(new.snapshot)  # even if somebody gave them the way to the records
    opened = 0
    for bucket in root.buckets:
        reader = SectionReader(storage, repository.keys, bucket, layers_of(root, bucket))
        known = forged.keyring().bucket(bucket)
        mine = repository.keyring().bucket(bucket)
        for pseudonym, row in reader.rows().items():
            reader.record(pseudonym, row, mine[pseudonym])
            with suppress(RepositoryError):
                reader.record(pseudonym, row, known.get(pseudonym, []))
                opened += 1
    assert not opened


def test_an_erased_user_stays_erased_through_a_rotation_and_after(past: Past) -> None:
    keys, storage = past.repository.keys, past.repository.storage
    destroy_keys(storage, keys, keys.user_pseudonym(b"dave"), 1)
    rotate(past.repository, past.recovery_key)
    repository = open_repository(storage, past.recovery_key)
    pseudonym = repository.keys.user_pseudonym(b"bob")
    destroy_keys(storage, repository.keys, pseudonym, 2)
    tree = bring_back(repository, past.taken[-1].snapshot).tree
    assert tree.nodes
    assert not [path for path in tree.nodes if b"dave" in path or b"bob" in path]
    assert pseudonym not in repository.keyring().bucket(pseudonym[0])


# ------------------------------------------------------------------------------- interrupted


class Mortal(MemoryStorage):
    """Dies at the mutation number ``at``, before or after it."""

    def __init__(self, inner: MemoryStorage, at: int, after: bool) -> None:
        super().__init__()
        self.objects = inner.objects
        self._at = at
        self._after = after

    def _mutate(self, change: Callable[[], None]) -> None:
        self._at -= 1
        if self._at < 0 and not self._after:
            raise Crash
        change()
        if self._at < 0:
            raise Crash

    def put(self, name: str, chunks: object) -> int:
        self._mutate(lambda: MemoryStorage.put(self, name, chunks) and None)  # type: ignore[arg-type]
        return len(self.objects[name])

    def delete(self, name: str) -> None:
        self._mutate(lambda: MemoryStorage.delete(self, name))


def deaths(past: Past, after: bool) -> Iterator[MemoryStorage]:
    """Give the storage as each possible death of a rotation leaves it."""
    for at in range(200):
        storage = MemoryStorage()
        storage.objects.update(objects(past.repository.storage))
        opened = open_repository(storage, past.recovery_key)
        mortal = Repository(Mortal(storage, at, after), opened.keys, opened.slot)
        try:
            rotate(mortal, past.recovery_key)
        except Crash:
            yield storage
        else:
            assert at > 10
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_rotation_may_die_at_any_write_and_is_ended_by_another(past: Past, after: bool) -> None:
    for storage in deaths(past, after):
        opened = open_repository(storage, past.recovery_key)
        check_whole(opened, past.taken[-1])
        assert not look(opened, read=False).errors.keys() - missing_copies(storage)
        ended = opened.keys.generation == 2 and not plan_rotation(opened).unfinished
        begun = rotate(opened, past.recovery_key)
        repository = open_repository(storage, past.recovery_key)
        assert repository.keys.generation == 2 + ended  # all was done, only the end was not told
        assert look(repository, read=False).findings == []
        slots = list_keys(repository, {}, [])
        assert all(slot.opens for slot in slots)
        assert {slot.kind for slot in slots} == {"recovery"}
        if begun.recovery_key is not None:
            assert open_repository(storage, begun.recovery_key).keys.older
        assert not outdated_keyrings(storage, repository.keys)
        assert not plan_rotation(repository).unfinished


def missing_copies(storage: MemoryStorage) -> set[str]:
    """Give the names of which only the twin is there."""
    twins = {name + ".copy" for name in storage.objects if not name.endswith(".copy")}
    return (twins | {name.removesuffix(".copy") for name in storage.objects}) - set(storage.objects)


def test_while_a_rotation_is_unfinished_only_the_secret_it_was_begun_with_opens(
    past: Past,
) -> None:
    other = new_recovery_key()
    add_key(past.repository, other, "anna")
    begun = begin_rotation(
        past.repository, plan_rotation(past.repository), past.recovery_key, "in use"
    )
    with pytest.raises(WrongKey, match="rotated"):
        open_repository(past.repository.storage, other)
    repository = open_repository(past.repository.storage, past.recovery_key)
    plan = plan_rotation(repository)
    assert plan.unfinished
    assert len(plan.leaving) == 3
    assert rotate(repository, past.recovery_key).recovery_key is None, "it was shown already"
    assert begun.recovery_key is not None
    check_whole(open_repository(past.repository.storage, begun.recovery_key), past.taken[0])


def test_no_room_leaves_the_repository_as_it_was(past: Past) -> None:
    for at_put in range(4):
        full = FaultyStorage(past.repository.storage, at_put=at_put, error=StorageFull("full"))
        repository = Repository(full, past.repository.keys, past.repository.slot)
        with pytest.raises(StorageFull):
            rotate(repository, past.recovery_key)
        again = open_repository(past.repository.storage, past.recovery_key)
        check_whole(again, past.taken[-1])
    rotate(open_repository(past.repository.storage, past.recovery_key), past.recovery_key)
    assert look(open_repository(past.repository.storage, past.recovery_key)).findings == []


# ---------------------------------------------------------------------------- beside others


@pytest.mark.parametrize("at_put", range(0, 9, 2))
def test_a_backup_that_runs_beside_a_rotation_is_whole_or_gives_up(past: Past, at_put: int) -> None:
    storage = past.repository.storage
    past.data.add_user("frieda", [chat(500)])
    past.data.prepend_chat("bob", chat(960))
    puts = iter(range(100))

    def rotate_now(name: str) -> None:
        if next(puts) == at_put:
            rotate(past.repository, past.recovery_key)

    beside = FaultyStorage(storage, before_put=rotate_now)
    try:
        taken = take(Repository(beside, past.repository.keys), past.data)
    except ShenyuDataError as error:
        assert "again" in error.hint
        taken = take(open_repository(storage, past.recovery_key), past.data)
    past.data.remove("histories/frieda/chat-history.json")
    past.data.remove("users/frieda.json")
    repository = open_repository(storage, past.recovery_key)
    for each in (taken, *past.taken):
        check_whole(repository, each)
    failures: list[RepositoryError] = []
    reseal_keyrings(storage, repository.keys, failures)
    assert not failures
    assert not outdated_keyrings(storage, repository.keys)
    check_whole(repository, taken)


@pytest.mark.parametrize("at_call", range(0, 60, 7))
def test_a_backup_beside_a_rotation_keeps_the_last_good_versions_or_gives_up(
    past: Past, tmp_path: Path, at_call: int
) -> None:
    storage = past.repository.storage
    history = past.data.folder / "histories/bob/chat-history.json"
    good = history.read_bytes()
    before = take(past.repository, past.data)
    history.write_bytes(good[:-5])

    def rotate_now() -> None:
        rotate(past.repository, past.recovery_key)

    meanwhile = Meanwhile("call", at_call, rotate_now)
    beside = Repository(Beside(storage, meanwhile), past.repository.keys)
    with suppress(ShenyuDataError):
        take(beside, past.data)
    repository = open_repository(storage, past.recovery_key)
    snapshot = repository.snapshots()[-1]
    if snapshot.id == before.snapshot:  # it gave up
        taken = take(repository, past.data)
        assert {item.code for item in taken.findings} <= {"torn-document", "copy-mended"}
        snapshot = repository.snapshots()[-1]
    history.write_bytes(good)
    target = tmp_path / "restored"
    options = RestoreOptions(last_good=True)
    restore(repository, repository.root(snapshot.id), str(target), options, CollectingMonitor())
    assert (target / "histories/bob/chat-history.json").read_bytes() == good


@pytest.mark.parametrize("at_call", range(0, 60, 4))
def test_who_is_erased_with_the_new_key_under_a_backup_with_the_old_one_is_no_damage(
    past: Past, at_call: int
) -> None:
    """The backup cannot read the tombstone, and would store the user under a destroyed key."""
    storage = past.repository.storage
    past.data.prepend_chat("bob", chat(970))

    def rotate_and_erase() -> None:
        newest = rotate(past.repository, past.recovery_key).repository
        assert not destroy_keys(
            storage, newest.keys, newest.keys.user_pseudonym(b"bob"), 1
        ).failures

    meanwhile = Meanwhile("call", at_call, rotate_and_erase)
    with suppress(ShenyuDataError):
        take(Repository(Beside(storage, meanwhile), past.repository.keys), past.data)
    repository = open_repository(storage, past.recovery_key)
    for item in repository.snapshots():
        assert bring_back(repository, item.id).findings == []
    assert look(repository).errors == {}


def test_of_two_rotations_at_once_one_at_least_gives_way(past: Past) -> None:
    storage = past.repository.storage
    untouched = dict(objects(storage))
    done: list[str] = []
    for at_put in range(8):
        objects(storage).clear()
        objects(storage).update(untouched)
        puts = iter(range(100))

        def other(name: str, puts: Iterator[int] = puts, at_put: int = at_put) -> None:
            if next(puts) == at_put:
                with suppress(ShenyuDataError):
                    rotate(open_repository(storage, past.recovery_key), past.recovery_key)
                    done.append("other")

        beside = Repository(
            FaultyStorage(storage, before_put=other), past.repository.keys, past.repository.slot
        )
        with suppress(ShenyuDataError):
            rotate(beside, past.recovery_key)
            done.append("one")
        assert "other" in done or "one" in done
        repository = open_repository(storage, past.recovery_key)
        check_whole(repository, past.taken[-1])
        assert all(slot.opens for slot in list_keys(repository, {}, []))
        assert look(repository, read=False).findings == []


@pytest.mark.parametrize("at_call", range(24))
def test_a_rotation_beside_which_another_one_is_done_is_done_too_or_gives_way(
    past: Past, at_call: int
) -> None:
    storage = past.repository.storage

    def rotate_too() -> None:
        rotate(open_repository(storage, past.recovery_key), past.recovery_key)

    beside = Beside(storage, Meanwhile("call", at_call, rotate_too))
    with suppress(ShenyuDataError):
        rotate(Repository(beside, past.repository.keys, past.repository.slot), past.recovery_key)
    repository = open_repository(storage, past.recovery_key)
    check_whole(repository, past.taken[-1])
    assert all(slot.opens for slot in list_keys(repository, {}, []))


# --------------------------------------------------------------------------------- damage


def test_one_damaged_copy_of_the_older_keys_does_no_harm_and_is_named(past: Past) -> None:
    rotate(past.repository, past.recovery_key)
    storage = past.repository.storage
    whole = dict(objects(storage))
    for name in [name for name in whole if name.startswith("generations/")]:
        for place in range(0, len(whole[name]), 5):
            flip(name, place).apply(storage)
            repository = open_repository(storage, past.recovery_key)
            assert list(look(repository, read=False).errors) == [name]
            objects(storage).update(whole)
        delete(name).apply(storage)
        repository = open_repository(storage, past.recovery_key)
        assert list(look(repository, read=False).errors) == [name]
        assert {finding.code for finding in take(repository, past.data).findings} == {"copy-mended"}
        assert look(repository, read=False).findings == []


def test_without_the_older_keys_the_error_says_what_is_missing(past: Past) -> None:
    rotate(past.repository, past.recovery_key)
    storage = past.repository.storage
    for name in [name for name in objects(storage) if name.startswith("generations/")]:
        storage.delete(name)
    with pytest.raises(RepositoryError, match="keys from before the last rotation"):
        open_repository(storage, past.recovery_key)


def test_a_slot_from_before_put_back_by_somebody_opens_nothing(past: Past) -> None:
    old = {
        name: objects(past.repository.storage)[name] for name in slot_names(past.repository.storage)
    }
    begun = rotate(past.repository, past.recovery_key)
    storage = past.repository.storage
    take(open_repository(storage, past.recovery_key), past.data)
    objects(storage).update(old)
    with pytest.raises(WrongKey, match="rotated"):
        open_repository(storage, PASSPHRASE)
    assert begun.recovery_key is not None
    assert open_repository(storage, begun.recovery_key).keys.generation == 2


# --------------------------------------------------------------------------------- export


def test_an_exported_key_opens_the_repository_without_any_slot(past: Past) -> None:
    storage = past.repository.storage
    for _ in range(2):
        text = export_key(open_repository(storage, past.recovery_key), None)
        kept = dict(objects(storage))
        for name in [*slot_names(storage), "repository"]:
            storage.delete(name)
        repository = open_repository(storage, text.lower().replace("-", " "))
        check_whole(repository, past.taken[-1])
        again = new_recovery_key()
        add_key(repository, again, "after the loss")
        check_whole(open_repository(storage, again), past.taken[0])
        objects(storage).clear()
        objects(storage).update(kept)
        rotate(open_repository(storage, past.recovery_key), past.recovery_key)


def test_a_key_exported_before_a_rotation_opens_no_more(past: Past) -> None:
    storage = past.repository.storage
    text = export_key(past.repository, None)
    rotate(past.repository, past.recovery_key)
    with pytest.raises(WrongKey, match="rotated"):
        open_repository(storage, text)
    for name in slot_names(storage):
        storage.delete(name)
    with pytest.raises(WrongKey):
        open_repository(storage, text)


def test_the_key_of_another_repository_opens_nothing(past: Past) -> None:
    other, _ = create_repository(MemoryStorage(), "passphrase")
    text = export_key(other, None)
    with pytest.raises(WrongKey):
        open_repository(past.repository.storage, text)
    for name in slot_names(past.repository.storage):
        past.repository.storage.delete(name)
    with pytest.raises(WrongKey):
        open_repository(past.repository.storage, text)
    with pytest.raises(RepositoryError, match="no repository"):
        open_repository(MemoryStorage(), text)


def test_an_exported_key_is_no_passphrase(past: Past) -> None:
    text = export_key(past.repository, None)
    with pytest.raises(UsageError, match="exported"):
        add_key(past.repository, text, "anna")


# ----------------------------------------------------------------------------------- copies


class There(MemoryStorage):
    """Another place than the source's."""

    @property
    def location(self) -> str:
        return "memory:there"


def test_snapshots_are_copied_from_and_into_rotated_repositories(
    past: Past, tmp_path: Path
) -> None:
    source, there = past.repository, There()
    target, recovery = create_repository(there, PASSPHRASE)
    taken = list(past.taken)
    for _ in range(2):
        rotate(source, past.recovery_key)
        source = open_repository(source.storage, past.recovery_key)
        rotate(target, recovery)
        target = open_repository(there, recovery)
        taken.append(take(source, past.data))
        options = CopyOptions(state=str(tmp_path))
        stats = copy(source, target, plan_copy(source, target, None), options, CollectingMonitor())
        assert stats.copied
        assert stats.damaged == []
        for each in taken:
            check_whole(target, each)
    assert look(target).findings == []


@pytest.mark.parametrize("at_call", range(30))
def test_who_is_erased_with_the_new_key_under_a_copy_with_the_old_one_is_no_damage(
    past: Past, tmp_path: Path, at_call: int
) -> None:
    """Also if the copy had not looked at tombstones yet: then it cannot know of one it missed."""
    there = There()
    target, recovery = create_repository(there, PASSPHRASE)
    options = CopyOptions(state=str(tmp_path))
    first = [past.taken[0].snapshot.hex()]
    copy(
        past.repository,
        target,
        plan_copy(past.repository, target, first),
        options,
        CollectingMonitor(),
    )

    def rotate_and_erase() -> None:
        keys = rotate(target, recovery).repository.keys
        assert not destroy_keys(there, keys, keys.user_pseudonym(b"bob"), 1).failures

    beside = Repository(Beside(there, Meanwhile("call", at_call, rotate_and_erase)), target.keys)
    with suppress(ShenyuDataError):
        copy(
            past.repository,
            beside,
            plan_copy(past.repository, beside, None),
            options,
            CollectingMonitor(),
        )
    repository = open_repository(there, recovery)
    for item in repository.snapshots():
        restored = bring_back(repository, item.id)
        assert restored.findings == []
        assert b"histories/bob" not in restored.tree.nodes
    assert look(repository).errors == {}


@pytest.mark.parametrize("at_call", range(0, 60, 4))
def test_a_backup_beside_a_rotation_and_a_prune_is_whole_or_gives_up(
    past: Past, at_call: int
) -> None:
    """The record of the prune is sealed under the new key."""
    storage = past.repository.storage
    past.data.prepend_chat("bob", chat(980))

    def rotate_and_prune() -> None:
        newest = rotate(past.repository, past.recovery_key).repository
        options = PruneOptions(retention=Retention(keep_last=1), grace_s=0)
        prune(
            newest,
            plan_prune(newest, options, CollectingMonitor(), now_ms=1_800_000_000_000),
            options,
            CollectingMonitor(),
        )

    beside = Repository(
        Beside(storage, Meanwhile("call", at_call, rotate_and_prune)), past.repository.keys
    )
    try:
        take(beside, past.data)
    except ShenyuDataError as error:
        assert "again" in error.hint
    repository = open_repository(storage, past.recovery_key)
    assert look(repository).errors == {}
    check_whole(repository, take(repository, past.data))
