"""A repository that has seen everything: what the table of damages does its harm to.

Two rotations, two erasures, prunes that repacked and that left something waiting, proofs, a
snapshot that caught a torn document. What was deleted on the way is kept in the ``attic``.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations.alarms import alarms
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.prune import PruneStats, prune
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.acknowledgements import Acknowledgement, write_acknowledgement
from shenyu_data.repository.crypto import OVERHEAD_BYTES
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import KEYRING_ROW, MOVED
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.moves import Moves
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.scenario import Taken, look, rich_past, take
from shenyu_data.testing.tree import Tree, read_tree
from tests.cli.conftest import PASSPHRASE, call_shenyu

USER = "alice"
"""Of whom the verbs that take a user are asked: what is damaged is what her documents hang on."""

ERASED = ("erin", f"{3:064x}")
_OLD_NS = 1_700_000_000_000_000_000


class Place(NamedTuple):
    """An object, and a byte of it that belongs to the user."""

    name: str
    offset: int


class Years(NamedTuple):
    """Where it all lies, and what each snapshot restores to, by its id.

    ``seen`` are all objects there ever were, the oldest first; ``attic`` holds those that are gone.
    ``older`` is the snapshot with the torn document, ``dropped`` one that a prune dropped.
    ``manifest``, ``pack`` and ``moved`` are where the latest snapshot finds what belongs to the
    user, ``keyring`` holds the key; the keys of those who were erased are in ``keyring_before``.
    """

    folder: Path
    secret: str
    other_secret: str
    repository: Repository
    seen: list[str]
    attic: dict[str, bytes]
    trees: dict[str, Tree]
    latest: str
    older: str
    dropped: str
    keyring: Place
    keyring_before: str
    manifest: Place
    pack: Place
    moved: Place


def make_years(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Years:
    """Make it in ``folder``: ``data``, ``repo``, an empty repository ``other``, and the
    configuration.
    """
    other = LocalStorage(str(folder / "other"))
    other.create()
    other_secret = create_repository(other, PASSPHRASE)[1]
    (folder / "shenyu-data.toml").write_text('data = "data"\nrepository = "repo"\njobs = 1\n')
    storage = LocalStorage(str(folder / "repo"))
    storage.create()
    with monkeypatch.context() as patch:
        # Pseudonyms, and so which users share a bucket, must not differ from run to run.
        patch.setattr(os, "urandom", random.Random(7).randbytes)
        past = rich_past(folder / "data", storage)
        making = _Making(past.repository, past.recovery_key, past.data)
        older, whole = making.live_through(past.taken)
    enter(folder, past.recovery_key, other_secret, monkeypatch)
    repository = making.repository
    ids = [item.id.hex() for item in repository.snapshots()]
    trees = {}
    for snapshot in ids:
        call_shenyu(monkeypatch, "restore", snapshot, "--to", "restored", "--last-good")
        trees[snapshot] = read_tree(folder / "restored")
        shutil.rmtree(folder / "restored")
    for taken in whole:
        if taken.snapshot.hex() in trees:
            assert trees[taken.snapshot.hex()].nodes == _without_erased(taken.tree)
    assert ids[0] == older.hex() and len(ids) == 4
    assert {item.code for item in look(repository).findings} <= {"unused-objects"}
    attic = making.attic()
    return Years(
        folder,
        past.recovery_key,
        other_secret,
        repository,
        making.seen,
        attic,
        trees,
        ids[-1],
        ids[0],
        past.taken[0].snapshot.hex(),
        _keyring(repository.storage, repository, USER),
        _keyring(_in_memory(attic), repository, ERASED[0]).name,
        *_places(repository, ids[-1]),
    )


def enter(folder: Path, secret: str, other_secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line work there."""
    monkeypatch.chdir(folder)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(folder / "home"))
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", secret)
    monkeypatch.setenv("SHENYU_DATA_TO_PASSPHRASE", other_secret)


class _Making:
    def __init__(self, repository: Repository, secret: str, data: Application) -> None:
        self.repository = repository
        self._secret = secret
        self._data = data
        self._seen: dict[str, bytes] = {}

    def live_through(self, taken: list[Taken]) -> tuple[bytes, list[Taken]]:
        """Return the degraded snapshot and those to compare with what was backed up."""
        data = self._data
        whole = [*taken]
        self._erase(ERASED[0])
        for number in (0, 1, 2, 4, 5):
            data.write(f"histories/{number:064x}/chat-history.json", [chat(950 + number)])
            data.write(f"users/{number:064x}.json", {"id": f"{number:064x}", "lastSeen": "later"})
        data.write("histories/bob/chat-history.json", [chat(909), chat(908), chat(907)])
        data.write("histories/bob/old/deep/kept.bin", bytes(300))
        data.add_user("frida", [chat(960)])
        whole.append(self._take())
        data.add_user("guest", [chat(905)])
        whole.append(self._take())
        data.remove("users/guest.json")
        shutil.rmtree(data.folder / "histories" / "guest")
        data.write("histories/bob/chat-history.json", b'[{"id": 1700, "messa')
        older = self._take().snapshot
        data.write("histories/bob/chat-history.json", [chat(910), chat(911)])
        whole.append(self._take(watch=Watch()))  # which notices that bob's history was overwritten
        self._acknowledge()
        self._erase(ERASED[1])
        for _ in range(2):
            begun = begin_rotation(
                self.repository, plan_rotation(self.repository), self._secret, "in use"
            )
            self._look()
            finish_rotation(begun.repository, CollectingMonitor())
            self.repository = open_repository(self.repository.storage, self._secret)
        data.prepend_chat("bob", chat(912))
        whole.append(self._take())
        for _ in range(5):
            assert look(self.repository).stats.damaged_objects == 0
            self._look()
        self._prune(keep=5, grace_s=0)
        data.prepend_chat("frida", chat(961))
        whole.append(self._take())
        assert self._prune(keep=4, grace_s=86_400).waiting_objects
        data.prepend_chat("bob", chat(970))
        data.write("users/new.json", {"id": "new"})
        for path in data.folder.rglob("*"):
            os.utime(path, ns=(_OLD_NS, _OLD_NS), follow_symlinks=False)
        settle(data.folder)
        return older, whole

    @property
    def seen(self) -> list[str]:
        """All objects there ever were, the oldest first."""
        return list(self._seen)

    def attic(self) -> dict[str, bytes]:
        """Return what was deleted on the way."""
        there = {info.name for info in self.repository.storage.list("")}
        return {name: data for name, data in self._seen.items() if name not in there}

    def _look(self) -> None:
        storage = self.repository.storage
        for info in storage.list(""):
            self._seen.setdefault(info.name, storage.read(info.name))

    def _take(self, watch: Watch | None = None) -> Taken:
        taken = take(self.repository, self._data, watch=watch)
        self._look()
        return taken

    def _acknowledge(self) -> None:
        """Acknowledge the alarm there is, twice; the first time is forgotten."""
        storage, keys = self.repository.storage, self.repository.keys
        (alarm,) = alarms(self.repository)
        names = [
            write_acknowledgement(storage, keys, Acknowledgement(alarm.snapshot.id, number, "seen"))
            for number in range(2)
        ]
        self._look()
        storage.delete(names[0])

    def _erase(self, user: str) -> None:
        self._look()
        shutil.rmtree(self._data.folder / "histories" / user)
        (self._data.folder / "users" / f"{user}.json").unlink()
        keys = self.repository.keys
        destroy_keys(self.repository.storage, keys, keys.user_pseudonym(user.encode()), 1)
        self._look()

    def _prune(self, keep: int, grace_s: float) -> PruneStats:
        options = PruneOptions(retention=Retention(keep_last=keep), grace_s=grace_s)
        now_ms = 1_900_000_000_000
        plan = plan_prune(self.repository, options, CollectingMonitor(), now_ms=now_ms)
        stats = prune(self.repository, plan, options, CollectingMonitor())
        self._look()
        return stats


def _in_memory(objects: dict[str, bytes]) -> Storage:
    storage = MemoryStorage()
    storage.objects.update(objects)
    return storage


def _keyring(storage: Storage, repository: Repository, user: str) -> Place:
    """Return the keyring object that holds a user's key, and where."""
    keys = repository.keys
    pseudonym = keys.user_pseudonym(user.encode())
    for item in Keyring(storage, keys).objects:
        if pseudonym in dict(item.bucket(pseudonym[0])):
            after = item.counts_of_copy(item.name)[pseudonym[0] + 1 :]
            behind = sum(KEYRING_ROW.size * rows + OVERHEAD_BYTES for rows in after if rows)
            return Place(item.name, item.size_of_copy(item.name) - behind - 1)
    raise AssertionError(f"nobody has the key of {user}")


def _without_erased(tree: Tree) -> dict[bytes, object]:
    mine = [user.encode() for user in ERASED]
    return {
        path: node
        for path, node in tree.nodes.items()
        if not any(user in path.replace(b".json", b"").split(b"/") for user in mine)
    }


def _places(repository: Repository, latest: str) -> tuple[Place, Place, Place]:
    """Return where the snapshot has the user's record, a segment of hers, and its move."""
    keys, storage = repository.keys, repository.storage
    pseudonym = keys.user_pseudonym(USER.encode())
    bucket = keys.user_bucket(USER.encode())
    root = repository.root(bytes.fromhex(latest))
    reader = SectionReader(storage, keys, bucket, layers_of(root, bucket))
    row = reader.rows()[pseudonym]
    record = reader.record(pseudonym, row, repository.keyring().bucket(bucket)[pseudonym])
    at = row.layer.offset + row.offset + row.length // 2
    manifest = Place(f"manifests/{row.layer.manifest.hex()}", at)
    moves = Moves(storage, keys)
    for segment in record.segments:
        if moved := moves.locate(segment):
            table = f"{MOVED}/{segment.pack.hex()}"
            pack = Place(f"packs/{moved.pack.hex()}", moved.offset + moved.stored_bytes // 2)
            return manifest, pack, Place(table, len(storage.read(table)) // 2)
    raise AssertionError("nothing of the user was repacked")
