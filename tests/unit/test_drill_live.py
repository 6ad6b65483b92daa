"""The live directory beside a drill: the same, changed since, or rotten without a trace."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shenyu_data.datadir.scan import Found
from shenyu_data.health.drill_damage import DamagedReads
from shenyu_data.health.drill_live import Live
from shenyu_data.health.drill_tree import Tree
from shenyu_data.model.errors import ObjectMissing
from shenyu_data.model.layout import Place
from shenyu_data.operations.backup_entries import file_entry
from shenyu_data.repository.format import FileEntry, FileState
from shenyu_data.storage.memory import MemoryStorage

PATH = b"histories/anna/chat-history.json"
DATA = b'[{"messages": []}]'


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    history = tmp_path / os.fsdecode(PATH)
    history.parent.mkdir(parents=True)
    history.write_bytes(DATA)
    live = Live(str(tmp_path))
    yield live
    live.close()


def entry(tmp_path: Path, **changes: int) -> FileEntry:
    """Give the entry that a backup makes of the history as it is now."""
    found = (tmp_path / os.fsdecode(PATH)).stat()
    made = file_entry(
        Found(Place.IN_HISTORY_FOLDER, PATH.rpartition(b"/")[2], found),
        found,
        state=FileState.WHOLE,
        settled=True,
        size=found.st_size,
        digest=b"",
        chats=0,
        messages=0,
        extents=[],
        good=None,
    )
    return msgspec.structs.replace(made, **changes)


def test_what_nobody_changed_is_the_same(live: Live, tmp_path: Path) -> None:
    assert live.compare(PATH, entry(tmp_path), DATA) == "same"


def test_other_bytes_below_the_same_times_are_rot(live: Live, tmp_path: Path) -> None:
    told = live.compare(PATH, entry(tmp_path), DATA.replace(b"s", b"z"))
    assert "all its times say that nobody changed it" in told


def test_other_bytes_below_a_time_that_was_set_back_are_told_so(live: Live, tmp_path: Path) -> None:
    told = live.compare(PATH, entry(tmp_path, ctime_ns=1), DATA.replace(b"s", b"z"))
    assert "all its times" not in told
    assert "modification time say that it is the same" in told


@pytest.mark.parametrize("change", [{"mtime_ns": 1}, {"size": 3}, {"ctime_ns": 0}])
def test_what_may_have_been_written_since_is_passed_over(
    change: dict[str, int], live: Live, tmp_path: Path
) -> None:
    """A ctime of 0 says that it was written in the very moment of the backup."""
    assert live.compare(PATH, entry(tmp_path, **change), b"other") == "changed"


def test_a_link_in_the_way_is_not_followed(live: Live, tmp_path: Path) -> None:
    wanted = entry(tmp_path)
    history = tmp_path / os.fsdecode(PATH)
    history.parent.rename(tmp_path / "elsewhere")
    history.parent.symlink_to(tmp_path / "elsewhere")
    assert live.compare(PATH, wanted, DATA) == "changed"


def test_a_large_document_is_compared_piece_by_piece(live: Live, tmp_path: Path) -> None:
    history = tmp_path / os.fsdecode(PATH)
    with history.open("wb") as file:
        file.truncate(3 << 20)
    wanted = entry(tmp_path)
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(3 << 20))
    with copy.open("rb") as file:
        assert live.compare_large(PATH, wanted, file.fileno()) == "same"
    copy.write_bytes(bytes((3 << 20) - 1) + b"x")
    with copy.open("rb") as file:
        assert "differs" in live.compare_large(PATH, wanted, file.fileno())


def test_no_link_leads_out_of_a_tree(tmp_path: Path) -> None:
    (tmp_path / "tree/real").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "tree/out").symlink_to(tmp_path)
    (tmp_path / "tree/real/file").symlink_to(tmp_path / "secret")
    with Tree(str(tmp_path / "tree"), ours=True) as tree:
        with pytest.raises(OSError), tree.file(b"out/secret"):
            pass
        with pytest.raises(OSError), tree.file(b"real/file"):
            pass
        assert dict(tree.walk()) == {b"real": True, b"real/file": False, b"out": False}


def test_damage_made_on_purpose_reaches_no_repository() -> None:
    inner = MemoryStorage()
    inner.put("packs/a", [b"whole"])
    inner.put("keys/a", [b"whole"])
    storage = DamagedReads(inner, "packs")
    assert storage.read("packs/a") != b"whole" == storage.read("keys/a")
    for change in (
        lambda: storage.put("packs/b", [b"x"]),
        lambda: storage.delete("packs/a"),
        lambda: storage.destroy("packs/a"),
        lambda: storage.sweep("packs", 0.0),
    ):
        with pytest.raises(PermissionError):
            change()
    with pytest.raises(ObjectMissing):
        DamagedReads(inner, "packs", missing=True).read("packs/a")
    assert inner.read("packs/a") == b"whole"


def test_a_live_directory_that_is_gone_is_not_read_and_stops_nothing(tmp_path: Path) -> None:
    live = Live(str(tmp_path / "unmounted"))
    history = tmp_path / os.fsdecode(PATH)
    history.parent.mkdir(parents=True)
    history.write_bytes(DATA)
    with history.open("rb") as restored:
        assert live.compare(PATH, entry(tmp_path), DATA) == "unread"
        assert live.compare_large(PATH, entry(tmp_path), restored.fileno()) == "unread"
    live.close()
