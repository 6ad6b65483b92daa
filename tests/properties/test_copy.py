"""Whatever snapshots hold, their copies give it back."""

import functools
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.copy import CopyOptions, copy, plan_copy
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.strategies import trees
from shenyu_data.testing.tree import Item, build_tree, read_tree, tree_folder
from tests.properties.test_restore import new_repository


class There(MemoryStorage):
    """Another place than the source's."""

    @property
    def location(self) -> str:
        return "memory:there"


@functools.cache
def template() -> tuple[dict[str, bytes], Secrets]:
    """Make one repository, once: deriving a key from a passphrase takes 0.1 s."""
    storage = There()
    made, _ = create_repository(storage, "another passphrase")
    return dict(storage.objects), made.keys


def another_repository() -> Repository:
    objects, keys = template()
    storage = There()
    storage.objects.update(objects)
    return Repository(storage, keys)


def bring(source: Repository, destination: Repository, wanted: bytes) -> None:
    monitor = CollectingMonitor()
    plan = plan_copy(source, destination, [wanted.hex()])
    with tempfile.TemporaryDirectory() as state:
        copy(source, destination, plan, CopyOptions(state=state), monitor)
    assert monitor.findings == []


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=20)
@given(trees(max_items=8), trees(max_items=8))
def test_copies_of_two_snapshots_restore_as_the_snapshots_do(
    first: dict[bytes, Item], second: dict[bytes, Item]
) -> None:
    with tree_folder() as base:
        source, destination = new_repository(), another_repository()
        data = base / "data"
        build_tree(base / "first", first)
        build_tree(base / "second", second)
        taken = []
        for number, name in enumerate(("first", "second", "")):
            if name:
                (base / name).rename(data)
            options = BackupOptions(full=number == 2)
            taken.append(backup(str(data), source, options, CollectingMonitor()))
            if name == "first":
                data.rename(base / "away")
        for stats in taken:
            bring(source, destination, stats.snapshot)
        for number, stats in enumerate(taken):
            trees_found = []
            for repository in (source, destination):
                target = base / f"{number}{repository.storage.location[-5:]}"
                root = repository.root(stats.snapshot)
                restore(repository, root, str(target), RestoreOptions(), CollectingMonitor())
                trees_found.append(read_tree(Path(target)))
                assert root.totals == stats.totals
            assert trees_found[0] == trees_found[1]
        check = verify(destination, VerifyOptions(read_percent=100), CollectingMonitor())
        assert check.damaged_objects == 0
        again = backup(str(data), destination, BackupOptions(), CollectingMonitor())
        assert again.totals == taken[-1].totals
