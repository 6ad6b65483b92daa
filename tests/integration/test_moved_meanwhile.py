"""What moves from one file into another while it is read is in the snapshot, or in the export."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.layout import Place, kind_of
from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.operations import backup_owner, backup_tasks, export_source, export_task
from shenyu_data.operations.archive import archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Way, Wish
from shenyu_data.operations.export import ExportOptions, Format, export
from shenyu_data.operations.import_data import import_data
from shenyu_data.operations.import_plan import ImportOptions, open_export
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle

USER = "ab" * 32
T0 = 1_700_000_000_000
NOW_MS = T0 + 10**9
MOST_LOOKS = 40

Move = Callable[[Path, Repository, str], object]


def archived(data: Path, repository: Repository, state: str, *, before_ms: int | None) -> None:
    options = ArchiveOptions(before_ms=before_ms, now_ms=NOW_MS, state=state, quiet_s=0.01)
    archive(repository, str(data), options, SilentMonitor())


def compressed(data: Path, _: Repository, state: str, *, way: Way) -> None:
    options = CompressOptions(wish=Wish(way=way, offline=True), state=state)
    compress(str(data), options, SilentMonitor())


out = partial(archived, before_ms=T0 + 3)
more = partial(archived, before_ms=T0 + 5)
back = partial(archived, before_ms=None)
pack = partial(compressed, way="compress")
unpack = partial(compressed, way="decompress")

MOVES: dict[str, tuple[list[Move], Move]] = {
    "compress": ([], pack),
    "decompress": ([pack], unpack),
    "archive": ([], out),
    "archive more": ([out], more),
    "archive, and back": ([out], back),
}


def numbers(folder: Path) -> set[int]:
    """Return the chats in all histories of the user, compressed or not."""
    found: set[int] = set()
    for path in (folder / "histories" / USER).iterdir():
        data = path.read_bytes()
        for item in json.loads(gzip.decompress(data) if path.suffix == ".gz" else data):
            found.add(item["id"] - T0)
    return found


def at_look(
    monkeypatch: pytest.MonkeyPatch, number: int, places: list[Any], move: Callable[[], object]
) -> list[int]:
    """Let the move happen right before one of our looks at a folder or a file; return a list that
    gets its number once it did.
    """
    done: list[int] = []
    count = 0
    with_move: list[tuple[Any, str, Any]] = []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number and not done:
                done.append(number)
                for place, name, original in with_move:
                    monkeypatch.setattr(place, name, original)
                move()
            return real(*args, **options)

        return look

    for place in places:
        for name in ("scan_user", "capture"):
            if hasattr(place, name):
                original = getattr(place, name)
                with_move.append((place, name, original))
                monkeypatch.setattr(place, name, watched(original))
    return done


class Setting:
    def __init__(self, folder: Path, before: list[Move], move: Move) -> None:
        self.repository, _ = create_repository(MemoryStorage(), "x" * 12)
        self.data = Application(folder / "data")
        self.data.add_user(USER, [chat(number) for number in range(8, 0, -1)])
        self.data.write(f"histories/{USER}/other.json", [chat(number) for number in (30, 20)])
        self.folder = self.data.folder
        self._state = str(folder / "state")
        for earlier in before:
            earlier(self.folder, self.repository, self._state)
        settle(self.folder)
        self.move = partial(move, self.folder, self.repository, self._state)
        self.there = numbers(self.folder)


@pytest.mark.parametrize("name", MOVES)
def test_a_snapshot_holds_every_chat_that_moves_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for number in range(1, MOST_LOOKS):
        folder = tmp_path / str(number)
        setting = Setting(folder, *MOVES[name])
        places = [backup_tasks, backup_owner]
        moved = at_look(monkeypatch, number, places, setting.move)
        monitor = CollectingMonitor()
        taken = backup(str(setting.folder), setting.repository, BackupOptions(), monitor)
        root = setting.repository.root(taken.snapshot)
        target = str(folder / "restored")
        restore(setting.repository, root, target, RestoreOptions(), SilentMonitor())
        assert numbers(Path(target)) == setting.there, (number, monitor.findings)
        if not moved:
            break
    assert 3 < number < MOST_LOOKS - 1


@pytest.mark.parametrize("form", ["native", "guide"])
@pytest.mark.parametrize("name", MOVES)
def test_an_export_holds_every_chat_that_moves_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: Format
) -> None:
    for number in range(1, MOST_LOOKS):
        folder = tmp_path / str(number)
        setting = Setting(folder, *MOVES[name])
        moved = at_look(monkeypatch, number, [export_source, export_task], setting.move)
        path = str(folder / "export")
        options = ExportOptions(form=form)
        stats = export(str(setting.folder), path, BytesIO(), options, SilentMonitor())
        target = str(folder / "imported")
        source = partial(open_export, path)
        importing = ImportOptions(state=str(folder / "other state"))
        import_data(source, target, None, importing, SilentMonitor(), plan=None)
        assert numbers(Path(target)) == setting.there, number
        assert stats.counts.torn == stats.counts.unreadable == 0
        if not moved:
            break
    assert 3 < number < MOST_LOOKS - 1


def test_of_a_user_with_very_much_an_export_says_that_chats_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written out as it is read, so that there is no second look."""
    monkeypatch.setattr(export_task, "MOST_TASK_BYTES", 10)
    told = 0
    for number in range(1, MOST_LOOKS):
        folder = tmp_path / str(number)
        setting = Setting(folder, [], pack)
        moved = at_look(monkeypatch, number, [export_source, export_task], setting.move)
        monitor = CollectingMonitor()
        options = ExportOptions(form="native")
        export(str(setting.folder), str(folder / "export"), BytesIO(), options, monitor)
        text = (folder / "export").read_text()
        missing = "chat-history.json" not in text or "other.json" not in text
        codes = [finding.code for finding in monitor.findings if finding.severity == "error"]
        assert codes in ([], ["moved-meanwhile"])
        assert codes or not missing
        told += bool(codes)
        if not moved:
            break
    assert told


def gone(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("other.json"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("becomes", "codes"),
    [
        (gone, ["moved-meanwhile"]),
        (a_link, ["unreadable-document"]),
        (a_pipe, ["moved-meanwhile"]),
    ],
)
def test_a_file_too_large_for_memory_that_vanishes_before_it_is_read_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    becomes: Callable[[Path], None],
    codes: list[str],
) -> None:
    """Between being listed and being opened; the rest of the export is whole."""
    data = Application(tmp_path / "data")
    data.add_user(USER, [chat(number) for number in range(3)])
    data.write(f"histories/{USER}/other.json", [chat(9)])
    huge = tmp_path / f"data/histories/{USER}/chat-history.json"
    monkeypatch.setattr(export_task, "MOST_TASK_BYTES", 10)
    monkeypatch.setattr(export_source, "MOST_BYTES", huge.stat().st_size - 1)
    monkeypatch.setattr(export_source, "kind_of", exchanged(huge, becomes))
    monitor = CollectingMonitor()
    path = str(tmp_path / "export")
    stats = export(str(data.folder), path, BytesIO(), ExportOptions(), monitor)
    assert [finding.code for finding in monitor.findings] == codes
    assert stats.counts.files == 2
    source = partial(open_export, path)
    importing = ImportOptions(state=str(tmp_path / "other state"))
    target = tmp_path / "imported"
    read = import_data(source, str(target), None, importing, SilentMonitor(), plan=None)
    assert (read.created, read.damaged) == (2, 0)
    assert not (target / f"histories/{USER}/chat-history.json").exists()


def exchanged(path: Path, becomes: Callable[[Path], None]) -> Callable[..., Any]:
    """Return ``kind_of``, which is asked after the stat of a file, with something else done then
    to this one.
    """

    def ask(place: Place, name: bytes) -> Any:
        if name == os.fsencode(path.name):
            becomes(path)
        return kind_of(place, name)

    return ask
