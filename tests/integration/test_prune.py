"""Prune: what is kept restores, what nothing needs goes, whatever else happens meanwhile."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shenyu_data.model.errors import RepositoryError, ShenyuDataError, UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations import prune_plan
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.prune import PruneStats, prune
from shenyu_data.operations.prune_plan import PruneOptions, PrunePlan, plan_prune
from shenyu_data.repository import packs
from shenyu_data.repository.format import COPY_SUFFIX, PRUNES, SNAPSHOTS
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import ObjectInfo
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.beside import Beside, Meanwhile
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.scenario import (
    Past,
    Taken,
    bring_back,
    check_whole,
    look,
    rich_past,
    take,
)

DAY_MS = 86_400_000
NOW = 2_000_000_000_000
KEEP_1 = Retention(keep_last=1)
HARMLESS = {"unused-objects"}


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 4000)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


def options(
    keep: Retention = KEEP_1, grace_s: float = 86_400, drop: frozenset[bytes] = frozenset()
) -> PruneOptions:
    return PruneOptions(retention=keep, grace_s=grace_s, drop=drop)


def plan(repository: Repository, chosen: PruneOptions, now_ms: int = NOW) -> PrunePlan:
    return plan_prune(repository, chosen, CollectingMonitor(), now_ms=now_ms)


def run(
    repository: Repository, chosen: PruneOptions | None = None, now_ms: int = NOW
) -> PruneStats:
    chosen = chosen or options()
    monitor = CollectingMonitor()
    stats = prune(repository, plan(repository, chosen, now_ms), chosen, monitor)
    assert monitor.findings == []
    return stats


def names(repository: Repository) -> set[str]:
    return {info.name for info in repository.storage.list("")}


def ids(repository: Repository) -> list[bytes]:
    return [item.id for item in repository.snapshots()]


def churn(past: Past, rounds: int) -> list[Taken]:
    """Change a few users again and again, so that packs die bit by bit."""
    taken = []
    for number in range(rounds):
        for user in range(6):
            if (number + user) % 3 == 0:
                past.data.write(
                    f"histories/{user:064x}/chat-history.json",
                    [chat(number * 100 + user + index, messages=6) for index in range(4)],
                )
        taken.append(take(past.repository, past.data))
    return taken


def repacked(past: Past) -> set[str]:
    """Let prune repack packs; return the objects that it stored for that.

    Which owners share a pack is decided by the key: so many are rewritten that no pack has none.
    """
    for number in range(20):
        past.data.write(f"histories/{number:064x}/chat-history.json", [chat(number + 700)])
    take(past.repository, past.data, full=True)
    for number in range(20):
        past.data.write(f"histories/{number:064x}/chat-history.json", [chat(number + 500)])
        past.data.write(f"users/{number:064x}.json", {"id": number})
    past.data.write("histories/bob/chat-history.json", [chat(600)])
    past.data.write("histories/bob/old/deep/kept.bin", b"little")
    newest = take(past.repository, past.data)
    before = names(past.repository)
    assert run(past.repository, options(grace_s=0)).repacked_packs
    check_whole(past.repository, newest)
    new = names(past.repository) - before
    return {name for name in new if name.startswith(("packs/", "moved/"))}


def test_what_is_kept_restores_and_what_nothing_needs_goes_after_the_grace(past: Past) -> None:
    before = names(past.repository)
    first = run(past.repository)
    assert (first.kept, first.dropped, first.deleted_objects) == (1, 4, 0)
    assert first.waiting_objects > 0
    assert ids(past.repository) == [past.taken[-1].snapshot]
    check_whole(past.repository, past.taken[-1])
    early = run(past.repository, now_ms=NOW + DAY_MS - 1)
    assert (early.deleted_objects, early.waiting_objects) == (0, first.waiting_objects)
    late = run(past.repository, now_ms=NOW + DAY_MS)
    assert late.deleted_objects == first.waiting_objects
    assert len(names(past.repository)) < len(before)
    check_whole(past.repository, past.taken[-1])
    verified = look(past.repository)
    assert verified.findings == []
    assert verified.stats.unused_objects == 0


def test_a_dry_run_writes_nothing(past: Past) -> None:
    before = names(past.repository)
    planned = plan(past.repository, options(grace_s=0))
    assert planned.drop == [item.snapshot for item in past.taken[:-1]]
    assert planned.deletable
    assert names(past.repository) == before


def test_the_plan_says_what_users_lose(past: Past) -> None:
    planned = plan(past.repository, options())
    by_user = {item.user: item for item in planned.losses}
    assert by_user["carol"].left == 0  # removed before the snapshot that is kept
    assert planned.losses[0].left == 0
    assert by_user["bob"].lost == 2
    assert by_user["bob"].left == 1
    assert planned.usage.users_gone == sum(item.left == 0 for item in planned.losses)
    assert "alice" in by_user
    assert planned.usage.versions_lost == sum(item.lost for item in planned.losses)


def test_every_snapshot_that_is_kept_restores(past: Past) -> None:
    taken = [*past.taken, *churn(past, 8)]
    for keep in (9, 5, 3, 2, 1):
        for now_ms in (NOW, NOW + DAY_MS):
            run(past.repository, options(Retention(keep_last=keep)), now_ms=now_ms)
            kept = [item for item in taken if item.snapshot in ids(past.repository)]
            assert len(kept) == keep
            for item in kept:
                check_whole(past.repository, item)
            assert {item.code for item in look(past.repository).findings} <= HARMLESS


def test_mostly_dead_packs_are_repacked_and_everything_still_restores_and_backs_up(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    users = [f"{number:064x}" for number in range(100, 130)]
    for user in users:
        past.data.add_user(user, [chat(int(user, 16), messages=8)])
    take(past.repository, past.data)
    for user in users[4:]:
        past.data.write(f"histories/{user}/chat-history.json", [chat(int(user, 16) + 50)])
        past.data.write(f"users/{user}.json", {"id": user, "lastSeen": "later"})
    take(past.repository, past.data)
    stats = run(past.repository)
    assert stats.repacked_packs > 0
    assert stats.rewritten_bytes > 0
    newest = take(past.repository, past.data)
    assert newest.stats.read_documents == 0
    run(past.repository, options(Retention(keep_last=2)), now_ms=NOW + DAY_MS)
    assert any(name.startswith("moved/") for name in names(past.repository))
    check_whole(past.repository, newest)
    assert look(past.repository).findings == []
    past.data.prepend_chat("bob", chat(990))
    shared = take(past.repository, past.data)
    assert shared.findings == []
    full = take(past.repository, past.data, full=True)
    assert full.findings == []
    for item in (newest, shared, full):
        check_whole(past.repository, item)


def test_packs_are_repacked_again_and_again(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of one pack halves each time, and moves on from pack to pack."""
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    users = [f"{number:064x}" for number in range(100, 164)]
    for user in users:
        past.data.add_user(user, [chat(int(user, 16), messages=8)])
    take(past.repository, past.data)
    repacked = 0
    for day in range(3):
        users, changed = users[: len(users) // 3], users[len(users) // 3 :]
        for user in changed:
            past.data.write(f"histories/{user}/chat-history.json", [chat(day, messages=9)])
            past.data.write(f"users/{user}.json", {"id": user, "day": day})
        newest = take(past.repository, past.data)
        repacked += run(past.repository, now_ms=NOW + day * DAY_MS).repacked_packs
        check_whole(past.repository, newest)
        assert look(past.repository).errors == {}
    assert repacked >= 3
    run(past.repository, now_ms=NOW + 6 * DAY_MS)
    run(past.repository, now_ms=NOW + 7 * DAY_MS)
    assert look(past.repository).findings == []
    check_whole(past.repository, newest)
    moved = [name for name in names(past.repository) if name.startswith("moved/")]
    assert len(moved) >= 2  # a chain


def test_a_full_backup_later_leaves_no_moves_behind(past: Past) -> None:
    churn(past, 4)
    for day in range(4):
        run(past.repository, now_ms=NOW + day * DAY_MS)
    for user in range(6):
        past.data.write(f"histories/{user:064x}/chat-history.json", [chat(77_000 + user)])
    past.data.write("histories/bob/chat-history.json", [chat(88)])
    past.data.write("histories/alice/0.json", [chat(89)])
    newest = take(past.repository, past.data)
    for day in range(4, 8):
        run(past.repository, now_ms=NOW + day * DAY_MS)
    check_whole(past.repository, newest)
    assert look(past.repository).findings == []


@pytest.mark.parametrize("moment", MOMENTS[::2])
def test_killed_at_any_change_it_has_harmed_nothing_and_a_next_one_goes_on(
    past: Past, moment: Moment
) -> None:
    churned = churn(past, 3)
    ready = past.copy()
    run(ready, options(Retention(keep_last=6)))  # so that there is something to delete
    at = 0
    while True:
        assert isinstance(ready.storage, MemoryStorage)
        storage = MemoryStorage()
        storage.objects.update(ready.storage.objects)
        faulty = Repository(FaultyStorage(storage, at_change=at, moment=moment), ready.keys)
        repository = Repository(storage, ready.keys)
        chosen = options(Retention(keep_last=2))
        try:
            run(faulty, chosen, now_ms=NOW + DAY_MS)
            break
        except Crash:
            at += 1
        for item in churned[-2:]:
            check_whole(repository, item)
        assert {item.code for item in look(repository, read=False).findings} <= {
            *HARMLESS,
            "object-missing",  # one of two copies of what is being dropped
        }
        run(repository, chosen, now_ms=NOW + 2 * DAY_MS)
        run(repository, chosen, now_ms=NOW + 3 * DAY_MS)
        assert ids(repository) == [item.snapshot for item in churned[-2:]]
        assert look(repository).findings == []
    assert at > 10


def test_a_snapshot_that_a_dropped_one_was_the_parent_of_is_no_damage(past: Past) -> None:
    run(past.repository)
    assert look(past.repository).errors == {}


def test_a_parent_that_somebody_else_removed_is_damage(past: Past) -> None:
    name = f"snapshots/{past.taken[-2].snapshot.hex()}"
    for copy in (name, name + ".copy"):
        past.repository.storage.delete(copy)
    assert name in look(past.repository).errors


def test_nothing_is_deleted_while_something_needed_cannot_be_read(past: Past) -> None:
    assert isinstance(past.repository.storage, MemoryStorage)
    root = past.repository.root(past.taken[-1].snapshot)
    name = f"manifests/{root.manifests[0].hex()}"
    past.repository.storage.objects[name] = b"not a manifest"
    before = names(past.repository)
    planned = plan(past.repository, options(grace_s=0))
    assert planned.unreadable
    with pytest.raises(RepositoryError, match="nothing was deleted"):
        prune(past.repository, planned, options(), CollectingMonitor())
    assert names(past.repository) == before


@pytest.mark.parametrize("lost", ["moves", "pack", "end of pack"])
def test_nothing_is_deleted_while_a_needed_segment_cannot_be_found(
    past: Past, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Without its moves a repacked pack looks as if nothing needed it, and is all there is left."""
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    for name in repacked(past):
        if name.startswith("moved/" if lost == "moves" else "packs/"):
            if lost == "end of pack":
                storage.objects[name] = storage.objects[name][:-1]
            else:
                storage.delete(name)
    hurt = names(past.repository)
    chosen = options(grace_s=0)
    planned = plan(past.repository, chosen)
    with pytest.raises(RepositoryError, match="nothing was deleted"):
        prune(past.repository, planned, chosen, CollectingMonitor())
    assert names(past.repository) == hurt


def test_verify_names_the_pack_that_a_segment_lies_in_now(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    new = {name for name in repacked(past) if name.startswith("packs/")}
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    for name in new:
        data = storage.objects[name]
        storage.objects[name] = data[:8] + bytes(len(data) - 8)
    errors = look(past.repository).errors
    assert errors.keys() == new
    assert all("affects" in error.message for error in errors.values())


def test_a_snapshot_that_cannot_be_read_stops_it_until_it_is_named(past: Past) -> None:
    assert isinstance(past.repository.storage, MemoryStorage)
    lost = past.taken[1].snapshot
    for copy in (f"snapshots/{lost.hex()}", f"snapshots/{lost.hex()}.copy"):
        past.repository.storage.objects[copy] = b"not a snapshot"
    with pytest.raises(RepositoryError, match=lost.hex()[:8]):
        plan(past.repository, options())
    run(past.repository, options(Retention(), drop=frozenset([lost])))
    assert ids(past.repository) == [past.taken[i].snapshot for i in (0, 2, 3, 4)]
    assert look(past.repository).errors == {}


def test_the_last_snapshot_is_never_dropped(past: Past) -> None:
    everything = frozenset(item.snapshot for item in past.taken)
    with pytest.raises(UsageError, match="no snapshot would be left"):
        plan(past.repository, options(drop=everything))


def test_a_last_good_version_outlives_the_snapshot_that_held_it(past: Past) -> None:
    history = "histories/bob/chat-history.json"
    good = (past.data.folder / history).read_bytes()
    past.data.write(history, good[:-40])
    torn = take(past.repository, past.data)
    assert torn.stats.degraded
    for day in range(3):
        run(past.repository, now_ms=NOW + day * DAY_MS)
    # The newest that is whole is kept too: it takes a name of its own to be dropped.
    run(
        past.repository,
        options(drop=frozenset(ids(past.repository)[:-1]), grace_s=0),
        now_ms=NOW + 3 * DAY_MS,
    )
    assert ids(past.repository) == [torn.snapshot]
    past.data.remove(history)
    (past.data.folder / "histories/bob").chmod(0o700)
    from shenyu_data.operations.restore import RestoreOptions, restore

    target = past.data.folder.parent / "again"
    restore(
        past.repository,
        past.repository.root(torn.snapshot),
        str(target),
        RestoreOptions(last_good=True),
        CollectingMonitor(),
    )
    assert (target / history).read_bytes() == good


@pytest.mark.parametrize("grace_s", [86_400.0, 0.0])
@pytest.mark.parametrize("folder", ["packs", "keys", "manifests", "snapshots", "prunes"])
def test_a_backup_beside_a_prune_is_whole_or_fails_and_says_so(
    past: Past, folder: str, grace_s: float
) -> None:
    """The prune runs as a whole at any point of the backup; then a later one deletes."""
    storage = past.repository.storage
    past.data.prepend_chat("bob", chat(930))
    past.data.add_user("fred", [chat(931)])
    acts = iter([True])

    def meanwhile(name: str) -> None:
        if name.startswith(folder) and next(acts, False):
            run(past.repository, options(grace_s=grace_s))

    faulty = Repository(FaultyStorage(storage, before_put=meanwhile), past.repository.keys)
    monitor = CollectingMonitor()
    try:
        stats = backup(str(past.data.folder), faulty, BackupOptions(), monitor)
    except ShenyuDataError as error:
        assert grace_s == 0
        assert "Run it again" in error.hint
        assert {item.snapshot for item in past.taken} >= set(ids(past.repository))
    else:
        assert bring_back(past.repository, stats.snapshot).findings == []
        run(past.repository, options(grace_s=0))
        assert bring_back(past.repository, stats.snapshot).findings == []
    assert look(past.repository).errors == {}
    check_whole(past.repository, take(past.repository, past.data))


@pytest.mark.parametrize("repacks", [False, True])
def test_a_snapshot_for_which_a_prune_dropped_all_others_is_not_taken_back(
    past: Past, monkeypatch: pytest.MonkeyPatch, repacks: bool
) -> None:
    """The prune runs as a whole when the root is stored and its second copy is not."""
    monkeypatch.setattr(prune_plan, "REPACK_BELOW", 1.0 if repacks else 0.0)
    chosen = options(Retention(keep_last=1), grace_s=0)
    past.data.prepend_chat("bob", chat(930))
    there: set[bytes] = set()

    def meanwhile(name: str) -> None:
        if name.startswith("snapshots/") and name.endswith(".copy"):
            assert bool(run(past.repository, chosen).repacked_packs) == repacks
            there.update(ids(past.repository))

    faulty = Repository(
        FaultyStorage(past.repository.storage, before_put=meanwhile), past.repository.keys
    )
    taken = take(faulty, past.data)
    assert there == {taken.snapshot}
    check_whole(past.repository, taken)
    assert look(past.repository).errors == {}


@pytest.mark.parametrize("number", range(4))
def test_a_snapshot_that_is_stored_while_a_prune_is_planned_is_not_called_unreadable(
    past: Past, number: int
) -> None:
    repository = past.repository
    listings = iter(range(100))

    class Meanwhile(FaultyStorage):
        def list(self, folder: str) -> Iterator[ObjectInfo]:
            if folder == "snapshots" and next(listings) == number:
                past.data.prepend_chat("bob", chat(960))
                check_whole(repository, take(repository, past.data))
            return super().list(folder)

    planned = plan(Repository(Meanwhile(repository.storage), repository.keys), options(grace_s=0))
    prune(repository, planned, options(grace_s=0), CollectingMonitor())
    assert look(repository).errors == {}


@pytest.mark.parametrize("grace_s", [86_400.0, 0.0])
def test_a_prune_beside_a_backup_spares_what_the_new_snapshot_needs(
    past: Past, grace_s: float
) -> None:
    """The backup runs as a whole between the plan of a prune and each of its puts."""
    run(past.repository, options(Retention(keep_last=3)))
    for number in range(12):
        repository = past.copy()
        past.data.prepend_chat("bob", chat(940 + number))
        chosen = options(Retention(keep_last=1), grace_s=grace_s)
        planned = plan(repository, chosen, now_ms=NOW + 2 * DAY_MS)
        puts = iter(range(100))
        made: list[Taken] = []

        def meanwhile(name: str, number: int = number, puts=puts, made=made) -> None:  # type: ignore[no-untyped-def]
            if next(puts) == number:
                made.append(take(repository, past.data))  # noqa: B023 - it is of this round

        faulty = Repository(
            FaultyStorage(repository.storage, before_put=meanwhile), repository.keys
        )
        prune(faulty, planned, chosen, CollectingMonitor())
        if not made:
            break
        check_whole(repository, made[0])
        assert look(repository).errors == {}
        run(repository, chosen, now_ms=NOW + 4 * DAY_MS)
        run(repository, chosen, now_ms=NOW + 6 * DAY_MS)
        check_whole(repository, made[0])
    assert number >= 2


def test_two_prunes_at_once_do_no_harm(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    newest = churn(past, 4)[-1]
    for number in range(8):
        repository = past.copy()
        planned = plan(repository, options())
        puts = iter(range(100))

        def meanwhile(name: str, number: int = number, puts=puts) -> None:  # type: ignore[no-untyped-def]
            if next(puts) == number:
                run(repository, options())  # noqa: B023 - it is of this round

        faulty = Repository(
            FaultyStorage(repository.storage, before_put=meanwhile), repository.keys
        )
        prune(faulty, planned, options(), CollectingMonitor())
        check_whole(repository, newest)
        for day in range(1, 5):
            run(repository, now_ms=NOW + day * DAY_MS)
            check_whole(repository, newest)
        assert look(repository).findings == []


@pytest.mark.parametrize("jump_ms", [-400 * DAY_MS, 400 * DAY_MS])
def test_a_clock_that_jumps_neither_harms_nor_keeps_forever(past: Past, jump_ms: int) -> None:
    newest = past.taken[-1]
    run(past.repository, now_ms=NOW + jump_ms)
    run(past.repository, now_ms=NOW)
    check_whole(past.repository, newest)
    run(past.repository, now_ms=NOW + DAY_MS)
    run(past.repository, now_ms=NOW + 2 * DAY_MS)
    verified = look(past.repository)
    assert verified.findings == []


def test_a_clock_jump_beside_a_running_backup_does_no_harm(past: Past) -> None:
    """The grace seems to be over while the backup still runs."""
    past.data.prepend_chat("bob", chat(930))
    acts = iter([NOW, NOW + 400 * DAY_MS])

    def meanwhile(name: str) -> None:
        now_ms = next(acts, None) if name.startswith(("keys", "manifests", "snapshots")) else None
        if now_ms is not None:
            run(past.repository, now_ms=now_ms)

    faulty = Repository(
        FaultyStorage(past.repository.storage, before_put=meanwhile), past.repository.keys
    )
    with pytest.raises(ShenyuDataError, match="a prune deleted"):
        backup(str(past.data.folder), faulty, BackupOptions(), CollectingMonitor())
    assert look(past.repository).errors == {}
    check_whole(past.repository, take(past.repository, past.data))


def test_verified_snapshots_are_kept(past: Past) -> None:
    look(past.repository)  # reads every byte of the five
    newer = churn(past, 3)
    keep = Retention(keep_last=1, keep_verified=2)
    run(past.repository, options(keep))
    assert ids(past.repository) == [
        past.taken[-2].snapshot,
        past.taken[-1].snapshot,
        newer[-1].snapshot,
    ]


def test_erased_users_give_their_space_back(past: Past) -> None:
    from shenyu_data.repository.erasure import destroy_keys

    repository = past.repository
    before = sum(info.size for info in repository.storage.list("packs"))
    destroy_keys(repository.storage, repository.keys, repository.keys.user_pseudonym(b"bob"), 1)
    keep = options(Retention(keep_last=5))
    for day in range(3):
        run(repository, keep, now_ms=NOW + day * DAY_MS)
    after = sum(info.size for info in repository.storage.list("packs"))
    assert after < before
    assert look(repository).findings == []
    for taken in past.taken:
        assert bring_back(repository, taken.snapshot).findings == []


def test_a_record_that_is_damaged_only_begins_the_grace_anew(past: Past) -> None:
    run(past.repository)
    assert isinstance(past.repository.storage, MemoryStorage)
    (name,) = [item for item in names(past.repository) if item.startswith(PRUNES)]
    past.repository.storage.objects[name] = b"damaged"
    late = run(past.repository, now_ms=NOW + DAY_MS)
    assert late.deleted_objects == 0
    assert run(past.repository, now_ms=NOW + 2 * DAY_MS).deleted_objects > 0
    assert name not in names(past.repository)
    check_whole(past.repository, past.taken[-1])


def test_an_interrupted_backups_leavings_go(past: Past) -> None:
    past.data.add_user("gus", [chat(1)])
    faulty = FaultyStorage(past.repository.storage, at_put=2)
    with pytest.raises(Crash):
        take(Repository(faulty, past.repository.keys), past.data)
    assert look(past.repository).stats.unused_objects
    everything = options(Retention(keep_last=100))
    run(past.repository, everything)
    run(past.repository, everything, now_ms=NOW + DAY_MS)
    assert look(past.repository).stats.unused_objects == 0
    for taken in past.taken:
        check_whole(past.repository, taken)


def test_a_repository_without_snapshots_has_nothing_to_prune(tmp_path: Path) -> None:
    from shenyu_data.repository.repository import create_repository

    repository, _ = create_repository(MemoryStorage(), "words")
    assert plan(repository, options()).empty
    data = Application(tmp_path / "data")
    data.add_user("x", [chat(1)])
    check_whole(repository, take(repository, data))


def test_small_keyrings_are_joined_and_go_after_the_grace(past: Past) -> None:
    for number in range(20):
        past.data.add_user(f"new{number}", [chat(number)])
        newest = take(past.repository, past.data)
    keyrings = [name for name in names(past.repository) if name.startswith("keys/")]
    assert len(keyrings) > 40
    run(past.repository)
    check_whole(past.repository, newest)
    run(past.repository, now_ms=NOW + DAY_MS)
    left = [name for name in names(past.repository) if name.startswith("keys/")]
    assert len(left) == 2
    check_whole(past.repository, newest)
    assert look(past.repository).findings == []
    again = take(past.repository, past.data)
    assert again.stats.read_documents == 0


def test_a_key_erased_while_its_old_keyring_waits_is_in_neither(past: Past) -> None:
    from shenyu_data.repository.erasure import destroy_keys
    from shenyu_data.repository.keyring import Keyring

    repository = past.repository
    for number in range(20):
        past.data.add_user(f"new{number}", [chat(number)])
        take(repository, past.data)
    run(repository)
    pseudonym = repository.keys.user_pseudonym(b"new3")
    destroy_keys(repository.storage, repository.keys, pseudonym, 1)
    for item in Keyring(repository.storage, repository.keys).objects:
        assert pseudonym not in {owner for owner, _ in item.bucket(pseudonym[0])}
    for day in range(1, 4):
        run(repository, now_ms=NOW + day * DAY_MS)
    assert look(repository).findings == []
    left = [name for name in names(repository) if name.startswith("keys/")]
    assert len(left) <= 4


def test_what_killed_writes_left_in_a_local_repository_goes(tmp_path: Path) -> None:
    import os
    import time

    from shenyu_data.storage.local import LocalStorage

    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    past = rich_past(tmp_path / "data", storage)
    old, young = (tmp_path / "repository/keys" / f".tmp-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half a keyring")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    run(past.repository)
    assert not old.exists()
    assert young.exists()


def test_an_erasure_while_keyrings_are_joined_brings_no_key_back(past: Past) -> None:
    from shenyu_data.repository.erasure import destroy_keys
    from shenyu_data.repository.keyring import Keyring

    repository = past.repository
    for number in range(20):
        past.data.add_user(f"new{number}", [chat(number)])
        take(repository, past.data)
    pseudonym = repository.keys.user_pseudonym(b"new3")
    acts = iter([True])

    def meanwhile(name: str) -> None:
        if name.startswith("keys/") and next(acts, False):
            destroy_keys(repository.storage, repository.keys, pseudonym, 1)

    run(Repository(FaultyStorage(repository.storage, before_put=meanwhile), repository.keys))
    assert next(acts, None) is None
    for item in Keyring(repository.storage, repository.keys).objects:
        assert pseudonym not in {owner for owner, _ in item.bucket(pseudonym[0])}


def test_two_prunes_that_drop_different_ones_leave_one(past: Past) -> None:
    everything = ids(past.repository)
    nothing_else = Retention()
    first = options(nothing_else, drop=frozenset(everything[1:]))
    second = options(nothing_else, drop=frozenset(everything[:1]))
    planned = plan(past.repository, first)
    run(past.repository, second)
    with pytest.raises(UsageError, match="no snapshot would be left"):
        prune(past.repository, planned, first, CollectingMonitor())
    assert ids(past.repository) == everything[1:]


def test_a_dropped_snapshot_that_is_there_again_keeps_what_it_needs(past: Past) -> None:
    """A copy stores it anew, under its old name, while the prune is about to delete."""
    storage = past.repository.storage
    assert isinstance(storage, MemoryStorage)
    dropped = past.taken[0].snapshot.hex()
    old = {name: data for name, data in storage.objects.items() if dropped in name}
    puts = iter(range(100))

    def meanwhile(name: str) -> None:
        if name.startswith(PRUNES) and next(puts) == 1:
            storage.objects.update(old)

    faulty = Repository(FaultyStorage(storage, before_put=meanwhile), past.repository.keys)
    run(faulty, options(grace_s=0))
    check_whole(past.repository, past.taken[0])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("at_change", range(9))
def test_a_backup_beside_two_prunes_in_a_row_is_whole_or_fails_and_says_so(
    past: Past, at_change: int, full: bool
) -> None:
    """The second one takes away the record of what the first has deleted."""
    past.data.prepend_chat("bob", chat(950))
    past.data.add_user("fred", [chat(960)])

    def prune_twice() -> None:
        for _ in range(2):
            run(past.repository, options(grace_s=0))

    beside = Beside(past.repository.storage, Meanwhile("change", at_change, prune_twice))
    try:
        taken = take(Repository(beside, past.repository.keys), past.data, full=full)
    except ShenyuDataError as error:
        assert "Run it again" in error.hint
    else:
        check_whole(past.repository, taken)
    assert look(past.repository).errors == {}
    check_whole(past.repository, take(past.repository, past.data, full=full))


@pytest.mark.parametrize("lost", ["", COPY_SUFFIX])
@pytest.mark.parametrize("at_call", range(2, 8))
def test_a_backup_that_mends_a_copy_does_not_bring_a_dropped_snapshot_back(
    past: Past, lost: str, at_call: int
) -> None:
    storage = past.repository.storage
    dropped = past.taken[0].snapshot
    storage.delete(f"{SNAPSHOTS}/{dropped.hex()}{lost}")

    def prune_now() -> None:
        run(past.repository, options(grace_s=0))

    beside = Repository(
        Beside(storage, Meanwhile("call", at_call, prune_now)), past.repository.keys
    )
    with suppress(ShenyuDataError):
        take(beside, past.data)
    assert dropped not in ids(past.repository)
    assert look(past.repository).errors == {}
