"""What repair brings back from older snapshots: all that vanished by accident, in however many
snapshots the history was shrunken already, and nothing that somebody removed.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.archive import archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.cleanup import cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.journal import KEPT_JOURNALS, Began, Ended, open_journals
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.repair import RepairOptions, plan_repair
from shenyu_data.operations.restore_live import restore_in_place
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import chat
from shenyu_data.testing.scenario import PASSPHRASE, look
from tests.integration.overwritten import ARCHIVE, PATH, T0, USER, Place, chats, torn, written


@pytest.fixture(scope="module")
def keys() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.fixture
def place(keys: Repository, tmp_path: Path) -> Iterator[Place]:
    storage = MemoryStorage()
    assert isinstance(keys.storage, MemoryStorage)
    storage.objects.update(keys.storage.objects)
    yield Place(Repository(storage, keys.keys), tmp_path)


# Torn documents: what they are merged with.


def test_chats_that_the_application_overwrote_before_the_newest_snapshot_come_back(
    place: Place,
) -> None:
    place.snapshots(written(3, 2, 1), written(9))
    place.holds(torn(10, 9)).repair()
    assert place.found() == [10, 9, 3, 2, 1]


def test_an_overwritten_history_is_seen_though_no_snapshot_believed_what_stat_said(
    place: Place,
) -> None:
    user = place.data.folder / f"users/{USER}.json"
    os.utime(user, (4_000_000_000, 4_000_000_000))  # of a time to come: never settled
    place.snapshots(written(3, 2, 1), written(9))
    assert len(place.shrunken()) == 1
    place.repair()
    assert place.found() == [9, 3, 2, 1]


def test_chats_come_back_over_any_number_of_accidents(place: Place) -> None:
    place.snapshots(written(3, 2, 1), written(5, 4), written(7, 6, 5, 4), written(9, 8))
    place.holds(b"").repair()
    assert place.found() == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_a_chat_that_was_being_written_when_the_history_tore_is_no_sign_of_reading(
    place: Place,
) -> None:
    went_on = [chat(3, 6)]
    place.snapshots(written(3, 2, 1))
    place.holds(json.dumps(went_on).encode()).take()
    place.holds(b"").repair()
    assert place.found() == [3, 2, 1]
    assert json.loads(place.path.read_bytes())[0] == went_on[0]


def test_chats_that_only_a_torn_snapshot_holds_come_back(place: Place) -> None:
    place.snapshots(written(2, 1), torn(5, 4, 3), written(9))
    place.holds(b"").repair()
    assert place.found() == [9, 5, 4, 3, 2, 1]


def test_a_chat_that_was_deleted_between_snapshots_stays_deleted(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(4, 3, 1), written(5, 4, 3))
    place.holds(torn(6, 5, 4, 3)).repair()
    assert place.found() == [6, 5, 4, 3]


def test_a_history_that_was_emptied_stays_empty(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), b"[]", written(5))
    place.holds(torn(6, 5)).repair()
    assert place.found() == [6, 5]


def test_what_was_deleted_before_an_accident_stays_deleted(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(4, 2, 1), written(9, 8))
    place.holds(b"").repair()
    assert place.found() == [9, 8, 4, 2, 1]


def test_a_tear_that_healed_brings_no_deleted_chat_back(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), torn(5, 4, 3, 2, 1), written(6, 5, 4, 3, 1))
    place.holds(b"").repair()
    assert place.found() == [6, 5, 4, 3, 1]


def test_a_safety_snapshot_does_not_say_that_chats_were_removed(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    place.holds(written(1)).take(safety=True)
    place.holds(b"").repair()
    assert place.found() == [4, 3, 2, 1]


def test_what_an_undo_put_back_comes_back(place: Place) -> None:
    place.snapshots(written(2, 1), written(5, 4, 2, 1))
    old = place.repository.root(place.taken[0])
    data = str(place.data.folder)
    restore_in_place(place.repository, old, data, place.live_options(), CollectingMonitor())
    assert place.found() == [2, 1]
    place.take()
    undo(place.repository, data, place.live_options(), CollectingMonitor())
    assert place.found() == [5, 4, 2, 1]
    place.holds(b"").repair()
    assert place.found() == [5, 4, 2, 1]


def test_chats_that_were_in_the_archive_come_back_once_the_archive_is_gone(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _archive(place, 2)
    assert place.found() == [4, 3]
    place.take()
    (place.data.folder / ARCHIVE).unlink()
    place.holds(torn(5, 4, 3)).repair()
    assert place.found() == [5, 4, 3, 2, 1]


def test_chats_that_are_in_the_archive_stay_there(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _archive(place, 2)
    place.holds(torn(5, 4, 3)).repair()
    assert place.found() == [5, 4, 3]


def test_a_compressed_history_is_the_same_history(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    packed = place.path.with_name("chat-history.json.gz")
    place.data.write(f"{PATH}.gz", gzip.compress(written(5, 4, 3, 2)))
    place.path.unlink()
    place.take()
    packed.unlink()
    place.holds(b"").repair()
    assert place.found() == [5, 4, 3, 2]


@pytest.mark.parametrize("keep", [0, 2])
def test_what_a_cleanup_removed_stays_removed(place: Place, keep: int) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _clean(place, keep)
    place.holds(torn(6, 5)).repair()
    assert place.found() == [6, 5, 4, 3][: 2 + keep]


def test_what_a_cleanup_removed_long_ago_stays_removed(place: Place) -> None:
    """Many operations later, and though its user began anew before the next backup."""
    place.snapshots(written(4, 3, 2, 1))
    _clean(place, 0)
    with open_journals(str(place.state)) as journals:
        for _ in range(KEPT_JOURNALS + 5):
            began = Began(operation="compress", time_ms=1, repository=b"", data="d", snapshot=None)
            journals.begin(began).write(Ended())
    place.snapshots(written(9)).holds(written(9))
    assert place.repair()[0].items == []
    place.holds(torn(10, 9)).repair()
    assert place.found() == [10, 9]


def test_what_a_cleanup_removed_before_a_rotation_of_the_key_stays_removed(
    tmp_path: Path,
) -> None:
    place = Place(create_repository(MemoryStorage(), PASSPHRASE)[0], tmp_path)
    place.snapshots(written(4, 3, 2, 1))
    _clean(place, 0)
    repository = place.repository
    begun = begin_rotation(repository, plan_rotation(repository), "another horse", "in use")
    finish_rotation(begun.repository, CollectingMonitor())
    place.repository = begun.repository
    place.holds(written(9))
    assert place.shrunken() == []
    place.repair()
    assert place.found() == [9]


def test_what_a_cleanup_removed_and_an_undo_put_back_comes_back(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _clean(place, 2)
    undo(place.repository, str(place.data.folder), place.live_options(), CollectingMonitor())
    place.holds(torn(6, 5)).repair()
    assert place.found() == [6, 5, 4, 3, 2, 1]


def test_every_chat_comes_back_if_it_is_asked_for(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(4, 3, 1), b"[]", written(5))
    place.holds(torn(6, 5)).repair(every_chat=True)
    assert place.found() == [6, 5, 4, 3, 2, 1]


def test_a_user_who_was_erased_does_not_come_back(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    plan = plan_erase(str(place.data.folder), place.repository, USER.encode())
    options = EraseOptions(state=str(place.state), receipt=str(place.state) + ".json")
    erase(str(place.data.folder), place.repository, plan, options, CollectingMonitor())
    place.data.add_user(USER, [])
    place.snapshots(written(9, 8))
    for content in (b"", written(10)):
        place.holds(content).repair(every_chat=True)
        assert place.found() == [10, 9, 8][-len(place.found()) :]


# Histories that are whole, and shrunken.


def test_a_history_that_was_overwritten_is_seen_and_filled_up(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1)).holds(written(6, 5))
    (said,) = place.shrunken()
    assert said.startswith("4 of its chats")
    assert place.taken[0].hex()[:8] in said
    stats, _ = place.repair()
    assert [(item.code, item.action) for item in stats.items] == [("shrunken-history", "merge")]
    assert [(item.salvaged, item.restored) for item in stats.items] == [(2, 4)]
    assert place.found() == [6, 5, 4, 3, 2, 1]
    assert place.shrunken() == []


@pytest.mark.parametrize("snapshots", [1, 2, 5])
def test_a_history_that_was_overwritten_several_snapshots_ago_is_seen(
    place: Place, snapshots: int
) -> None:
    place.snapshots(written(4, 3, 2, 1))
    shrunken = [written(*range(6 + number, 5, -1)) for number in range(snapshots)]
    place.snapshots(*shrunken)
    (said,) = place.shrunken()
    assert place.taken[0].hex()[:8] in said
    place.repair()
    assert place.found()[-4:] == [4, 3, 2, 1]
    assert place.shrunken() == []
    place.take()
    assert place.shrunken() == []


def test_the_bytes_of_what_was_written_since_are_kept(place: Place) -> None:
    since = json.dumps(chats(6, 5), indent=7).encode() + b"\n\n"
    place.snapshots(written(4, 3, 2, 1)).holds(since)
    place.repair()
    assert place.found() == [6, 5, 4, 3, 2, 1]
    assert place.path.read_bytes().startswith(since[:-5])


def test_filling_up_is_taken_back(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1)).holds(written(6, 5))
    place.repair()
    undo(place.repository, str(place.data.folder), place.live_options(), CollectingMonitor())
    assert place.path.read_bytes() == written(6, 5)


def test_what_was_filled_up_and_taken_back_comes_back_only_if_it_is_asked_for(
    place: Place,
) -> None:
    """Whoever takes it back has looked at it, and knows which chats these are."""
    place.snapshots(written(4, 3, 2, 1)).holds(written(6, 5))
    place.repair()
    undo(place.repository, str(place.data.folder), place.live_options(), CollectingMonitor())
    assert place.repair()[0].items == []
    assert place.path.read_bytes() == written(6, 5)
    place.repair(every_chat=True)
    assert place.found() == [6, 5, 4, 3, 2, 1]


def test_repairing_twice_is_repairing_once(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(6, 5)).holds(written(7, 6))
    place.repair()
    there = place.path.read_bytes()
    assert place.repair()[0].items == []
    assert place.path.read_bytes() == there


def test_the_plan_shows_what_the_repair_does(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1)).holds(written(6, 5))
    options = RepairOptions(state=str(place.state))
    data = str(place.data.folder)
    plan = plan_repair(place.repository, data, options, CollectingMonitor())
    assert place.path.read_bytes() == written(6, 5)
    assert place.repair()[0].items == plan.items


QUIET: dict[str, tuple[list[bytes], bytes]] = {
    "one deleted": ([written(4, 3, 2, 1)], written(4, 3, 1)),
    "all but one deleted": ([written(4, 3, 2, 1)], written(2)),
    "the last one deleted, and a new one": ([written(1)], written(2)),
    "all deleted": ([written(4, 3, 2, 1)], b"[]"),
    "emptied between snapshots": ([written(4, 3, 2, 1), b"[]"], written(5)),
    "an older version": ([written(2, 1), written(9, 8, 7)], written(2, 1)),
    "an older version, gone on with": ([written(2, 1), written(9, 8, 7)], written(3, 2, 1)),
    "other blanks": ([written(4, 3, 2, 1)], json.dumps(chats(4)).encode()),
    "more": ([written(2, 1)], written(3, 2, 1)),
}


@pytest.mark.parametrize(("versions", "now"), QUIET.values(), ids=list(QUIET))
def test_what_is_no_accident_is_not_reported(
    place: Place, versions: list[bytes], now: bytes
) -> None:
    place.snapshots(*versions).holds(now)
    assert place.shrunken() == []
    assert place.repair()[0].items == []
    place.take().snapshots(now[:-1] + b" ]")
    assert place.shrunken() == []


def test_a_cleanup_is_not_reported(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _clean(place, 0)
    place.holds(written(6, 5))
    assert place.shrunken() == []


def test_an_archive_is_not_reported(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1))
    _archive(place, 4)
    place.holds(written(6, 5))
    assert place.shrunken() == []
    place.take()
    assert place.shrunken() == []


def test_with_every_chat_a_whole_history_gets_what_was_deleted(place: Place) -> None:
    place.snapshots(written(4, 3, 2, 1), written(4, 3, 1)).holds(written(5, 3))
    place.repair(every_chat=True)
    assert place.found() == [5, 4, 3, 2, 1]


def _archive(place: Place, below: int) -> None:
    """Move the chats of up to this number into the archive."""
    options = ArchiveOptions(
        before_ms=T0 + below + 1, now_ms=T0 + 10**9, state=str(place.state), quiet_s=0.05
    )
    stats = archive(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert stats.chats == below


def _clean(place: Place, keep: int) -> None:
    """Remove all chats but so many."""
    assert look(place.repository).errors == {}
    options = CleanupOptions(
        policy=Policy(rule=Rule(keep_newest=keep)),
        holds=[],
        now_ms=T0 + 10**9,
        state=str(place.state),
        quiet_s=0.05,
    )
    stats = cleanup(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert stats.done.chats == 4 - keep
