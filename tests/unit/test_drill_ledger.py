"""The ledger of drills: whose turn it is, who was proven when, and who is forgotten."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.health.drill_ledger import (
    DAY_MS,
    Ledger,
    LedgerSummary,
    Share,
    forget_user,
    ledgers,
)
from shenyu_data.health.store import STORE_NAME, Store, open_store

REPOSITORY = b"r" * 16
NOW_MS = 1_800_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path)) as store:
        yield store


def pseudonym(number: int) -> bytes:
    return bytes((number % 256,)) + number.to_bytes(15, "big")


def begin(
    store: Store, users: range, now_ms: int = NOW_MS, repository: bytes = REPOSITORY
) -> Ledger:
    ledger = Ledger(store, repository, "/backup")
    ledger.meet((pseudonym(number), False) for number in users)
    ledger.settle(now_ms, whole=True)
    return ledger


def chosen(
    store: Store, users: range, share: Share, now_ms: int = NOW_MS
) -> tuple[Ledger, set[bytes]]:
    ledger = begin(store, users, now_ms)
    ledger.choose(share, now_ms)
    return ledger, set(ledger.chosen())


def summary(store: Store, now_ms: int = NOW_MS) -> LedgerSummary:
    (found,) = ledgers(store, now_ms)
    return found


@pytest.mark.parametrize("percent", [4.0, 10.0, 33.0, 100.0])
def test_everybody_has_a_turn_in_as_many_drills_as_the_share_says(
    percent: float, store: Store
) -> None:
    users = range(130)
    for run in range(math.ceil(100 / percent)):
        ledger, some = chosen(store, users, Share(percent=percent), NOW_MS + run)
        assert len(some) <= math.ceil(1.1 * len(users) * percent / 100) + 1
        ledger.note(((one, True) for one in some), NOW_MS + run)
    assert summary(store, NOW_MS + 100).never_proven == 0


def test_who_was_not_drilled_for_longest_comes_first(store: Store) -> None:
    ledger = begin(store, range(30))
    for number in range(30):
        ledger.note([(pseudonym(number), True)], NOW_MS - DAY_MS * number)
    _, some = chosen(store, range(32), Share(users=5))
    assert some >= {pseudonym(number) for number in (30, 31, 29, 28, 27)}


def test_who_failed_is_tried_again_and_keeps_nobody_from_a_turn(store: Store) -> None:
    users = range(40)
    for run in range(4):
        ledger, some = chosen(store, users, Share(users=10), NOW_MS + run)
        if run:
            assert pseudonym(0) in some
        ledger.note(
            [*((one, one != pseudonym(0)) for one in some), (pseudonym(0), False)], NOW_MS + run
        )
    told = summary(store, NOW_MS + 10)
    assert (told.never_proven, told.failing) == (1, 1)
    begin(store, users).note([(pseudonym(0), True)], NOW_MS + 9)
    assert summary(store, NOW_MS + 10).failing == 0


def test_a_proof_is_told_by_its_age(store: Store) -> None:
    ledger = begin(store, range(5))
    for number, days in enumerate((1, 30, 31, 91)):
        ledger.note([(pseudonym(number), True)], NOW_MS - days * DAY_MS)
    told = summary(store)
    assert (told.users, told.never_proven, told.proven_30d, told.proven_90d) == (5, 1, 2, 3)
    assert told.oldest_ms == NOW_MS - 91 * DAY_MS
    assert told.drilled_ms == NOW_MS


def test_a_proof_of_a_time_that_is_yet_to_come_is_none(store: Store) -> None:
    """The clock ran a year ahead when it was noted."""
    ledger = begin(store, range(3))
    ledger.note([(pseudonym(0), True)], NOW_MS + 365 * DAY_MS)
    ledger.note([(pseudonym(1), True), (pseudonym(2), True)], NOW_MS - DAY_MS)
    assert summary(store).never_proven == 1
    assert pseudonym(0) in chosen(store, range(3), Share(users=1))[1]


def test_a_failure_after_a_proof_leaves_the_proof_and_is_told(store: Store) -> None:
    ledger = begin(store, range(2))
    ledger.note([(pseudonym(0), True)], NOW_MS - 2)
    ledger.note([(pseudonym(0), False)], NOW_MS - 1)
    told = summary(store)
    assert (told.proven_30d, told.failing, told.oldest_ms) == (1, 1, NOW_MS - 2)


def test_who_is_gone_from_the_snapshot_is_gone_from_the_ledger(store: Store) -> None:
    begin(store, range(10))
    begin(store, range(4, 10))
    assert summary(store).users == 6


def test_nobody_is_dropped_if_not_all_owners_are_known(store: Store) -> None:
    begin(store, range(10))
    ledger = Ledger(store, REPOSITORY, "/backup")
    ledger.meet([(pseudonym(3), False)])
    ledger.settle(NOW_MS, whole=False)
    assert summary(store).users == 10


def test_whoever_is_erased_leaves_no_trace_and_is_not_noted_again(
    store: Store, tmp_path: Path
) -> None:
    ledger = begin(store, range(10))
    ledger.note([(pseudonym(7), True)], NOW_MS)
    forget_user(store, pseudonym(7))
    ledger.note([(pseudonym(7), True)], NOW_MS)  # the drill that had begun before
    assert summary(store).users == 9
    for path in tmp_path.iterdir():
        assert pseudonym(7) not in path.read_bytes(), path
    assert pseudonym(6) in (tmp_path / STORE_NAME).read_bytes()


def test_each_repository_has_a_ledger_of_its_own(store: Store) -> None:
    begin(store, range(10))
    begin(store, range(3), NOW_MS + 1, repository=b"other-repository")
    assert [item.users for item in ledgers(store, NOW_MS)] == [3, 10]


def test_what_is_nobodys_is_drilled_too_and_counts_for_no_user(store: Store) -> None:
    ledger = Ledger(store, REPOSITORY, "/backup")
    ledger.meet((pseudonym(number), number >= 40) for number in range(60))
    ledger.settle(NOW_MS, whole=True)
    ledger.choose(Share(percent=50.0), NOW_MS)
    some = set(ledger.chosen())
    assert len(some & {pseudonym(number) for number in range(40, 60)}) >= 10
    users = len(some & {pseudonym(number) for number in range(40)})
    assert ledger.count() == (40, users, 60, len(some))
    ledger.note(((one, True) for one in some), NOW_MS)
    assert summary(store).users == 40


@pytest.mark.parametrize(
    ("share", "count", "wanted"),
    [
        (Share(), 7, 7),
        (Share(users=3), 7, 3),
        (Share(users=9), 7, 7),
        (Share(percent=5.0, least=50), 20_000, 1000),
        (Share(percent=5.0, least=50), 60, 50),
        (Share(percent=5.0, least=50), 10, 10),
        (Share(percent=0.01), 20, 1),
    ],
)
def test_a_share_is_rounded_up(share: Share, count: int, wanted: int) -> None:
    assert share.of(count) == wanted
