"""Imports into a data directory in use: what is there, what is killed, what is taken back."""

from __future__ import annotations

import errno
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from blake3 import blake3

from shenyu_data.datadir import aside, new_files
from shenyu_data.exchange.items import Item as ExportItem
from shenyu_data.exchange.native import Closing, closing_line, header_line, item_lines
from shenyu_data.model.chats import read_history
from shenyu_data.model.chats_union import union
from shenyu_data.model.errors import ArchiveError, DataDirectoryError, NothingToTakeBack
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.export import ExportOptions, Format, export
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, plan_import
from shenyu_data.operations.restore_live import LiveOptions, LiveStats
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.repository.snapshots import list_snapshots
from shenyu_data.storage import atomic
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import bring_back
from shenyu_data.testing.tree import Item, build_tree, read_tree

HISTORY = b"histories/anna/chat-history.json"
USER = b"users/anna.json"


def chat(number: int, *words: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": word} for word in words]
    return {"id": number, "title": f"chat {number}", "messages": messages, **more}


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def ids(data: bytes) -> list[str | None]:
    return [item.key for item in read_history(data).chats]


class Place(NamedTuple):
    """A live directory, the export of another one, and a repository."""

    base: Path
    repository: Repository

    @property
    def data(self) -> Path:
        return self.base / "data"

    def live(self, files: dict[bytes, bytes]) -> None:
        build_tree(self.data, {path: Item("file", data, 0o600) for path, data in files.items()})

    def exported(self, files: dict[bytes, bytes], mtime_ns: int = 10**18) -> bytes:
        other = self.base / f"other{len(list(self.base.iterdir()))}"
        plan = {path: Item("file", data, 0o640, mtime_ns) for path, data in files.items()}
        build_tree(other, {**plan, b"histories/anna": Item("folder", mode=0o750)})
        out = io.BytesIO()
        export(str(other), "-", out, ExportOptions(), CollectingMonitor())
        return out.getvalue()

    def bring_in(
        self, exported: bytes, *, saves: bool = True, planned: bool = True, **options: Any
    ) -> tuple[ImportStats, list[str]]:
        monitor = CollectingMonitor()
        given = ImportOptions(**{"state": str(self.base / "state"), "quiet_s": 0.02, **options})
        repository = self.repository if saves else None
        words = (str(self.data), repository, given, monitor)
        plan = plan_import(lambda: io.BytesIO(exported), *words) if planned else None
        before = [finding.code for finding in monitor.findings]
        monitor.findings.clear()
        done = import_data(lambda: io.BytesIO(exported), *words, plan=plan, again=planned)
        codes = [finding.code for finding in monitor.findings]
        assert plan is None or set(before) <= set(codes)
        return done, codes

    def undo(self) -> LiveStats:
        options = LiveOptions(state=str(self.base / "state"), quiet_s=0.02)
        return undo(self.repository, str(self.data), options, CollectingMonitor())

    def read(self, path: bytes) -> bytes:
        return (self.data / os.fsdecode(path)).read_bytes()

    def names(self) -> list[bytes]:
        return [path for path, node in read_tree(self.data).nodes.items() if node.kind == "file"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    repository, _ = create_repository(MemoryStorage(), "passphrase")
    place = Place(tmp_path, repository)
    place.live({USER: b'{"id": "anna"}', HISTORY: text([chat(2, "live"), chat(1, "old")])})
    return place


THEIRS = {USER: b'{"id": "anna", "name": "A"}', HISTORY: text([chat(3, "new"), chat(1, "old")])}
NEW = {b"users/ben.json": b'{"id": "ben"}', b"histories/ben/0.json": text(chat(9, "hello"))}


def test_by_default_what_is_there_stays_and_what_is_not_comes(place: Place) -> None:
    was = read_tree(place.data).nodes
    done, codes = place.bring_in(place.exported({**THEIRS, **NEW}))
    assert (done.created, done.skipped, done.replaced, codes) == (2, 2, 0, [])
    assert done.safety is None, "nothing was replaced, so nothing had to be saved"
    found = read_tree(place.data).nodes
    assert found[USER] == was[USER]
    assert found[HISTORY] == was[HISTORY]
    assert found[b"users/ben.json"].content == NEW[b"users/ben.json"]
    assert (found[b"users/ben.json"].mode, found[b"users/ben.json"].mtime_ns) == (0o640, 10**18)


def test_overwrite_replaces_after_a_safety_snapshot_and_undo_brings_it_back(place: Place) -> None:
    was = read_tree(place.data).nodes
    done, codes = place.bring_in(place.exported({**THEIRS, **NEW}), policy="overwrite")
    assert (done.created, done.replaced, codes) == (2, 2, [])
    assert done.safety is not None
    assert place.read(HISTORY) == THEIRS[HISTORY]
    taken = place.undo()
    assert (taken.changed, taken.removed, taken.refused) == (2, 2, 0)
    found = read_tree(place.data).nodes
    assert {path: node for path, node in found.items() if node.kind == "file"} == {
        path: node for path, node in was.items() if node.kind == "file"
    }
    with pytest.raises(NothingToTakeBack):
        place.undo()


def test_an_import_into_an_empty_directory_can_be_taken_back(place: Place) -> None:
    exported = place.exported(NEW)
    empty = place._replace(base=place.base / "empty")
    empty.data.mkdir(parents=True)
    done, _ = empty.bring_in(exported)
    assert (done.created, done.safety) == (2, None)
    assert empty.undo().removed == 2
    assert empty.names() == []


@pytest.mark.parametrize("policy", ["overwrite", "merge", "newer"])
def test_without_a_repository_nothing_that_is_there_is_replaced(place: Place, policy: str) -> None:
    was = read_tree(place.data).nodes
    exported = place.exported(THEIRS, mtime_ns=4 * 10**18)
    done, codes = place.bring_in(exported, saves=False, policy=policy)
    assert done.refused == (1 if policy == "merge" else 2)
    assert set(codes) == {"not-saved"}
    assert read_tree(place.data).nodes == was
    done, codes = place.bring_in(exported, saves=False, policy=policy, unsaved_too=True)
    assert (done.refused, codes) == (0, [])
    assert done.replaced == (1 if policy == "merge" else 2)
    with pytest.raises(NothingToTakeBack, match="without a repository"):
        place.undo()


@pytest.mark.parametrize(("mtime_ns", "replaced"), [(4 * 10**18, 2), (10**17, 0)])
def test_newer_goes_by_the_files_times(place: Place, mtime_ns: int, replaced: int) -> None:
    done, _ = place.bring_in(place.exported(THEIRS, mtime_ns), policy="newer")
    assert (done.replaced, done.skipped) == (replaced, 2 - replaced)


def test_merge_brings_chats_and_loses_none(place: Place) -> None:
    done, codes = place.bring_in(place.exported(THEIRS), policy="merge")
    assert (done.replaced, done.skipped, codes) == (1, 1, [])
    assert ids(place.read(HISTORY)) == ["2", "3", "1"]
    again, _ = place.bring_in(place.exported(THEIRS), policy="merge")
    assert (again.replaced, again.unchanged) == (0, 1)


def test_rename_puts_documents_beside_what_is_there_once(place: Place) -> None:
    was = place.read(HISTORY)
    for round_ in (1, 2):
        done, codes = place.bring_in(place.exported(THEIRS), policy="rename")
        assert (done.renamed, codes) == (2 if round_ == 1 else 0, [])
    assert place.read(HISTORY) == was
    beside = [name for name in place.names() if b".imported-" in name]
    assert sorted(place.read(name) for name in beside) == sorted(THEIRS.values())
    assert not [name for name in beside if name.startswith(b"users/") and name.endswith(b".json")]


def test_what_is_put_beside_a_users_document_is_erased_with_the_user(
    place: Place, tmp_path: Path
) -> None:
    """From the live data, and from the backups: it must not count as shared."""
    place.bring_in(place.exported(THEIRS), policy="rename")
    assert any(b".imported-" in name for name in place.names())
    backup(str(place.data), place.repository, BackupOptions(), CollectingMonitor())
    options = EraseOptions(receipt=str(tmp_path / "receipt.json"), state=str(tmp_path / "state"))
    plan = plan_erase(str(place.data), place.repository, b"anna")
    assert erase(str(place.data), place.repository, plan, options, CollectingMonitor()).complete
    assert not [name for name in place.names() if b"anna" in name]
    newest = list_snapshots(place.repository.storage, place.repository.keys, [])[-1]
    restored = bring_back(place.repository, newest.id)
    assert not [path for path in restored.tree.nodes if b"anna" in path]


def test_from_a_pipe_it_is_imported_without_a_plan(place: Place) -> None:
    done, codes = place.bring_in(place.exported({**THEIRS, **NEW}), planned=False, policy="merge")
    assert (done.created, done.replaced, codes) == (2, 1, [])


def test_an_erased_user_stays_erased(place: Place, tmp_path: Path) -> None:
    exported = place.exported({**THEIRS, **NEW})
    options = EraseOptions(receipt=str(tmp_path / "receipt.json"), state=str(tmp_path / "state"))
    plan = plan_erase(str(place.data), place.repository, b"anna")
    assert erase(str(place.data), place.repository, plan, options, CollectingMonitor()).complete
    done, codes = place.bring_in(exported)
    assert (done.created, done.erased, codes) == (2, 1, ["user-erased"])
    assert not (place.data / "histories/anna").exists()
    done, _ = place.bring_in(exported, erased_too=True)
    assert (done.created, done.erased) == (2, 0)
    assert place.read(HISTORY) == THEIRS[HISTORY]


def test_links_and_folders_in_the_way_are_named_and_never_followed(place: Place) -> None:
    outside = place.base / "outside"
    outside.mkdir()
    (place.data / "histories/ben").symlink_to(outside)
    (place.data / "users/ben.json").mkdir()
    done, codes = place.bring_in(place.exported(NEW), policy="overwrite")
    assert (done.created, done.refused) == (0, 3), "and the folder"
    assert set(codes) == {"in-the-way"}
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("saves", [True, False])
def test_killed_at_any_step_the_next_import_finishes_it(place: Place, saves: bool) -> None:
    """Every step of an import into an empty directory, with what lies in no folder of its own."""
    exported = place.exported({**NEW, **THEIRS, b"notes.txt": b"mine"})
    whole = place._replace(base=place.base / "whole")
    whole.base.mkdir()
    whole.bring_in(exported)
    wanted = read_tree(whole.data)
    number = 0
    while True:
        target = place._replace(base=place.base / f"target{number}")
        target.base.mkdir()
        killed = dies_at(number, partial(target.bring_in, exported, saves=saves))
        if target.data.exists():
            for path, node in read_tree(target.data).nodes.items():
                if node.kind == "file" and b".shenyu-data-new-" not in path:
                    assert node.content == wanted.nodes[path].content, (number, path)
        if not killed:
            break
        done, codes = target.bring_in(exported, saves=saves)
        assert (done.refused, done.failed, codes) == (0, 0, []), number
        assert read_tree(target.data) == wanted, number
        number += 1
    assert number > 25


@pytest.mark.parametrize("policy", ["merge", "overwrite"])
def test_killed_at_any_step_what_was_there_is_old_or_new(place: Place, policy: str) -> None:
    exported = place.exported({**THEIRS, **NEW})
    old = {path: place.read(path) for path in (USER, HISTORY)}
    new = dict(THEIRS)
    if policy == "merge":
        new = {USER: old[USER], HISTORY: union(old[HISTORY], THEIRS[HISTORY])}
    import_it = partial(place.bring_in, exported, policy=policy, unsaved_too=True, saves=False)
    number = 0
    while True:
        for path, data in old.items():
            (place.data / os.fsdecode(path)).write_bytes(data)
            os.utime(place.data / os.fsdecode(path), (1, 1))
        for path in NEW:
            (place.data / os.fsdecode(path)).unlink(missing_ok=True)
        killed = dies_at(number, import_it)
        for path, data in old.items():
            assert place.read(path) in (data, new[path]), number
        done, codes = import_it()
        assert (done.refused, done.failed, codes) == (0, 0, []), number
        assert {path: place.read(path) for path in (*old, *NEW)} == {**new, **NEW}
        assert sorted(place.names()) == sorted([*old, *NEW]), "nothing is left beside them"
        if not killed:
            break
        number += 1
    assert number > 25


def test_an_erasure_removes_what_a_killed_import_left(place: Place, tmp_path: Path) -> None:
    exported = place.exported(NEW)
    number = 0
    while not [path for path in place.names() if b".shenyu-data-new-" in path]:
        assert dies_at(number, partial(place.bring_in, exported))
        number += 1
    options = EraseOptions(receipt=str(tmp_path / "receipt.json"), state=str(tmp_path / "state"))
    plan = plan_erase(str(place.data), place.repository, b"anna")
    assert erase(str(place.data), place.repository, plan, options, CollectingMonitor()).complete
    assert [path for path in place.names() if b"anna" in path or b"new-" in path] == []


def test_a_full_disk_leaves_no_half_document_and_with_room_it_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = place.exported({**NEW, b"histories/ben/1.json": text(chat(8, "more"))})
    real, left = atomic.write_all, 2

    def full(descriptor: int, chunks: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            os.write(descriptor, chunks[0][:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, chunks)

    with monkeypatch.context() as patch:
        for module in (aside, new_files):
            patch.setattr(module, "write_all", full)
        with pytest.raises(DataDirectoryError, match="No space"):
            place.bring_in(exported)
    wanted = {**NEW, b"histories/ben/1.json": text(chat(8, "more"))}
    there = set(place.names()) - {USER, HISTORY}
    assert len(there) == 2
    assert {path: place.read(path) for path in there} == {path: wanted[path] for path in there}
    done, codes = place.bring_in(exported)
    assert (done.created, done.unchanged, codes) == (1, 2, [])


def test_a_damaged_export_imports_nothing_unless_told(place: Place) -> None:
    exported = place.exported(NEW)
    damaged = exported.replace(b"hello", b"hullo")
    assert damaged != exported
    was = read_tree(place.data)
    with pytest.raises(ArchiveError):
        place.bring_in(damaged)
    assert read_tree(place.data) == was
    done, codes = place.bring_in(damaged, damaged_too=True)
    assert (done.created, done.damaged) == (1, 1)
    assert set(codes) == {"damaged-export"}


@pytest.mark.parametrize("exact", [False, True])
def test_a_link_to_a_name_with_a_nul_byte_is_left_out_of_an_import(
    place: Place, exact: bool
) -> None:
    items = (
        ExportItem(kind="link", path=b"link", data=b"a\0b"),
        ExportItem(kind="file", path=b"users/ben.json", data=b"{}"),
    )
    lines = [header_line(None, None), *(line for item in items for line in item_lines(item))]
    digest = blake3(b"".join(lines)).digest(16)
    exported = b"".join([*lines, closing_line(Closing(files=1, links=1, file_bytes=2), digest)])
    done, codes = place.bring_in(exported, exact=exact, damaged_too=True)
    assert (done.refused, codes) == (1, ["unsafe-entry"])
    assert place.read(b"users/ben.json") == b"{}"


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.zst", "export.json"])
def test_an_export_killed_at_any_step_leaves_no_file_or_a_whole_one(
    place: Place, name: str
) -> None:
    """What was there under that name stays until the new one is whole."""
    form: Format = "guide" if name == "export.json" else "native"
    file = place.base / name

    def make() -> None:
        options = ExportOptions(form=form, overwrite=True)
        export(str(place.data), str(file), io.BytesIO(), options, CollectingMonitor())

    number = 0
    file.write_bytes(b"the one before")
    while dies_at(number, make):
        if file.read_bytes() != b"the one before":
            break  # it was killed after the new one had its name
        number += 1
    assert number >= 3
    (place.base / "new").mkdir()
    done, codes = place._replace(base=place.base / "new").bring_in(file.read_bytes())
    assert (done.created, codes) == (2, [])
