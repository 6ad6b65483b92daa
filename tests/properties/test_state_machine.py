"""Random days in the life of a data directory, beside a model of what each snapshot must hold.

The model never asks the program: it takes the tree down itself at each backup, decides with the
standard library which documents are cut off, and remembers the last good version of each.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.strategies import chats
from shenyu_data.testing.tree import Node, Tree, read_tree

PATHS = (
    "users/anna.json",
    "users/...json",
    "users/anna.json.gz",
    "users/notes.txt",
    "histories/anna/chat-history.json",
    "histories/anna/sn43-history.json",
    "histories/anna/below/file",
    "histories/ben\n/chat-history.json",
    "histories/../histories/cleo/0.json",
    "other/deep/file",
    "notes.txt",
)
NOBODYS = (".json", "..json", "...json")
"""Names of user files whose users could not have a folder."""

LONG = "一段很长的话 that a delta is worth while for " * 40
CONTENTS = st.one_of(
    st.builds(chats, st.integers(0, 3), st.sampled_from(["hello", LONG]), array=st.booleans()),
    st.binary(max_size=20),
    st.sampled_from((b"", b"{}", b"[]", b'{"id": "anna"}', b'[{"messages": [')),
)
ANY = st.integers(0, 1 << 20)


class Version(NamedTuple):
    """A document's last good version, as a restore must give it."""

    node: Node


class Taken(NamedTuple):
    """A snapshot as the model knows it."""

    id: bytes
    tree: Tree
    good: dict[bytes, Version | None]
    """The torn documents, each with its last good version, if there ever was one."""


class Days(RuleBasedStateMachine):
    """Edits, backups, crashes and restores in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="days-"))
        self.data = self.base / "data"
        self.storage = MemoryStorage()
        self.keys = Secrets(bytes(32), bytes(16))  # so that users are dealt alike in every run
        self.snapshots: list[Taken] = []
        self.clock = 1_600_000_000

    def teardown(self) -> None:
        if self.snapshots:
            self.back_up(full=False)  # which stores the second copies that a crash has left out
            stats = verify(self.repository(), VerifyOptions(read_percent=100), CollectingMonitor())
            # There is no descriptor and no dictionary object here: they are no part of this.
            assert stats.damaged_objects == 2
            assert stats.snapshots == len(self.snapshots)
        shutil.rmtree(self.base)

    def repository(self) -> Repository:
        return Repository(self.storage, self.keys)

    # Edits

    @initialize()
    def begin(self) -> None:
        for folder in ("users", "histories/anna"):
            (self.data / folder).mkdir(parents=True)
        self.write(self.data / PATHS[0], b'{"id": "anna"}')
        self.write(self.data / PATHS[4], chats(2, LONG, array=True))

    def write(self, path: Path, content: bytes) -> None:
        """Write in place, as the application does, at a time of its own that lies long ago."""
        with open(path, "wb") as file:
            file.write(content)
        self.stamp(path)

    def stamp(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, (self.clock, self.clock), follow_symlinks=False)

    def found(self, which: int, wanted: Callable[[Path], bool]) -> Path | None:
        everything = sorted(path for path in self.data.rglob("*") if wanted(path))
        return everything[which % len(everything)] if everything else None

    def file(self, which: int) -> Path | None:
        return self.found(which, lambda path: path.is_file() and not path.is_symlink())

    def free(self, name: str) -> Path | None:
        """Make room for a new entry, if there is none and its folders can be."""
        path = self.data / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        inside = path.parent.resolve().is_relative_to(self.data.resolve())
        return path if inside and not os.path.lexists(path) else None

    @rule(name=st.sampled_from(PATHS), content=CONTENTS)
    def create(self, name: str, content: bytes) -> None:
        if path := self.free(name):
            self.write(path, content)

    @rule(which=ANY, content=CONTENTS)
    def modify_in_place(self, which: int, content: bytes) -> None:
        if path := self.file(which):
            self.write(path, content)

    @rule(which=ANY)
    def modify_behind_the_same_size_and_time(self, which: int) -> None:
        path = self.file(which)
        if path and (content := path.read_bytes()):
            seen = path.stat()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    @rule(which=ANY)
    def prepend_a_chat(self, which: int) -> None:
        if path := self.file(which):
            try:
                old = json.loads(path.read_bytes())
            except ValueError:
                old = []  # as the application does
            new = {"id": self.clock, "messages": [{"role": "user", "content": LONG}]}
            written = [new, *(old if isinstance(old, list) else [])][:6]
            self.write(path, json.dumps(written, ensure_ascii=False, indent=2).encode())

    @rule(which=ANY)
    def append_a_message(self, which: int) -> None:
        path = self.file(which)
        if path and (content := path.read_bytes()).endswith(b"]"):
            self.write(path, content[:-1] + b',{"messages":[]}]' if len(content) > 2 else b"[{}]")

    @rule(which=ANY, kept=st.floats(0, 1))
    def truncate(self, which: int, kept: float) -> None:
        if path := self.file(which):
            os.truncate(path, int(path.stat().st_size * kept))
            self.stamp(path)

    @rule(which=ANY, name=st.sampled_from(PATHS))
    def rename(self, which: int, name: str) -> None:
        path, to = self.found(which, lambda path: path.name not in ("users", "histories")), None
        if path and (to := self.free(name)) and not to.is_relative_to(path):
            path.rename(to)

    @rule(which=ANY, name=st.sampled_from(PATHS))
    def hard_link(self, which: int, name: str) -> None:
        path = self.file(which)
        if path and (to := self.free(name)):
            os.link(path, to)

    @rule(which=ANY)
    def delete(self, which: int) -> None:
        path = self.found(which, lambda path: path != self.data / "users")
        if path is None:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    @rule(which=ANY, to=st.sampled_from(("nowhere", "../anna", "/etc/passwd", ".")))
    def replace_by_a_link(self, which: int, to: str) -> None:
        top = (self.data / "users", self.data / "histories")
        path = self.found(which, lambda path: path not in top)
        if path is None:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        path.symlink_to(to)
        self.stamp(path)

    @rule(which=ANY)
    def replace_by_a_folder(self, which: int) -> None:
        if path := self.file(which):
            path.unlink()
            path.mkdir()

    @rule(which=ANY, mode=st.sampled_from((0o600, 0o644, 0o700, 0o4711)))
    def change_the_mode(self, which: int, mode: int) -> None:
        path = self.found(which, lambda path: not path.is_symlink())
        if path:
            path.chmod(mode | 0o700 if path.is_dir() else mode)

    @rule(which=ANY)
    def touch(self, which: int) -> None:
        if path := self.found(which, lambda path: True):
            self.stamp(path)

    # Backups

    @rule(full=st.booleans())
    def back_up(self, full: bool) -> None:
        tree = read_tree(self.data)
        torn = self.torn()
        monitor = CollectingMonitor()
        stats = backup(str(self.data), self.repository(), BackupOptions(full=full), monitor)
        assert stats.degraded == bool(torn)
        assert stats.totals.torn == len(torn)
        assert {item.path for item in monitor.findings if item.severity == "error"} <= {
            os.fsdecode(path).replace("\n", "\\n") for path in torn
        }
        assert stats.totals.documents == sum(node.kind == "file" for node in tree.nodes.values())
        self.remember(stats.snapshot, tree, torn)

    @rule(
        at_put=st.integers(0, 8),
        moment=st.sampled_from(MOMENTS),
        full=st.booleans(),
    )
    def a_backup_crashes(self, at_put: int, moment: Moment, full: bool) -> None:
        tree, torn = read_tree(self.data), self.torn()
        dying = Repository(FaultyStorage(self.storage, at_put=at_put, moment=moment), self.keys)
        with suppress(Crash):
            backup(str(self.data), dying, BackupOptions(full=full), CollectingMonitor())
        known = {taken.id for taken in self.snapshots}
        for snapshot in self.repository().snapshots():
            if snapshot.id not in known:  # it died when all was written
                self.remember(snapshot.id, tree, torn)

    def torn(self) -> set[bytes]:
        """Return the documents that do not parse, in the places where documents must."""
        torn = set()
        for path in self.data.rglob("*.json"):
            parts = path.relative_to(self.data).parts
            if path.is_symlink() or not path.is_file():
                continue
            user = parts[0] == "users" and len(parts) == 2 and parts[1] not in NOBODYS
            history = parts[0] == "histories" and len(parts) == 3 and parts[2][0] != "."
            if user or history:
                try:
                    json.loads(path.read_bytes().decode())
                except ValueError:
                    torn.add(os.fsencode(path.relative_to(self.data)))
        for path in self.data.glob("users/*.json.gz"):  # none that is written here is gzip
            if path.is_file() and not path.is_symlink():
                torn.add(os.fsencode(path.relative_to(self.data)))
        return torn

    def remember(self, snapshot: bytes, tree: Tree, torn: set[bytes]) -> None:
        before = self.snapshots[-1] if self.snapshots else None
        good: dict[bytes, Version | None] = {}
        for path in torn:
            good[path] = None
            if before is not None and path in before.tree.nodes:
                node = before.tree.nodes[path]
                if path in before.good:
                    good[path] = before.good[path]
                elif node.kind == "file":
                    good[path] = Version(node)
        self.snapshots.append(Taken(snapshot, tree, good))

    # Restores. No precondition may ask for snapshots: whether a crash came too late depends on
    # what the clock let the backup leave unread, and Hypothesis wants each run to be repeatable.

    @rule(which=ANY)
    def restore_a_snapshot(self, which: int) -> None:
        if not self.snapshots:
            return
        taken = self.snapshots[which % len(self.snapshots)]
        found = self.restored(taken, RestoreOptions())
        assert found.nodes == taken.tree.nodes
        assert found.hard_links == taken.tree.hard_links

    @rule(which=ANY)
    def restore_the_last_good_versions(self, which: int) -> None:
        degraded = [taken for taken in self.snapshots if taken.good]
        if not degraded:
            return
        taken = degraded[which % len(degraded)]
        wanted = dict(taken.tree.nodes)
        for path, version in taken.good.items():
            if version is not None:
                good = version.node
                wanted[path] = good._replace(owner=wanted[path].owner)
        assert self.restored(taken, RestoreOptions(last_good=True)).nodes == wanted

    @rule(which=ANY)
    def restore_over_the_live_directory(self, which: int) -> None:
        """Into a copy of what is there now: what the snapshot holds is then as it was."""
        if not self.snapshots:
            return
        taken = self.snapshots[which % len(self.snapshots)]
        target = self.base / "copy"
        shutil.copytree(self.data, target, symlinks=True)
        monitor = CollectingMonitor()
        root = self.repository().root(taken.id)
        stats = restore(
            self.repository(), root, str(target), RestoreOptions(overwrite=True), monitor
        )
        found = read_tree(target).nodes
        failed = {item.path for item in monitor.findings if item.code == "not-written"}
        assert bool(failed) == bool(stats.failed)
        for path, node in taken.tree.nodes.items():
            if not failed:
                assert found[path] == node
        shutil.rmtree(target)

    def restored(self, taken: Taken, options: RestoreOptions) -> Tree:
        target = self.base / "target"
        monitor = CollectingMonitor()
        root = self.repository().root(taken.id)
        stats = restore(self.repository(), root, str(target), options, monitor)
        assert (stats.failed, stats.damaged) == (0, 0)
        assert stats.torn == len(taken.good)
        found = read_tree(target)
        shutil.rmtree(target)
        return found


TestDays = Days.TestCase
TestDays.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
