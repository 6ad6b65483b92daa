"""Cleanups of a live data directory: what goes, what stays, what a plan promises, and undo."""

from __future__ import annotations

import errno
import gzip
import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir import replace
from shenyu_data.datadir.replace import Live
from shenyu_data.model.errors import NothingToTakeBack, OwnerNotFound, UsageError
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.expiry_holds import Hold
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import cleanup as module
from shenyu_data.operations.cleanup import CleanupStats, cleanup
from shenyu_data.operations.cleanup_edits import RemovalEdit
from shenyu_data.operations.cleanup_plan import plan_cleanup
from shenyu_data.operations.cleanup_total import with_room
from shenyu_data.operations.cleanup_values import CleanupOptions, CleanupPlan
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Way, Wish
from shenyu_data.operations.restore_live import LiveOptions
from shenyu_data.operations.restore_undo import plan_undo, undo
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.scenario import PASSPHRASE, look, take
from shenyu_data.testing.tree import Tree, read_tree

ANNA, BEN = f"{1:064x}", f"{2:064x}"
DAY_S = 86_400
T0 = 1_700_000_000_000
NOW = T0 + 1000 * DAY_S * 1000
HALF = Policy(rule=Rule(older_than_s=500 * DAY_S))
ALL = Policy(rule=Rule(keep_newest=0))


def dated(day: int, messages: int = 2) -> dict[str, Any]:
    """Give a chat of the application's that began so many days after T0."""
    return {**chat(0, messages=messages, about=str(day)), "id": T0 + day * DAY_S * 1000}


def old(path: Path, days: float = 2.5) -> None:
    """Date a file or folder so many days before NOW."""
    ns = int((NOW - days * DAY_S * 1000) * 1e6)
    os.utime(path, ns=(ns, ns))


class Place:
    """A data directory of both layouts, saved and verified."""

    def __init__(self, folder: Path, storage: Storage | None = None) -> None:
        self.repository, _ = create_repository(storage or MemoryStorage(), PASSPHRASE)
        self.data = Application(folder / "data")
        self.root = self.data.folder
        self.state = str(folder / "state")
        self.data.add_user(ANNA, [dated(day) for day in range(990, 0, -100)])
        self.data.write(f"users/{ANNA}.json", {"id": ANNA, "lastSeen": NOW})
        self.data.write(f"histories/{ANNA}/sn43-history.json", [dated(800), dated(5)])
        self.data.write(f"users/{BEN}.json", {"id": BEN, "created_at": "2023-11-15T00:00:00Z"})
        self.data.write(f"histories/{BEN}/1.json", {**dated(10), "model": "m"})
        self.data.write(f"histories/{BEN}/2.json", {**dated(900), "id": "x", "timestamp": T0})
        packed = gzip.compress(json.dumps([dated(900), dated(20)]).encode(), 9, mtime=7)
        self.data.write(f"histories/{BEN}/packed.json.gz", packed)
        self.data.write(f"histories/{BEN}/notes.txt", b"no history")
        self.data.write(f"histories/{BEN}/theme.json", {"theme": "dark"})
        for path in self.root.rglob("*"):
            old(path)
        self.save()

    def save(self) -> bytes:
        taken = take(self.repository, self.data)
        assert look(self.repository).errors == {}
        return taken.snapshot

    def options(self, policy: Policy, *holds: Hold, **more: Any) -> CleanupOptions:
        return CleanupOptions(
            policy=policy, holds=list(holds), now_ms=NOW, state=self.state, quiet_s=0.05, **more
        )

    def plan(self, policy: Policy, *holds: Hold, **more: Any) -> CleanupPlan:
        options = self.options(policy, *holds, **more)
        return plan_cleanup(self.repository, str(self.root), options, CollectingMonitor())

    def clean(
        self, policy: Policy, *holds: Hold, monitor: CollectingMonitor | None = None, **more: Any
    ) -> CleanupStats:
        options = self.options(policy, *holds, **more)
        monitor = monitor or CollectingMonitor()
        return cleanup(self.repository, str(self.root), options, monitor)

    def undo(self, **more: Any) -> CollectingMonitor:
        monitor = CollectingMonitor()
        options = LiveOptions(state=self.state, quiet_s=0.05, **more)
        plan_undo(self.repository, str(self.root), options, monitor)
        undo(self.repository, str(self.root), options, monitor)
        return monitor

    def days(self, path: str) -> list[int]:
        """Give the days of the chats of a history."""
        data = (self.root / path).read_bytes()
        chats = json.loads(gzip.decompress(data) if path.endswith(".gz") else data)
        chats = chats if isinstance(chats, list) else [chats]
        return [(item["id"] - T0) // (DAY_S * 1000) for item in chats]

    def tree(self) -> Tree:
        return read_tree(self.root)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


CHATS = f"histories/{ANNA}/chat-history.json"
OTHER = f"histories/{ANNA}/sn43-history.json"
PACKED = f"histories/{BEN}/packed.json.gz"


def test_chats_expire_by_their_own_clocks_in_both_layouts_and_the_rest_stays(place: Place) -> None:
    before = (place.root / CHATS).read_bytes()
    stats = place.clean(HALF)
    assert place.days(CHATS) == [990, 890, 790, 690, 590]
    assert place.days(OTHER) == [800]
    assert place.days(PACKED) == [900]
    assert sorted(path.name for path in (place.root / f"histories/{BEN}").iterdir()) == [
        "notes.txt",
        "packed.json.gz",
        "theme.json",
    ]
    left = (place.root / CHATS).read_bytes()
    assert before.startswith(left[:-2]), "the bytes of the others are as they were"
    assert (stats.done.chats, stats.done.documents, stats.done.files) == (9, 5, 2)
    assert (stats.refused, stats.busy, stats.failed, stats.damaged) == (0, 0, 0, 0)


def total_size(place: Place) -> int:
    """Give the bytes of all chats, as a plan that expires all of them counts them."""
    return place.plan(ALL).total.size_bytes


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_of_all_users_together_the_oldest_go_until_the_others_have_room(
    place: Place, share: float
) -> None:
    limit = int(total_size(place) * share)
    policy = Policy(max_total_bytes=limit)
    options = with_room(str(place.root), place.options(policy), CollectingMonitor())
    plan = plan_cleanup(place.repository, str(place.root), options, CollectingMonitor())
    gone = {(item.path, item.chat): item.active_ms for item in plan.chats}
    every = {(item.path, item.chat): item.active_ms for item in place.plan(ALL).chats}
    kept = {place: time_ms for place, time_ms in every.items() if place not in gone}
    assert bool(gone) == (share < 1)
    assert bool(kept) == (share > 0)
    assert max(gone.values(), default=0) < min(kept.values(), default=NOW)
    cleanup(place.repository, str(place.root), options, CollectingMonitor(), plan)
    assert total_size(place) <= limit
    again = with_room(str(place.root), place.options(policy), CollectingMonitor())
    assert again.policy.room_since_ms is None


def test_a_total_size_is_not_of_some_users_alone(place: Place) -> None:
    options = place.options(Policy(max_total_bytes=1), users=frozenset([ANNA.encode()]))
    with pytest.raises(UsageError, match="all users"):
        with_room(str(place.root), options, CollectingMonitor())


def test_a_total_size_is_of_the_histories_that_are_looked_at(place: Place) -> None:
    policy = Policy(max_total_bytes=0, only=frozenset(["sn43-history"]))
    options = with_room(str(place.root), place.options(policy), CollectingMonitor())
    plan = plan_cleanup(place.repository, str(place.root), options, CollectingMonitor())
    assert {item.path for item in plan.chats} == {OTHER}
    assert plan.total.chats == 2


def test_what_stays_keeps_mode_and_time_and_a_compressed_history_its_settings(
    place: Place,
) -> None:
    os.chmod(place.root / CHATS, 0o640)
    before = [(place.root / path).stat() for path in (CHATS, PACKED)]
    place.clean(HALF, unsaved_too=True)
    after = [(place.root / path).stat() for path in (CHATS, PACKED)]
    assert [item.st_mtime_ns for item in before] == [item.st_mtime_ns for item in after]
    assert [item.st_mode for item in before] == [item.st_mode for item in after]
    assert (place.root / PACKED).read_bytes() == gzip.compress(
        json.dumps([dated(900)]).encode(), 9, mtime=7
    )


def test_the_plan_equals_what_is_done_and_doing_it_again_does_nothing(place: Place) -> None:
    for policy in (
        HALF,
        Policy(rule=Rule(keep_newest=3)),
        Policy(rule=Rule(max_bytes=1000), empty=True),
    ):
        plan = place.plan(policy)
        before = place.tree()
        assert place.tree() == before
        stats = place.clean(policy)
        for name in ("chats", "messages", "size_bytes", "documents", "files", "folders"):
            assert getattr(stats.done, name) == getattr(plan.total, name), name
        assert plan.total.chats == sum(item.kept is None for item in plan.chats) > 0
        again = place.clean(policy)
        assert again.safety is None
        assert place.plan(policy).empty


def test_the_plan_says_clocks_and_amounts_of_each_user(place: Place) -> None:
    plan = place.plan(HALF)
    assert plan.total.clocks == {"id": 8, "timestamp": 1}
    assert {item.user: item.amounts.chats for item in plan.users} == {ANNA: 6, BEN: 3}
    assert plan.users_seen == 2
    one = next(item for item in plan.chats if item.path.endswith("2.json"))
    assert (one.chat, one.active_ms, one.source) == ("x", T0, "timestamp")
    assert one.reasons == ["not active for 500d"]


def test_undo_takes_a_cleanup_back_to_the_last_byte(place: Place) -> None:
    before = place.tree()
    place.clean(Policy(rule=Rule(keep_newest=0), empty=True))
    assert not (place.root / f"histories/{ANNA}").exists()
    assert place.undo().findings == []
    after = place.tree()
    folders = [path for path, node in before.nodes.items() if node.kind == "folder"]
    assert after.without(folders) == before.without(folders)
    assert {path: after.nodes[path].mode for path in folders} == {
        path: before.nodes[path].mode for path in folders
    }


def test_undo_puts_chats_into_a_history_that_went_on(place: Place) -> None:
    place.clean(HALF)
    place.data.prepend_chat(ANNA, dated(995))
    changed = place.data.chats(ANNA)
    changed[1]["messages"].append({"role": "user", "content": "more"})
    place.data.write(CHATS, [item for item in changed if item["id"] != dated(790)["id"]])
    assert place.undo().findings == []
    days = [995, 990, 890, 690, 590, 490, 390, 290, 190, 90]
    assert place.days(CHATS) == days, "what the user deleted stays deleted"
    assert place.data.chats(ANNA)[1]["messages"][-1]["content"] == "more"


def test_undo_leaves_a_document_that_was_made_anew_and_says_so(place: Place) -> None:
    place.clean(HALF)
    again = {**dated(10), "title": "anew"}
    place.data.write(f"histories/{BEN}/1.json", again)
    monitor = place.undo()
    assert [finding.code for finding in monitor.findings] == ["changed-since"]
    assert json.loads((place.root / f"histories/{BEN}/1.json").read_bytes()) == again
    place.undo(overwrite=True)
    assert json.loads((place.root / f"histories/{BEN}/1.json").read_bytes())["model"] == "m"


def test_a_history_that_was_removed_and_made_anew_gets_its_chats_back(place: Place) -> None:
    place.clean(Policy(rule=Rule(keep_newest=0), empty=True, only=frozenset(["chat-history"])))
    assert not (place.root / CHATS).exists()
    place.data.write(CHATS, [dated(999)])
    assert place.undo().findings == []
    assert place.days(CHATS) == [999, *range(990, 0, -100)]


def test_holds_win_over_every_rule(place: Place) -> None:
    hold = Hold(user=ANNA, chat=str(dated(90)["id"]), reason="asked for")
    everything = Policy(
        rule=Rule(older_than_s=0, keep_newest=0, max_bytes=0),
        idle_users_s=0,
        empty=True,
        orphans=True,
    )
    before = {path.name: path.read_bytes() for path in (place.root / f"histories/{BEN}").iterdir()}
    stats = place.clean(everything, hold, Hold(user=BEN), unsaved_too=True)
    assert place.days(CHATS) == [90]
    assert before == {
        path.name: path.read_bytes() for path in (place.root / f"histories/{BEN}").iterdir()
    }
    assert stats.done.chats == 11
    plan = place.plan(everything, hold, Hold(user=BEN))
    assert {item.kept for item in plan.chats} == {"held: asked for", "held"}


def test_a_chat_of_the_guide_without_an_id_is_held_by_the_name_of_its_file(place: Place) -> None:
    path = place.root / f"histories/{BEN}/3.json"
    place.data.write(f"histories/{BEN}/3.json", {"messages": [], "timestamp": T0})
    place.clean(ALL, Hold(user=BEN, chat="3"), unsaved_too=True)
    assert path.exists()


def test_nothing_goes_that_no_verified_snapshot_holds(place: Place) -> None:
    chats = place.data.chats(ANNA)
    chats[-1]["messages"].append({"role": "user", "content": "not saved yet"})
    place.data.write(CHATS, [*chats, dated(1)])
    plan = place.plan(HALF)
    assert plan.total.unsaved == 2
    kept = [item for item in plan.chats if item.kept is not None]
    assert {item.kept for item in kept} == {"no verified snapshot holds it"}
    place.clean(HALF)
    assert place.days(CHATS) == [990, 890, 790, 690, 590, 90, 1]
    take(place.repository, place.data)
    assert place.plan(HALF).total.unsaved == 2, "saved, and not verified"
    look(place.repository)
    place.clean(HALF)
    assert place.days(CHATS) == [990, 890, 790, 690, 590]


def test_a_chat_that_only_an_older_verified_snapshot_holds_may_go(place: Place) -> None:
    chats = place.data.chats(ANNA)
    for kept in (3, 5):
        place.data.write(CHATS, chats[:kept])
        place.save()
    place.data.write(CHATS, chats)
    assert place.plan(HALF).total.unsaved == 0
    place.clean(HALF)
    assert place.days(CHATS) == [990, 890, 790, 690, 590]


def test_without_a_verified_snapshot_nothing_goes_unless_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    before = place.tree()
    take(place.repository, place.data)
    plan = place.plan(ALL)
    assert (plan.verified, plan.total.chats, plan.total.unsaved) == (0, 0, 16)
    assert place.clean(ALL).safety is None
    assert place.tree() == before
    assert place.clean(ALL, unsaved_too=True).done.chats == 16


def test_a_safety_snapshot_is_no_proof_even_if_it_was_verified(place: Place) -> None:
    place.data.write(CHATS, [dated(1)])
    place.clean(Policy(rule=Rule(keep_newest=0), only=frozenset(["sn43-history"])))
    assert look(place.repository).errors == {}
    assert place.plan(ALL, users=frozenset([ANNA.encode()])).total.unsaved == 1


def test_only_the_histories_and_users_that_are_meant_are_touched(place: Place) -> None:
    place.clean(Policy(rule=Rule(keep_newest=0), only=frozenset(["sn43-history"])))
    assert place.days(OTHER) == []
    assert len(place.days(CHATS)) == 10
    assert (place.root / f"histories/{BEN}/1.json").exists()
    place.clean(ALL, users=frozenset([BEN.encode()]))
    assert not (place.root / f"histories/{BEN}/1.json").exists()
    assert len(place.days(CHATS)) == 10


def test_users_who_were_idle_lose_all_and_one_who_looked_in_nothing(place: Place) -> None:
    policy = Policy(idle_users_s=50 * DAY_S)
    place.clean(policy)
    assert len(place.days(CHATS)) == 10, "lastSeen counts"
    assert not (place.root / f"histories/{BEN}/1.json").exists()


def test_an_unreadable_user_document_makes_nobody_idle(place: Place) -> None:
    place.data.write(f"users/{BEN}.json", b'{"id": ')
    assert place.plan(Policy(idle_users_s=50 * DAY_S)).empty


def test_empty_histories_and_folders_go_and_fresh_ones_stay(place: Place) -> None:
    place.data.write(f"histories/{ANNA}/sn43-history.json", b"[]")
    place.data.write("histories/gone/chat-history.json", b" [ ] ")
    place.data.write("histories/fresh/chat-history.json", b"[]")
    (place.root / "histories/nothing").mkdir()
    for name in (f"{ANNA}/sn43-history.json", "gone/chat-history.json", "gone", "nothing"):
        old(place.root / "histories" / name)
    policy = Policy(empty=True)
    plan = place.plan(policy)
    assert (plan.total.files, plan.total.folders) == (2, 2)
    stats = place.clean(policy)
    assert (stats.done.files, stats.done.folders) == (2, 2)
    assert sorted(os.listdir(place.root / "histories")) == [ANNA, BEN, "fresh"]
    place.undo()
    assert sorted(os.listdir(place.root / "histories")) == [ANNA, BEN, "fresh", "gone", "nothing"]
    assert (place.root / "histories/gone/chat-history.json").read_bytes() == b" [ ] "


def test_orphans_go_with_their_folder_but_not_with_what_is_no_history(place: Place) -> None:
    for name in ("lost", "kept"):
        place.data.write(f"histories/{name}/chat-history.json", [dated(3)])
    place.data.write("histories/kept/notes.txt", b"mine")
    for path in (place.root / "histories").rglob("*"):
        old(path)
    place.save()
    plan = place.plan(Policy(orphans=True))
    assert {item.user for item in plan.users} == {"lost", "kept"}
    place.clean(Policy(orphans=True))
    assert sorted(os.listdir(place.root / "histories")) == [ANNA, BEN, "kept"]
    assert (place.root / "histories/kept/notes.txt").read_bytes() == b"mine"


def test_what_cannot_be_read_is_left_alone_and_named(place: Place) -> None:
    torn = (place.root / CHATS).read_bytes()[:-40]
    place.data.write(CHATS, torn)
    (place.root / f"histories/{BEN}/link.json").symlink_to(place.root / OTHER)
    (place.root / "histories/elsewhere").symlink_to(place.root / "users")
    for path in (place.root / CHATS, place.root / f"histories/{BEN}"):
        old(path)
    monitor = CollectingMonitor()
    place.clean(ALL, monitor=monitor)
    assert {(item.code, item.path) for item in monitor.findings if item.code == "live-torn"} == {
        ("live-torn", CHATS)
    }
    assert (place.root / CHATS).read_bytes() == torn
    assert place.days(OTHER) == []
    assert (place.root / f"histories/{BEN}/link.json").is_symlink()


def test_a_document_written_since_the_plan_is_planned_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application goes on with an old chat between the plan and the exchange: it stays."""
    asked = RemovalEdit.__call__
    done: list[int] = []

    def writing(self: Any, live: Live | None) -> Any:
        if not done and self.path.decode() == CHATS:
            done.append(1)
            chats = place.data.chats(ANNA)
            chats[-1]["messages"].append({"role": "user", "content": "I am back"})
            place.data.write(CHATS, [dated(999), *chats])
        return asked(self, live)

    monkeypatch.setattr(RemovalEdit, "__call__", writing)
    stats = place.clean(HALF, unsaved_too=True)
    assert done
    assert place.days(CHATS) == [999, 990, 890, 790, 690, 590, 90]
    assert stats.done.chats == 8


def test_workers_plan_what_one_process_plans(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "repo"))
    storage.create()
    place = Place(tmp_path, storage)
    for number in range(600):
        user = f"user{number}"
        place.data.add_user(user, [dated(900), dated(number % 700)])
    place.save()
    alone, together = place.plan(HALF, every=True), place.plan(HALF, every=True, jobs=2)
    assert alone.total == together.total
    assert list(alone.users) == list(together.users)
    assert [item.path for item in alone.chats] == [item.path for item in together.chats]
    assert place.clean(HALF, jobs=2).done.chats == alone.total.chats


def test_a_plan_lists_so_many_and_counts_all(place: Place) -> None:
    place.data.add_user("many", [dated(1, messages=0) for _ in range(1500)])
    place.data.write("histories/many/chat-history.json", [dated(day) for day in range(1500, 0, -1)])
    plan = place.plan(HALF, unsaved_too=True)
    assert plan.total.chats == 9 + 499
    assert len(plan.chats) == 9 + 499
    plan = place.plan(ALL, unsaved_too=True)
    assert (len(plan.chats), plan.total.chats) == (1000, 1516)
    assert len(place.plan(ALL, unsaved_too=True, every=True).chats) == 1516


def contents(place: Place) -> dict[str, bytes]:
    """Give the files of the data directory by their paths."""
    files = (path for path in place.root.rglob("*") if path.is_file())
    return {str(path.relative_to(place.root)): path.read_bytes() for path in files}


def test_killed_at_any_step_each_document_is_old_or_new_and_can_be_finished_or_taken_back(
    tmp_path: Path,
) -> None:
    storage = LocalStorage(str(tmp_path / "repo"))
    storage.create()
    place = Place(tmp_path, storage)
    place.data.write("histories/gone/chat-history.json", [dated(3)])
    for path in (place.root / "histories/gone/chat-history.json", place.root / "histories/gone"):
        old(path)
    place.save()
    policy = Policy(rule=Rule(older_than_s=500 * DAY_S), empty=True)
    before = contents(place)
    assert place.clean(policy).done.folders == 1
    after = contents(place)
    place.undo()
    number = 0
    killed = True
    while killed:
        place.state = str(tmp_path / f"state{number}")
        for name, data in before.items():
            place.data.write(name, data)
            old(place.root / name)
        old(place.root / "histories/gone")
        killed = dies_at(number, partial(place.clean, policy), after=(module, "backup"))
        left = {name: data for name, data in contents(place).items() if ".shenyu-data-" not in name}
        for name, data in before.items():
            assert left.get(name) in (data, after.get(name)), (number, name)
        if number % 2:
            with suppress(NothingToTakeBack):
                assert place.undo().findings == [], number
            assert contents(place) == before, number
        else:
            monitor = CollectingMonitor()
            place.clean(policy, monitor=monitor)
            assert monitor.findings == [], number
            # A folder whose histories were removed a moment ago goes the next time.
            assert contents(place) == after, number
        number += 1
    assert number > 40


def test_a_full_disk_leaves_every_document_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(place)

    def full(descriptor: int, chunks: Any) -> int:
        os.write(descriptor, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replace, "write_all", full)
    monitor = CollectingMonitor()
    stats = place.clean(HALF, monitor=monitor)
    assert (stats.failed, stats.done.chats, stats.done.files) == (3, 2, 2)
    assert {item.code for item in monitor.findings} == {"not-written"}
    now = contents(place)
    assert {name: now[name] for name in now} == {name: before[name] for name in now}
    assert set(before) - set(now) == {f"histories/{BEN}/1.json", f"histories/{BEN}/2.json"}


@pytest.mark.parametrize(
    "name", ["../../outside", f"{ANNA}/", f"../histories/{ANNA}", "..", "", "nobody", "n" * 300]
)
def test_a_name_that_is_no_users_leads_nowhere(place: Place, name: str) -> None:
    """Not out of the directory, and not past a hold of whoever else it would lead to."""
    outside = place.root.parent / "outside"
    outside.mkdir()
    (outside / "chat-history.json").write_text(json.dumps([dated(1)]))
    before, beside = place.tree(), read_tree(outside)
    users = frozenset([os.fsencode(name)])
    with pytest.raises(OwnerNotFound):
        place.plan(ALL, Hold(user=ANNA), users=users, unsaved_too=True)
    with pytest.raises(OwnerNotFound):
        place.clean(ALL, Hold(user=ANNA), users=users, unsaved_too=True)
    assert place.tree() == before
    assert read_tree(outside) == beside


@pytest.mark.parametrize("bad", [b'{"id": "\xff"}', b'{"lastSeen": "\xff"}', b"[" * 5000])
def test_a_user_document_that_cannot_be_read_stops_nobody_elses_cleanup(
    place: Place, bad: bytes
) -> None:
    (place.root / f"users/{BEN}.json").write_bytes(bad)
    (place.root / f"histories/{BEN}/chat-history.json").write_bytes(
        b'[{"id": "\xff", "title": "\xff", "messages": [{"timestamp": "\xff"}]}]'
    )
    place.save()
    place.clean(Policy(rule=Rule(older_than_s=500 * DAY_S), idle_users_s=900 * DAY_S))
    assert place.days(CHATS) == [990, 890, 790, 690, 590]


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_an_undo_does_not_pass_over_a_compress_to_what_was_done_before(
    place: Place, way: Way
) -> None:
    """It would put a second copy of the history beside the first."""
    place.clean(HALF)
    before = place.tree()
    options = CompressOptions(wish=Wish(way=way, offline=True), state=place.state)
    assert compress(str(place.root), options, CollectingMonitor()).documents
    after = place.tree()
    assert after != before
    with pytest.raises(NothingToTakeBack, match=f"was a {way}"):
        place.undo()
    assert place.tree() == after


def test_an_undo_passes_over_a_compress_that_did_nothing(place: Place) -> None:
    before = place.days(CHATS)
    place.clean(HALF)
    wish = Wish(way="compress", history=b"nosuch")
    compress(str(place.root), CompressOptions(wish=wish, state=place.state), CollectingMonitor())
    place.undo()
    assert place.days(CHATS) == before
