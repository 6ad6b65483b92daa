"""The first look at a data directory: who is there, and what could not be looked at."""

import os
from pathlib import Path

import pytest

from shenyu_data.datadir import survey as survey_module
from shenyu_data.datadir.survey import MAX_DEPTH, Survey, survey
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.testing.strategies import HOSTILE_NAMES
from shenyu_data.testing.tree import Item, build_tree


class Seen:
    """A survey of a directory with one bucket, or with as many as are asked for."""

    def __init__(self, data: Path, buckets: int = 1) -> None:
        self.monitor = CollectingMonitor()
        with Survey(buckets) as found:
            survey(
                str(data),
                found,
                user_bucket=lambda name: name[0] % buckets,
                shared_bucket=lambda path: len(path) % buckets,
                monitor=self.monitor,
            )
            self.buckets = [found.bucket(number) for number in range(buckets)]
            self.complete = found.complete
            self.names = found.names
        self.users = sorted(user for bucket in self.buckets for user in bucket.users)
        self.shared = sorted(path for bucket in self.buckets for path in bucket.shared)
        self.codes = [(one.code, one.path) for one in self.monitor.findings]


def test_both_layouts_are_dealt_out_and_the_rest_belongs_to_nobody(tmp_path: Path) -> None:
    plan = {
        b"users/anna.json": Item("file"),
        b"users/ben.json.gz": Item("file"),
        b"users/notes.txt": Item("file"),
        b"users/folder.json/file": Item("file"),
        b"histories/anna/chat1.json": Item("file"),
        b"histories/cleo/chat-history.json": Item("file"),
        b"histories/linked": Item("link", b"anna"),
        b"histories/file.json": Item("file"),
        b"example/history/chat_history.json": Item("file"),
        b"pipe": Item("fifo"),
    }
    build_tree(tmp_path, plan)
    seen = Seen(tmp_path)
    assert seen.users == [b"anna", b"ben", b"cleo", b"linked"]
    assert seen.shared == [
        b"",
        b"example",
        b"example/history",
        b"example/history/chat_history.json",
        b"histories",
        b"histories/file.json",
        b"pipe",
        b"users",
        b"users/folder.json",
        b"users/folder.json/file",
        b"users/notes.txt",
    ]
    assert seen.buckets[0].compressed == {b"ben"}
    assert seen.complete
    assert seen.codes == []


def test_every_user_is_once_in_one_bucket(tmp_path: Path) -> None:
    for number in range(100):
        build_tree(tmp_path, {b"users/%d.json" % number: Item("file")})
        build_tree(tmp_path, {b"histories/%d" % (number + 50): Item("folder", mode=0o755)})
    seen = Seen(tmp_path, buckets=7)
    assert seen.users == sorted(b"%d" % number for number in range(150))
    for number, bucket in enumerate(seen.buckets):
        assert all(user[0] % 7 == number for user in bucket.users)
    assert 100 <= seen.names <= 150 + len(seen.shared)


def test_hostile_names_are_kept_byte_for_byte(tmp_path: Path) -> None:
    build_tree(
        tmp_path, {b"histories/" + name: Item("folder", mode=0o700) for name in HOSTILE_NAMES}
    )
    build_tree(tmp_path, {name: Item("file") for name in HOSTILE_NAMES})
    seen = Seen(tmp_path)
    assert seen.users == sorted(HOSTILE_NAMES)
    assert set(seen.shared) >= set(HOSTILE_NAMES)


def test_names_beyond_what_fits_in_memory_wait_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "_WAITING_BYTES", 500)
    build_tree(tmp_path, {b"users/%d.json" % number: Item("file") for number in range(300)})
    build_tree(tmp_path, {b"users/%d.json.gz" % number: Item("file") for number in range(5)})
    seen = Seen(tmp_path, buckets=3)
    assert seen.users == sorted(b"%d" % number for number in range(300))
    compressed = frozenset().union(*(bucket.compressed for bucket in seen.buckets))
    assert compressed == {b"%d" % number for number in range(5)}


@pytest.mark.parametrize("top", ["users", "histories"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_top_folder_that_is_none_is_reported_and_not_followed(
    top: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.json").write_text("{}")
    (tmp_path / "data").mkdir()
    if kind == "link":
        (tmp_path / "data" / top).symlink_to("../elsewhere")
    else:
        (tmp_path / "data" / top).write_text("")
    seen = Seen(tmp_path / "data")
    assert not seen.complete
    assert seen.codes == [("not-a-folder", top)]
    assert seen.users == []


def test_a_missing_top_folder_is_no_finding(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    assert (seen.users, seen.shared, seen.codes) == ([], [b""], [])
    assert seen.complete


def test_folders_nested_too_deep_are_reported_and_not_entered(tmp_path: Path) -> None:
    deep = [b"d"] * (MAX_DEPTH + 5)
    build_tree(tmp_path, {b"/".join(deep): Item("folder", mode=0o755)})
    seen = Seen(tmp_path)
    assert not seen.complete
    assert seen.codes == [("too-deep", "/".join(["d"] * (MAX_DEPTH + 1)))]
    assert len(seen.shared) == MAX_DEPTH + 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    seen = Seen(tmp_path)
    assert not seen.complete
    assert seen.codes == [("unreadable-folder", "locked")]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_what_is_no_folder_is_no_data_directory(kind: str, tmp_path: Path) -> None:
    if kind == "file":
        (tmp_path / "data").write_text("")
    with pytest.raises(DataDirectoryError, match="data"):
        Seen(tmp_path / "data")


def test_the_data_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    build_tree(tmp_path / "real", {b"users/anna.json": Item("file")})
    (tmp_path / "data").symlink_to("real")
    assert Seen(tmp_path / "data").users == [b"anna"]
