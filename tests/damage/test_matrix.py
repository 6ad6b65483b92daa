"""Every damage action on every object: it is named, and takes nothing along that it need not."""

import random
import re
from collections.abc import Iterator

import pytest

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import printable
from shenyu_data.repository.keyslots import read_slot, unlock
from shenyu_data.repository.repository import Repository, read_descriptor
from shenyu_data.testing.damage import DamageAction, delete, each_way, flip
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Past,
    Restored,
    Taken,
    bring_back,
    check_whole,
    look,
    rich_past,
)
from tests.damage.trial import explanations

TWICE = ("keys", "snapshots")
UNNEEDED = ("repository", "dictionary-1", "slots")
"""Damage to these is named, but whoever has opened the repository can restore everything."""
KINDS = (*UNNEEDED, *TWICE, "packs", "manifests")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return rich_past(tmp_path_factory.mktemp("past") / "data")


def objects(past: Past, kind: str) -> dict[str, int]:
    return {
        info.name: info.size
        for info in past.repository.storage.list("")
        if info.name.partition("/")[0] == kind
    }


def twin(name: str) -> str:
    return name.removesuffix(".copy") if name.endswith(".copy") else name + ".copy"


def actions(past: Past, kind: str) -> Iterator[DamageAction]:
    """Give every way to damage each object of a kind; beside each, one other of its kind."""
    chance = random.Random(kind)
    sizes = objects(past, kind)
    for name, size in sizes.items():
        others = [other for other in sizes if other not in (name, twin(name))]
        for action in each_way(name, size, chance.sample(others, min(1, len(others))), chance):
            if kind in ("repository", "slots") and action.title.endswith(f"off at {size - 1}"):
                continue  # only the end of the last line is lost
            yield action


def lost_paths(past: Past, taken: Taken, restored: Restored) -> set[bytes]:
    """Assert that a restore invented nothing; return the files and links that are missing."""
    was, now = taken.tree.nodes, restored.tree.nodes
    for path, node in now.items():
        assert path in was, f"{path!r} came out of nowhere"
        if node.kind != "folder":
            assert node == was[path]
    return {path for path, node in was.items() if node.kind != "folder" and path not in now}


def affected_snapshots(message: str) -> list[str]:
    """Return which snapshots a finding says are affected."""
    found = re.search(r" in \d+ snapshots? \(([0-9a-f, ]+)\)", message)
    return found[1].split(", ") if found else []


def check_explained(past: Past, restored: Restored, lost: set[bytes]) -> None:
    """Assert that the restore said of every missing path that it is missing, and of no other."""
    keys = past.repository.keys
    said = {finding.path for finding in restored.findings}
    for path in lost:
        assert explanations(keys, path) & said, f"{path!r} was lost without a word"
    for finding in restored.findings:
        if not finding.path.startswith(("one user", "bucket")):
            assert finding.path in {printable(path) for path in lost}


def check_after(past: Past, repository: Repository, action: DamageAction) -> None:
    """Assert what must hold of a repository after any damage."""
    kind = action.objects[0].partition("/")[0]
    verified = look(repository)
    if kind == "slots" and action.title.startswith("delete"):
        assert not verified.errors  # a key may be taken away
    else:
        assert set(action.objects) <= verified.errors.keys(), action.title
        assert verified.stats.damaged_objects >= len(action.objects)
    if kind in UNNEEDED or kind in TWICE:  # nothing that hangs on them may suffer
        suspects = [item for item in past.taken if item.snapshot.hex() in action.title]
        suspects += past.taken[-1:]
    else:
        suspects = past.taken
    for taken in suspects:
        restored = bring_back(repository, taken.snapshot)
        assert restored.error is None, action.title
        assert restored.stats is not None
        lost = lost_paths(past, taken, restored)
        if kind in UNNEEDED or kind in TWICE:
            assert not lost
        else:
            check_explained(past, restored, lost)
        named = any(
            taken.snapshot.hex()[:8] in affected_snapshots(verified.errors[name].message)
            for name in action.objects
            if name in verified.errors
        )
        assert named == bool(restored.findings), action.title
        assert bool(restored.stats.damaged) == bool(restored.findings)
        assert bool(lost) <= bool(restored.findings)
        if not restored.findings:
            assert restored.tree == taken.tree


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(2))  # halves, for two processes
def test_damage_is_named_and_what_it_does_not_affect_restores(
    past: Past, kind: str, part: int
) -> None:
    done = 0
    for action in list(actions(past, kind))[part::2]:
        repository = past.copy()
        action.apply(repository.storage)
        check_after(past, repository, action)
        done += 1
    assert done


@pytest.mark.parametrize("kind", TWICE)
def test_damage_to_both_copies_is_named_and_costs_no_other_snapshot(past: Past, kind: str) -> None:
    for name, size in objects(past, kind).items():
        if name.endswith(".copy"):
            continue
        for harm in (
            (flip(name, size // 2), flip(twin(name), size // 2)),
            (flip(name, 0), delete(twin(name))),
            (delete(name), flip(twin(name), size - 1)),
        ):
            repository = past.copy()
            for action in harm:
                action.apply(repository.storage)
            errors = look(repository).errors
            assert {name, twin(name)} <= errors.keys()
            for copy in (name, twin(name)):
                assert "no document is affected" not in errors[copy].message
            for taken in past.taken:
                restored = bring_back(repository, taken.snapshot)
                if kind == "snapshots":
                    if taken.snapshot.hex() in name:
                        assert isinstance(restored.error, RepositoryError)
                        assert taken.snapshot.hex()[:8] in errors[name].message
                    else:
                        assert restored.tree == taken.tree
                else:
                    lost = lost_paths(past, taken, restored)
                    check_explained(past, restored, lost)
                    whole = restored.tree == taken.tree
                    assert whole == (not restored.findings)


def test_a_lost_snapshot_that_others_name_as_parent_is_named(past: Past) -> None:
    first = past.taken[0].snapshot.hex()
    repository = past.copy()
    delete(f"snapshots/{first}", f"snapshots/{first}.copy").apply(repository.storage)
    assert f"snapshots/{first}" in look(repository).errors
    for taken in past.taken[1:]:
        check_whole(repository, taken)


@pytest.mark.parametrize("kind", ["repository", "slots"])
def test_every_byte_of_what_is_not_sealed_is_checked(past: Past, kind: str) -> None:
    for name, size in objects(past, kind).items():
        repository = past.copy()
        for position in range(size):
            for bit in (0, 5, 7):
                action = flip(name, position, bit)
                action.apply(repository.storage)
                with pytest.raises(RepositoryError):
                    if kind == "slots":
                        read_slot(repository.storage, name)
                    else:
                        read_descriptor(repository.storage)
                action.apply(repository.storage)  # back again


@pytest.mark.parametrize("kind", ["packs", "snapshots", "manifests"])
def test_every_byte_of_the_smallest_object_is_checked(past: Past, kind: str) -> None:
    sizes = objects(past, kind)
    name = min(sizes, key=lambda item: sizes[item])
    repository = past.copy()
    for position in range(0, sizes[name], 1 if kind == "packs" else 7):
        action = flip(name, position, position % 8)
        action.apply(repository.storage)
        assert name in look(repository).errors, position
        action.apply(repository.storage)
    assert not look(repository).errors


def test_a_damaged_slot_leaves_the_other_key_working(past: Past) -> None:
    for name, size in objects(past, "slots").items():
        repository = past.copy()
        kind = read_slot(repository.storage, name).kind
        flip(name, size // 2).apply(repository.storage)
        other = past.recovery_key if kind == "passphrase" else PASSPHRASE
        assert unlock(repository.storage, other).keys.master == repository.keys.master
        with pytest.raises(RepositoryError):
            unlock(repository.storage, PASSPHRASE if kind == "passphrase" else past.recovery_key)


def test_a_quick_verify_sees_all_but_altered_bytes_in_packs(past: Past) -> None:
    chance = random.Random(0)
    for kind in KINDS:
        for name, size in objects(past, kind).items():
            for action in each_way(name, size, [], chance):
                if action.title.endswith(f"off at {size - 1}"):
                    continue
                altered = action.title.startswith(("flip", "zero"))
                if (kind == "packs" and altered) or (kind == "slots" and "delete" in action.title):
                    continue
                repository = past.copy()
                action.apply(repository.storage)
                assert name in look(repository, read=False).errors, action.title


def test_an_untouched_repository_is_clean(past: Past) -> None:
    repository = past.copy()
    assert look(repository).findings == []
    assert look(repository, read=False).findings == []
