"""The cleanup policy: one user's chats in; keep or expire, with reasons, out. Pure.

A chat expires if any rule says so and nothing holds it. Chats are ranked by their own clocks, the
last active first; what has the same time is told apart by where it stands, so that the order in
which chats are met changes nothing, and judging again what was left expires nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from shenyu_data.model.activity import Activity
from shenyu_data.model.ages import format_age

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]

ORPHAN_GRACE_MS = 86_400_000
"""What was used within a day is no orphan: the application may be about to write its user."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What expires of some histories of a user; None is no rule.

    ``older_than_s``: not active for so long. ``keep_newest``: all but the so many last active ones.
    ``max_bytes``: those for which there is no room once the newer ones have theirs.
    """

    older_than_s: Count | None = None
    keep_newest: Count | None = None
    max_bytes: Annotated[int, Meta(ge=0)] | None = None

    @property
    def expires(self) -> bool:
        """Whether it could expire anything."""
        return self != Rule()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What expires.

    ``rule`` is for a user's chats together, but for those of the histories in ``histories``, each
    of which has its own rule. ``idle_users_s``: every chat of a user who was not active for so
    long. ``orphans``: every chat of whom there is no user document. ``empty``: histories without
    chats, and empty folders of histories. ``only``: nothing but in histories of these storage keys.
    ``max_total_bytes``: the oldest chats of everybody, until all others take up no more. Somebody
    who has weighed them all says in ``room_since_ms`` for which there is room: those active since.
    """

    rule: Rule = Rule()
    histories: dict[str, Rule] = {}
    idle_users_s: Count | None = None
    max_total_bytes: Annotated[int, Meta(ge=0)] | None = None
    room_since_ms: int | None = None
    empty: bool = False
    orphans: bool = False
    only: frozenset[str] = frozenset()

    @property
    def expires(self) -> bool:
        """Whether it could expire anything at all."""
        rules = (self.rule, *self.histories.values())
        return (
            any(rule.expires for rule in rules)
            or self.idle_users_s is not None
            or self.max_total_bytes is not None
            or self.empty
            or self.orphans
        )

    def covers(self, key: str) -> bool:
        """Whether histories of this storage key are looked at."""
        return not self.only or key in self.only


class ExpiryChat(NamedTuple):
    """What the policy needs to know of a chat: the file it stands in, that file's storage key,
    where it stands there, its size, its clock, and why it is held, if it is.
    """

    file: bytes
    key: str
    at: int
    size: int
    activity: Activity
    held: str | None = None


class ExpiryUser(NamedTuple):
    """What the policy needs to know of a user.

    ``seen_ms``: when the user was last seen, by the user document (None: it does not say).
    ``known``: whether that could be read, if there is one; ``orphan``: there is none;
    ``touched_ms``: when the folder of the histories was last changed.
    """

    chats: Sequence[ExpiryChat]
    seen_ms: int | None = None
    known: bool = True
    orphan: bool = False
    touched_ms: int = 0


class Summary(NamedTuple):
    """What may be known of a user without looking: how many chats, their bytes, when the one that
    was longest not active and the last active one were, at the latest as their clocks were read.

    ``odd``: there is something about the user that only a look tells.
    """

    chats: int
    size: int
    oldest_ms: int | None
    newest_ms: int | None
    odd: bool


class Verdict(NamedTuple):
    """Whether a chat expires, and by which rules; ``held``: they would, but it is held."""

    chat: ExpiryChat
    expire: bool
    reasons: list[str]
    held: str | None


def judge(user: ExpiryUser, policy: Policy, *, now_ms: int) -> list[Verdict]:
    """Say of each chat that the policy covers whether it expires; in the order they are given."""
    whole = _of_the_user(user, policy, now_ms)
    covered = [chat for chat in user.chats if policy.covers(chat.key)]
    reasons: dict[tuple[bytes, int], list[str]] = {_place(chat): list(whole) for chat in covered}
    groups: dict[str | None, list[ExpiryChat]] = {}
    for chat in covered:
        groups.setdefault(chat.key if chat.key in policy.histories else None, []).append(chat)
    for key, chats in groups.items():
        rule = policy.rule if key is None else policy.histories[key]
        for place, text in _of_a_rule(chats, rule, now_ms):
            reasons[place].append(text)
    for chat in covered:
        if policy.room_since_ms is not None and chat.activity.ms < policy.room_since_ms:
            text = f"the newer ones of all users take up {policy.max_total_bytes:,} bytes"
            reasons[_place(chat)].append(text)
    verdicts = []
    for chat in covered:
        why = reasons[_place(chat)]
        verdicts.append(
            Verdict(chat, bool(why) and chat.held is None, why, chat.held if why else None)
        )
    return verdicts


def may_expire(user: Summary, policy: Policy, *, now_ms: int) -> bool:
    """Whether it takes a look to tell if anything of a user expires. False: nothing does.

    Clocks that were wrong when they were read, because they were ahead, may be right by now: then a
    chat is younger than the summary says, never older.
    """
    if user.odd or user.oldest_ms is None or user.newest_ms is None:
        return True
    if policy.idle_users_s is not None and user.newest_ms < now_ms - policy.idle_users_s * 1000:
        return True
    if policy.room_since_ms is not None and user.oldest_ms < policy.room_since_ms:
        return True
    for rule in (policy.rule, *policy.histories.values()):
        age_s = rule.older_than_s
        if age_s is not None and user.oldest_ms < now_ms - age_s * 1000:
            return True
        if rule.keep_newest is not None and user.chats > rule.keep_newest:
            return True
        if rule.max_bytes is not None and user.size > rule.max_bytes:
            return True
    return False


def room_since(weights: Mapping[int, int], max_bytes: int) -> int | None:
    """Return from which hour on (counted since 1970) all chats have room together, given the bytes
    of those that were last active in each; None: there is room for all.
    """
    if sum(weights.values()) <= max_bytes:
        return None
    since = max(weights) + 1
    for hour in sorted(weights, reverse=True):
        max_bytes -= weights[hour]
        if max_bytes < 0:
            break
        since = hour
    return since


def is_orphan(user: ExpiryUser, *, now_ms: int) -> bool:
    """Whether nothing was heard of a user without a document for longer than the grace."""
    latest = max([user.touched_ms, *(chat.activity.ms for chat in user.chats)])
    return user.orphan and latest < now_ms - ORPHAN_GRACE_MS


def _of_the_user(user: ExpiryUser, policy: Policy, now_ms: int) -> list[str]:
    found = []
    if policy.idle_users_s is not None and user.known:
        times = [chat.activity.ms for chat in user.chats]
        times += [user.seen_ms] if user.seen_ms is not None else []
        if times and max(times) < now_ms - policy.idle_users_s * 1000:
            found.append(f"the user was idle for {format_age(policy.idle_users_s)}")
    if policy.orphans and is_orphan(user, now_ms=now_ms):
        found.append("there is no user document")
    return found


def _of_a_rule(
    chats: Iterable[ExpiryChat], rule: Rule, now_ms: int
) -> Iterable[tuple[tuple[bytes, int], str]]:
    newest_first = sorted(chats, key=lambda chat: (-chat.activity.ms, *_place(chat)))
    room = rule.max_bytes
    for number, chat in enumerate(newest_first):
        age_s = rule.older_than_s
        if age_s is not None and chat.activity.ms < now_ms - age_s * 1000:
            yield _place(chat), f"not active for {format_age(age_s)}"
        if rule.keep_newest is not None and number >= rule.keep_newest:
            yield _place(chat), f"not among the newest {rule.keep_newest:,}"
        if room is not None:
            # Once there was no room nothing older gets any: the newest are kept, not the smallest.
            room = room - chat.size if chat.size <= room else -1
            if room < 0:
                yield _place(chat), f"the newer ones take up {rule.max_bytes:,} bytes"


def _place(chat: ExpiryChat) -> tuple[bytes, int]:
    return chat.file, chat.at


def describe(policy: Policy) -> Mapping[str, object]:
    """Return the rules that are set, as the configuration file has them."""
    document: dict[str, object] = dict(_rule(policy.rule))
    if policy.idle_users_s is not None:
        document["idle_users"] = format_age(policy.idle_users_s)
    if policy.max_total_bytes is not None:
        document["max_total_size"] = f"{policy.max_total_bytes}B"
    for name in ("empty", "orphans"):
        if getattr(policy, name):
            document[name] = True
    if policy.histories:
        document["histories"] = [
            {"history": key, **_rule(rule)} for key, rule in policy.histories.items()
        ]
    return document


def _rule(rule: Rule) -> dict[str, object]:
    document: dict[str, object] = {}
    if rule.older_than_s is not None:
        document["older_than"] = format_age(rule.older_than_s)
    if rule.keep_newest is not None:
        document["keep_newest"] = rule.keep_newest
    if rule.max_bytes is not None:
        document["max_size"] = f"{rule.max_bytes}B"
    return document
