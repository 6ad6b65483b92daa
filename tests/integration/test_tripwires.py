"""Tripwires with real backups: each cause is noticed, what was before is pinned, prunes wait."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shenyu_data.model.errors import (
    PruneBlocked,
    RepositoryError,
    StorageError,
    UsageError,
)
from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.model.tripwires import DAY_MS, LEARNED_DAYS, Limits
from shenyu_data.operations import backup as backup_module
from shenyu_data.operations import tripwires
from shenyu_data.operations.alarms import acknowledge, alarms, commands, pinned_snapshots
from shenyu_data.operations.archive import archive
from shenyu_data.operations.archive_task import ArchiveOptions
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.copy import CopyOptions, copy, plan_copy
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.prune import prune
from shenyu_data.operations.prune_plan import PruneOptions, PrunePlan, plan_prune
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.acknowledgements import acknowledged, acknowledgement_names
from shenyu_data.repository.format import Root
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.repository.snapshots import snapshot_ids
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.scenario import PASSPHRASE, look

USERS = [f"{number:064x}" for number in range(8)]
KEY = "chat-history"
NOW_MS = 1_900_000_000_000


class Place:
    """Eight people with five chats each, and a repository."""

    def __init__(self, base: Path, repository: Repository | None = None) -> None:
        self.repository = repository or create_repository(MemoryStorage(), PASSPHRASE)[0]
        self.data = Application(base / "data")
        self.state = str(base / "state")
        self.limits = Limits()
        for number, user in enumerate(USERS):
            self.data.add_user(user, [chat(number * 10 + one) for one in range(5)])
        self.findings: list[str] = []

    def back_up(self, *, full: bool = False, limits: Limits | None = None) -> BackupStats:
        settle(self.data.folder)
        monitor = CollectingMonitor()
        watch = Watch(state=self.state, limits=limits or self.limits)
        options = BackupOptions(full=full, watch=watch)
        stats = backup(str(self.data.folder), self.repository, options, monitor)
        self.findings = [item.code for item in monitor.findings]
        return stats

    def root(self, stats: BackupStats) -> Root:
        return self.repository.root(stats.snapshot)

    def path(self, user: str) -> Path:
        return self.data.folder / f"histories/{user}/{KEY}.json"

    def each(self, change: Callable[[str], None]) -> None:
        for user in USERS:
            change(user)

    def plan(self, **retention: int) -> PrunePlan:
        policy = Retention(**(retention or {"keep_last": 1}))  # type: ignore[arg-type]
        options = PruneOptions(retention=policy, grace_s=0)
        return plan_prune(self.repository, options, SilentMonitor(), now_ms=NOW_MS)

    def prune(self) -> None:
        options = PruneOptions(retention=Retention(keep_last=1), grace_s=0)
        plan = plan_prune(self.repository, options, SilentMonitor(), now_ms=NOW_MS)
        prune(self.repository, plan, options, SilentMonitor())


class Elsewhere(MemoryStorage):
    """Another place in memory."""

    @property
    def location(self) -> str:
        """Another one."""
        return "memory:elsewhere"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def saved(place: Place) -> Place:
    place.back_up()
    return place


def rules(stats: BackupStats) -> set[str]:
    return {trip.rule for trip in stats.trips}


def remove_history(place: Place, user: str) -> None:
    shutil.rmtree(place.path(user).parent)


def delete_chats(place: Place, user: str) -> None:
    place.data.write(f"histories/{user}/{KEY}.json", place.data.chats(user)[:2])


def delete_messages(place: Place, user: str) -> None:
    chats = [{**one, "messages": []} for one in place.data.chats(user)]
    place.data.write(
        f"histories/{user}/{KEY}.json", [chats[0], *place.data.chats(user)[1:2], *chats[2:]]
    )


def encrypt(place: Place, user: str) -> None:
    place.path(user).write_bytes(random.Random(user).randbytes(3000))


def overwrite(place: Place, user: str = USERS[0], number: int = 900) -> None:
    """What the application does to a history that it found torn."""
    place.data.write(f"histories/{user}/{KEY}.json", [chat(number)])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (remove_history, {"histories-vanished", "chats-vanished", "messages-vanished"}),
        (delete_chats, {"chats-vanished"}),
        (delete_messages, {"messages-vanished"}),
        (encrypt, {"documents-torn"}),
    ],
)
def test_what_happens_to_many_at_once_is_noticed(
    saved: Place, cause: Callable[[Place, str], None], expected: set[str], full: bool
) -> None:
    (before,) = saved.repository.snapshots()
    saved.each(lambda user: cause(saved, user))
    stats = saved.back_up(full=full)
    assert rules(stats) >= expected
    assert "history-overwritten" not in rules(stats)
    assert stats.pinned == [before.id]
    assert rules(stats) <= set(saved.findings)


def test_users_that_vanish_are_noticed(saved: Place) -> None:
    for user in USERS[:5]:
        remove_history(saved, user)
        saved.data.remove(f"users/{user}.json")
    assert "users-vanished" in rules(saved.back_up())
    assert rules(saved.back_up()) == set(), "once"


def test_an_empty_directory_is_noticed(saved: Place) -> None:
    for folder in ("users", "histories"):
        shutil.rmtree(saved.data.folder / folder)
        (saved.data.folder / folder).mkdir()
    assert {"users-vanished", "histories-vanished"} <= rules(saved.back_up())


def test_histories_written_anew_with_nothing_more_are_noticed(place: Place) -> None:
    for number in range(20):
        place.data.add_user(f"user{number}", [chat(number)])
    place.back_up()
    for number in range(20):
        place.data.write(f"histories/user{number}/{KEY}.json", [chat(number, about="x")])
    assert rules(place.back_up()) == {"histories-rewritten"}


def test_text_that_turns_to_noise_is_noticed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.each(lambda user: place.data.write(f"histories/{user}/{KEY}.json", [chat(1, 80)]))
    place.back_up()
    chance = random.Random(1)

    def scramble(user: str) -> None:
        document = [chat(1, 80)]
        for message in document[0]["messages"]:
            message["content"] = base64.b64encode(chance.randbytes(300)).decode()
        place.data.write(f"histories/{user}/{KEY}.json", document)

    place.each(scramble)
    assert "text-turned-to-noise" in rules(place.back_up())


def test_ordinary_changes_are_no_alarm(saved: Place) -> None:
    for day in range(4):
        saved.each(lambda user, day=day: saved.data.prepend_chat(user, chat(500 + day)))  # type: ignore[misc]
        delete_chats(saved, USERS[day])
        stats = saved.back_up(full=day % 2 == 0)
        assert (stats.trips, stats.pinned, saved.findings) == ([], [], [])
        saved.plan()


def test_a_history_overwritten_by_a_shorter_one_is_noticed_and_repaired(saved: Place) -> None:
    (before,) = saved.repository.snapshots()
    overwrite(saved)
    stats = saved.back_up()
    assert rules(stats) == {"history-overwritten"}
    assert stats.pinned == [before.id]
    assert saved.findings == ["shrunken-history", "history-overwritten"]
    options = RepairOptions(state=saved.state, quiet_s=0)
    repair(saved.repository, str(saved.data.folder), options, SilentMonitor())
    assert [one["id"] for one in saved.data.chats(USERS[0])] == [
        chat(number)["id"] for number in (900, 0, 1, 2, 3, 4)
    ]
    assert rules(saved.back_up()) == set(), "what a repair did is no alarm"


def test_a_history_that_was_torn_before_it_was_overwritten_is_noticed(saved: Place) -> None:
    (before,) = saved.repository.snapshots()
    saved.path(USERS[0]).write_bytes(saved.path(USERS[0]).read_bytes()[:-200])
    torn = saved.back_up()
    assert torn.degraded
    assert torn.trips == []
    overwrite(saved)
    stats = saved.back_up()
    assert rules(stats) == {"history-overwritten"}
    assert stats.pinned[0] == before.id
    assert torn.snapshot in stats.pinned


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (lambda path: path.write_bytes(b"["), {"history-overwritten"}),
        (lambda path: path.write_text(json.dumps([chat(901), chat(900)])), {"history-overwritten"}),
        (Path.unlink, set()),
    ],
)
def test_a_history_may_change_before_it_is_looked_at_closer(
    saved: Place, meanwhile: Callable[[Path], object], expected: set[str]
) -> None:
    overwrite(saved)
    done: list[str] = []

    def happen(name: str) -> None:
        if not done:
            done.append(name)
            meanwhile(saved.path(USERS[0]))

    repository = saved.repository
    saved.repository = Repository(
        FaultyStorage(repository.storage, before_put=happen), repository.keys
    )
    assert rules(saved.back_up()) == expected
    assert done, "it changed after it was read, before the snapshot was stored"


def test_somebody_who_deletes_all_but_one_chat_is_no_alarm(saved: Place) -> None:
    saved.data.write(f"histories/{USERS[0]}/{KEY}.json", saved.data.chats(USERS[0])[3:4])
    saved.data.write(f"histories/{USERS[1]}/{KEY}.json", [])
    assert saved.back_up().trips == []


def test_more_overwritten_histories_than_are_told_are_all_counted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    names = [f"user{number}" for number in range(25)]
    for name in names:
        place.data.add_user(name, [chat(1), chat(2)])
    place.back_up()
    for name in names:
        overwrite(place, name)
    stats = place.back_up()
    counts = {trip.rule: trip.count for trip in stats.trips}
    assert counts["history-overwritten"] == 25
    assert place.findings.count("shrunken-history") == 20


def test_a_safety_snapshot_notices_as_well(saved: Place) -> None:
    overwrite(saved)
    settle(saved.data.folder)
    users = frozenset([USERS[0].encode()])
    options = BackupOptions(only_users=users, safety=True)
    stats = backup(str(saved.data.folder), saved.repository, options, SilentMonitor())
    assert saved.root(stats).partial
    assert rules(stats) == {"history-overwritten"}
    with pytest.raises(PruneBlocked):
        saved.plan()
    later = saved.back_up()
    assert later.trips == []
    assert later.alarms == [stats.snapshot], "the next backup tells of it"
    assert saved.findings == ["history-overwritten"]
    assert saved.back_up().alarms == [], "once"


# Prunes wait


def alarmed(place: Place) -> BackupStats:
    overwrite(place)
    stats = place.back_up()
    assert stats.pinned
    return stats


def test_nothing_is_pruned_until_somebody_acknowledges(saved: Place) -> None:
    stats = alarmed(saved)
    saved.back_up()
    with pytest.raises(PruneBlocked) as blocked:
        saved.prune()
    prefix = stats.snapshot.hex()[:8]
    assert f"alerts ack {prefix}" in blocked.value.hint
    assert prefix in blocked.value.message
    assert len(saved.repository.snapshots()) == 3
    (done,) = acknowledge(saved.repository, [prefix.upper()], "it was me", now_ms=5)
    assert done.acknowledgement is not None
    assert done.acknowledgement.reason == "it was me"
    saved.prune()
    assert len(saved.repository.snapshots()) == 1
    assert acknowledgement_names(saved.repository.storage) == [], "of a snapshot that is gone"


def test_a_prune_that_was_planned_before_the_alarm_drops_nothing(saved: Place) -> None:
    saved.back_up()
    options = PruneOptions(retention=Retention(keep_last=1), grace_s=0)
    plan = plan_prune(saved.repository, options, SilentMonitor(), now_ms=NOW_MS)
    assert plan.drop
    alarmed(saved)
    with pytest.raises(PruneBlocked):
        prune(saved.repository, plan, options, SilentMonitor())
    assert len(saved.repository.snapshots()) == 3


def test_to_drop_by_name_is_refused_too(saved: Place) -> None:
    stats = alarmed(saved)
    options = PruneOptions(drop=frozenset([stats.snapshot]))
    with pytest.raises(PruneBlocked):
        plan_prune(saved.repository, options, SilentMonitor(), now_ms=NOW_MS)


def test_a_lost_or_damaged_acknowledgement_blocks_again(saved: Place) -> None:
    stats = alarmed(saved)
    storage = saved.repository.storage
    assert isinstance(storage, MemoryStorage)
    acknowledge(saved.repository, [stats.snapshot.hex()], "", now_ms=5)
    (name,) = acknowledgement_names(storage)
    pinned_snapshots(saved.repository, saved.repository.snapshots())
    assert look(saved.repository).findings == []
    storage.objects[name] = storage.objects[name][:-1] + b"?"
    with pytest.raises(PruneBlocked):
        pinned_snapshots(saved.repository, saved.repository.snapshots())
    assert list(look(saved.repository).errors) == [name]
    storage.delete(name)
    with pytest.raises(PruneBlocked):
        pinned_snapshots(saved.repository, saved.repository.snapshots())


def test_where_a_snapshot_cannot_be_read_nobody_says_that_there_is_no_alarm(saved: Place) -> None:
    stats = alarmed(saved)
    storage = saved.repository.storage
    assert isinstance(storage, MemoryStorage)
    for name in [name for name in storage.objects if stats.snapshot.hex() in name]:
        storage.objects[name] = b"damaged"
    with pytest.raises(RepositoryError, match="cannot be told"):
        alarms(saved.repository)
    with pytest.raises(RepositoryError):
        saved.plan()


def test_an_acknowledgement_must_name_one_alarm(saved: Place) -> None:
    first = saved.back_up()
    stats = alarmed(saved)
    good = stats.snapshot.hex()
    for names in (["zz"], [""], [first.snapshot.hex()], [good, "zz"]):
        with pytest.raises(UsageError):
            acknowledge(saved.repository, names, "", now_ms=5)
    for reason in ("two\nlines", "\x1b[2J", "x" * 1001):
        with pytest.raises(UsageError):
            acknowledge(saved.repository, [good], reason, now_ms=5)
    assert acknowledged(saved.repository.storage, saved.repository.keys) == {}
    acknowledge(saved.repository, [good], "first", now_ms=5)
    (again,) = acknowledge(saved.repository, [good], "second", now_ms=6)
    assert again.acknowledgement is not None
    assert again.acknowledgement.reason == "first"


def test_an_alarm_stands_if_the_acknowledgement_cannot_be_stored(saved: Place) -> None:
    stats = alarmed(saved)
    repository = saved.repository
    full = FaultyStorage(repository.storage, room_bytes=0)
    with pytest.raises(StorageError):
        acknowledge(Repository(full, repository.keys), [stats.snapshot.hex()], "", now_ms=5)
    assert [item.stands for item in alarms(repository)] == [True]


class Clock:
    """What stands for the module ``time`` in a backup."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def time_ns(self) -> int:
        """Return the time that a backup writes into its snapshot."""
        return self.now_ms * 1_000_000


@pytest.mark.parametrize("acknowledging", [False, True])
def test_what_was_acknowledged_day_after_day_is_told_and_no_alarm_any_more(
    place: Place, monkeypatch: pytest.MonkeyPatch, acknowledging: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(backup_module, "time", clock)
    place.back_up()
    asked = []
    for day in range(LEARNED_DAYS + 3):
        clock.now_ms += DAY_MS
        user = USERS[day % 8]
        place.data.add_user(user, [chat(day * 10 + 500 + one) for one in range(2)])
        place.back_up()
        clock.now_ms += 1000
        overwrite(place, user, 900 + day)
        stats = place.back_up()
        assert "shrunken-history" in place.findings
        asked.append("history-overwritten" in rules(stats))
        if acknowledging and stats.alarms:
            names = [item.snapshot.id.hex() for item in alarms(place.repository) if item.stands]
            acknowledge(place.repository, names, "", now_ms=5)
    assert asked[:LEARNED_DAYS] == [True] * LEARNED_DAYS
    assert asked[-1] != acknowledging


# Crashes and companions


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_backup_killed_at_any_write_leaves_no_snapshot_that_nobody_looked_at(
    tmp_path: Path, moment: Moment
) -> None:
    place = Place(tmp_path)
    place.back_up()
    whole = place.repository
    assert isinstance(whole.storage, MemoryStorage)
    before = set(whole.storage.objects)
    overwrite(place)
    at = 0
    while True:
        for name in set(whole.storage.objects) - before:
            whole.storage.delete(name)
        faulty = FaultyStorage(whole.storage, at_put=at, moment=moment)
        place.repository = Repository(faulty, whole.keys)
        try:
            place.back_up()
        except Crash:
            at += 1
        else:
            break
        place.repository = whole
        known = set(snapshot_ids(whole.storage))
        if len(known) == 1:
            place.back_up()
        with pytest.raises(PruneBlocked):
            place.plan()
    assert at >= 3


def test_a_copy_takes_alarms_and_acknowledgements_along(saved: Place, tmp_path: Path) -> None:
    stats = alarmed(saved)
    other, _ = create_repository(Elsewhere(), PASSPHRASE)

    def copy_all() -> None:
        plan = plan_copy(saved.repository, other, [stats.snapshot.hex()])
        copy(saved.repository, other, plan, CopyOptions(state=str(tmp_path / "c")), SilentMonitor())

    copy_all()
    (there,) = alarms(other)
    assert there.stands
    assert there.there == [], "the snapshot that it pins was not copied"
    acknowledge(saved.repository, [stats.snapshot.hex()], "seen", now_ms=7)
    copy_all()
    copy_all()
    (there,) = alarms(other)
    assert there.acknowledgement == alarms(saved.repository)[0].acknowledgement
    assert len(acknowledgement_names(other.storage)) == 1


def test_a_rotation_changes_nothing_about_alarms(saved: Place) -> None:
    first = alarmed(saved)
    acknowledge(saved.repository, [first.snapshot.hex()], "seen", now_ms=7)
    overwrite(saved, USERS[1])
    saved.back_up()
    begun = begin_rotation(
        saved.repository, plan_rotation(saved.repository), new_recovery_key(), "new"
    )
    finish_rotation(begun.repository, SilentMonitor())
    saved.repository = begun.repository
    assert [item.stands for item in alarms(saved.repository)] == [False, True]
    with pytest.raises(PruneBlocked):
        saved.plan()


def test_an_erasure_is_no_alarm_and_takes_the_name_out_of_reasons(
    saved: Place, tmp_path: Path
) -> None:
    stats = alarmed(saved)
    acknowledge(saved.repository, [stats.snapshot.hex()], f"{USERS[1]} asked for it", now_ms=7)
    data = str(saved.data.folder)
    for path in saved.data.folder.rglob("*.json"):
        os.utime(path, (1, 1))  # nobody is active: an erasure need not wait long
    saved.back_up()
    for number, user in enumerate(USERS[1:7]):
        options = EraseOptions(receipt=str(tmp_path / f"receipt{number}"), state=saved.state)
        plan = plan_erase(data, saved.repository, user.encode())
        assert erase(data, saved.repository, plan, options, SilentMonitor()).complete
    (alarm,) = alarms(saved.repository)
    assert alarm.acknowledgement is not None
    assert alarm.acknowledgement.reason == ""
    assert alarm.acknowledgement.time_ms == 7
    assert saved.back_up().trips == []
    assert saved.back_up(full=True).trips == []


def test_the_limits_are_those_that_are_given(saved: Place) -> None:
    remove_history(saved, USERS[0])
    saved.data.remove(f"users/{USERS[0]}.json")
    stats = saved.back_up(limits=Limits(users=1, percent=1))
    assert {"users-vanished"} <= rules(stats)


def test_a_backup_without_tripwires_says_that_nobody_compared(saved: Place) -> None:
    overwrite(saved)
    settle(saved.data.folder)
    options = BackupOptions(watch=None)
    stats = backup(str(saved.data.folder), saved.repository, options, SilentMonitor())
    assert saved.root(stats).evidence is None
    assert stats.trips == []


def test_what_could_not_be_compared_is_counted(saved: Place) -> None:
    storage = saved.repository.storage
    assert isinstance(storage, MemoryStorage)
    for name in [name for name in storage.objects if name.startswith("manifests/")]:
        storage.delete(name)
    stats = saved.back_up()
    evidence = saved.root(stats).evidence
    assert evidence is not None
    assert evidence.unseen > 0
    assert "parent-damaged" in saved.findings


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("overwrite"), st.integers(0, 7)),
        st.tuples(st.just("write"), st.integers(0, 7)),
        st.tuples(st.just("remove"), st.integers(0, 7)),
        st.tuples(st.just("prune"), st.integers(1, 2)),
        st.tuples(st.just("acknowledge"), st.integers(0, 3)),
    ),
    min_size=4,
    max_size=12,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS)
def test_no_prune_drops_what_an_alarm_pins(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    base = tmp_path_factory.mktemp("pinned")
    place = Place(base, _COUNTED)
    storage = place.repository.storage
    assert isinstance(storage, MemoryStorage)
    storage.objects = dict(_EMPTY)
    place.back_up()
    pinned: dict[bytes, list[bytes]] = {}
    for number, (act, which) in enumerate(acts):
        if act == "overwrite":
            overwrite(place, USERS[which], 1000 + number)
        elif act == "remove":
            shutil.rmtree(place.path(USERS[which]).parent, ignore_errors=True)
        elif act == "write":
            history = place.path(USERS[which])
            known = json.loads(history.read_bytes()) if history.exists() else []
            new = chat(2000 + number)
            place.data.write(f"histories/{USERS[which]}/{KEY}.json", [new, *known])
        elif act == "acknowledge" and pinned:
            chosen = sorted(pinned)[which % len(pinned)]
            acknowledge(place.repository, [chosen.hex()], "", now_ms=number)
            del pinned[chosen]
        elif act == "prune":
            if pinned:
                with pytest.raises(PruneBlocked):
                    place.plan(keep_last=which)
            else:
                place.prune()
        if act in ("overwrite", "write", "remove"):
            stats = place.back_up()
            if stats.pinned:
                pinned[stats.snapshot] = stats.pinned
        there = set(snapshot_ids(storage))
        for snapshot, held in pinned.items():
            assert {snapshot, *held} <= there
    assert look(place.repository, read=False).errors == {}


_COUNTED, _ = create_repository(MemoryStorage(), PASSPHRASE)
assert isinstance(_COUNTED.storage, MemoryStorage)
_EMPTY = dict(_COUNTED.storage.objects)


def erase_all(place: Place, *users: str) -> None:
    for path in place.data.folder.rglob("*.json"):
        os.utime(path, (1, 1))  # nobody is active: an erasure need not wait long
    for user in users:
        receipt = f"{place.state}-receipt-{user[-1]}"
        options = EraseOptions(receipt=receipt, state=place.state)
        plan = plan_erase(str(place.data.folder), place.repository, user.encode())
        stats = erase(str(place.data.folder), place.repository, plan, options, SilentMonitor())
        assert stats.complete


def test_an_alarm_about_somebody_who_is_erased_is_resolved(saved: Place) -> None:
    alarmed(saved)
    erase_all(saved, USERS[0])
    (alarm,) = alarms(saved.repository)
    assert (alarm.stands, alarm.resolved, alarm.acknowledgement) == (False, True, None)
    saved.plan()


def test_an_alarm_about_others_as_well_stands(saved: Place) -> None:
    overwrite(saved, USERS[0])
    overwrite(saved, USERS[1])
    saved.back_up()
    erase_all(saved, USERS[0])
    assert alarms(saved.repository)[0].stands
    erase_all(saved, USERS[1])
    assert not alarms(saved.repository)[0].stands


def test_an_alarm_about_more_than_are_looked_at_stands_until_it_is_acknowledged(
    saved: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tripwires, "MOST_TOLD", 1)
    overwrite(saved, USERS[0])
    overwrite(saved, USERS[1])
    saved.back_up()
    erase_all(saved, USERS[0], USERS[1])
    assert alarms(saved.repository)[0].stands


def test_who_comes_back_after_an_erasure_is_watched_as_anybody(saved: Place) -> None:
    alarmed(saved)
    erase_all(saved, USERS[0])
    saved.data.add_user(USERS[0], [chat(number) for number in range(5)])
    saved.back_up()
    overwrite(saved, number=901)
    stats = saved.back_up()
    assert [item.stands for item in alarms(saved.repository)] == [False, True]
    assert saved.root(stats).overwritten == [
        saved.repository.keys.user_pseudonym(USERS[0].encode())
    ]


def test_what_an_erasure_resolved_is_acknowledged_in_copies(saved: Place, tmp_path: Path) -> None:
    stats = alarmed(saved)
    other = create_repository(Elsewhere(), "another")[0]
    for erased in (False, True):
        if erased:
            erase_all(saved, USERS[0])
        plan = plan_copy(saved.repository, other, [stats.snapshot.hex()])
        options = CopyOptions(state=str(tmp_path / "c"))
        copy(saved.repository, other, plan, options, SilentMonitor())
        (there,) = alarms(other)
        assert there.snapshot.overwritten == [], "a pseudonym there means nobody here"
        assert there.stands == alarms(saved.repository)[0].stands == (not erased)


@pytest.fixture
def among_many(saved: Place) -> Place:
    """As if there were so many people that somebody begins anew every few months."""
    saved.limits = Limits(overwritten_percent=100)
    return saved


def put_back(place: Place) -> None:
    options = RepairOptions(state=place.state, quiet_s=0)
    repair(place.repository, str(place.data.folder), options, SilentMonitor())


def go_on(place: Place) -> None:
    for number in range(3):
        place.data.prepend_chat(USERS[3], chat(700 + number))
        place.back_up()


def test_one_overwritten_history_among_very_many_stops_no_prune_and_nothing_of_it_goes(
    among_many: Place,
) -> None:
    stats = alarmed(among_many)
    assert [trip.level for trip in stats.trips] == ["warning"]
    assert among_many.findings == ["shrunken-history", "history-overwritten"]
    go_on(among_many)
    among_many.prune()
    *kept, newest = [item.id for item in among_many.repository.snapshots()]
    assert kept == [*stats.pinned, stats.snapshot]
    assert newest != stats.snapshot
    assert alarms(among_many.repository)[0].stands
    put_back(among_many)
    assert [one["id"] for one in among_many.data.chats(USERS[0])] == [
        chat(number)["id"] for number in (900, 0, 1, 2, 3, 4)
    ]


def test_what_is_acknowledged_is_pinned_no_longer(among_many: Place) -> None:
    stats = alarmed(among_many)
    go_on(among_many)
    acknowledge(among_many.repository, [stats.snapshot.hex()], "seen", now_ms=7)
    among_many.prune()
    assert len(among_many.repository.snapshots()) == 1


@pytest.mark.parametrize("which", ["tripped", "pinned"])
def test_what_is_pinned_is_not_dropped_by_name(among_many: Place, which: str) -> None:
    stats = alarmed(among_many)
    one = stats.snapshot if which == "tripped" else stats.pinned[0]
    with pytest.raises(PruneBlocked, match=one.hex()[:8]):
        plan_prune(
            among_many.repository,
            PruneOptions(drop=frozenset([one])),
            SilentMonitor(),
            now_ms=NOW_MS,
        )


def test_a_warning_that_comes_while_a_prune_is_at_work_stops_it_if_it_pins_what_is_dropped(
    among_many: Place,
) -> None:
    go_on(among_many)
    options = PruneOptions(retention=Retention(keep_last=1), grace_s=0)
    plan = plan_prune(among_many.repository, options, SilentMonitor(), now_ms=NOW_MS)
    overwrite(among_many, USERS[1])
    stats = among_many.back_up()
    before = [item.id for item in among_many.repository.snapshots()]
    assert set(stats.pinned) & set(plan.drop), "the newest snapshot that held those chats"
    with pytest.raises(PruneBlocked):
        prune(among_many.repository, plan, options, SilentMonitor())
    assert [item.id for item in among_many.repository.snapshots()] == before


def test_many_overwritten_among_very_many_block(saved: Place) -> None:
    saved.limits = Limits(overwritten_percent=50)
    for number, user in enumerate(USERS):
        overwrite(saved, user, 900 + number)
    trips = saved.back_up().trips
    assert "alarm" in {trip.level for trip in trips if trip.rule == "history-overwritten"}
    with pytest.raises(PruneBlocked):
        saved.plan()


def write_archive(place: Place, chats: int, user: str = USERS[0]) -> Path:
    path = place.path(user).with_name(f"{KEY}.archive.json.gz")
    held = [chat(number * 3 + 5000) for number in range(chats)]
    path.write_bytes(gzip.compress(json.dumps(held).encode(), mtime=0))
    return path


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("left", [0, 1, 5])
def test_an_archive_overwritten_by_a_shorter_one_is_noticed(
    saved: Place, left: int, full: bool
) -> None:
    write_archive(saved, 6)
    assert saved.back_up().trips == []
    write_archive(saved, left)
    stats = saved.back_up(full=full)
    assert rules(stats) == {"archives-shrunken"}
    (alarm,) = alarms(saved.repository)
    assert alarm.blocks
    found = dict(commands(stats.snapshot, stats.trips, alarm.there))
    assert found["brings back what was there before"].endswith("--in-place")


def test_an_archive_that_is_gone_is_noticed_and_with_its_user_it_is_not(saved: Place) -> None:
    archives = [write_archive(saved, 6, user) for user in USERS[:2]]
    saved.back_up()
    shutil.rmtree(archives[1].parent)
    saved.data.remove(f"users/{USERS[1]}.json")
    assert saved.back_up().trips == []
    archives[0].unlink()
    assert rules(saved.back_up()) == {"archives-shrunken"}


def test_an_archive_that_grows_or_is_written_anew_is_no_alarm(saved: Place) -> None:
    write_archive(saved, 6)
    saved.back_up()
    path = write_archive(saved, 7)
    assert saved.back_up().trips == []
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert saved.back_up().trips == []


def test_chats_that_our_commands_move_between_a_history_and_its_archive_are_no_alarm(
    saved: Place,
) -> None:
    for path in saved.data.folder.rglob("*.json"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    saved.back_up()
    for before_ms in (1_700_000_000_003, 1_700_000_000_075, None):
        options = ArchiveOptions(before_ms=before_ms, now_ms=NOW_MS, state=saved.state, quiet_s=0)
        archive(saved.repository, str(saved.data.folder), options, SilentMonitor())
        archived = saved.path(USERS[0]).with_name(f"{KEY}.archive.json.gz")
        assert archived.exists() == (before_ms is not None)
        assert saved.back_up().trips == []


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("depth", [300, 1100])
def test_a_deep_history_that_became_a_small_one_is_noticed(
    place: Place, depth: int, full: bool
) -> None:
    chats = json.dumps([{**chat(1), "deep": "?"}, *map(chat, range(2, 9))])
    place.path(USERS[0]).write_text(chats.replace('"?"', "[" * depth + "]" * depth))
    place.back_up()
    overwrite(place)
    stats = place.back_up(full=full)
    assert [(trip.rule, trip.level) for trip in stats.trips] == [
        ("large-history-shrunken", "warning")
    ]
    (alarm,) = alarms(place.repository)
    found = dict(commands(stats.snapshot, stats.trips, alarm.there))
    assert found["brings back what was there before"].endswith("--in-place")
