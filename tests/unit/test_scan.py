"""The second look: every entry of one user, and whether two looks saw the same."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.datadir import scan as scan_module
from shenyu_data.datadir.scan import (
    DataFolders,
    Scan,
    describe,
    scan_shared,
    scan_user,
    special_file,
)
from shenyu_data.datadir.survey import MAX_DEPTH
from shenyu_data.model.layout import Place
from shenyu_data.testing.strategies import YEAR_1902_NS, YEAR_2400_NS
from shenyu_data.testing.tree import Item, build_tree

ANNA = {
    b"users/anna.json": Item("file", b"{}"),
    b"users/anna.json.gz": Item("file", b"gz"),
    b"histories/anna/chat1.json": Item("file", b"[]"),
    b"histories/anna/below/deeper/file": Item("file", b"x"),
    b"histories/anna/link": Item("link", b"/etc/passwd"),
    b"histories/anna/empty": Item("folder", mode=0o755),
    b"histories/ben/chat1.json": Item("file", b"[]"),
}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[DataFolders]:
    build_tree(tmp_path, ANNA)
    with DataFolders(str(tmp_path)) as opened:
        yield opened


def found(scan: Scan) -> list[tuple[Place, bytes]]:
    return sorted((entry.place, entry.name) for entry in scan.entries)


def description(data: Path, user: bytes = b"anna") -> bytes:
    with DataFolders(str(data)) as folders:
        scan = scan_user(folders, user)
    return describe(sorted(scan.entries))


def test_everything_of_a_user_is_found_and_nothing_of_others(folders: DataFolders) -> None:
    scan = scan_user(folders, b"anna")
    assert scan.complete
    assert scan.findings == []
    assert found(scan) == [
        (Place.USER_FILE, b""),
        (Place.USER_FILE_GZIP, b""),
        (Place.HISTORY_FOLDER, b""),
        (Place.IN_HISTORY_FOLDER, b"below"),
        (Place.IN_HISTORY_FOLDER, b"below/deeper"),
        (Place.IN_HISTORY_FOLDER, b"below/deeper/file"),
        (Place.IN_HISTORY_FOLDER, b"chat1.json"),
        (Place.IN_HISTORY_FOLDER, b"empty"),
        (Place.IN_HISTORY_FOLDER, b"link"),
    ]


def test_a_user_who_is_not_there_has_nothing(folders: DataFolders) -> None:
    for user in (b"nobody", b"n" * 255, b"n" * 250, b"\xff\n"):
        scan = scan_user(folders, user)
        assert (scan.entries, scan.complete, scan.findings) == ([], True, [])


def test_a_link_for_a_history_folder_is_taken_as_a_link(tmp_path: Path) -> None:
    build_tree(tmp_path, {**ANNA, b"histories/mallory": Item("link", b"anna")})
    with DataFolders(str(tmp_path)) as folders:
        scan = scan_user(folders, b"mallory")
    assert found(scan) == [(Place.HISTORY_FOLDER, b"")]
    assert scan.complete


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_a_file_in_a_history_folders_place_belongs_to_nobody(kind: str, tmp_path: Path) -> None:
    item = Item("file") if kind == "file" else Item("fifo")
    build_tree(tmp_path, {b"users/anna.json": Item("file"), b"histories/anna": item})
    with DataFolders(str(tmp_path)) as folders:
        assert found(scan_user(folders, b"anna")) == [(Place.USER_FILE, b"")]
        assert found(scan_shared(folders, [b"histories/anna"])) == [
            (Place.ANYWHERE, b"histories/anna")
        ]


def test_a_folder_in_a_user_files_place_belongs_to_nobody(tmp_path: Path) -> None:
    build_tree(tmp_path, {b"users/anna.json/file": Item("file")})
    with DataFolders(str(tmp_path)) as folders:
        assert scan_user(folders, b"anna").entries == []


def test_folders_nested_too_deep_make_the_scan_incomplete(tmp_path: Path) -> None:
    deep = b"histories/anna/" + b"/".join([b"d"] * (MAX_DEPTH + 3))
    build_tree(tmp_path, {deep: Item("folder", mode=0o755)})
    with DataFolders(str(tmp_path)) as folders:
        scan = scan_user(folders, b"anna")
    assert not scan.complete
    assert len(scan.findings) == 1


@pytest.mark.parametrize("top", ["users", "histories"])
def test_a_top_folder_that_is_a_link_is_not_entered(top: str, tmp_path: Path) -> None:
    build_tree(tmp_path / "elsewhere", {b"anna.json": Item("file"), b"anna/x": Item("file")})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / top).symlink_to("../elsewhere")
    with DataFolders(str(tmp_path / "data")) as folders:
        scan = scan_user(folders, b"anna")
    assert scan.entries == []
    assert not scan.complete


def test_shared_paths_are_looked_at_without_following_links(tmp_path: Path) -> None:
    build_tree(tmp_path, {b"a/b/file": Item("file", b"x"), b"way": Item("link", b"a")})
    paths = [b"", b"a", b"a/b", b"a/b/file", b"way", b"gone", b"gone/below"]
    with DataFolders(str(tmp_path)) as folders:
        scan = scan_shared(folders, paths)
        assert [entry.name for entry in scan.entries] == paths[:5]
        assert scan.complete
        through = scan_shared(folders, [b"way/b/file"])
    assert through.entries == []
    assert not through.complete


def test_only_fifos_sockets_and_devices_are_special(tmp_path: Path) -> None:
    build_tree(tmp_path, {**ANNA, b"histories/anna/p": Item("fifo"), b"s": Item("socket")})
    with DataFolders(str(tmp_path)) as folders:
        entries = scan_user(folders, b"anna").entries + scan_shared(folders, [b"s"]).entries
    specials = [special_file(entry, b"anna") for entry in entries]
    named = [(one.path, one.message.partition(",")[0]) for one in specials if one is not None]
    assert named == [("histories/anna/p", "a FIFO"), ("s", "a socket")]


def test_two_looks_at_the_same_are_described_alike(tmp_path: Path) -> None:
    build_tree(tmp_path, ANNA)
    assert description(tmp_path) == description(tmp_path)


def rewrite_behind_its_time(path: Path) -> None:
    seen = path.stat()
    content = path.read_bytes()[::-1]
    while path.stat().st_ctime_ns == seen.st_ctime_ns:  # the kernel's clock ticks every few ms
        path.write_bytes(content)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


CHANGES = {
    "content": lambda data: (data / "histories/anna/chat1.json").write_text("[{}]"),
    "content of the same size and time": lambda data: rewrite_behind_its_time(
        data / "histories/anna/chat1.json"
    ),
    "mode": lambda data: (data / "users/anna.json").chmod(0o640),
    "folder's mode": lambda data: (data / "histories/anna/empty").chmod(0o700),
    "time": lambda data: os.utime(data / "users/anna.json", (1, 1)),
    "new file": lambda data: (data / "histories/anna/chat2.json").write_text("[]"),
    "new empty folder": lambda data: (data / "histories/anna/new").mkdir(),
    "gone": lambda data: (data / "histories/anna/chat1.json").unlink(),
    "renamed": lambda data: (data / "histories/anna/chat1.json").rename(
        data / "histories/anna/chat9.json"
    ),
    "replaced by a copy": lambda data: (
        shutil.copy2(data / "users/anna.json", data / "copy"),
        (data / "copy").rename(data / "users/anna.json"),
    ),
    "another link": lambda data: os.link(data / "users/anna.json", data / "users/twin.json"),
    "deep down": lambda data: (data / "histories/anna/below/deeper/file").write_text("yy"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_described_differently(change: str, tmp_path: Path) -> None:
    build_tree(tmp_path, ANNA)
    before = description(tmp_path)
    CHANGES[change](tmp_path)  # type: ignore[no-untyped-call]
    assert description(tmp_path) != before


def test_a_change_of_another_user_is_none(tmp_path: Path) -> None:
    build_tree(tmp_path, ANNA)
    before = description(tmp_path)
    (tmp_path / "histories/ben/chat1.json").write_text("[{}]")
    (tmp_path / "users/ben.json").write_text("{}")
    assert description(tmp_path) == before


def test_a_fifo_beside_the_documents_is_no_change(tmp_path: Path) -> None:
    build_tree(tmp_path, ANNA)
    folder = tmp_path / "histories/anna"
    seen = folder.stat()
    before = description(tmp_path)
    os.mkfifo(folder / "pipe")
    os.utime(folder, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert description(tmp_path) == before


@pytest.mark.parametrize("time_ns", [YEAR_1902_NS, -1, 0, YEAR_2400_NS])
def test_every_time_of_a_file_system_can_be_described(time_ns: int, tmp_path: Path) -> None:
    build_tree(tmp_path, ANNA)
    for path in ("users/anna.json", "histories/anna"):
        os.utime(tmp_path / path, ns=(time_ns, time_ns))
    assert description(tmp_path)


def test_what_a_killed_operation_left_long_ago_is_told(
    tmp_path: Path, folders: DataFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no backup, and nothing of ours may know of it any more."""
    name = ".shenyu-data-displaced-0123456789abcdef"
    for folder in ("histories/anna", "histories/anna/below", "users"):
        (tmp_path / folder / name).write_bytes(b"what somebody wrote")
    scans = [scan_user(folders, b"anna"), scan_shared(folders, [b"users/" + name.encode()])]
    assert [finding for scan in scans for finding in scan.findings] == []
    monkeypatch.setattr(scan_module, "LEFT_BEHIND_S", -1.0)
    scans = [scan_user(folders, b"anna"), scan_shared(folders, [b"users/" + name.encode()])]
    told = [(finding.code, finding.path) for scan in scans for finding in scan.findings]
    assert sorted(told) == [
        ("left-behind", f"{folder}/{name}")
        for folder in ("histories/anna", "histories/anna/below", "users")
    ]
    assert not any(name.encode() in found.name for scan in scans for found in scan.entries)
