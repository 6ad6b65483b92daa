"""An incremental backup does work in proportion to what changed: counted, not timed."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.recording import RecordingStorage
from shenyu_data.testing.scenario import PASSPHRASE, Taken, bring_back, take

USERS = 1500


class Work(NamedTuple):
    """What one backup did to the repository."""

    taken: Taken
    put_bytes: int
    read_bytes: int
    puts: int
    reads: int
    folders: list[str]


class Watched(NamedTuple):
    """A repository whose storage records, and the data directory that is backed up to it."""

    repository: Repository
    storage: RecordingStorage
    data: Application

    def back_up(self, *, full: bool = False) -> Work:
        self.storage.forget()
        taken = take(self.repository, self.data, full=full)
        puts, reads = self.storage.of("put"), self.storage.of("read")
        return Work(
            taken,
            self.storage.put_bytes,
            self.storage.read_bytes,
            len(puts),
            len(reads),
            [call.name.partition("/")[0] for call in puts],
        )


def user(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    data = Application(tmp_path_factory.mktemp("proportional") / "data")
    for number in range(USERS):
        data.add_user(user(number), [chat(number * 10 + index) for index in range(2)])
    storage = RecordingStorage(MemoryStorage())
    repository, _ = create_repository(storage, PASSPHRASE)
    found = Watched(repository, storage, data)
    first = found.back_up()
    assert first.taken.stats.read_documents == 2 * USERS
    yield found


def test_work_is_in_proportion_to_the_documents_that_changed(watched: Watched) -> None:
    done: dict[int, Work] = {}
    for changed in (1, 10, 100):
        sizes = 0
        for number in range(0, changed * 7, 7):
            new = chat(100_000 + changed * USERS + number)
            watched.data.prepend_chat(user(number), new)
            sizes += len(repr(new).encode())
        work = done[changed] = watched.back_up()
        stats = work.taken.stats
        assert stats.kind == "incremental"
        assert stats.read_documents == changed
        assert (stats.changes.new, stats.changes.changed, stats.changes.gone) == (0, changed, 0)
        assert set(work.folders) == {"packs", "manifests", "snapshots"}
        # Per document: its new chat, its owner's record, an index row; and once the root, twice.
        assert work.put_bytes <= 60_000 + sizes + 1500 * changed
        assert stats.stored_bytes == work.put_bytes
    first = done[1]
    for changed, work in done.items():
        assert work.reads <= first.reads + 8 * changed
        assert work.read_bytes <= first.read_bytes + 8_000 * changed
        assert work.puts <= 8
    # What is done whatever changed: the parent's root and the indexes, some 50 bytes a user.
    assert first.read_bytes <= 100_000 + 100 * USERS
    assert done[100].put_bytes - done[10].put_bytes > done[10].put_bytes - first.put_bytes


def test_an_unchanged_directory_costs_only_the_root_and_its_copy(watched: Watched) -> None:
    watched.back_up()
    work = watched.back_up()
    assert work.folders == ["snapshots", "snapshots"]
    assert work.taken.stats.read_documents == 0
    assert work.put_bytes < 60_000
    assert bring_back(watched.repository, work.taken.snapshot).tree == work.taken.tree


def test_a_new_user_costs_about_that_user(watched: Watched) -> None:
    watched.back_up()
    unchanged = watched.back_up()
    watched.data.add_user("somebody-new", [chat(7)])
    work = watched.back_up()
    assert work.taken.stats.read_documents == 2
    assert work.put_bytes - unchanged.put_bytes < 10_000


def test_a_chat_put_in_front_of_a_long_history_costs_about_that_chat(watched: Watched) -> None:
    long = [chat(10_000_000 + number, messages=20) for number in range(300)]
    watched.data.add_user("writer", long)
    history = watched.data.folder / "histories" / "writer" / "chat-history.json"
    assert history.stat().st_size > 500_000
    stored = watched.back_up().put_bytes
    unchanged = watched.back_up()
    for number in range(3):
        new = chat(20_000_000 + number)
        watched.data.prepend_chat("writer", new)
        work = watched.back_up()
        assert work.taken.stats.read_documents == 1
        assert work.put_bytes - unchanged.put_bytes < 2 * len(repr(new).encode()) + 4_000
        assert work.put_bytes < stored
    assert bring_back(watched.repository, work.taken.snapshot).tree == work.taken.tree


def test_a_full_backup_of_what_is_known_reads_all_and_stores_only_records(watched: Watched) -> None:
    work = watched.back_up(full=True)
    assert work.taken.stats.read_documents >= 2 * USERS
    assert "packs" not in work.folders
    assert work.put_bytes < 1_000 * USERS
