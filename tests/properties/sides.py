"""A repository beside a model of it: for test_state_machine.py."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.alarms import acknowledge, alarms
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.verify import VerifyOptions, VerifyStats, verify
from shenyu_data.repository.compression import load_dictionary
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import DESCRIPTOR, DICTIONARY, Root
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.keyslots import add_slot
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.repository import Descriptor, Repository
from shenyu_data.repository.snapshots import snapshot_ids
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.tree import Node, Tree, read_tree
from tests.properties.live_data import owner_of

Links = frozenset[frozenset[bytes]]


class Taken(NamedTuple):
    """What a snapshot must restore to. ``links`` are its hard links, None: not known.

    ``good`` are the torn documents, each with its last good version, if there ever was one.
    """

    nodes: dict[bytes, Node]
    links: Links | None
    good: dict[bytes, Node | None]

    def without(self, users: Collection[bytes]) -> "Taken":
        """Return what is left when users were erased."""
        gone = self.only(users).nodes.keys()
        tree = Tree(self.nodes, self.links or frozenset()).without(gone)
        good = {path: node for path, node in self.good.items() if path not in gone}
        return Taken(tree.nodes, None if self.links is None else tree.hard_links, good)

    def only(self, users: Collection[bytes]) -> "Taken":
        """Return what there is of some users."""
        nodes = {
            path: node for path, node in self.nodes.items() if owner_of(path, node.kind) in users
        }
        good = {path: node for path, node in self.good.items() if path in nodes}
        return Taken(nodes, None, good)

    def plus(self, other: "Taken") -> "Taken":
        """Return both together."""
        return Taken(self.nodes | other.nodes, None, self.good | other.good)


class Side:
    """A repository and what it must hold: the ``present`` snapshots, each as in ``taken``.

    ``erased`` are users whose keys were ever destroyed here, ``proved`` snapshots that were
    verified. ``half``: second copies of objects may be missing; ``tampered``: destroyed keys may be
    back; ``rotating``: a rotation was cut off. ``old_secrets`` must open it no more.
    """

    def __init__(self, storage: Storage, keys: Secrets, base: Path) -> None:
        self.storage = storage
        self.keys = keys
        self.secret = new_recovery_key()
        self.old_secrets: list[str] = []
        self.taken: dict[bytes, Taken] = {}
        self.roots: dict[bytes, Root] = {}
        self.present: set[bytes] = set()
        self.proved: set[bytes] = set()
        self.erased: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.maybe_acknowledged: set[bytes] = set()
        """Those for which a copy was cut off, or that were dropped and may have come again."""
        self.pinned: dict[bytes, set[bytes]] = {}
        self.half = self.tampered = self.rotating = False
        self._target = base / "restored"
        storage.put(DICTIONARY, [load_dictionary()])
        add_slot(storage, keys, self.secret, "in use")
        descriptor = Descriptor(
            format="shenyu-data repository", version=1, id=keys.repository_id.hex()
        )
        descriptor.check = descriptor.checksum()
        storage.put(DESCRIPTOR, [msgspec.json.encode(descriptor)])

    def repository(self, storage: Storage | None = None) -> Repository:
        """Return it, unlocked with the newest key that is known."""
        return Repository(storage or self.storage, self.keys)

    def ids(self) -> set[bytes]:
        """Return the snapshots that there are."""
        return set(snapshot_ids(self.storage))

    def ordered(self) -> list[bytes]:
        """Return the snapshots that there must be, in the order in which they were taken."""
        roots = (self.roots[item] for item in self.present)
        return [item.id for item in sorted(roots, key=lambda x: (x.sequence, x.time_ms, x.id))]

    def chosen(self, which: int) -> bytes | None:
        """Return some snapshot."""
        order = self.ordered()
        return order[which % len(order)] if order else None

    def remember(
        self,
        snapshot: bytes,
        taken: Taken,
        unsure: Collection[bytes] = (),
        others: Collection[Taken] = (),
    ) -> None:
        """Take note of a snapshot. Of each user of whom it is ``unsure`` it holds either nothing,
        or all that it must, or what one of ``others`` holds.
        """
        self.present.add(snapshot)
        self.roots[snapshot] = self.repository().root(snapshot)
        self.pinned[snapshot] = set(self.roots[snapshot].pinned) & self.ids()
        self.taken[snapshot] = taken
        if not unsure:
            return
        found = Taken(self.restored(snapshot).nodes, None, {})
        for user in unsure:
            choices = [Taken({}, None, {}), *(item.only([user]) for item in (taken, *others))]
            fitting = [item for item in choices if item.nodes == found.only([user]).nodes]
            assert fitting, f"{user!r} is neither there nor gone"
            rest = self.taken[snapshot].without([user])
            self.taken[snapshot] = rest.plus(fitting[0]) if fitting[0].nodes else rest

    def strip(self, user: bytes, but: Collection[bytes] = ()) -> None:
        """Take note that a user was erased, from all snapshots ``but`` some."""
        self.erased.add(user)
        for snapshot in self.taken.keys() - set(but):
            self.taken[snapshot] = self.taken[snapshot].without([user])

    def holds_key_of(self, user: bytes) -> bool:
        """Whether any keyring object holds a key of a user."""
        pseudonym = self.keys.user_pseudonym(user)
        objects = Keyring(self.storage, self.keys).objects
        return any(pseudonym == owner for item in objects for owner, _ in item.bucket(pseudonym[0]))

    def restored(
        self, snapshot: bytes, *, last_good: bool = False, torn: int | None = None
    ) -> Tree:
        """Restore a snapshot; nothing may be wrong with it."""
        monitor = CollectingMonitor()
        repository = self.repository()
        options = RestoreOptions(last_good=last_good)
        stats = restore(repository, repository.root(snapshot), str(self._target), options, monitor)
        found = read_tree(self._target)
        shutil.rmtree(self._target)
        assert {item.code for item in monitor.findings} <= {"restored-degraded"}, monitor.findings
        assert (stats.failed, stats.damaged) == (0, 0)
        assert torn is None or stats.torn == torn
        return found

    def check(self, snapshot: bytes) -> None:
        """Assert that a snapshot restores to what it must, to the byte."""
        taken = self.taken[snapshot]
        found = self.restored(snapshot, torn=len(taken.good))
        # Where a copy still has a user whom the source forgot, it may lack the folder above.
        above = {path.partition(b"/")[0] for path in taken.nodes} - taken.nodes.keys()
        found = found._replace(nodes={p: n for p, n in found.nodes.items() if p not in above})
        assert found.nodes == taken.nodes, _differences(found.nodes, taken.nodes)
        assert taken.links is None or found.hard_links == taken.links
        if taken.good:
            good = {path: node for path, node in taken.good.items() if node is not None}
            wanted = taken.nodes | {
                path: node._replace(owner=taken.nodes[path].owner) for path, node in good.items()
            }
            nodes = self.restored(snapshot, last_good=True).nodes
            nodes = {path: node for path, node in nodes.items() if path not in above}
            assert nodes == wanted, _differences(nodes, wanted)

    def check_all(self) -> None:
        """Assert that there are just the snapshots that must be, and what each holds."""
        assert self.ids() == self.present
        assert self.present or not self.taken, "the last snapshot is gone"
        for snapshot in self.standing():
            assert self.pinned[snapshot] <= self.present, "what an alarm pins is gone"
        for snapshot in self.present:
            self.check(snapshot)

    def standing(self) -> set[bytes]:
        """Return the snapshots at which a tripwire tripped and that nobody acknowledged."""
        alarmed = {item for item in self.present if self.roots[item].alarmed}
        return alarmed - self.acknowledged

    def acknowledge_all(self) -> None:
        """Let somebody say of all alarms that they are seen."""
        for alarm in alarms(self.repository()):
            acknowledge(self.repository(), [alarm.snapshot.id.hex()], "", now_ms=1)
            self.acknowledged.add(alarm.snapshot.id)

    def forget_dropped(self, before: set[bytes], *, quiet: bool) -> None:
        """Take note of what was dropped since there were the snapshots ``before``."""
        gone = before - self.present
        for snapshot in self.standing():
            assert not (quiet and gone & self.pinned[snapshot])
            self.pinned[snapshot] -= gone  # a prune that had been planned, beside the backup
        self.maybe_acknowledged |= self.acknowledged - self.present
        self.acknowledged &= self.present

    def verify(self, *, read: bool = True) -> VerifyStats:
        """Assert that verify finds nothing but what must be."""
        monitor = CollectingMonitor()
        stats = verify(self.repository(), VerifyOptions(read_percent=100.0 * read), monitor)
        allowed = {"unused-objects"}
        if self.half:
            allowed.add("object-missing")
        if self.tampered or self.half:
            allowed.add("destroyed-key-back")
        odd = [item for item in monitor.findings if item.code not in allowed]
        assert odd == [], odd
        assert stats.snapshots == len(self.present)
        if read:
            self.proved |= self.present
        return stats


def _differences(found: dict[bytes, Node], wanted: dict[bytes, Node]) -> str:
    paths = sorted(found.keys() | wanted.keys())
    differ = [path for path in paths if found.get(path) != wanted.get(path)]
    return "\n".join(f"{p!r}: {found.get(p)}, wanted {wanted.get(p)}" for p in differ)
