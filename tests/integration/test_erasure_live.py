"""Erasure and what a restore in place keeps: its journal, what it displaced."""

import gzip
from functools import partial
from pathlib import Path

import pytest

from shenyu_data.datadir.replace import replacement_names
from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import erase as erase_module
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Way, Wish
from shenyu_data.operations.erase import EraseOptions, EraseStats, erase, plan_erase
from shenyu_data.operations.journal import Began, Ended, Saved, Step, Swap, open_journals
from shenyu_data.repository.repository import Repository
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import Past, bring_back, rich_past, take

TOKENS = ("0123456789abcdef", "fedcba9876543210")


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    monkeypatch.setattr(erase_module, "LONG_LOOK_S", 0.0)  # nothing is written back here
    past = rich_past(tmp_path / "data")
    past.data.add_user("bob", [])
    take(past.repository, past.data)
    return past


def run_erase(past: Past, folder: Path, repository: Repository | None = None) -> EraseStats:
    repository = repository or past.repository
    data = str(past.data.folder)
    number = len(list(folder.glob("*.json")))
    options = EraseOptions(receipt=str(folder / f"r{number}.json"), state=str(folder / "state"))
    return erase(
        data, repository, plan_erase(data, repository, b"bob"), options, CollectingMonitor()
    )


def step(user: bytes) -> Step:
    path = b"users/%b.json" % user
    return Step(path=path, user=user, chat=None, snapshot=None, before=None, wrote=None)


def test_the_journal_forgets_the_user_and_no_other(past: Past, tmp_path: Path) -> None:
    with open_journals(str(tmp_path / "state")) as journals:
        began = Began(
            operation="restore", time_ms=1, repository=b"r" * 16, data="d", snapshot=b"s" * 16
        )
        journal = journals.begin(began)
        journal.write(Saved(b"s" * 16), step(b"bob"), step(b"carol"), Ended())
        path = tmp_path / "state" / journal.name
    held = path.open("rb")
    assert run_erase(past, tmp_path).complete
    assert journal.lines() == [began, Saved(b"s" * 16), step(b"carol"), Ended()]
    assert set(held.read()) == {0}, "the old file's blocks are overwritten"
    held.close()
    assert b"Ym9i" not in path.read_bytes()  # bob, as the journal writes bytes


def test_what_a_replacement_left_in_users_goes_too(past: Past, tmp_path: Path) -> None:
    with open_journals(str(tmp_path / "state")) as journals:
        journal = journals.begin(
            Began(operation="restore", time_ms=1, repository=b"r" * 16, data="d", snapshot=None)
        )
        for user, token in zip((b"bob", b"carol"), TOKENS, strict=True):
            path = b"users/%b.json" % user
            journal.write(Swap(path=path, token=token, before=b"b" * 16, wrote=b"w" * 16))
    users = past.data.folder / "users"
    for user, token in zip((b"bob", b"carol"), TOKENS, strict=True):
        for name in replacement_names(token, user + b".json"):
            (users / name.decode()).write_text("displaced")
    assert run_erase(past, tmp_path).complete
    left = {path.name for path in users.iterdir() if path.name.startswith(".shenyu-data")}
    assert left == {name.decode() for name in replacement_names(TOKENS[1], b"carol.json")}


def test_it_does_not_run_beside_a_restore_in_place(past: Past, tmp_path: Path) -> None:
    with open_journals(str(tmp_path / "state")), pytest.raises(UsageError, match="another"):
        run_erase(past, tmp_path)
    assert (past.data.folder / "users/bob.json").exists()
    assert run_erase(past, tmp_path).complete


@pytest.mark.parametrize("moment", [MOMENTS[0], MOMENTS[2]])
def test_killed_at_any_change_of_the_storage_a_second_run_finishes(
    past: Past, tmp_path: Path, moment: Moment
) -> None:
    for at in range(30):
        past.data.add_user("bob", [])
        storage = past.copy()
        faulty = FaultyStorage(storage.storage, at_change=at, moment=moment)
        try:
            run_erase(past, tmp_path, Repository(faulty, storage.keys))
        except Crash:
            pass
        else:
            break
        stats = run_erase(past, tmp_path, storage)
        assert stats.complete
        assert stats.receipt is not None
        assert len(stats.receipt.backups.keys) == 1
        for taken in past.taken[:2]:
            nodes = bring_back(storage, taken.snapshot).tree.nodes
            assert nodes
            assert not [path for path in nodes if b"bob" in path]
        assert not (past.data.folder / "users/bob.json").exists()
    assert 4 < at < 29


def test_a_receipt_that_cannot_be_written_is_an_error_and_again_issues_one(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shenyu_data.operations import receipts

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ShenyuDataError, match="user is erased"):
        patch.setattr(receipts, "write_file", full)
        run_erase(past, tmp_path)
    assert run_erase(past, tmp_path).receipt is not None


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_whatever_a_killed_compression_left_goes_too(past: Past, tmp_path: Path, way: Way) -> None:
    """Killed at any step: no text of the user's is left beside the live data, nor with it."""
    words = b"bob's own words"
    histories = past.data.folder / "histories/bob"
    state = str(tmp_path / "state")
    for number in range(100):
        histories.mkdir(exist_ok=True)
        (histories / "a.json").write_bytes(b'{"messages": [{"content": "%b"}]}' % words)
        run(past, "compress", state)
        if way == "compress":
            run(past, "decompress", state)
        killed = dies_at(number, partial(run, past, way, state))
        assert run_erase(past, tmp_path).complete, number
        for path in (*past.data.folder.rglob("*"), *(tmp_path / "state").rglob("*")):
            assert "bob" not in path.name, (number, path)
            data = b"" if path.is_dir() else path.read_bytes()
            assert words not in (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data), number
        if not killed:
            break
    assert not killed
    assert number > 5


def run(past: Past, way: Way, state: str) -> None:
    wish = Wish(way=way, quiet_s=0.0, offline=True)
    options = CompressOptions(wish=wish, user=b"bob", state=state)
    compress(str(past.data.folder), options, CollectingMonitor())
