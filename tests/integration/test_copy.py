"""Snapshots copied into another repository: whole, shared, resumable, and of other keys."""

from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.copy import CopyOptions, CopyStats, copy, plan_copy
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.scenario import PASSPHRASE, Past, check_whole, look, rich_past, take


class Done(NamedTuple):
    stats: CopyStats
    findings: list[Finding]


class There(MemoryStorage):
    """Another place than the source's."""

    @property
    def location(self) -> str:
        return "memory:there"


def new_repository(storage: Storage | None = None) -> Repository:
    return create_repository(storage or There(), PASSPHRASE)[0]


def bring(
    source: Repository,
    destination: Repository,
    state: Path,
    *wanted: str,
    damaged_too: bool = False,
) -> Done:
    monitor = CollectingMonitor()
    plan = plan_copy(source, destination, wanted or None)
    options = CopyOptions(state=str(state), damaged_too=damaged_too)
    return Done(copy(source, destination, plan, options, monitor), monitor.findings)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


def test_every_snapshot_restores_from_the_copy_as_from_the_original(
    past: Past, tmp_path: Path
) -> None:
    destination = new_repository()
    done = bring(past.repository, destination, tmp_path)
    assert done.findings == []
    assert done.stats.copied == [taken.snapshot for taken in past.taken]
    for taken in past.taken:
        check_whole(destination, taken)
        ours, theirs = destination.root(taken.snapshot), past.repository.root(taken.snapshot)
        for name in (
            "id",
            "parent",
            "sequence",
            "time_ms",
            "kind",
            "tag",
            "data",
            "totals",
            "changes",
        ):
            assert getattr(ours, name) == getattr(theirs, name)
    assert look(destination).errors == {}
    again = bring(past.repository, destination, tmp_path)
    assert again.stats.copied == []
    assert again.stats.present == done.stats.copied
    assert again.stats.stored_bytes == 0


def test_a_backup_into_the_copy_builds_upon_it_and_reads_what_changed(
    past: Past, tmp_path: Path
) -> None:
    destination = new_repository()
    bring(past.repository, destination, tmp_path)
    taken = take(destination, past.data)
    check_whole(destination, taken)
    assert taken.stats.parent == past.taken[-1].snapshot
    assert taken.stats.read_documents == 0
    assert (taken.stats.changes.new, taken.stats.changes.changed, taken.stats.changes.gone) == (
        0,
        0,
        0,
    )
    assert taken.stats.totals == past.taken[-1].stats.totals
