"""What journals tell a repair of what operations wrote, however much that is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.operations.journal import Began, Digests, Journals, Saved, Swap, open_journals
from shenyu_data.operations.repair_journal import Journaled
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.scenario import PASSPHRASE

PATHS = 700
OPERATIONS = 3


def path(number: int) -> bytes:
    return b"histories/%d/chat-history.json" % number


def digest(operation: int, number: int) -> bytes:
    return b"%016d" % (operation * PATHS + number)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Repository, Journals]]:
    """Operations that wrote every history, one after another."""
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    with open_journals(str(tmp_path / "state")) as journals:
        for operation in range(OPERATIONS):
            began = Began(
                operation="restore",
                time_ms=1,
                repository=repository.keys.repository_id,
                data="d",
                snapshot=None,
            )
            journal = journals.begin(began)
            swaps = [
                Swap(path=path(number), token="t", before=b"", wrote=digest(operation, number))
                for number in range(PATHS)
            ]
            journal.write(Saved(b"%d" % operation), *swaps)
        yield repository, journals


def test_every_writing_is_known_by_its_path_newest_operation_first(
    written: tuple[Repository, Journals],
) -> None:
    journaled = Journaled(*written)
    for number in (0, 1, PATHS // 2, PATHS - 1):
        assert journaled.written(path(number)) == [
            (b"%d" % operation, digest(operation, number))
            for operation in reversed(range(OPERATIONS))
        ]
    assert journaled.written(b"users/nobody.json") == []


def test_without_room_for_it_the_repair_stops(
    written: tuple[Repository, Journals], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def full(*words: object, **more: object) -> sqlite3.Connection:
        database = connect("", isolation_level=None)
        database.execute("PRAGMA max_page_count = 4")
        return database

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(ShenyuDataError, match="temporary file") as caught:
        Journaled(*written).written(path(1))
    assert "TMPDIR" in caught.value.hint


def test_what_was_written_last_is_known_until_another_operation_takes_it_away(
    tmp_path: Path,
) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    empty = Digests(repository).of(b"")
    with open_journals(str(tmp_path / "state")) as journals:
        for first, last in ((empty, digest(0, 1)), (digest(0, 1), empty)):
            began = Began(
                operation="restore",
                time_ms=1,
                repository=repository.keys.repository_id,
                data="d",
                snapshot=None,
            )
            swaps = [Swap(path=path(1), token="t", before=b"", wrote=one) for one in (first, last)]
            journals.begin(began).write(*swaps)
            gone = Journaled(repository, journals).is_gone(path(1), since_ms=0)
            assert gone == (last == empty)
        assert not Journaled(repository, journals).is_gone(path(1), since_ms=2**62)
        assert not Journaled(repository, journals).is_gone(path(2), since_ms=0)
