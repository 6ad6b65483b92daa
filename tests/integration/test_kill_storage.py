"""A backup that dies at any write: nothing that was there suffers, and the next one is whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shenyu_data.model.errors import StorageError
from shenyu_data.repository import packs
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, rich_directory
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Taken,
    check_whole,
    look,
    take,
)

MOST_PUTS = 60
Prepare = Callable[[Repository, Application], list[Taken]]


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small backup write many packs."""
    monkeypatch.setattr(packs, "PACK_BYTES", 1500)


def prepare_first(repository: Repository, data: Application) -> list[Taken]:
    return []


def prepare_next(repository: Repository, data: Application) -> list[Taken]:
    taken = [take(repository, data)]
    data.prepend_chat("bob", chat(900, messages=20))
    data.add_user("dave", [chat(300), chat(301)])
    data.remove("users/carol.json")
    taken.append(take(repository, data))
    for number in range(3, 6):
        data.prepend_chat(f"{number:064x}", chat(910 + number, messages=30))
    data.add_user("erin", [chat(400)])
    return taken


def copy_of(repository: Repository) -> MemoryStorage:
    assert isinstance(repository.storage, MemoryStorage)
    storage = MemoryStorage()
    storage.objects.update(repository.storage.objects)
    return storage


@pytest.mark.parametrize("moment", MOMENTS[::2])
@pytest.mark.parametrize(
    ("prepare", "full"),
    [(prepare_first, False), (prepare_next, False), (prepare_next, True)],
    ids=["first", "incremental", "full"],
)
def test_a_backup_may_die_at_any_write(
    tmp_path: Path, prepare: Prepare, full: bool, moment: Moment
) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    earlier = prepare(repository, data)
    for at_put in range(MOST_PUTS):
        storage = copy_of(repository)
        faulty = FaultyStorage(storage, at_put=at_put, moment=moment)
        try:
            take(Repository(faulty, repository.keys), data, full=full)
        except Crash:
            pass
        else:
            assert at_put >= 5  # packs, manifests, the root twice; how many depends on the buckets
            return
        after = Repository(storage, repository.keys)
        for taken in earlier:
            check_whole(after, taken)
        errors = look(after).errors
        assert all(error.code == "object-missing" for error in errors.values())
        assert len(errors) <= 1, "at most the second copy of one object is missing"
        assert all(name.endswith(".copy") for name in errors)
        survivors = {snapshot.id for snapshot in after.snapshots()}
        assert survivors >= {taken.snapshot for taken in earlier}
        assert len(survivors) <= len(earlier) + 1
        again = take(after, data, full=full)
        assert {finding.code for finding in again.findings} <= {"copy-mended"}
        assert bool(again.findings) == bool(errors)
        assert not look(after).errors
        check_whole(after, again)
        if len(survivors) > len(earlier):  # all was written, only the end was not told
            check_whole(after, Taken(again.stats.parent or b"", again.tree, again.stats, []))
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_a_backup_whose_storage_fails_says_so_and_loses_nothing(tmp_path: Path, full: bool) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    earlier = prepare_next(repository, data)
    for at_put in range(MOST_PUTS):
        storage = copy_of(repository)
        faulty = FaultyStorage(storage, at_put=at_put, error=StorageError("the cable was pulled"))
        try:
            whole = take(Repository(faulty, repository.keys), data, full=full)
        except StorageError as error:
            assert "cable" in error.message
        else:
            check_whole(Repository(storage, repository.keys), whole)
            return
        after = Repository(storage, repository.keys)
        check_whole(after, earlier[-1])
        again = take(after, data, full=full)
        check_whole(after, again)
        assert not look(after).errors
    raise AssertionError("it never came to its end")


def test_init_that_dies_leaves_no_repository(tmp_path: Path) -> None:
    """The descriptor is written last; until then there is nothing that could be used."""
    for at_put in range(10):
        storage = MemoryStorage()
        try:
            create_repository(FaultyStorage(storage, at_put=at_put), PASSPHRASE)
        except Crash:
            assert "repository" not in storage.objects
        else:
            return
    raise AssertionError("it never came to its end")
