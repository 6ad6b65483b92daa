"""Whatever a data directory holds, a drill of its backup finds nothing amiss but what is."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings

from shenyu_data.health.drill import EVERYONE, DrillOptions, DrillStats, drill
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.repository.repository import Repository
from shenyu_data.testing.strategies import trees
from shenyu_data.testing.tree import Item, build_tree, tree_folder
from tests.properties.test_restore import new_repository, take

TOLD = {"restored-degraded", "nothing-proven"}
"""What a drill says of backups that are as they should be."""


def drilled(repository: Repository, snapshot: bytes, place: Path) -> tuple[DrillStats, set[str]]:
    monitor = CollectingMonitor()
    sandbox = place / "sandbox"
    sandbox.mkdir(exist_ok=True)
    options = DrillOptions(share=EVERYONE, live=str(place / "data"), sandbox=str(sandbox))
    stats = drill(repository, repository.root(snapshot), None, options, monitor, 1)
    assert list(sandbox.iterdir()) == []
    return stats, {finding.code for finding in monitor.findings}


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_a_drill_of_any_directory_raises_no_false_alarm(plan: dict[bytes, Item]) -> None:
    with tree_folder() as place:
        build_tree(place / "data", plan)
        repository = new_repository()
        taken, _ = take(place / "data", repository)
        stats, codes = drilled(repository, taken.snapshot, place)
        assert codes <= TOLD
        assert (stats.counts.damaged, stats.counts.failed, stats.counts.attributes) == (0, 0, 0)
        assert ("restored-degraded" in codes) == bool(stats.counts.degraded)
        root = repository.root(taken.snapshot)
        assert stats.counts.documents == root.totals.documents - root.totals.unreadable
        assert stats.counts.differing == 0
        if not root.totals.torn:
            assert stats.proven == stats.users
