"""An erased user and a thief who has the repository key, every old object of the repository but the
keyrings that were destroyed, and the disk as it is after the erasure: nothing can be had.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.model.errors import RepositoryError, ShenyuDataError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import erase as erase_module
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.erase import EraseOptions, EraseStats, erase, plan_erase
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.show import show_user
from shenyu_data.repository.crypto import OwnerKeys, Secrets
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Row, SectionReader, layers_of
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.application import Application, chat, rich_directory
from shenyu_data.testing.faulty import FaultyStorage
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, check_whole, look, take
from tests.compat import reader

USER = "zhao-whose-name-is-nowhere-else"
NAME = USER.encode()
SECRET = "不可磨灭的秘密 an unmistakable secret"


class Scene(NamedTuple):
    """A repository on disk in which a user was erased after three snapshots."""

    folder: Path
    repository: Repository
    data: Application
    snapshots: list[bytes]
    owner_keys: list[bytes]
    before: Path  # the repository's files as they were before


def run_erase(scene: Scene, name: bytes = NAME, receipt: str = "receipt.json") -> EraseStats:
    data = str(scene.data.folder)
    plan = plan_erase(data, scene.repository, name)
    state = str(scene.folder / "state")
    options = EraseOptions(receipt=str(scene.folder / receipt), state=state)
    return erase(data, scene.repository, plan, options, CollectingMonitor())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(erase_module, "LONG_LOOK_S", 0.0)
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, _ = create_repository(storage, PASSPHRASE)
    data = rich_directory(tmp_path / "data")
    data.add_user(USER, [chat(number, about=SECRET) for number in range(3)])
    snapshots = [take(repository, data, full=True).snapshot]
    for number in (10, 11):
        data.prepend_chat(USER, chat(number, about=SECRET))
        snapshots.append(take(repository, data).snapshot)
    pseudonym = repository.keys.user_pseudonym(NAME)
    owner_keys = [keys.key for keys in repository.keyring().bucket(pseudonym[0])[pseudonym]]
    before = tmp_path / "before"
    shutil.copytree(tmp_path / "repository", before)
    return Scene(tmp_path, repository, data, snapshots, owner_keys, before)


@pytest.fixture
def erased(scene: Scene) -> Scene:
    assert run_erase(scene).complete
    return scene


def files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


def secrets_of(scene: Scene) -> list[bytes]:
    found = [NAME, SECRET.encode()]
    for key in scene.owner_keys:
        keys = OwnerKeys(key)
        found += [key, keys._segment_key, keys._record_key, keys._digest_key]
        found += [item.hex().encode() for item in found[2:]]
    return found


def loot(scene: Scene) -> Repository:
    """What the thief has: old and new objects together, less the destroyed keyrings."""
    stolen = scene.folder / "stolen"
    shutil.copytree(scene.folder / "repository", stolen)
    for path, content in files(scene.before):
        relative = path.relative_to(scene.before)
        if relative.parts[0] != "keys" and not (stolen / relative).exists():
            (stolen / relative).write_bytes(content)
    return Repository(LocalStorage(str(stolen)), scene.repository.keys)


def test_the_secrets_looked_for_are_there_before(scene: Scene) -> None:
    """Else not finding them afterwards would mean nothing."""
    live = b"".join(content for _, content in files(scene.data.folder))
    assert SECRET.encode() in live
    keys = scene.repository.keys
    pseudonym = keys.user_pseudonym(NAME)
    rows = [
        row
        for item in Keyring(scene.repository.storage, keys).objects
        for row in item.bucket(pseudonym[0])
    ]
    assert {key for owner, key in rows if owner == pseudonym} == set(scene.owner_keys)


def test_no_byte_of_the_user_is_left_on_the_disk(erased: Scene) -> None:
    wanted = secrets_of(erased)
    for path, content in files(erased.folder / "repository", erased.data.folder):
        assert not [item for item in wanted if item in content], path
        assert NAME not in bytes(path)
    for path, content in files(erased.folder):  # receipts name the user, and hold no secret
        if path.name.startswith("receipt.json"):
            assert not [item for item in wanted[1:] if item in content], path


def every_key_there_is(repository: Repository) -> list[OwnerKeys]:
    """Every owner key of every keyring object, dead or alive, with every repository key."""
    raw = set()
    for item in Keyring(repository.storage, repository.keys).objects:
        for bucket in range(256):
            raw |= {key for _, key in item.bucket(bucket)}
    found = [keys for key in raw for keys in repository.keys.owner_keys(key)]
    masters = [repository.keys.master, *repository.keys.older]
    return found + [OwnerKeys(key) for key in masters]


def records(repository: Repository, user: bytes) -> Iterator[tuple[SectionReader, bytes, Row]]:
    """Every record of a user in every layer of every snapshot."""
    pseudonym = repository.keys.user_pseudonym(user)
    for snapshot in repository.snapshots():
        layers = layers_of(repository.root(snapshot.id), pseudonym[0])
        sections = SectionReader(repository.storage, repository.keys, pseudonym[0], layers)
        for layer in layers:
            for owner, row in sections.rows_of(layer):
                if owner == pseudonym and row.length:
                    yield sections, pseudonym, row


def test_no_key_the_thief_has_opens_any_record(erased: Scene) -> None:
    repository = loot(erased)
    keys = every_key_there_is(repository)
    assert len(keys) > 5
    tried = 0
    for sections, pseudonym, row in records(repository, NAME):
        with pytest.raises(RepositoryError):
            sections.record(pseudonym, row, keys)
        tried += 1
    assert tried >= 3


def test_an_old_keyring_is_what_it_takes(erased: Scene) -> None:
    """As docs/erasure.md says: who kept the keys folder from before reads everything. This is also
    what shows that the attempts above are made rightly.
    """
    repository = loot(erased)
    for path, content in files(erased.before / "keys"):
        (erased.folder / "stolen/keys" / path.name).write_bytes(content)
    keys = every_key_there_is(repository)
    opened = [
        sections.record(pseudonym, row, keys)
        for sections, pseudonym, row in records(repository, NAME)
    ]
    assert len(opened) >= 3
    assert {record.owner for record in opened} == {NAME}


def test_a_reader_of_somebody_elses_finds_nothing_either(erased: Scene) -> None:
    loot(erased)
    opened = reader.Repository(erased.folder / "stolen", PASSPHRASE)
    roots = opened.snapshots()
    assert len(roots) == len(erased.snapshots)
    for root in roots:
        tree = opened.restore(root)
        assert tree.damaged == []
        assert tree.nodes
        for path, node in tree.nodes.items():
            assert NAME not in path
            assert SECRET.encode() not in node.data
        assert opened.restore(root, NAME).nodes == {}


def test_nobody_brings_the_user_back_from_the_loot(erased: Scene) -> None:
    repository = loot(erased)
    for snapshot in erased.snapshots:
        restored = bring_back(repository, snapshot)
        assert restored.findings == []
        assert restored.tree.nodes
        assert not [path for path in restored.tree.nodes if NAME in path]
        root = repository.root(snapshot)
        with pytest.raises(ShenyuDataError, match="erased"):
            show_user(repository, root, NAME)
        with pytest.raises(ShenyuDataError, match="erased"):
            target = str(erased.folder / "nothing")
            restore(repository, root, target, RestoreOptions(user=NAME), CollectingMonitor())


def test_after_a_rotation_it_is_the_same(scene: Scene) -> None:
    keys = scene.repository.keys
    rotated = Secrets(b"n" * 32, keys.repository_id, (keys.master, *keys.older))
    scene = scene._replace(repository=Repository(scene.repository.storage, rotated))
    scene.data.prepend_chat(USER, chat(50, about=SECRET))
    take(scene.repository, scene.data)
    assert run_erase(scene).complete
    test_no_byte_of_the_user_is_left_on_the_disk(scene)
    test_no_key_the_thief_has_opens_any_record(scene)


def test_others_lose_nothing(erased: Scene) -> None:
    assert look(erased.repository).errors == {}
    taken = take(erased.repository, erased.data)
    check_whole(erased.repository, taken)


def test_what_the_application_writes_meanwhile_goes_as_well(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the history in memory, and saves it until the erasure looks whether all is quiet, and
    once more.
    """
    looking = threading.Event()
    pause = time.sleep

    def application() -> None:
        last = False
        while not last:
            last = looking.is_set()
            with suppress(FileNotFoundError):  # its folder may go between making and writing
                scene.data.add_user(USER, [chat(20, about=SECRET)])

    def pause_until_written(seconds: float) -> None:
        looking.set()
        writer.join()
        monkeypatch.setattr(erase_module, "LONG_LOOK_S", 0.1)  # from when more has come back
        pause(seconds)

    writer = threading.Thread(target=application)
    writer.start()
    monkeypatch.setattr(time, "sleep", pause_until_written)
    monkeypatch.setattr(erase_module, "LONG_LOOK_S", 20.0)
    try:
        stats = run_erase(scene)
    finally:
        looking.set()
        writer.join()
    assert stats.complete
    assert stats.came_back > 0
    test_no_byte_of_the_user_is_left_on_the_disk(scene)


@pytest.mark.parametrize("folder", ["packs", "keys", "manifests", "snapshots"])
@pytest.mark.parametrize("full", [False, True])
def test_erased_in_the_midst_of_a_backup(scene: Scene, folder: str, full: bool) -> None:
    scene.data.prepend_chat(USER, chat(60, about=SECRET))
    scene.data.add_user("new", [chat(61)])
    acts = iter([True])

    def meanwhile(name: str) -> None:
        if name.startswith(folder) and next(acts, False):
            assert run_erase(scene).complete

    faulty = FaultyStorage(scene.repository.storage, before_put=meanwhile)
    repository = Repository(faulty, scene.repository.keys)
    with suppress(ShenyuDataError):  # "erased just when": it says to run it again
        data = str(scene.data.folder)
        backup(data, repository, BackupOptions(full=full), CollectingMonitor())
    assert next(acts, False) is False
    test_no_byte_of_the_user_is_left_on_the_disk(scene)
    test_no_key_the_thief_has_opens_any_record(scene)
    taken = take(scene.repository, scene.data)
    check_whole(scene.repository, taken)
