"""What the retention policy promises, whatever the snapshots, the clocks and the rules are."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from shenyu_data.model.retention import SAFETY_S, Candidate, Retention, decide
from shenyu_data.model.retention_points import recovery_points

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_772_323_200_000  # 2026-03-01
FUTURE_MS = NOW_MS + DAY_MS + 1

# Steps of an honest clock, and of one that jumps by days, months and years, either way.
STEPS = st.one_of(
    st.sampled_from([0, 1, HOUR_MS, 5 * HOUR_MS, DAY_MS, DAY_MS, 7 * DAY_MS, 90 * DAY_MS]),
    st.integers(-800, 800).map(lambda days: days * DAY_MS),
    st.integers(-3, 3).map(lambda days: days * DAY_MS + HOUR_MS),
)


@st.composite
def snapshots(draw: st.DrawFn, *, future: bool = True) -> list[Candidate]:
    """Draw a history: mostly one after another, some at the same time, with any clock."""
    made: list[Candidate] = []
    sequence, time_ms = 1, draw(st.sampled_from([0, NOW_MS - 400 * DAY_MS, NOW_MS - 9 * DAY_MS]))
    for number in range(draw(st.integers(0, 25))):
        sequence += draw(st.sampled_from([0, 1, 1, 1]))
        time_ms += draw(STEPS)
        latest = 253_402_300_799_999 if future else NOW_MS + DAY_MS
        time_ms = max(-62_135_596_800_000, min(time_ms, latest))
        made.append(
            Candidate(
                id=number.to_bytes(16, "big"),
                sequence=sequence,
                time_ms=time_ms,
                tag=draw(st.sampled_from([None, None, None, "release", "before-restore"])),
                degraded=draw(st.sampled_from([False, False, True])),
                verified=draw(st.booleans()),
                partial=draw(st.sampled_from([False, False, False, True])),
                held=draw(st.sampled_from([None] * 9 + ["last good of users/a.json"])),
            )
        )
    return made


COUNTS = st.one_of(st.none(), st.integers(0, 6))
POLICIES = st.builds(
    Retention,
    keep_last=COUNTS,
    keep_hourly=COUNTS,
    keep_daily=COUNTS,
    keep_weekly=COUNTS,
    keep_monthly=COUNTS,
    keep_yearly=COUNTS,
    keep_within=st.one_of(st.none(), st.sampled_from([0, 3600, 86_400, 40 * 86_400])),
    keep_tagged=st.sampled_from([[], ["release"], ["*"]]),
    keep_verified=COUNTS,
)


def kept(
    candidates: list[Candidate], policy: Retention, now_ms: int = NOW_MS
) -> dict[bytes, Candidate]:
    decisions = decide(candidates, policy, now_ms=now_ms, zone=BERLIN)
    return {one.candidate.id: one.candidate for one in decisions if one.keep}


def in_order(candidates: list[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda item: (item.sequence, item.time_ms, item.id))


def newest(
    candidates: list[Candidate], test: Callable[[Candidate], bool], count: int = 1
) -> set[bytes]:
    past = [item for item in in_order(candidates) if item.time_ms < FUTURE_MS and test(item)]
    return {item.id for item in past[::-1][:count]}


@given(snapshots(), POLICIES)
def test_the_newest_and_the_newest_good_are_never_dropped(
    given: list[Candidate], policy: Retention
) -> None:
    left = set(kept(given, policy))
    assert {item.id for item in in_order(given)[-1:]} <= left
    assert newest(given, lambda item: True) <= left
    assert newest(given, lambda item: not item.partial) <= left
    assert newest(given, lambda item: not item.partial and not item.degraded) <= left


@given(snapshots(), POLICIES)
def test_the_newest_verified_ones_are_never_dropped(
    given: list[Candidate], policy: Retention
) -> None:
    left = kept(given, policy)
    least = max(1, policy.keep_verified or 0)
    proved = newest(
        given, lambda item: item.verified and not item.degraded and not item.partial, least
    )
    assert proved <= set(left)
    good = newest(given, lambda item: not item.degraded and not item.partial, 99)
    assert len(good & set(left)) >= min(least, len(good))
    verified = newest(given, lambda item: item.verified and not item.partial, 99)
    assert len(verified & set(left)) >= min(least, len(verified))


@given(snapshots(), POLICIES)
def test_at_least_as_many_remain_as_each_rule_says(
    given: list[Candidate], policy: Retention
) -> None:
    regular = [item for item in given if item.time_ms < FUTURE_MS and not item.partial]
    left = [item for item in regular if item.id in kept(given, policy)]
    assert len(left) >= min(policy.keep_last or 0, len(regular))
    before, after = (
        recovery_points(decide(some, Retention(), now_ms=NOW_MS, zone=BERLIN), zone=BERLIN)
        for some in (regular, left)
    )
    wanted = (policy.keep_daily, policy.keep_weekly, policy.keep_monthly, policy.keep_yearly)
    for all_of_them, those_left, count in zip(before, after, wanted, strict=True):
        assert those_left.after >= min(count or 0, all_of_them.before)


@given(snapshots(), POLICIES)
def test_a_period_that_has_a_good_snapshot_is_not_left_to_a_degraded_one(
    given: list[Candidate], policy: Retention
) -> None:
    for decision in decide(given, policy, now_ms=NOW_MS, zone=BERLIN):
        if not decision.candidate.degraded or not policy.drops:
            continue
        alone = decide([decision.candidate], policy, now_ms=NOW_MS, zone=BERLIN)
        good = msgspec.structs.replace(
            decision.candidate, id=b"good", degraded=False, sequence=decision.candidate.sequence - 1
        )
        both = decide([decision.candidate, good], policy, now_ms=NOW_MS, zone=BERLIN)
        rules = [{reason.split(" ")[0] for reason in one.reasons} for one in [*alone, *both]]
        periods = {"hourly", "daily", "weekly", "monthly", "yearly"}
        if decision.candidate.time_ms < FUTURE_MS:
            assert rules[0] & periods == rules[1] & periods
            assert not rules[2] & periods


@given(snapshots(), POLICIES, st.randoms(use_true_random=False))
def test_the_order_in_which_they_are_given_is_of_no_matter(
    given: list[Candidate], policy: Retention, random: object
) -> None:
    shuffled = list(given)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    decisions = decide(given, policy, now_ms=NOW_MS, zone=BERLIN)
    assert decisions == decide(shuffled, policy, now_ms=NOW_MS, zone=BERLIN)
    assert [one.candidate for one in decisions] == in_order(given)


@given(snapshots(), POLICIES)
def test_what_was_kept_is_kept_again(given: list[Candidate], policy: Retention) -> None:
    left = kept(given, policy)
    assert kept(list(left.values()), policy) == left


MORE = st.integers(0, 5)


@given(snapshots(), POLICIES, st.lists(MORE, min_size=7, max_size=7), st.integers(0, 10**7))
def test_a_more_generous_policy_keeps_what_the_other_keeps(
    given: list[Candidate], policy: Retention, more: list[int], longer: int
) -> None:
    assume(policy.drops)
    names = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "verified")
    generous = msgspec.structs.replace(
        policy,
        keep_within=(policy.keep_within or 0) + longer,
        keep_tagged=["*"],
        **{
            f"keep_{name}": (getattr(policy, f"keep_{name}") or 0) + extra
            for name, extra in zip(names, more, strict=True)
        },
    )
    assert set(kept(given, policy)) <= set(kept(given, generous))


@given(snapshots(), POLICIES, st.integers(0, 30), st.integers(FUTURE_MS, 253_402_300_799_999))
def test_a_forged_future_snapshot_drops_no_other(
    given: list[Candidate], policy: Retention, sequence: int, time_ms: int
) -> None:
    forged = Candidate(id=b"forged", sequence=sequence, time_ms=time_ms, verified=True)
    assert set(kept(given, policy)) <= set(kept([*given, forged], policy))


@given(snapshots(future=False), POLICIES, st.integers(0, 900 * DAY_MS))
def test_time_passing_expires_only_what_was_kept_for_its_age(
    given: list[Candidate], policy: Retention, passed_ms: int
) -> None:
    later = set(kept(given, policy, NOW_MS + passed_ms))
    for decision in decide(given, policy, now_ms=NOW_MS, zone=BERLIN):
        others = [r for r in decision.reasons if not r.startswith(("within", "shows"))]
        if others:
            assert decision.candidate.id in later


@given(snapshots(), st.sampled_from([[], ["release"], ["*"]]), COUNTS)
def test_without_any_rule_everything_is_kept(
    given: list[Candidate], tags: list[str], verified: int | None
) -> None:
    zeros = Retention(keep_last=0, keep_daily=0, keep_tagged=tags, keep_verified=verified)
    assert len(kept(given, zeros)) == len(given)


@given(snapshots(), POLICIES)
def test_what_is_held_or_has_a_tag_to_keep_is_kept(
    given: list[Candidate], policy: Retention
) -> None:
    left = set(kept(given, policy))
    for item in given:
        if item.held or item.tag in policy.keep_tagged:
            assert item.id in left


@given(snapshots(), POLICIES)
def test_a_safety_snapshot_takes_nobodys_place(given: list[Candidate], policy: Retention) -> None:
    assume(policy.drops)
    regular = [item for item in given if not item.partial]
    left = set(kept(given, policy))
    lost = {item.id for item in regular if item.id not in left}
    # What takes the place of another may only be what nothing but a minimum kept.
    alone = decide(regular, policy, now_ms=NOW_MS, zone=BERLIN)
    for decision in alone:
        if decision.candidate.id in lost:
            assert all(r.startswith(("newest", "too few", "shows")) for r in decision.reasons)


@given(snapshots(), POLICIES)
def test_a_safety_snapshot_is_kept_for_thirty_days(
    given: list[Candidate], policy: Retention
) -> None:
    left = set(kept(given, policy))
    for item in given:
        if item.partial and item.time_ms >= NOW_MS - SAFETY_S * 1000:
            assert item.id in left
