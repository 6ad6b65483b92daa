"""Documents that are there no more and that snapshots hold: named, brought back by who asks, and
what is known to have been removed is neither.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.acknowledge import acknowledge
from shenyu_data.operations.archive import archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.cleanup import cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Way, Wish
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.journal import KEPT_JOURNALS, Began, Ended, open_journals
from shenyu_data.operations.repair import RepairOptions, RepairPlan, plan_repair
from shenyu_data.operations.restore_undo import undo
from shenyu_data.operations.shrunken import Scope, report_shrunken
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory, look
from tests.integration.overwritten import ARCHIVE, PATH, T0, USER, Place, torn, written

USER_PATH = f"users/{USER}.json"


@pytest.fixture(scope="module")
def keys() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.fixture
def place(keys: Repository, tmp_path: Path) -> Place:
    return Place(copy_in_memory(keys), tmp_path)


def plan(place: Place, **more: Any) -> RepairPlan:
    options = RepairOptions(state=str(place.state), **more)
    return plan_repair(place.repository, str(place.data.folder), options, CollectingMonitor())


def gone(place: Place) -> list[str]:
    """Give what a plan says is gone; whoever looks without repairing must say the same."""
    planned = plan(place)
    paths = [item.path for item in planned.gone_documents]
    assert planned.gone == len(paths)
    monitor = CollectingMonitor()
    data, state = str(place.data.folder), str(place.state)
    counts = report_shrunken(place.repository, data, Scope(), state, monitor)
    said = [one.path for one in monitor.findings if one.code == "gone-document"]
    assert counts.gone == len(said)
    assert sorted(said) == sorted(paths)
    return sorted(paths)


def remove(place: Place, *paths: str) -> Place:
    for path in paths:
        (place.data.folder / path).unlink()
    return place


def test_nothing_is_gone_where_nothing_is(place: Place) -> None:
    place.snapshots(written(2, 1))
    assert gone(place) == []


def test_a_history_that_is_gone_is_named(place: Place) -> None:
    place.snapshots(written(2, 1))
    assert gone(remove(place, PATH)) == [PATH]


def test_a_history_that_was_gone_before_the_newest_snapshot_is_named(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, PATH).take().take()
    assert gone(place) == [PATH]


def test_a_user_who_is_gone_with_everything_is_named(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, USER_PATH)
    shutil.rmtree(place.path.parent)
    assert gone(place) == [PATH, USER_PATH]
    place.take()
    assert gone(place) == [PATH, USER_PATH]


def test_the_newest_snapshot_that_holds_it_is_named(place: Place) -> None:
    place.snapshots(written(2, 1), written(3, 2, 1))
    remove(place, PATH).take()
    (item,) = plan(place).gone_documents
    assert item.snapshot == place.taken[1].hex()


def test_a_history_that_held_nothing_is_not_named(place: Place) -> None:
    place.snapshots(b"[]")
    assert gone(remove(place, PATH)) == []


def test_a_file_that_is_no_document_is_not_named(place: Place) -> None:
    note = place.path.with_name("note.txt")
    place.holds(written(1))
    note.write_text("x")
    place.take()
    note.unlink()
    assert gone(place) == []


def test_without_being_asked_a_repair_brings_nothing_back(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, PATH)
    stats, _ = place.repair()
    assert (stats.gone, stats.changed, stats.safety) == (1, 0, None)
    assert not place.path.exists()


def test_what_is_gone_comes_back_as_it_was(place: Place) -> None:
    place.holds(written(2, 1))
    place.path.chmod(0o640)
    place.take()
    before = place.path.stat()
    remove(place, USER_PATH)
    shutil.rmtree(place.path.parent)
    assert {item.action for item in plan(place, gone=True).items} == {"restore"}
    stats, _ = place.repair(gone=True)
    assert (stats.gone, stats.changed) == (0, 2)
    after = place.path.stat()
    assert place.path.read_bytes() == written(2, 1)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (place.data.folder / USER_PATH).exists()
    assert gone(place) == []
    assert place.repair(gone=True)[0].items == []


def test_only_what_is_gone_of_the_user_who_is_named_comes_back(place: Place) -> None:
    other = "histories/other/chat1.json"
    place.data.write(other, b'{"id": 1, "messages": []}')
    place.snapshots(written(2, 1))
    remove(place, PATH, other)
    assert place.repair(gone=True, user=b"other")[0].changed == 1
    assert (place.data.folder / other).exists()
    assert gone(place) == [PATH]


def test_a_document_of_which_no_good_version_is_held_is_left_and_told(place: Place) -> None:
    place.data.write("users/other.json", b'{"id": "oth')
    place.take()
    remove(place, "users/other.json")
    assert plan(place, gone=True).left == 1
    stats, codes = place.repair(gone=True)
    assert (stats.changed, stats.left, codes) == (0, 1, ["not-mended"])


def test_a_history_comes_back_with_what_it_had_lost_before(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(9))
    remove(place, PATH)
    place.repair(gone=True)
    assert place.found() == [9, 4, 3, 2, 1]


def test_a_document_of_which_only_a_torn_version_is_held_comes_back_as_far_as_it_goes(
    place: Place,
) -> None:
    place.snapshots(torn(3, 2, 1))
    assert gone(remove(place, PATH)) == [PATH]
    place.repair(gone=True)
    assert place.found()[:2] == [3, 2]


def test_what_came_back_is_taken_back(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, PATH)
    place.repair(gone=True)
    undo(place.repository, str(place.data.folder), place.live_options(), CollectingMonitor())
    assert not place.path.exists()
    assert gone(place) == []  # somebody looked, and decided


def test_every_chat_brings_back_histories_that_are_gone(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, PATH)
    place.repair(every_chat=True)
    assert place.found() == [2, 1]


def test_what_was_said_to_be_meant_is_not_named(place: Place) -> None:
    place.snapshots(written(2, 1))
    remove(place, PATH)
    data, state = str(place.data.folder), str(place.state)
    monitor = CollectingMonitor()
    ack = partial(acknowledge, by="x", reason="y", state=state, monitor=monitor)
    (kept,) = ack(place.repository, data, USER.encode(), path=b"")
    assert (kept.code, kept.path) == ("gone-document", PATH)
    assert gone(place) == []
    counts = report_shrunken(place.repository, data, Scope(), state, monitor, infos=True)
    assert counts.acknowledged == 1
    assert place.repair(gone=True)[0].items == []
    place.holds(written(9))
    assert place.shrunken() == []  # the chats went with the document, which was meant
    place.snapshots(written(12, 11, 10, 9))
    assert gone(remove(place, PATH)) == [PATH]  # what is lost later is named


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_what_was_compressed_or_decompressed_is_not_named(place: Place, way: Way) -> None:
    place.snapshots(written(2, 1))
    _compress(place, "compress")
    assert not place.path.exists()
    if way == "decompress":
        place.take()
        _compress(place, way)
    assert gone(place) == []
    place.take()
    assert gone(place) == []


def test_an_archive_is_named_only_if_its_chats_did_not_come_back(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _archive(place, T0 + 3)
    assert place.found() == [4, 3]
    place.take()
    _archive(place, None)
    assert gone(place) == []
    place.holds(written(9, 4, 3, 2, 1)).take()
    for _ in range(KEPT_JOURNALS + 1):
        _begin(place)
    assert gone(place) == []


def test_an_archive_that_is_gone_is_named(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _archive(place, T0 + 3)
    place.take()
    assert gone(remove(place, ARCHIVE)) == [ARCHIVE]
    place.repair(gone=True)
    assert (place.data.folder / ARCHIVE).exists()


def test_what_a_cleanup_removed_is_not_named_however_long_ago(place: Place) -> None:
    """The guide's history of one chat goes as a whole."""
    single = f"histories/{USER}/single.json"
    place.data.write(single, b'{"id": 1, "messages": [], "timestamp": "2023-01-01T00:00:00Z"}')
    place.snapshots(written(2, 1))
    assert look(place.repository).errors == {}
    options = CleanupOptions(
        policy=Policy(rule=Rule(older_than_s=1)),
        holds=[],
        now_ms=T0 + 10**9,
        state=str(place.state),
        quiet_s=0.05,
    )
    data, monitor = str(place.data.folder), CollectingMonitor()
    cleanup(place.repository, data, options, monitor)
    assert not (place.data.folder / single).exists()
    assert gone(place) == []
    for _ in range(KEPT_JOURNALS + 1):
        _begin(place)
    assert gone(place) == []
    place.data.write(single, b'{"id": 2, "messages": [], "timestamp": "2023-01-01T00:00:00Z"}')
    place.take()
    assert gone(remove(place, single)) == [single]  # what is lost later is named


def _begin(place: Place) -> None:
    """Let an operation come to its end that changes nothing."""
    began = Began(operation="compress", time_ms=1, repository=b"", data="d", snapshot=None)
    with open_journals(str(place.state)) as journals:
        journals.begin(began).write(Ended())


def _compress(place: Place, way: Way) -> None:
    options = CompressOptions(wish=Wish(way=way, offline=True), state=str(place.state))
    compress(str(place.data.folder), options, CollectingMonitor())


def _archive(place: Place, before_ms: int | None) -> None:
    options = ArchiveOptions(
        before_ms=before_ms, now_ms=T0 + 10**9, state=str(place.state), quiet_s=0.05
    )
    archive(place.repository, str(place.data.folder), options, CollectingMonitor())


def test_who_was_erased_is_not_named(place: Place) -> None:
    place.snapshots(written(2, 1))
    data = str(place.data.folder)
    planned = plan_erase(data, place.repository, USER.encode())
    options = EraseOptions(state=str(place.state), receipt=str(place.state) + ".json")
    erase(data, place.repository, planned, options, CollectingMonitor())
    assert gone(place) == []
    place.repair(gone=True)
    assert not place.path.exists()
