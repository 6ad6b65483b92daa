"""What an import made anew, and the application wrote a moment later: see docs/exchange.md."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir.made import look_of, written_since
from shenyu_data.operations.import_watch import Watch
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from tests.integration.test_exchange_live import Place, chat, ids, text

USER = b"users/ben.json"
HISTORY = b"histories/ben/chat-history.json"
OTHER = b"histories/ben/0.json"
VISIT = b'{"id": "ben", "firstSeen": "1", "lastSeen": "2"}'
NEW = {
    USER: VISIT,
    HISTORY: text([chat(9, "hello"), chat(8, "before")]),
    OTHER: text(chat(7, "alone")),
}
THEIRS = text([chat(20, "who found nothing")])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    repository, _ = create_repository(MemoryStorage(), "passphrase")
    place = Place(tmp_path, repository)
    place.data.mkdir()
    return place


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen once, while an import waits for what becomes of what it made."""

    def happen(act: Callable[[], object]) -> None:
        acts = [act]
        let_pass = LiveWriter.let_pass

        def passing(writer: LiveWriter, seconds: float) -> None:
            let_pass(writer, seconds)
            while acts:
                acts.pop()()

        monkeypatch.setattr(LiveWriter, "let_pass", passing)

    return happen


def writes(place: Place, path: bytes, data: bytes) -> Callable[[], object]:
    return lambda: (place.data / os.fsdecode(path)).write_bytes(data)


def test_merge_brings_back_what_was_written_over(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), policy="merge")
    assert (done.created, done.replaced, done.refused, codes) == (2, 1, 0, [])
    assert set(ids(place.read(HISTORY))) == {"20", "9", "8"}
    assert done.safety is not None


def test_undo_leaves_what_the_application_had_written_over_it(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    place.bring_in(place.exported(NEW), policy="merge", unsaved_too=True)
    assert place.undo().refused == 0
    assert (place.names(), place.read(HISTORY)) == ([HISTORY], THEIRS)


def test_merge_needs_no_repository_for_what_it_had_made(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), saves=False, policy="merge")
    assert (done.created, done.replaced, done.safety, codes) == (2, 1, None, [])
    assert set(ids(place.read(HISTORY))) == {"20", "9", "8"}


@pytest.mark.parametrize("policy", ["skip", "newer"])
def test_what_stays_written_over_is_told(place: Place, meanwhile: Any, policy: str) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), policy=policy)
    assert (done.created, done.refused, codes) == (2, 1, ["written-since"])
    assert place.read(HISTORY) == THEIRS


def test_overwrite_replaces_it_after_a_safety_snapshot(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), policy="overwrite")
    assert (done.created, done.replaced, codes) == (2, 1, [])
    assert place.read(HISTORY) == NEW[HISTORY]
    place.undo()
    assert place.read(HISTORY) == THEIRS


def test_rename_puts_the_imported_one_beside_it(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), policy="rename")
    assert (done.created, done.renamed, codes) == (2, 1, [])
    (beside,) = [path for path in place.names() if b".imported-" in path]
    assert (place.read(HISTORY), place.read(beside)) == (THEIRS, NEW[HISTORY])


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (HISTORY, text([chat(20, "new"), chat(9, "hello", "and on"), chat(8, "before")])),
        (USER, VISIT.replace(b"2", b"3")),
        (OTHER, text(chat(7, "alone", "no more"))),
    ],
)
def test_who_read_it_may_write_it(place: Place, meanwhile: Any, path: bytes, data: bytes) -> None:
    meanwhile(writes(place, path, data))
    done, codes = place.bring_in(place.exported(NEW))
    assert (done.created, done.replaced, done.unchanged, codes) == (3, 0, 0, [])
    assert place.read(path) == data
    assert done.safety is None, "nothing was to be replaced"


@pytest.mark.parametrize("path", [HISTORY, USER])
def test_what_the_application_takes_away_stays_so(
    place: Place, meanwhile: Any, path: bytes
) -> None:
    meanwhile((place.data / os.fsdecode(path)).unlink)
    done, codes = place.bring_in(place.exported(NEW), policy="merge")
    assert (done.created, codes) == (3, [])
    assert path not in place.names()


@pytest.mark.parametrize("path", [HISTORY, USER])
def test_another_file_in_its_place_is_noticed(place: Place, meanwhile: Any, path: bytes) -> None:
    def replace() -> None:
        """Put a file there that is as long, and as old."""
        there = place.data / os.fsdecode(path)
        other = there.with_name("other")
        other.write_bytes(NEW[path].replace(b"e", b"o"))
        os.utime(other, ns=(10**18, 10**18))
        other.rename(there)

    meanwhile(replace)
    done, codes = place.bring_in(place.exported(NEW))
    assert (done.created, codes) == (2, ["written-since"])


def test_a_changed_history_of_the_same_size_and_time_is_noticed(
    place: Place, meanwhile: Any
) -> None:
    def change() -> None:
        there = place.data / os.fsdecode(HISTORY)
        there.write_bytes(NEW[HISTORY].replace(b"hello", b"adieu"))
        os.utime(there, ns=(10**18, 10**18))

    meanwhile(change)
    done, codes = place.bring_in(place.exported(NEW))
    assert (done.created, codes) == (2, ["written-since"])


def test_of_what_cannot_be_read_again_it_is_told_only(place: Place, meanwhile: Any) -> None:
    meanwhile(writes(place, HISTORY, THEIRS))
    done, codes = place.bring_in(place.exported(NEW), planned=False, policy="merge")
    assert (done.created, done.refused, codes) == (2, 1, ["written-since"])


def test_what_the_main_process_makes_in_a_folder_that_came_whole_is_not_taken_for_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[bytes]] = []
    real = Watch.written

    def written(watch: Watch, let_pass: Any) -> Any:
        found.append(list(real(watch, let_pass)))
        yield from found[-1]

    monkeypatch.setattr(Watch, "written", written)
    late = {b"histories/ben/%d.json" % number: text(chat(number, "late")) for number in range(3)}
    late[b"notes.txt"] = b"nobody's"
    done, codes = place.bring_in(place.exported({**NEW, **late}))
    assert (done.created, codes, found) == (6, [], [[]])


def test_a_resumed_import_tells_what_was_written_over_while_nobody_watched(place: Place) -> None:
    exported = place.exported(NEW)
    with pytest.MonkeyPatch.context() as patches, pytest.raises(KeyboardInterrupt):
        patches.setattr(Watch, "written", _die)
        place.bring_in(exported)
    writes(place, HISTORY, THEIRS)()
    done, codes = place.bring_in(exported)
    assert (done.created, done.unchanged, done.refused, codes) == (0, 2, 1, ["written-since"])
    done, codes = place.bring_in(exported)
    assert (done.skipped, codes) == (1, []), "told once; now it is a document like any other"


def test_if_the_application_is_stopped_nobody_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[float] = []
    monkeypatch.setattr(LiveWriter, "let_pass", lambda _, seconds: passed.append(seconds))
    place.bring_in(place.exported(NEW), quiet_s=0.0)
    assert passed == []
    place.bring_in(place.exported({b"users/eve.json": b"{}"}), quiet_s=0.5)
    assert [0 < seconds <= 0.5 for seconds in passed] == [True]


def test_what_was_made_is_remembered_by_inode_size_and_time(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        (tmp_path / "a").write_bytes(b"1")
        (tmp_path / "b").write_bytes(b"1")
        looks = look_of(b"a", os.stat("a", dir_fd=folder), named=True)
        looks += look_of(b"b", os.stat("b", dir_fd=folder), named=False)
        looks += look_of(b"gone", os.stat("b", dir_fd=folder), named=True)
        assert list(written_since(folder, looks)) == []
        for name in ("a", "b"):
            os.chmod(tmp_path / name, 0o640)
        assert list(written_since(folder, looks)) == [b"a"]
        os.utime(tmp_path / "b", ns=(13 * 10**18, 13 * 10**18))
        ages = look_of(b"b", os.stat("b", dir_fd=folder), named=False)
        assert list(written_since(folder, ages)) == []
        assert list(written_since(folder, looks)) == [b"a", b"b"]
    finally:
        os.close(folder)


def test_what_is_remembered_is_forgotten_once_it_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.json").write_bytes(b"{}")
    folder = os.open(tmp_path, os.O_RDONLY)
    waited: list[float] = []
    try:
        watch = Watch(folder, notes := io.BytesIO(), 0.5)
        for above, name in ((b"users", b"a.json"), (b"users", b"b.json"), (b"gone", b"a.json")):
            watch.note(above, look_of(name, os.stat(tmp_path), named=False))
        assert list(watch.written(waited.append)) == [b"users/a.json"]
        assert (len(waited), notes.getvalue()) == (1, b"")
        assert list(watch.written(waited.append)) == []
        assert len(waited) == 1
    finally:
        os.close(folder)


def _die(*_: object) -> None:
    raise KeyboardInterrupt
