"""After any days, a validation with a catalog tells what one without it does, and a cleanup plans
the same.
"""

import functools
import gzip
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shenyu_data.datadir.catalog_tables import CATALOG_NAME
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.operations.cleanup_known import Looked, look_at_all
from shenyu_data.operations.cleanup_plan import plan_cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions, CleanupPlan
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.scenario import PASSPHRASE
from shenyu_data.testing.strategies import contents

HEX = "c7" * 32
USERS = st.sampled_from(["anna", "用\n户", HEX])
KEYS = st.sampled_from(["chat-history", "sn43-history", "0"])
NUMBERS = st.integers(0, 30)
DAY_S = 86_400
POLICIES = [
    Policy(rule=Rule(older_than_s=DAY_S)),
    Policy(rule=Rule(older_than_s=100 * 365 * DAY_S)),
    Policy(rule=Rule(keep_newest=1)),
    Policy(rule=Rule(max_bytes=1500)),
    Policy(idle_users_s=30 * DAY_S),
    Policy(orphans=True, empty=True),
    Policy(histories={"chat-history": Rule(keep_newest=2)}, only=frozenset(["chat-history"])),
]


@functools.cache
def repository() -> Repository:
    """An empty one, made once: it only deals users into parts."""
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


class Days(RuleBasedStateMachine):
    """A data directory with a catalog that others find and leave behind."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.data = Application(self.base / "data")
        self.state = self.base / "state"
        self.steps = 0
        for user in ("anna", HEX):  # whom the catalog knows to be sound
            self.visit(user, sound=True, suffix=".json")
            self.write_a_history(user, "chat-history", [1, 2, 3])
        settle(self.data.folder)
        self.catalogue()

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    @rule()
    def catalogue(self) -> None:
        options = CatalogOptions(data=str(self.data.folder), state=str(self.state), jobs=1)
        ask(options, lambda _: None, CollectingMonitor())

    @rule(user=USERS, key=KEYS, numbers=st.lists(NUMBERS, max_size=3))
    def write_a_history(self, user: str, key: str, numbers: list[int]) -> None:
        self._write(f"histories/{user}/{key}.json", [chat(number, 2) for number in numbers])

    @rule(user=USERS, key=KEYS, number=NUMBERS, ahead_days=st.integers(0, 2))
    def write_a_chat_of_the_guide(self, user: str, key: str, number: int, ahead_days: int) -> None:
        item = {**chat(number, 1), "timestamp": 1000 * (time.time() + ahead_days * DAY_S)}
        self._write(f"histories/{user}/{key}.json", item)

    @rule(user=USERS, key=KEYS, text=contents())
    def write_anything(self, user: str, key: str, text: bytes) -> None:
        self._write(f"histories/{user}/{key}.json", text)

    @rule(user=USERS, key=KEYS, number=NUMBERS)
    def compress(self, user: str, key: str, number: int) -> None:
        packed = gzip.compress(json.dumps([chat(number, 2)]).encode())
        self._write(f"histories/{user}/{key}.json.gz", packed)

    @rule(user=USERS, sound=st.booleans(), suffix=st.sampled_from([".json", ".json.gz"]))
    def visit(self, user: str, sound: bool, suffix: str) -> None:
        seen = "2026-01-02T03:04:05Z"
        value: dict[str, Any] = {"id": user if sound else "other", "created_at": seen}
        if user == HEX:
            value.update(fingerprint={}, firstSeen=seen, lastSeen=seen)
        text = json.dumps(value).encode()
        self._write(f"users/{user}{suffix}", gzip.compress(text) if suffix != ".json" else text)

    @rule(user=USERS, key=KEYS, by_rename=st.booleans(), old=st.binary(min_size=1, max_size=1))
    def change_a_byte_and_hide_it(self, user: str, key: str, by_rename: bool, old: bytes) -> None:
        """The size and the modification time stay; the inode changes, or the change time."""
        path = self.data.folder / f"histories/{user}/{key}.json"
        if path.is_symlink() or not path.is_file():
            return
        found = path.stat()
        text = path.read_bytes()
        new = text.replace(b'"role": "user"', b'"role": "gast"', 1) or old
        if new == text:
            new = text[: len(text) // 2] + old + text[len(text) // 2 + 1 :]
        if by_rename:
            aside = self.base / "aside"
            aside.write_bytes(new)
            os.utime(aside, ns=(found.st_atime_ns, found.st_mtime_ns))
            aside.rename(path)
        else:
            path.write_bytes(new)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    @rule(user=USERS, kind=st.sampled_from(["link", "hard link", "fifo", "folder", "leftover"]))
    def put_something_odd(self, user: str, kind: str) -> None:
        folder = self.data.folder / f"histories/{user}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{kind}.json"
        if path.exists() or path.is_symlink():
            return
        if kind == "link":
            path.symlink_to("../../users/anna.json")
        elif kind == "hard link":
            source = self.data.folder / "source"
            source.write_text("[]")
            os.link(source, path)
            source.unlink()
            os.link(path, folder / "again.json") if not (folder / "again.json").exists() else None
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            (folder / "x.json.tmp").write_text("[]")

    @rule(user=USERS)
    def leave(self, user: str) -> None:
        shutil.rmtree(self.data.folder / f"histories/{user}", ignore_errors=True)

    @rule(user=USERS)
    def remove_user(self, user: str) -> None:
        (self.data.folder / f"users/{user}.json").unlink(missing_ok=True)

    @rule()
    def rest(self) -> None:
        settle(self.data.folder)

    @rule(place=st.floats(0, 1), mask=st.integers(1, 255))
    def lose_the_catalog(self, place: float, mask: int) -> None:
        """Cut it off somewhere: that is noticed, or does not matter."""
        path = self.state / CATALOG_NAME
        if path.exists():
            os.truncate(path, int(place * path.stat().st_size) // 4096 * 4096)

    def _write(self, path: str, document: object) -> None:
        full = self.data.folder / path
        if full.is_dir() or full.is_symlink() or full.is_fifo():
            return
        self.data.write(path, document)
        moment = time.time() - 10  # nobody waits for it to become whole
        os.utime(full, (moment, moment))

    @invariant()
    def a_validation_tells_the_same(self) -> None:
        for _ in range(2):  # the second one finds what the first one kept
            known = self._validated(ValidateOptions(jobs=1, state=str(self.state)))
            assert known == self._validated(ValidateOptions(jobs=1))
        findings, everything = known[0], self._validated(ValidateOptions(jobs=1, all=True))[0]
        assert findings == [item for item in everything if item.severity != "info"]

    def _validated(self, options: ValidateOptions) -> tuple[list[Finding], object]:
        monitor = CollectingMonitor()
        stats = validate(str(self.data.folder), options, monitor)
        return monitor.findings, msgspec.structs.replace(stats, elapsed_s=0.0)

    @invariant()
    def a_cleanup_plans_the_same(self) -> None:
        self.steps += 1
        now_ms = time.time_ns() // 1_000_000 + self.steps % 2 * 3 * DAY_S * 1000
        for policy in POLICIES[self.steps % 3 :: 3]:
            with_catalog = self._plan(policy, now_ms, self.state)
            without = self._plan(policy, now_ms, self.base / "none")
            assert with_catalog == without
            looked = look_at_all(
                str(self.data.folder), self._options(policy, now_ms), CollectingMonitor()
            )
            assert looked is None or looked.seen == without[0].users_seen
            if looked is not None:
                assert self._plan(policy, now_ms, self.state, looked) == without

    def _options(self, policy: Policy, now_ms: int, state: Path | None = None) -> CleanupOptions:
        place = str(state or self.state)
        return CleanupOptions(
            policy=policy, now_ms=now_ms, state=place, unsaved_too=True, every=True
        )

    def _plan(
        self, policy: Policy, now_ms: int, state: Path, looked: Looked | None = None
    ) -> tuple[CleanupPlan, list[Finding]]:
        monitor = CollectingMonitor()
        options = self._options(policy, now_ms, state)
        plan = plan_cleanup(repository(), str(self.data.folder), options, monitor, looked)
        users, chats = list(plan.users), list(plan.chats)  # they may wait in files
        return msgspec.structs.replace(
            plan, elapsed_s=0.0, users=users, chats=chats
        ), monitor.findings


TestDays = Days.TestCase
TestDays.settings = settings(max_examples=15, stateful_step_count=10, deadline=None)
