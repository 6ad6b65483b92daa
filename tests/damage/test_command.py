"""What a person at the terminal sees of a damaged repository: exit status 4, and what it is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shenyu_data.model.errors import (
    EXIT_DAMAGED,
    EXIT_DONE,
    EXIT_FINDINGS,
    RepositoryError,
    StorageError,
)
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.damage import delete, flip, truncate
from shenyu_data.testing.faulty import FaultyStorage
from shenyu_data.testing.scenario import Past, bring_back, check_whole, look, rich_past, take


class Damaged(NamedTuple):
    past: Past
    storage: LocalStorage

    def run(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Run the program; return its status, its JSON and what it said."""
        flags = ["--repo", self.storage.folder, "--data", str(self.past.data.folder), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "shenyu_data.cli.main", *arguments, *flags],
            env={**os.environ, "SHENYU_DATA_PASSPHRASE": self.past.recovery_key},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    def names(self, folder: str) -> list[str]:
        """Return the objects of a folder, largest first."""
        found = sorted(self.storage.list(folder), key=lambda info: -info.size)
        return [info.name for info in found]


@pytest.fixture
def damaged(tmp_path: Path) -> Damaged:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    return Damaged(rich_past(tmp_path / "data", storage), storage)


def spoil_pack(damaged: Damaged) -> str:
    name = damaged.names("packs")[0]
    flip(name, 100).apply(damaged.storage)
    return name


def spoil_manifest(damaged: Damaged) -> str:
    name = damaged.names("manifests")[0]
    truncate(name, 50).apply(damaged.storage)
    return name


def spoil_snapshot(damaged: Damaged) -> str:
    name = f"snapshots/{damaged.past.taken[-1].snapshot.hex()}"
    delete(name + ".copy").apply(damaged.storage)
    flip(name, 30).apply(damaged.storage)
    return name


def spoil_slot(damaged: Damaged) -> str:
    name = damaged.names("slots")[0]  # the larger: a passphrase's
    flip(name, 50).apply(damaged.storage)
    return name


@pytest.mark.parametrize("spoil", [spoil_pack, spoil_manifest, spoil_snapshot, spoil_slot])
def test_verify_exits_with_4_and_names_the_object(
    damaged: Damaged, spoil: Callable[[Damaged], str]
) -> None:
    name = spoil(damaged)
    status, document, _ = damaged.run("verify", "--read-data")
    assert status == EXIT_DAMAGED
    assert document["verified"] is False
    assert name in {finding["path"] for finding in document["findings"]}


def test_restore_exits_with_4_names_the_document_and_restores_the_rest(
    damaged: Damaged, tmp_path: Path
) -> None:
    spoil_pack(damaged)
    target = tmp_path / "restored"
    status, document, _ = damaged.run("restore", "latest", "--to", str(target))
    assert status == EXIT_DAMAGED
    assert document["damaged"] > 0
    assert document["documents"] > 10
    for finding in document["findings"]:
        if not finding["path"].isascii() or "\\" in finding["path"]:
            continue
        assert not (target / finding["path"]).exists()


def test_restore_of_the_latest_exits_with_4_when_that_is_lost(
    damaged: Damaged, tmp_path: Path
) -> None:
    name = spoil_snapshot(damaged)
    target = tmp_path / "restored"
    status, document, _ = damaged.run("restore", "latest", "--to", str(target))
    assert status == EXIT_DAMAGED
    assert name.partition("/")[2][:8] in document["error"]["message"]
    older = damaged.past.taken[-2].snapshot.hex()
    assert damaged.run("restore", older, "--to", str(target))[0] == EXIT_DONE


def test_a_full_backup_after_damage_exits_with_1_and_says_why(damaged: Damaged) -> None:
    spoil_pack(damaged)
    status, document, _ = damaged.run("backup", "--full")
    assert status == EXIT_FINDINGS
    assert document["degraded"] is False
    assert {finding["code"] for finding in document["findings"]} == {"parent-damaged"}
    assert damaged.run("backup")[0] == EXIT_DONE


def test_unreadable_sectors_cost_what_lies_in_them_and_nothing_else(tmp_path: Path) -> None:
    past = rich_past(tmp_path / "data")
    for folder in ("packs", "manifests", "keys", "snapshots"):
        for info in list(past.repository.storage.list(folder)):
            bad = FaultyStorage(past.copy().storage, unreadable={info.name})
            repository = Repository(bad, past.repository.keys)
            assert info.name in look(repository).errors
            for taken in past.taken[-1:]:
                restored = bring_back(repository, taken.snapshot)
                if folder in ("keys", "snapshots"):
                    assert restored.tree == taken.tree
                else:
                    assert restored.error is None
                    whole = restored.tree == taken.tree
                    assert whole == (not restored.findings)
            check_whole(repository, take(repository, past.data, full=True))


def test_whatever_a_storage_raises_is_of_the_tree(tmp_path: Path) -> None:
    """A folder in the place of an object, a link, a name that nobody may open."""
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    past = rich_past(tmp_path / "data", storage)
    for info in list(storage.list("")):
        path = tmp_path / "repository" / info.name
        aside = tmp_path / "aside"
        path.rename(aside)
        for link in (False, True):
            path.symlink_to(aside) if link else path.mkdir()
            repository = Repository(LocalStorage(storage.folder), past.repository.keys)
            errors = look(repository).errors
            assert errors or info.name.startswith("slots/")
            for taken in past.taken[:1]:
                with suppress(RepositoryError, StorageError):
                    bring_back(repository, taken.snapshot)
            path.unlink() if link else path.rmdir()
        aside.rename(path)
    check_whole(Repository(LocalStorage(storage.folder), past.repository.keys), past.taken[0])
