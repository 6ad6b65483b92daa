"""Losses that somebody says were meant: not named again, not brought back, and nothing else is
passed over for them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shenyu_data.model.acknowledgements import Acknowledgement
from shenyu_data.model.errors import AcknowledgementsDamaged, OwnerNotFound, UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.acknowledge import acknowledge
from shenyu_data.operations.acknowledged import (
    forget_acknowledgements,
    read_acknowledgements,
    revoke,
    write_acknowledgements,
)
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.shrunken import Scope, report_shrunken
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory
from tests.integration.overwritten import PATH, USER, Place, torn, written


@pytest.fixture(scope="module")
def keys() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.fixture
def place(keys: Repository, tmp_path: Path) -> Place:
    return Place(copy_in_memory(keys), tmp_path)


def ack(place: Place, user: str = USER, path: bytes = b"") -> list[Acknowledgement]:
    return acknowledge(
        place.repository,
        str(place.data.folder),
        user.encode(),
        path=path,
        by="carla",
        reason="asked to",
        state=str(place.state),
        monitor=CollectingMonitor(),
    )


def rotated(repository: Repository) -> Repository:
    begun = begin_rotation(repository, plan_rotation(repository), "another horse", "in use")
    finish_rotation(begun.repository, CollectingMonitor())
    return begun.repository


def cleared(place: Place) -> Place:
    """Let somebody clear a history of four chats and go on with a new one."""
    return place.snapshots(written(4, 3, 2, 1)).holds(written(9))


def test_what_was_acknowledged_is_not_named_again(place: Place) -> None:
    cleared(place)
    assert place.shrunken() != []
    (kept,) = ack(place)
    assert (kept.user, kept.path, len(kept.missing)) == (USER, PATH, 4)
    assert (kept.by, kept.reason, kept.code) == ("carla", "asked to", "shrunken-history")
    assert place.shrunken() == []
    assert place.take().shrunken() == []


def test_what_was_acknowledged_is_told_to_who_wants_to_know_everything(place: Place) -> None:
    cleared(place)
    ack(place)
    monitor = CollectingMonitor()
    data, state = str(place.data.folder), str(place.state)
    counts = report_shrunken(place.repository, data, Scope(), state, monitor, infos=True)
    assert (counts.shrunken, counts.acknowledged) == (0, 1)
    assert [one.code for one in monitor.findings] == ["acknowledged-loss"]


def test_a_repair_does_not_bring_back_what_was_acknowledged(place: Place) -> None:
    cleared(place)
    ack(place)
    assert place.repair()[0].items == []
    assert place.found() == [9]


def test_a_torn_history_is_mended_without_what_was_acknowledged(place: Place) -> None:
    cleared(place)
    ack(place)
    place.holds(torn(10, 9)).repair()
    assert place.found() == [10, 9]


def test_a_history_that_tears_in_a_snapshot_later_is_mended_without_it(place: Place) -> None:
    cleared(place)
    ack(place)
    place.take().snapshots(torn(10, 9), written(11, 9))
    place.holds(torn(12, 11, 9)).repair()
    assert place.found() == [12, 11, 10, 9]


def test_every_chat_brings_back_what_was_acknowledged_too(place: Place) -> None:
    cleared(place)
    ack(place)
    place.repair(every_chat=True)
    assert place.found() == [9, 4, 3, 2, 1]


def test_what_is_lost_later_is_named(place: Place) -> None:
    cleared(place)
    ack(place)
    place.take().snapshots(written(12, 11, 10, 9)).holds(written(20))
    (message,) = place.shrunken()
    assert message.startswith("4 of its chats")
    place.repair()
    assert place.found() == [20, 12, 11, 10, 9]


def test_what_came_back_and_was_lost_again_is_named(place: Place) -> None:
    cleared(place)
    ack(place)
    place.take().snapshots(written(9, 4, 3, 2, 1)).holds(written(20))
    (message,) = place.shrunken()
    assert message.startswith("5 of its chats")


def test_what_was_restored_in_place_and_lost_again_is_named(place: Place) -> None:
    """Only the safety snapshots of the restore and the repair show that it was there again."""
    cleared(place)
    ack(place)
    place.repair(every_chat=True)
    place.take(safety=True).holds(written(20))
    (message,) = place.shrunken()
    assert message.startswith("5 of its chats")


def test_a_second_acknowledgement_adds_what_was_lost_since(place: Place) -> None:
    cleared(place)
    ack(place)
    assert ack(place) == []
    place.take().snapshots(written(12, 11, 9)).holds(written(20))
    (kept,) = ack(place)
    assert len(kept.missing) == 3
    assert place.shrunken() == []
    assert len(read_acknowledgements(str(place.state))) == 2


def test_what_was_revoked_is_named_again(place: Place) -> None:
    cleared(place)
    (kept,) = ack(place)
    with open_journals(str(place.state)):
        assert revoke(str(place.state), kept.id) == kept
        with pytest.raises(UsageError):
            revoke(str(place.state), kept.id)
    assert place.shrunken() != []


def test_only_the_history_that_is_named_is_acknowledged(place: Place) -> None:
    cleared(place)
    assert ack(place, path=f"histories/{USER}/other.json".encode()) == []
    assert place.shrunken() != []
    assert len(ack(place, path=PATH.encode())) == 1


def test_a_user_whom_nobody_knows_is_an_error(place: Place) -> None:
    cleared(place)
    with pytest.raises(OwnerNotFound):
        ack(place, user="nobody")


def test_a_new_repository_key_makes_nothing_unknown(tmp_path: Path) -> None:
    place = cleared(Place(create_repository(MemoryStorage(), PASSPHRASE)[0], tmp_path))
    ack(place)
    place.repository = rotated(place.repository)
    assert place.shrunken() == []


def test_the_acknowledgements_of_another_repository_count_for_nothing(
    place: Place, tmp_path: Path
) -> None:
    cleared(place)
    ack(place)
    other = Place(create_repository(MemoryStorage(), PASSPHRASE)[0], tmp_path)
    assert cleared(other).shrunken() != []


def test_with_a_damaged_file_everything_is_named_again(place: Place) -> None:
    cleared(place)
    ack(place)
    path = place.state / "acknowledged.json"
    text = path.read_bytes()
    path.write_bytes(text.replace(b"carla", b"karla"))
    with pytest.raises(AcknowledgementsDamaged):
        read_acknowledgements(str(place.state))
    monitor = CollectingMonitor()
    data, state = str(place.data.folder), str(place.state)
    assert report_shrunken(place.repository, data, Scope(), state, monitor).shrunken == 1
    assert monitor.findings[0].code == "acknowledgements-damaged"
    with pytest.raises(AcknowledgementsDamaged):
        ack(place)
    assert path.read_bytes() != text


def test_an_acknowledgement_tells_nothing_of_the_chats(place: Place) -> None:
    cleared(place)
    ack(place)
    text = (place.state / "acknowledged.json").read_text()
    assert "1700000000001" not in text
    assert (place.state / "acknowledged.json").stat().st_mode & 0o077 == 0


def test_the_name_of_a_user_who_is_forgotten_is_gone(place: Place) -> None:
    cleared(place)
    (kept,) = ack(place)
    state = str(place.state)
    other = Acknowledgement(
        **{**{name: getattr(kept, name) for name in kept.__struct_fields__}, "user": "other"}
    )
    write_acknowledgements(state, [kept, other])
    old = os.open(place.state / "acknowledged.json", os.O_RDONLY)
    try:
        forget_acknowledgements(state, USER.encode())
        assert os.read(old, 1 << 20).strip(b"\0") == b""
    finally:
        os.close(old)
    assert [one.user for one in read_acknowledgements(state)] == ["other"]


def test_a_damaged_file_goes_when_a_user_is_forgotten(place: Place) -> None:
    """Nobody can tell whether it names the user."""
    place.state.mkdir()
    (place.state / "acknowledged.json").write_text("{")
    forget_acknowledgements(str(place.state), USER.encode())
    assert not (place.state / "acknowledged.json").exists()
