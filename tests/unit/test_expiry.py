"""The cleanup policy: golden tables, and what holds for every policy and every user."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.activity import Activity
from shenyu_data.model.expiry import (
    ExpiryChat,
    ExpiryUser,
    Policy,
    Rule,
    Summary,
    describe,
    judge,
    may_expire,
    room_since,
)

DAY_S = 86_400
DAY_MS = DAY_S * 1000
NOW = 1_800_000_000_000
CHAT, OTHER = "chat-history", "sn43-history"


def of(
    age_days: float, at: int = 0, *, key: str = CHAT, size: int = 100, held: str | None = None
) -> ExpiryChat:
    """Give a chat that was last active so many days ago."""
    activity = Activity(NOW - int(age_days * DAY_MS), "id")
    return ExpiryChat(f"{key}.json".encode(), key, at, size, activity, held)


def expired(user: ExpiryUser, policy: Policy) -> list[tuple[str, int]]:
    return [
        (verdict.chat.key, verdict.chat.at)
        for verdict in judge(user, policy, now_ms=NOW)
        if verdict.expire
    ]


FIVE = [of(age, at) for at, age in enumerate([1, 10, 50, 100, 400])]


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        (Rule(), []),
        (Rule(older_than_s=90 * DAY_S), [3, 4]),
        (Rule(older_than_s=100 * DAY_S), [4]),  # exactly that old is not older
        (Rule(older_than_s=0), [0, 1, 2, 3, 4]),
        (Rule(keep_newest=2), [2, 3, 4]),
        (Rule(keep_newest=0), [0, 1, 2, 3, 4]),
        (Rule(keep_newest=9), []),
        (Rule(max_bytes=300), [3, 4]),
        (Rule(max_bytes=299), [2, 3, 4]),
        (Rule(max_bytes=0), [0, 1, 2, 3, 4]),
        (Rule(older_than_s=30 * DAY_S, keep_newest=4), [2, 3, 4]),
        (Rule(older_than_s=300 * DAY_S, keep_newest=3), [3, 4]),
        (Rule(older_than_s=300 * DAY_S, keep_newest=4, max_bytes=100), [1, 2, 3, 4]),
    ],
)
def test_a_chat_expires_if_any_rule_says_so(rule: Rule, gone: list[int]) -> None:
    assert [at for _, at in expired(ExpiryUser(FIVE), Policy(rule=rule))] == gone


def test_a_large_chat_takes_the_room_of_older_ones_however_small_they_are() -> None:
    chats = [of(1, 0, size=50), of(2, 1, size=500), of(3, 2, size=1)]
    assert expired(ExpiryUser(chats), Policy(rule=Rule(max_bytes=100))) == [(CHAT, 1), (CHAT, 2)]


def test_a_users_chats_are_counted_together_but_for_histories_with_a_rule_of_their_own() -> None:
    chats = [of(1, 0), of(3, 1), of(2, 0, key=OTHER), of(4, 1, key=OTHER)]
    assert expired(ExpiryUser(chats), Policy(rule=Rule(keep_newest=3))) == [(OTHER, 1)]
    policy = Policy(rule=Rule(keep_newest=1), histories={OTHER: Rule(older_than_s=3 * DAY_S)})
    assert expired(ExpiryUser(chats), policy) == [(CHAT, 1), (OTHER, 1)]
    policy = Policy(rule=Rule(keep_newest=0), histories={OTHER: Rule()})
    assert expired(ExpiryUser(chats), policy) == [(CHAT, 0), (CHAT, 1)]


def test_nothing_goes_of_histories_that_are_not_meant() -> None:
    chats = [of(100, 0), of(200, 0, key=OTHER)]
    rule = Rule(older_than_s=90 * DAY_S)
    assert expired(ExpiryUser(chats), Policy(rule=rule, only=frozenset([OTHER]))) == [(OTHER, 0)]
    assert len(judge(ExpiryUser(chats), Policy(rule=rule), now_ms=NOW)) == 2


@pytest.mark.parametrize(
    ("user", "idle"),
    [
        (ExpiryUser([of(400)]), True),
        (ExpiryUser([of(400), of(364, 1)]), False),
        (ExpiryUser([of(400)], seen_ms=NOW - 10 * DAY_MS), False),  # only looked in
        (ExpiryUser([of(400)], seen_ms=NOW - 366 * DAY_MS), True),
        (ExpiryUser([of(400)], known=False), False),  # the user document cannot be read
    ],
)
def test_a_user_is_idle_who_neither_wrote_nor_was_seen(user: ExpiryUser, idle: bool) -> None:
    gone = expired(user, Policy(idle_users_s=365 * DAY_S))
    assert len(gone) == (len(user.chats) if idle else 0)


def test_an_orphan_is_left_alone_for_a_day() -> None:
    policy = Policy(orphans=True)
    old = ExpiryUser([of(3)], orphan=True, touched_ms=NOW - 3 * DAY_MS)
    assert expired(old, policy) == [(CHAT, 0)]
    assert expired(old._replace(orphan=False), policy) == []
    assert expired(old._replace(touched_ms=NOW - 1000), policy) == []
    assert expired(old._replace(chats=[of(0.5)]), policy) == []


def test_reasons_say_every_rule_and_what_is_held_says_why() -> None:
    chats = [of(1, 0), of(400, 1, held="held: court order")]
    user = ExpiryUser(chats, orphan=True, touched_ms=0)
    policy = Policy(
        rule=Rule(older_than_s=90 * DAY_S, keep_newest=1, max_bytes=100), idle_users_s=DAY_S // 2
    )
    first, second = judge(user, policy, now_ms=NOW)
    assert (first.expire, first.reasons) == (True, ["the user was idle for 12h"])
    assert second == (
        chats[1],
        False,
        [
            "the user was idle for 12h",
            "not active for 90d",
            "not among the newest 1",
            "the newer ones take up 100 bytes",
        ],
        "held: court order",
    )


def test_the_rules_are_shown_as_the_configuration_has_them() -> None:
    rule = Rule(older_than_s=90 * DAY_S, keep_newest=5, max_bytes=7)
    policy = Policy(rule=rule, idle_users_s=DAY_S, empty=True, histories={OTHER: rule})
    shown = {"older_than": "90d", "keep_newest": 5, "max_size": "7B"}
    assert describe(policy) == {
        **shown,
        "idle_users": "1d",
        "empty": True,
        "histories": [{"history": OTHER, **shown}],
    }
    assert not Policy().expires
    assert Policy(histories={OTHER: rule}).expires


# What holds for every policy.

AGES = st.integers(0, 500)
CHATS = st.lists(
    st.tuples(AGES, st.sampled_from([CHAT, OTHER]), st.integers(0, 300), st.booleans()), max_size=12
).map(
    lambda items: [
        of(age, at, key=key, size=size, held="held" if held else None)
        for at, (age, key, size, held) in enumerate(items)
    ]
)
USERS = st.builds(
    ExpiryUser,
    CHATS,
    seen_ms=st.none() | AGES.map(lambda age: NOW - age * DAY_MS),
    known=st.booleans(),
    orphan=st.booleans(),
    touched_ms=AGES.map(lambda age: NOW - age * DAY_MS),
)
RULES = st.builds(
    Rule,
    older_than_s=st.none() | AGES.map(lambda age: age * DAY_S),
    keep_newest=st.none() | st.integers(0, 12),
    max_bytes=st.none() | st.integers(0, 3000),
)
POLICIES = st.builds(
    Policy,
    rule=RULES,
    histories=st.dictionaries(st.sampled_from([CHAT, OTHER]), RULES, max_size=1),
    idle_users_s=st.none() | AGES.map(lambda age: age * DAY_S),
    orphans=st.booleans(),
    only=st.frozensets(st.sampled_from([CHAT, OTHER])),
)


@given(USERS, POLICIES)
def test_holds_win_over_everything(user: ExpiryUser, policy: Policy) -> None:
    for verdict in judge(user, policy, now_ms=NOW):
        assert not (verdict.chat.held and verdict.expire)
        assert verdict.expire == (bool(verdict.reasons) and verdict.chat.held is None)
        assert bool(verdict.held) == (bool(verdict.reasons) and bool(verdict.chat.held))


@given(USERS, POLICIES, st.randoms(use_true_random=False))
def test_the_order_in_which_chats_are_met_changes_nothing(
    user: ExpiryUser, policy: Policy, chance: random.Random
) -> None:
    mixed = list(user.chats)
    chance.shuffle(mixed)
    verdicts = judge(user._replace(chats=mixed), policy, now_ms=NOW)
    assert sorted(verdicts) == sorted(judge(user, policy, now_ms=NOW))


def left_by(user: ExpiryUser, policy: Policy) -> ExpiryUser:
    gone = set(expired(user, policy))
    return user._replace(chats=[chat for chat in user.chats if (chat.key, chat.at) not in gone])


@given(USERS, POLICIES)
def test_rules_about_chats_expire_nothing_more_when_they_are_applied_again(
    user: ExpiryUser, policy: Policy
) -> None:
    policy = msgspec.structs.replace(policy, idle_users_s=None, orphans=False)
    assert expired(left_by(user, policy), policy) == []


@given(USERS, POLICIES)
def test_so_do_rules_about_users_if_all_histories_have_the_same_rules(
    user: ExpiryUser, policy: Policy
) -> None:
    policy = msgspec.structs.replace(policy, histories={}, only=frozenset())
    assert expired(left_by(user, policy), policy) == []


@given(USERS, POLICIES, st.data())
def test_a_stricter_policy_expires_no_less(
    user: ExpiryUser, policy: Policy, data: st.DataObject
) -> None:
    def stricter(value: int | None) -> int | None:
        return data.draw(st.integers(0, value) if value is not None else st.none() | AGES)

    rule = Rule(
        older_than_s=stricter(policy.rule.older_than_s),
        keep_newest=stricter(policy.rule.keep_newest),
        max_bytes=stricter(policy.rule.max_bytes),
    )
    strict = msgspec.structs.replace(policy, rule=rule, idle_users_s=stricter(policy.idle_users_s))
    assert set(expired(user, policy)) <= set(expired(user, strict))


USERS = st.builds(
    ExpiryUser,
    st.lists(
        st.builds(
            ExpiryChat,
            st.sampled_from([b"a.json", b"b.json"]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 1000),
            st.integers(0, 50),
            st.builds(Activity, st.integers(NOW - 5000, NOW + 1000), st.just("id")),
        ),
        max_size=4,
        unique_by=lambda chat: (chat.file, chat.at),
    ),
    seen_ms=st.none() | st.integers(NOW - 5000, NOW),
)
RULES = st.builds(
    Rule,
    older_than_s=st.none() | st.integers(0, 5),
    keep_newest=st.none() | st.integers(0, 4),
    max_bytes=st.none() | st.integers(0, 120),
)


@given(
    USERS,
    st.builds(
        Policy,
        rule=RULES,
        histories=st.dictionaries(st.sampled_from(["a", "b"]), RULES, max_size=2),
        idle_users_s=st.none() | st.integers(0, 5),
    ),
)
def test_of_whom_a_summary_tells_that_nothing_expires_nothing_does(
    user: ExpiryUser, policy: Policy
) -> None:
    times = [chat.activity.ms for chat in user.chats]
    size = sum(chat.size for chat in user.chats)
    oldest, newest = min(times, default=None), max(times, default=None)
    summary = Summary(len(user.chats), size, oldest, newest, odd=False)
    expires = any(verdict.reasons for verdict in judge(user, policy, now_ms=NOW))
    if expires:
        assert may_expire(summary, policy, now_ms=NOW)
    if len(user.chats) == 1 and policy == Policy(rule=policy.rule):
        assert may_expire(summary, policy, now_ms=NOW) == expires


def test_of_somebody_odd_or_without_chats_only_a_look_tells() -> None:
    assert may_expire(Summary(1, 1, NOW, NOW, odd=True), Policy(), now_ms=NOW)
    assert may_expire(Summary(0, 0, None, None, odd=False), Policy(), now_ms=NOW)
    assert not may_expire(Summary(1, 1, NOW, NOW, odd=False), Policy(), now_ms=NOW)


@pytest.mark.parametrize(
    ("policy", "spared"),
    [
        (Policy(rule=Rule(older_than_s=DAY_S)), True),
        (Policy(rule=Rule(older_than_s=DAY_S - 1)), False),
        (Policy(histories={OTHER: Rule(older_than_s=DAY_S - 1)}), False),
        (Policy(rule=Rule(keep_newest=2)), True),
        (Policy(rule=Rule(keep_newest=1)), False),
        (Policy(rule=Rule(max_bytes=200)), True),
        (Policy(rule=Rule(max_bytes=199)), False),
        (Policy(idle_users_s=3600), True),
        (Policy(idle_users_s=3599), False),
        (Policy(orphans=True, empty=True), True),
    ],
)
def test_each_rule_alone_makes_one_look_at_whom_it_may_concern(
    policy: Policy, spared: bool
) -> None:
    summary = Summary(2, 200, NOW - DAY_MS, NOW - 3_600_000, odd=False)
    assert may_expire(summary, policy, now_ms=NOW) is not spared


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 100), max_size=12), st.integers(0, 1000))
def test_there_is_room_for_the_newest_hours_and_for_no_more(
    weights: dict[int, int], room: int
) -> None:
    since = room_since(weights, room)
    assert (since is None) == (sum(weights.values()) <= room)
    if since is not None:
        kept = sum(size for hour, size in weights.items() if hour >= since)
        next_older = max(hour for hour in weights if hour < since)
        assert kept <= room < kept + weights[next_older]
