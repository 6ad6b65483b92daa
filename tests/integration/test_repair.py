"""Repairs of a live data directory: every damage, kills at every write, a writer beside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shenyu_data.model.errors import NothingToTakeBack, UsageError
from shenyu_data.model.monitor import CollectingMonitor, Task
from shenyu_data.operations.backup import backup
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.repair import RepairOptions, RepairStats, plan_repair, repair
from shenyu_data.operations.repair_put_back import put_back
from shenyu_data.operations.restore_live import LiveOptions
from shenyu_data.operations.restore_undo import undo
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.failing import Death
from shenyu_data.testing.faulty import Crash
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory, take

USER = f"{7:064x}"
OTHER = f"{8:064x}"
PATH = f"histories/{USER}/chat-history.json"
T0 = 1_700_000_000_000
USER_DOCUMENT = {
    "id": USER,
    "fingerprint": {"userAgent": "x"},
    "firstSeen": "2026-01-02T03:04:05.678Z",
    "lastSeen": "2026-01-02T03:04:05.678Z",
}


class Place(NamedTuple):
    """A data directory of two users with a snapshot, and where journals go."""

    repository: Repository
    data: Application
    state: Path

    @property
    def path(self) -> Path:
        return self.data.folder / PATH

    def spoil(self, data: bytes, path: str = PATH) -> None:
        """Put bytes in a document's place, long ago."""
        full = self.data.folder / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data)
        os.utime(full, (1_600_000_000, 1_600_000_000))

    def repair(self, *, alone: bool = False, **more: Any) -> tuple[RepairStats, list[str]]:
        monitor = CollectingMonitor()
        options = RepairOptions(state=str(self.state), quiet_s=0.05, **more)
        repository = None if alone else self.repository
        stats = repair(repository, str(self.data.folder), options, monitor)
        return stats, [finding.code for finding in monitor.findings]

    def found(self) -> set[int]:
        """Give the numbers of the chats that are there."""
        return {one["id"] - T0 for one in json.loads(self.path.read_bytes())}

    def errors(self) -> list[str]:
        monitor = CollectingMonitor()
        validate(str(self.data.folder), ValidateOptions(jobs=1), monitor)
        return [finding.code for finding in monitor.findings if finding.severity == "error"]


OLD = [chat(number, 2) for number in (3, 2, 1)]
NEW = [chat(number, 2) for number in (5, 4, 3, 2)]


def written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("repair")
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(folder / "data")
    for user in (USER, OTHER):
        data.write(f"users/{user}.json", {**USER_DOCUMENT, "id": user})
        data.write(f"histories/{user}/chat-history.json", OLD)
    take(repository, data)
    return Place(repository, data, folder / "state")


@pytest.fixture
def place(made_once: Place, tmp_path: Path) -> Place:
    """Give a copy of it: many tests, one key derivation."""
    shutil.copytree(made_once.data.folder, tmp_path / "data")
    repository = copy_in_memory(made_once.repository)
    return Place(repository, Application(tmp_path / "data"), tmp_path / "state")


WHOLE = written(NEW)
CUT = WHOLE[: WHOLE.index(str(T0 + 3).encode())]
"""Two chats, and the beginning of a third."""

DAMAGES: dict[str, tuple[bytes, str, set[int]]] = {
    "torn": (CUT, "torn-json", {5, 4}),
    "empty": (b"", "empty-file", set()),
    "blank": (b"  \n", "blank-file", set()),
    "full of NULs": (bytes(len(WHOLE)), "blank-file", set()),
    "NULs at the end": (CUT + bytes(4096), "torn-json", {5, 4}),
    "half a character": (WHOLE[: WHOLE.rindex("风".encode()) + 1], "torn-json", {5, 4, 3}),
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE, "byte-order-mark", {5, 4, 3, 2}),
    "two documents": (WHOLE + written([chat(9, 1)]), "trailing-data", {5, 4, 3, 2, 9}),
    "the rest of a longer one": (
        written([chat(9, 1)]) + WHOLE[len(CUT) - 40 :],
        "trailing-data",
        {9, 3, 2},
    ),
    "garbage in the middle": (CUT + b"\x01###" + WHOLE[len(CUT) + 9 :], "not-json", {5, 4, 2}),
    "not UTF-8": (CUT + b'\xb7\xe7"}]', "not-utf8", {5, 4}),
}
ANY_DAMAGE = pytest.mark.parametrize(("data", "code", "held"), DAMAGES.values(), ids=list(DAMAGES))


@ANY_DAMAGE
def test_every_chat_that_the_snapshot_or_the_fragment_holds_comes_back(
    place: Place, data: bytes, code: str, held: set[int]
) -> None:
    place.spoil(data)
    assert place.errors() == [code]
    stats, _ = place.repair()
    assert stats.changed == 1
    assert (stats.refused, stats.busy, stats.failed, stats.left) == (0, 0, 0, 0)
    assert place.found() >= held | {3, 2, 1}
    assert place.errors() == []
    assert stats.items[0].code == code


@ANY_DAMAGE
def test_without_a_repository_the_fragment_comes_back_and_what_was_there_is_kept(
    place: Place, data: bytes, code: str, held: set[int]
) -> None:
    place.spoil(data)
    stats, codes = place.repair(alone=True)
    assert stats.safety is None
    if held:
        assert (stats.changed, stats.removed) == (1, 0)
        assert place.found() >= held
    else:
        assert (stats.changed, stats.removed) == (0, 1)
        assert not place.path.exists()
        assert codes == ["quarantined"]
    assert "histories" not in str(Quarantine(str(place.state)).folder)
    (kept,) = Quarantine(str(place.state)).list()
    assert (kept.path, kept.code) == (PATH, code)
    assert Quarantine(str(place.state)).get(kept.id)[1] == data
    assert place.errors() == []


@ANY_DAMAGE
def test_what_was_kept_is_put_back_byte_for_byte(
    place: Place, data: bytes, code: str, held: set[int]
) -> None:
    place.spoil(data)
    before = place.path.stat()
    place.repair(alone=True)
    (kept,) = Quarantine(str(place.state)).list()
    options = RepairOptions(state=str(place.state), quiet_s=0.05)
    stats = put_back(None, str(place.data.folder), kept.id, options, CollectingMonitor())
    assert stats.changed == 1
    assert place.path.read_bytes() == data
    after = place.path.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_what_was_kept_is_not_put_over_what_came_since(place: Place) -> None:
    place.spoil(b"")
    place.repair(alone=True)
    place.spoil(written([chat(6, 1)]))
    (kept,) = Quarantine(str(place.state)).list()
    options = RepairOptions(state=str(place.state), quiet_s=0.05)
    monitor = CollectingMonitor()
    stats = put_back(None, str(place.data.folder), kept.id, options, monitor)
    assert (stats.changed, stats.refused) == (0, 1)
    assert [finding.code for finding in monitor.findings] == ["changed-since"]
    assert place.found() == {6}
    with pytest.raises(UsageError):
        put_back(None, str(place.data.folder), "nosuch", options, monitor)


@ANY_DAMAGE
def test_a_repair_is_taken_back(place: Place, data: bytes, code: str, held: set[int]) -> None:
    place.spoil(data)
    place.repair()
    options = LiveOptions(state=str(place.state), quiet_s=0.05)
    undo(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert place.path.read_bytes() == data


def test_after_a_repair_without_a_repository_an_older_operation_is_not_taken_back(
    place: Place,
) -> None:
    place.spoil(CUT)
    place.repair()
    place.spoil(CUT)
    place.repair(alone=True)
    options = LiveOptions(state=str(place.state), quiet_s=0.05)
    with pytest.raises(NothingToTakeBack, match="without a repository"):
        undo(place.repository, str(place.data.folder), options, CollectingMonitor())


def test_a_sound_directory_is_left_alone(place: Place) -> None:
    before = place.path.stat()
    stats, codes = place.repair()
    assert (stats.changed, stats.safety, codes) == (0, None, [])
    after = place.path.stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_a_document_that_adds_nothing_is_restored_with_its_bytes_and_time(place: Place) -> None:
    before = (place.path.read_bytes(), place.path.stat().st_mtime_ns)
    place.spoil(before[0][:100])
    stats, codes = place.repair()
    assert [item.action for item in stats.items] == ["restore"]
    assert (place.path.read_bytes(), place.path.stat().st_mtime_ns) == before
    assert codes == []


def test_the_last_good_version_is_found_behind_degraded_snapshots(place: Place) -> None:
    place.spoil(CUT)
    for _ in range(2):
        take(place.repository, place.data)
        os.utime(place.path, (1_600_000_001, 1_600_000_001))
    place.repair()
    assert place.found() == {5, 4, 3, 2, 1}


def test_a_torn_user_comes_back_from_the_snapshot(place: Place) -> None:
    path = f"users/{USER}.json"
    whole = (place.data.folder / path).read_bytes()
    for spoilt in (whole[:50], b"", bytes(100), written({"id": USER})):
        place.spoil(spoilt, path)
        assert place.repair()[0].changed == 1
        assert (place.data.folder / path).read_bytes() == whole


def test_a_user_overwritten_by_a_shorter_one_is_the_shorter_one(place: Place) -> None:
    newer = written({**USER_DOCUMENT, "lastSeen": "2026-01-02T03:04:05Z"})
    place.spoil(newer + b'"\n}', f"users/{USER}.json")
    place.repair()
    assert (place.data.folder / f"users/{USER}.json").read_bytes() == newer


def test_normalising_removes_what_stands_around_and_brings_no_chat_back(place: Place) -> None:
    whole = written(NEW)
    for spoilt in (b"\xef\xbb\xbf" + whole, whole + bytes(9)):
        place.spoil(spoilt)
        stats, _ = place.repair(normalise=True)
        assert [item.action for item in stats.items] == ["normalise"]
        assert place.path.read_bytes() == whole


def test_only_the_user_or_the_path_that_is_named_is_mended(place: Place) -> None:
    other = f"histories/{OTHER}/chat-history.json"
    for more in ({"user": USER.encode()}, {"path": PATH}, {"path": f"histories/{USER}"}):
        place.spoil(CUT)
        place.spoil(CUT, other)
        stats, _ = place.repair(**more)
        assert [item.path for item in stats.items] == [PATH]
        assert (place.data.folder / other).read_bytes() == CUT


def test_the_plan_writes_nothing_and_says_what_the_repair_does(place: Place) -> None:
    place.spoil(CUT)
    place.spoil(b"", f"histories/{OTHER}/new.json")
    options = RepairOptions(state=str(place.state), quiet_s=0.05)
    objects = dict(place.repository.storage.objects)  # type: ignore[attr-defined]
    plan = plan_repair(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert place.path.read_bytes() == CUT
    assert not place.state.exists()
    assert place.repository.storage.objects == objects  # type: ignore[attr-defined]
    assert plan.actions == {"merge": 1, "quarantine": 1}
    stats, _ = place.repair()
    assert stats.items == plan.items


@pytest.mark.parametrize(
    ("written_meanwhile", "found"),
    [([chat(99, 1), *OLD], {99, 3, 2, 1}), ([chat(99, 1)], {99, 3, 2, 1})],
    ids=["whole", "overwritten"],
)
def test_a_document_that_became_whole_meanwhile_loses_nothing(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    written_meanwhile: list[dict[str, Any]],
    found: set[int],
) -> None:
    place.spoil(CUT)

    def backup_while_the_application_writes(*words: Any) -> Any:
        stats = backup(*words)
        if place.path.read_bytes() == CUT:
            place.data.write(PATH, written_meanwhile)
        return stats

    monkeypatch.setattr("shenyu_data.operations.repair.backup", backup_while_the_application_writes)
    place.repair()
    assert place.found() >= found


def test_a_document_that_became_whole_meanwhile_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.spoil(CUT)

    def backup_while_the_application_writes(*words: Any) -> Any:
        stats = backup(*words)
        place.data.write(PATH, [chat(99, 1), *NEW, chat(1, 2)])
        return stats

    monkeypatch.setattr("shenyu_data.operations.repair.backup", backup_while_the_application_writes)
    stats, _ = place.repair()
    assert (stats.changed, stats.unchanged, stats.items) == (0, 1, [])
    assert place.found() == {99, 5, 4, 3, 2, 1}


def test_links_are_neither_followed_nor_replaced(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_bytes(CUT)
    place.path.unlink()
    place.path.symlink_to(tmp_path / "outside.json")
    place.repair()
    assert place.path.is_symlink()
    assert (tmp_path / "outside.json").read_bytes() == CUT


def test_what_is_kept_of_a_user_is_erased_with_the_user(place: Place) -> None:
    place.spoil(b"secret words")
    place.spoil(b"", f"histories/{OTHER}/new.json")
    place.repair(alone=True)
    assert len(Quarantine(str(place.state)).list()) == 2
    plan = plan_erase(str(place.data.folder), place.repository, USER.encode())
    options = EraseOptions(state=str(place.state), receipt=str(place.state.parent / "receipt.json"))
    erase(str(place.data.folder), place.repository, plan, options, CollectingMonitor())
    assert [kept.path for kept in Quarantine(str(place.state)).list()] == [
        f"histories/{OTHER}/new.json"
    ]
    held = [path.read_bytes() for path in place.state.rglob("*") if path.is_file()]
    assert not any(b"secret words" in text for text in held)


@pytest.mark.parametrize("alone", [False, True], ids=["with snapshots", "alone"])
def test_killed_at_every_write_nothing_is_lost_and_the_next_run_mends(
    place: Place, alone: bool
) -> None:
    empty = f"histories/{OTHER}/new.json"
    kills = 0
    for at in range(10_000):
        place.spoil(CUT)
        place.spoil(b"\0", empty)
        with pytest.MonkeyPatch.context() as patches:
            Death(at, patches)
            try:
                place.repair(alone=alone)
                done = True
            except Crash:
                done = False
                kills += 1
        there = place.path.read_bytes()
        if there != CUT:
            assert place.found() >= {5, 4}
            if alone:
                assert CUT in [
                    Quarantine(str(place.state)).get(kept.id)[1]
                    for kept in Quarantine(str(place.state)).list()
                ]
        _, codes = place.repair(alone=alone)
        assert place.found() == ({5, 4} if alone else {5, 4, 3, 2, 1})
        assert not (place.data.folder / empty).exists()
        assert list(place.data.folder.rglob(".shenyu-data-*")) == []
        assert "displaced-kept" not in codes
        if done:
            break
    assert kills > 10


def test_killed_at_every_write_a_shrunken_history_loses_nothing(place: Place) -> None:
    kills = 0
    for at in range(10_000):
        place.spoil(written([chat(9, 1)]))
        with pytest.MonkeyPatch.context() as patches:
            Death(at, patches)
            try:
                place.repair()
                done = True
            except Crash:
                done = False
                kills += 1
        assert place.found() in ({9}, {9, 3, 2, 1})
        place.repair()
        assert place.found() == {9, 3, 2, 1}
        assert list(place.data.folder.rglob(".shenyu-data-*")) == []
        if done:
            break
    assert kills > 10


def test_killed_at_every_write_a_large_history_is_mended_by_the_next_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("repair_edits", "repair_past"):  # what is large, so that the test is not
        monkeypatch.setattr(f"shenyu_data.operations.{module}.MAX_PARSED_BYTES", 100)
    kills = 0
    for at in range(10_000):
        place.spoil(CUT)
        with pytest.MonkeyPatch.context() as patches:
            Death(at, patches)
            try:
                place.repair()
                done = True
            except Crash:
                done = False
                kills += 1
        there = place.path.read_bytes()
        assert there == CUT or place.found() == {5, 4, 3, 2, 1}
        place.repair()
        assert place.found() == {5, 4, 3, 2, 1}
        # Of what is streamed, no digest is known: after a kill it is kept, for a person to see.
        for left in place.data.folder.rglob(".shenyu-data-*"):
            assert left.name.startswith(".shenyu-data-kept-")
            left.unlink()
        if done:
            break
    assert kills > 10


def test_a_repair_shows_how_far_its_look_at_the_documents_has_come(place: Place) -> None:
    titles: list[str] = []

    class Watching(CollectingMonitor):
        def task(self, title: str, total: int | None, unit: str) -> Task:
            titles.append(title)
            return super().task(title, total, unit)

    options = RepairOptions(state=str(place.state))
    plan_repair(place.repository, str(place.data.folder), options, Watching())
    assert titles == ["Validating", "Comparing with snapshots"]
