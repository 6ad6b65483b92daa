"""The benchmarks' rounds, on a handful of users: what they measure must be what they say."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.catalog import CATALOG_WORKS
from benchmarks.data import SETS, digest, make
from benchmarks.peers import OURS, Ours
from benchmarks.works import Bench, Samples


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    data = tmp_path / "data"
    make(replace(SETS["M"], users=40), data, jobs=1)
    peer = Ours(data, tmp_path / "ours")
    peer.reset()
    return Bench(data, tmp_path, [peer], rounds=1, fraction=0.3, days=3)


def do(bench: Bench, work: str) -> Samples:
    bench.do(work, lambda line: None)
    samples = bench.samples[work, OURS]
    assert not samples.failure
    assert len(samples.wall_s) == 1
    return samples


def test_a_prune_is_of_snapshots_of_days_in_the_past_and_gives_nothing_back_of_the_last_month(
    bench: Bench,
) -> None:
    samples = do(bench, "prune")
    assert samples.kept == [3, 3]
    assert samples.left_bytes is not None and samples.repository_bytes is not None
    # A prune notes in the repository where the audit log ends.
    assert samples.left_bytes <= samples.repository_bytes + sum(samples.written_bytes)


def test_one_chat_comes_back_and_one_user_is_erased(bench: Bench) -> None:
    for work in ("restore-chat", "restore-chat-in-place", "erase"):
        do(bench, work)


def test_a_cleanup_looks_at_everything_and_removes_nothing(bench: Bench, tmp_path: Path) -> None:
    before = digest(tmp_path / "data")
    do(bench, "cleanup")
    assert digest(tmp_path / "data") == before


def test_compressing_works_on_a_copy(bench: Bench, tmp_path: Path) -> None:
    before = digest(tmp_path / "data")
    do(bench, "compress")
    assert digest(tmp_path / "data") == before


def test_what_is_measured_with_a_catalog_has_one_and_what_is_not_has_none(bench: Bench) -> None:
    (peer,) = bench._peers
    program = peer.catalog()
    assert program is not None
    for work in ("cleanup-warm", "validate-warm", *CATALOG_WORKS):
        do(bench, work)
        assert set(program.bytes()) == {"catalog.db"}
    do(bench, "validate")
    assert program.bytes() == {}


def test_an_export_is_written_and_brought_into_a_new_directory(bench: Bench) -> None:
    for work in ("export", "import"):
        do(bench, work)
