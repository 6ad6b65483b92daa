"""Years in the life of a data directory and of two repositories, beside a model of what each
snapshot must hold.

Backups go ``here``, copies of them ``there``. Whatever may be done to either is done in any order,
cut off anywhere, with something else done whole between any two calls of the storage. Time is a
number that only rules move, back and forth. The model never asks the program what is right: it
takes the tree down itself at each backup, decides with the standard library which documents are cut
off, and remembers the last good version of each.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from shenyu_data.model.errors import (
    ObjectExists,
    PruneBlocked,
    ShenyuDataError,
    UsageError,
    WrongKey,
)
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.model.tripwires import RULES
from shenyu_data.operations import backup as backup_module
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.copy import CopyOptions, copy, plan_copy
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.prune import prune
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.repository import packs
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import COPY_SUFFIX, KEYRINGS, PRUNES, TOMBSTONES
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.repository import Repository, open_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.open import StorageOptions, open_storage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.beside import Beside, Meanwhile
from shenyu_data.testing.faulty import Crash
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.tree import Tree, read_tree
from tests.properties.live_data import ANY, KEYS, USER, LiveData, owner_of
from tests.properties.sides import Side, Taken

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BEGIN_MS = 1_700_000_000_000
THERE = Secrets(bytes(31) + b"1", bytes(15) + b"1")
RETENTION = st.sampled_from(
    [
        Retention(keep_last=1),
        Retention(keep_last=2),
        Retention(keep_last=4),
        Retention(keep_daily=2),
        Retention(keep_hourly=3, keep_verified=2),
        Retention(keep_within=86_400),
        Retention(),
    ]
)
GRACE_S = st.sampled_from([0.0, 86_400.0])
JUMP_MS = st.sampled_from(
    [HOUR_MS, 25 * HOUR_MS, 40 * DAY_MS, 4000 * DAY_MS, -HOUR_MS, -30 * DAY_MS, -4000 * DAY_MS]
)
ACT = st.one_of(
    st.tuples(st.just("back_up")),
    st.tuples(st.just("prune"), RETENTION, GRACE_S),
    st.tuples(st.just("erase"), USER, st.booleans()),
    st.tuples(st.just("rotate")),
    st.tuples(st.just("jump"), JUMP_MS),
    st.tuples(st.just("die")),
)
WHEN = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 10)),
    st.tuples(st.just("change"), st.integers(0, 16)),
    st.tuples(st.just("call"), st.integers(0, 60)),
)
MEANWHILE = st.none() | st.tuples(WHEN, st.lists(ACT, min_size=1, max_size=2))
"""What happens while something else is done, and when."""


class Clock:
    """What stands for the module ``time`` in a backup."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS

    def time_ns(self) -> int:
        """Return the time that a backup writes into its snapshot."""
        self.now_ms += 1000
        return self.now_ms * 1_000_000

    def jump(self, jump_ms: int) -> None:
        """Move it."""
        self.now_ms = max(DAY_MS, self.now_ms + jump_ms)


class Years(LiveData):
    """All that is done to two repositories."""

    happened: list[str]
    gone: set[bytes]
    """Who was erased meanwhile, and is no longer live."""
    unsure: set[bytes]
    """Who was erased meanwhile, and is still live."""
    dropping: set[bytes]
    """Which snapshots prunes dropped, or would have."""
    notice: Callable[[], None]
    """Takes note of what whoever is at work has stored."""

    def __init__(self, clock: Clock, open_one: Callable[[Path, str], Storage]) -> None:
        super().__init__()
        self.clock = clock
        clock.now_ms = BEGIN_MS
        self.here = Side(open_one(self.base, "here"), KEYS, self.base)
        self.there = Side(open_one(self.base, "there"), THERE, self.base)
        self.touched: set[Side] = set()
        self.unfinished: set[tuple[Side, bytes]] = set()
        self.kept_keyrings: dict[str, bytes] = {}
        self._begin("nothing")

    def teardown(self) -> None:
        try:
            for side in (self.here, self.there):
                self.bring_to_an_end(side)
        finally:
            self.folder.cleanup()

    def bring_to_an_end(self, side: Side) -> None:
        """After a last backup and two prunes nothing is wrong with it and nothing left over."""
        self._begin("end")
        if side is self.here and side.taken:
            self._back_up(side.repository(), full=False, users=None, quiet=True)
        for _ in range(2):
            self._prune(side, side.repository(), Retention(), 86_400.0)
            self.clock.jump(2 * DAY_MS)
        side.tampered = False
        if side is self.here:
            side.half = False
        side.check_all()
        assert side.verify().unused_objects == 0
        self._open(side)

    @initialize()
    def take_the_first(self) -> None:
        self.touch_both()
        self._back_up(self.here.repository(), full=True, users=None, quiet=True)

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.notice = lambda: None
        while self.unfinished:
            side, user = self.unfinished.pop()
            self._destroy(side, side.repository(), user)
            assert (side, user) not in self.unfinished
        for side in self.touched:
            side.check_all()
        self.touched.clear()

    def touch_both(self) -> None:
        self.touched |= {self.here, self.there}

    @rule(which=ANY)
    def replace_by_a_folder(self, which: int) -> None:
        """Nowhere a user's file was: docs/design/years.md, "Two things of one name"."""
        path = self.file(which)
        if path and path.parent != self.data / "users":
            super().replace_by_a_folder(which)

    # What happens meanwhile

    def _begin(self, what: str) -> None:
        self.happened = [what]
        self.gone, self.unsure, self.dropping = set(), set(), set()
        self.notice = lambda: None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing happened meanwhile."""
        return len(self.happened) == 1

    def _beside(self, side: Side, meanwhile: Any, to: Side | None = None) -> Repository:
        """Return the ``side``'s repository while something happens to it, or ``to`` another."""
        self.touch_both()
        if meanwhile is None:
            return side.repository()
        (kind, number), acts = meanwhile

        def happen() -> None:
            for act in acts:
                self._happen(to or side, *act)

        return side.repository(Beside(side.storage, Meanwhile(kind, number, happen)))

    def _happen(self, side: Side, act: str, *details: Any) -> None:
        self.notice()  # it may be there already, once
        self.happened.append(act)
        if act == "die":
            raise Crash
        if act == "jump":
            self.clock.jump(*details)
        elif act == "back_up":
            self._back_up(self.here.repository(), full=False, users=None, quiet=False)
        elif act == "prune":
            self._prune(side, side.repository(), *details)
        elif act == "erase":
            self._erase(side, side.repository(), *details)
        elif act == "rotate":
            self._rotate(side, side.repository())

    @rule(jump_ms=JUMP_MS)
    def time_jumps(self, jump_ms: int) -> None:
        self.clock.jump(jump_ms)

    # Backups

    @rule(full=st.booleans(), meanwhile=MEANWHILE)
    def back_up(self, full: bool, meanwhile: Any) -> None:
        self._begin("back_up")
        repository = self._beside(self.here, meanwhile)
        self._back_up(repository, full=full, users=None, quiet=meanwhile is None)

    @rule(users=st.frozensets(USER, min_size=1, max_size=2), meanwhile=MEANWHILE)
    def back_up_some(self, users: frozenset[bytes], meanwhile: Any) -> None:
        self._begin("back_up")
        repository = self._beside(self.here, meanwhile)
        self._back_up(repository, full=False, users=users, quiet=meanwhile is None)

    def _back_up(
        self, repository: Repository, *, full: bool, users: frozenset[bytes] | None, quiet: bool
    ) -> None:
        side, outer = self.here, self.notice
        tree, torn, mine = read_tree(self.data), self.torn(), set[bytes]()

        def notice() -> None:
            for snapshot in side.ids() - side.present - mine:
                mine.add(snapshot)
                side.remember(snapshot, self._expected(snapshot, tree, torn, users), self.unsure)

        self.notice = notice
        monitor = CollectingMonitor()
        stats = None
        try:
            options = BackupOptions(full=full, only_users=users)
            stats = backup(str(self.data), repository, options, monitor)
        except Crash:
            side.half = True
        except ShenyuDataError as error:
            assert {"prune", "erase", "rotate"} & set(self.happened), error
            assert "again" in error.hint
            side.present -= mine - side.ids()
        finally:
            self.notice = outer
        notice()
        assert len(mine) <= 1
        if quiet:
            assert stats is not None
            self._check_stats(stats, monitor)
            side.half = False

    def _expected(
        self, snapshot: bytes, tree: Tree, torn: set[bytes], users: frozenset[bytes] | None
    ) -> Taken:
        """Say what a backup must hold, given the tree when it began."""
        root = self.here.repository().root(snapshot)
        before = self.here.taken[root.parent] if root.parent else Taken({}, None, {})
        nodes, links, good = tree.nodes, tree.hard_links, {}
        if root.partial:
            assert users is not None
            new = Taken(nodes, None, {}).only(users)
            nodes = {**before.without(users).nodes, **new.nodes}
            good = before.without(users).good
            torn = {path for path in torn if owner_of(path) in users}
        for path in torn:
            node = before.good.get(path, before.nodes.get(path))
            good[path] = node if node is None or node.kind == "file" else None
        return Taken(nodes, None if root.partial else links, good).without(self.gone)

    def _check_stats(self, stats: BackupStats, monitor: CollectingMonitor) -> None:
        taken = self.here.taken[stats.snapshot]
        assert stats.degraded == bool(taken.good)
        assert stats.totals.torn == len(taken.good)
        assert stats.totals.documents == sum(item.kind == "file" for item in taken.nodes.values())
        alarms = {item.code for item in monitor.findings} & set(RULES)
        assert alarms >= {trip.rule for trip in stats.trips if trip.is_alarm}
        named = {item.path for item in monitor.findings if item.severity == "error"} - {""}
        assert named <= {os.fsdecode(path).replace("\n", "\\n") for path in taken.good}
        assert {item.code for item in monitor.findings} <= {
            "copy-mended",
            "torn-document",
            "special-file",
            "shrunken-history",
            *RULES,
        }

    # What takes away

    @rule(
        there=st.booleans(),
        retention=RETENTION,
        grace_s=GRACE_S,
        drop=st.none() | ANY,
        meanwhile=MEANWHILE,
    )
    def prune(
        self, there: bool, retention: Retention, grace_s: float, drop: int | None, meanwhile: Any
    ) -> None:
        self._begin("prune")
        side = self._side(there)
        repository = self._beside(side, meanwhile)
        self._prune(side, repository, retention, grace_s, drop)
        if meanwhile is None and grace_s == 0:
            assert side.verify(read=False).unused_objects == 0
            assert sum(1 for _ in side.storage.list(PRUNES)) <= 1

    def _prune(
        self,
        side: Side,
        repository: Repository,
        retention: Retention,
        grace_s: float,
        drop: int | None = None,
    ) -> None:
        named = frozenset() if drop is None or len(side.present) < 2 else {side.chosen(drop) or b""}
        options = PruneOptions(retention=retention, grace_s=grace_s, drop=frozenset(named))
        monitor = CollectingMonitor()
        dropped: set[bytes] = set()
        before = set(side.present)
        if self.is_quiet:
            self._see_alarms(side, options)
        try:
            plan = plan_prune(repository, options, monitor, now_ms=self.clock.now_ms)
            dropped = set(plan.drop)
            self.dropping |= dropped
            if self.is_quiet:
                self._check_dropped(side, dropped - named, retention)
            prune(repository, plan, options, monitor)
            side.present -= dropped
        except Crash:
            side.half = True
        except UsageError as error:
            assert named or not self.is_quiet, error  # it would be the last one
        except ShenyuDataError as error:
            assert not self.is_quiet, error
        assert not self.is_quiet or monitor.findings == []
        assert side.present - self.dropping <= side.ids() <= side.present
        side.present = side.ids()
        side.forget_dropped(before, quiet=self.is_quiet)

    def _see_alarms(self, side: Side, options: PruneOptions) -> None:
        """As long as an alarm stands, nothing is pruned; then somebody acknowledges all of them."""
        standing, repository = side.standing(), side.repository()
        try:
            plan_prune(repository, options, CollectingMonitor(), now_ms=self.clock.now_ms)
        except PruneBlocked:
            assert standing
            side.acknowledge_all()
        except UsageError:
            assert options.drop  # it would be the last one; alarms come first
            assert standing <= side.maybe_acknowledged
        else:
            assert standing <= side.maybe_acknowledged

    def _check_dropped(self, side: Side, dropped: set[bytes], retention: Retention) -> None:
        """Assert that no policy drops what none may."""
        ordered = side.ordered()
        roots = [side.roots[item] for item in ordered]
        whole = [item.id for item in roots if not item.partial]
        good = [item for item in whole if not side.roots[item].degraded]
        proved = [item for item in good if item in side.proved]
        never = [*ordered[-1:], *whole[-1:], *good[-1:], *proved[-1:]]
        if retention.keep_last:
            never += whole[-retention.keep_last :]
        if retention.keep_verified:
            never += proved[-retention.keep_verified :]
        assert dropped.isdisjoint(never)

    @rule(there=st.booleans(), user=USER, live=st.booleans(), meanwhile=MEANWHILE)
    def erase(self, there: bool, user: bytes, live: bool, meanwhile: Any) -> None:
        self._begin("erase")
        side = self._side(there)
        self._erase(side, self._beside(side, meanwhile), user, live)
        if meanwhile is None:
            assert not side.holds_key_of(user)

    def _erase(self, side: Side, repository: Repository, user: bytes, live: bool) -> None:
        """Erase a user from a repository, and from the data directory if that is to be."""
        if live:
            self.leave(user)
        (self.gone if live else self.unsure).add(user)
        self._destroy(side, repository, user)

    def _destroy(self, side: Side, repository: Repository, user: bytes) -> None:
        before = set(side.present)
        pseudonym = repository.keys.user_pseudonym(user)
        try:
            done = destroy_keys(repository.storage, repository.keys, pseudonym, self.clock.now_ms)
            finished = not done.failures
        except Crash:
            side.half = True
            finished = False
        else:
            assert finished or "rotate" in self.happened, done.failures
        if not finished:
            self.unfinished.add((side, user))  # running it again finishes
            return
        self.notice()
        since = side.present - before
        side.strip(user, but=since)
        for snapshot in since:
            side.remember(snapshot, side.taken[snapshot], [user])

    # An adversary who can write to the storage

    @rule()
    def somebody_keeps_the_keyring(self) -> None:
        storage = self.here.storage
        self.kept_keyrings |= {x.name: storage.read(x.name) for x in storage.list(KEYRINGS)}

    @rule()
    def somebody_puts_the_old_keyring_back(self) -> None:
        self.touch_both()
        for name, data in self.kept_keyrings.items():
            with suppress(ObjectExists):
                self.here.storage.put(name, [data])
                self.here.tampered = True

    @rule(there=st.booleans(), copies=st.booleans())
    def somebody_takes_one_of_two_tombstones_away(self, there: bool, copies: bool) -> None:
        self.touch_both()
        side = self._side(there)
        names = {info.name for info in side.storage.list(TOMBSTONES)}
        for name in sorted(names):
            twin = name.removesuffix(COPY_SUFFIX) if copies else name + COPY_SUFFIX
            if name.endswith(COPY_SUFFIX) == copies and twin in names:
                side.storage.delete(name)
                side.half = True

    # Copies

    @rule(which=ANY, on_source=st.booleans(), meanwhile=MEANWHILE)
    def copy(self, which: int, on_source: bool, meanwhile: Any) -> None:
        self._begin("copy")
        here, there = self.here, self.there
        snapshot = here.chosen(which)
        assert snapshot is not None
        known = here.taken[snapshot]

        def notice() -> None:
            new = there.ids() - there.present
            assert new <= {snapshot}
            if new:
                # Whom only the source has forgotten, the destination may still have; and who came
                # back there since it forgot them, may come back here.
                unsure = here.erased | self.gone | self.unsure
                expected = known.without(there.erased - unsure)
                if unsure:
                    expected = expected._replace(links=None)
                there.remember(snapshot, expected, unsure, list(there.taken.values()))

        self.notice = notice
        source = self._beside(here, meanwhile) if on_source else here.repository()
        destination = there.repository() if on_source else self._beside(there, meanwhile)
        options = CopyOptions(state=str(self.base / "state"))
        monitor = CollectingMonitor()
        try:
            plan = plan_copy(source, destination, [snapshot.hex()])
            stats = copy(source, destination, plan, options, monitor)
        except Crash:
            (here if on_source else there).half = True
            there.half = True
        except ShenyuDataError as error:
            assert meanwhile is not None, error
            there.present &= there.ids()
        else:
            there.acknowledged |= here.acknowledged & there.ids()
            if meanwhile is None:
                there.half = False
                assert {item.code for item in monitor.findings} <= {"erased-in-source"}
                assert stats.copied + stats.present == [snapshot]
        there.maybe_acknowledged |= here.acknowledged
        notice()

    # Keys

    @rule(there=st.booleans(), meanwhile=MEANWHILE)
    def rotate(self, there: bool, meanwhile: Any) -> None:
        self._begin("rotate")
        side = self._side(there)
        self._rotate(side, self._beside(side, meanwhile))

    def _rotate(self, side: Side, repository: Repository) -> None:
        secret, old = new_recovery_key(), side.secret
        monitor = CollectingMonitor()
        try:
            plan = plan_rotation(repository)
            begun = begin_rotation(repository, plan, secret, "in use")
            finish_rotation(begun.repository, monitor)
        except Crash:
            side.half = side.rotating = True
            with suppress(WrongKey):
                side.keys = open_repository(side.storage, secret).keys
                side.secret = secret
        except ShenyuDataError as error:
            assert self.happened.count("rotate") > 1, error
            assert "somebody else" in error.message
        else:
            side.keys = begun.repository.keys
            side.rotating = False
            if not plan.unfinished:
                side.secret = secret
        if side.secret != old:
            side.old_secrets.append(old)

    @rule(there=st.booleans())
    def open_with_each_secret(self, there: bool) -> None:
        self._open(self._side(there))

    def _open(self, side: Side) -> None:
        opened = open_repository(side.storage, side.secret)
        assert (opened.keys.master, opened.keys.older) == (side.keys.master, side.keys.older)
        for secret in side.old_secrets:
            if not side.rotating:
                with pytest.raises(WrongKey):
                    open_repository(side.storage, secret)

    # Looking

    @rule(there=st.booleans(), read=st.booleans())
    def verify(self, there: bool, read: bool) -> None:
        self._side(there).verify(read=read)

    @rule(which=ANY)
    def restore_over_a_copy_of_the_live_directory(self, which: int) -> None:
        """What the snapshot holds is then as it was."""
        snapshot = self.here.chosen(which)
        assert snapshot is not None
        target = self.base / "copy"
        shutil.copytree(self.data, target, symlinks=True)
        monitor = CollectingMonitor()
        repository = self.here.repository()
        options = RestoreOptions(overwrite=True)
        stats = restore(repository, repository.root(snapshot), str(target), options, monitor)
        found = read_tree(target).nodes
        failed = {item.path for item in monitor.findings if item.code == "not-written"}
        assert bool(failed) == bool(stats.failed)
        for path, node in self.here.taken[snapshot].nodes.items():
            if not failed:
                assert found[path] == node
        shutil.rmtree(target)

    def _side(self, there: bool) -> Side:
        return self.there if there else self.here


class Memory(MemoryStorage):
    """One of several places in memory."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def location(self) -> str:
        """Another one for each."""
        return f"memory:{self._name}"


def live(open_one: Callable[[Path, str], Storage], examples: int, steps: int = 25) -> None:
    """Run the machine: some examples, the same each time, or very many at random."""
    clock = Clock()
    thorough = settings.get_profile("thorough").max_examples
    is_thorough = settings().max_examples == thorough
    chance = random.Random()

    class These(Years):
        def __init__(self) -> None:
            chance.seed(0)
            super().__init__(clock, open_one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup_module, "time", clock)
        patch.setattr(packs, "PACK_BYTES", 1500)  # so that some die, and some only mostly
        patch.setattr(os, "urandom", chance.randbytes)  # so that a run can be had again
        patch.setattr(os, "fsync", lambda _: None)  # thousands, and nothing here loses power
        run_state_machine_as_test(
            These,
            settings=settings(
                max_examples=thorough // 2 if is_thorough else examples,
                stateful_step_count=50 if is_thorough else steps,
                phases=[Phase.generate],  # to shrink takes hours, and rarely helps
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_years_in_memory() -> None:
    live(lambda _, name: Memory(name), examples=40)


def test_years_in_a_local_folder() -> None:
    def open_one(base: Path, name: str) -> Storage:
        (base / name).mkdir()
        return LocalStorage(str(base / name))

    live(open_one, examples=8)


def test_years_in_an_object_store(s3: S3Server) -> None:
    def open_one(base: Path, name: str) -> Storage:
        return open_storage(s3.fresh(), StorageOptions(cache=str(base / "cache" / name)))

    live(open_one, examples=3, steps=15)
