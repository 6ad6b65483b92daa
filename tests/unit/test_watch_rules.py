"""Each rule of watching notices its cause, once, in bounded memory; and nothing else."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.alert_watch import noticed_text
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, MINUTE_MS
from shenyu_data.model.config import parse_config
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.distinct import MOST_EXACT, Distinct
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.watch_groups import Peak
from shenyu_data.model.watch_rules import KNOWN_DAYS, Tally
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN, Actor, Noticed, owner_of

NOON = 1_780_056_000_000  # 12:00 UTC
ANNA = Actor(standing="other", account=1001, program="/usr/bin/cat")
ROOT = Actor(standing="other", account=0, login=1001, program="/usr/bin/tar")
APPLICATION = Actor(standing="application", account=900, program="/usr/bin/node")
RSYNC = Actor(standing="allowed", account=900, program="/usr/bin/rsync")
OWN = Actor(standing="own", account=900)
GONE = Actor(standing="gone")
UNSEEN = Actor(standing="unseen")


def tally(text: str = "", ordinary: dict[str, list[Peak]] | None = None) -> Tally:
    table = parse_config(f"[watch]\n{text}", "x.toml").watch or WatchTable()
    accounts = frozenset(map(int, table.accounts)) if table.accounts is not None else None
    made = Tally(table, accounts, UTC, ordinary)
    made.at(NOON)
    return made


def history(number: int) -> bytes:
    return b"histories/%d/chat-history.json" % number


def read(of: Tally, actor: Actor, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        of.add(actor, OPENED, history(number))


def causes(found: list[Noticed]) -> list[tuple[str, str]]:
    return sorted((item.cause, item.who) for item in found)


def test_documents_of_many_users_are_a_bulk_read() -> None:
    watch = tally("users = 50")
    read(watch, ANNA, 49)
    assert watch.judge() == []
    read(watch, ANNA, 1, first=49)
    (item,) = watch.judge()
    assert (item.cause, item.who, item.users, item.programs) == (
        *("bulk-read", "account-1001", 50),
        ["/usr/bin/cat"],
    )
    assert watch.judge() == []


def test_a_user_whose_documents_are_read_often_is_one_user() -> None:
    watch = tally("users = 2")
    for _ in range(1000):
        watch.add(ANNA, OPENED, b"users/x.json")
        watch.add(ANNA, OPENED, b"histories/x/chat-history.json")
        watch.add(ANNA, OPENED, b"histories/x/sn43-history.json")
    assert watch.judge() == []


def test_documents_that_are_replaced_unopened_are_as_those_that_are_opened() -> None:
    watch = tally("users = 50")
    read(watch, ANNA, 25)
    for number in range(25, 50):
        watch.add(ANNA, WRITTEN, history(number))
    assert causes(watch.judge()) == [("bulk-read", "account-1001")]


def test_one_account_with_many_programs_is_one_reader() -> None:
    watch = tally("users = 50")
    for number in range(50):
        program = f"/tmp/copy-{number}"
        one = Actor(standing="other", account=1001, program=program)
        watch.add(one, OPENED, history(number))
    (item,) = watch.judge()
    assert item.users == 50
    assert len(item.programs) == 5


def test_processes_that_were_gone_count_together() -> None:
    watch = tally("users = 50")
    read(watch, GONE, 50)
    assert causes(watch.judge()) == [("bulk-read", "gone")]


def test_windows_are_counted_apart() -> None:
    watch = tally("users = 50")
    for window in range(10):
        watch.at(NOON + window * 5 * MINUTE_MS)
        read(watch, ANNA, 40, first=40 * window)
        assert watch.judge() == []


def test_who_takes_their_time_is_noticed_within_the_day() -> None:
    watch = tally('users_a_day = 300\napplication = ["/usr/bin/node"]')
    found = []
    for window in range(100):
        watch.at(NOON + window * 5 * MINUTE_MS)
        read(watch, ANNA, 4, first=4 * window)
        read(watch, APPLICATION, 9, first=9 * window)
        found += watch.judge()
    assert causes(found)[0] == ("bulk-read-day", "account-1001")
    assert {item.who for item in found} == {"account-1001"}


def test_removing_many_documents_is_noticed() -> None:
    watch = tally()
    for number in range(20):
        watch.add(ANNA, REMOVED, b"users/%d.json" % number)
        watch.add(ANNA, REMOVED, b"users/%d.json.tmp" % number)
    (item,) = watch.judge()
    assert (item.cause, item.documents) == ("bulk-removed", 20)


@pytest.mark.parametrize("folder", [b"users", b"histories"])
def test_moving_a_folder_of_all_users_away_is_noticed_at_once(folder: bytes) -> None:
    watch = tally('application = ["/usr/bin/node"]')
    watch.add(APPLICATION, REMOVED, folder)
    assert causes(watch.judge()) == [("bulk-removed", "application")]


def test_temporary_files_that_are_renamed_are_no_removals() -> None:
    watch = tally("users = 1001")
    for number in range(1000):
        watch.add(ANNA, REMOVED, b"histories/%d/chat-history.json.tmp" % number)
        watch.add(ANNA, WRITTEN, history(number))
    assert watch.judge() == []


def test_only_the_application_may_write() -> None:
    watch = tally('application = ["/usr/bin/node"]')
    for actor in (APPLICATION, OWN, ANNA, RSYNC, UNSEEN):
        watch.add(actor, WRITTEN, history(1))
    assert causes(watch.judge()) == [
        ("writer", "account-1001:/usr/bin/cat"),
        ("writer", "account-900:/usr/bin/rsync"),
    ]


def test_programs_that_are_not_on_the_list_are_noticed() -> None:
    watch = tally('application = ["/usr/bin/node"]\nprograms = ["/usr/bin/rsync"]')
    for actor in (APPLICATION, OWN, ANNA, RSYNC, GONE):
        watch.add(actor, OPENED, history(1))
    assert causes(watch.judge()) == [("program", "account-1001:/usr/bin/cat"), ("program", "gone")]


def test_accounts_that_are_not_on_the_list_are_noticed() -> None:
    watch = tally('accounts = ["900"]')
    for actor in (APPLICATION, OWN, RSYNC, ROOT):
        watch.add(actor, OPENED, history(1))
    (item,) = watch.judge()
    assert (item.cause, item.account, item.login) == ("account", 0, 1001)


def test_the_program_of_the_application_run_by_another_account_is_not_the_application() -> None:
    watch = tally('accounts = ["900"]\napplication = ["/usr/bin/node"]\nprograms = []\nusers = 50')
    read(watch, Actor(standing="application", account=1001, program="/usr/bin/node"), 50)
    read(watch, APPLICATION, 500)
    assert causes(watch.judge()) == [
        ("account", "account-1001"),
        ("bulk-read", "account-1001"),
        ("program", "account-1001:/usr/bin/node"),
    ]


def test_where_nobody_is_seen_what_is_ordinary_is_learned_of_all() -> None:
    text = 'users = 50\napplication = ["shenyu.service"]'
    busy = [Peak(day, users=100) for day in range(KNOWN_DAYS)]
    for count, noticed in ((499, False), (500, True)):
        watch = tally(text, {"unseen": list(busy)})
        read(watch, UNSEEN, count)
        assert bool(watch.judge()) is noticed


@pytest.mark.parametrize(
    ("hours", "hour", "odd"),
    [
        ("07:00-20:00", 12, False),
        ("07:00-20:00", 6, True),
        ("07:00-20:00", 20, True),
        ("20:00-06:00", 23, False),
        ("20:00-06:00", 5, False),
        ("20:00-06:00", 6, True),
    ],
)
def test_odd_hours_are_noticed_of_all_but_the_application(hours: str, hour: int, odd: bool) -> None:
    watch = tally(f'hours = "{hours}"')
    watch.at(NOON + (hour - 12) * HOUR_MS)
    for actor in (APPLICATION, OWN, ANNA, UNSEEN):
        watch.add(actor, OPENED, history(1))
    expected = [("hours", "account-1001"), ("hours", "unseen")]
    assert causes(watch.judge()) == (expected if odd else [])


def test_what_goes_on_is_told_at_longer_and_longer_intervals() -> None:
    watch = tally('accounts = ["900"]')
    told = []
    for minute in range(3 * 24 * 60):
        watch.at(NOON + minute * MINUTE_MS)
        watch.add(ANNA, OPENED, history(1))
        told += watch.judge()
    assert len(told) == 11
    assert sum(item.accesses for item in told) > 2000


def test_a_bulk_read_that_grew_is_told_again_when_the_window_ends() -> None:
    watch = tally("users = 50")
    read(watch, ANNA, 50)
    assert len(watch.judge()) == 1
    read(watch, ANNA, 700, first=50)
    assert watch.judge() == []
    watch.at(NOON + 5 * MINUTE_MS)
    (item,) = watch.judge()
    assert (item.users, item.accesses) == (750, 750)


def test_the_application_is_judged_by_what_is_ordinary_for_it() -> None:
    text = 'users = 50\napplication = ["shenyu.service"]'
    busy = [Peak(day, users=100) for day in range(KNOWN_DAYS)]
    for days, count, noticed in ((busy, 499, False), (busy, 500, True), (busy[1:], 5000, False)):
        watch = tally(text, {"application": list(days)})
        read(watch, APPLICATION, count)
        assert bool(watch.judge()) is noticed
    watch = tally(text, {"account-1001": busy})
    read(watch, ANNA, 50)  # what others do every day becomes no right
    assert len(watch.judge()) == 1


def test_what_is_ordinary_is_learned_from_the_days() -> None:
    watch = tally('users = 50\napplication = ["shenyu.service"]')
    for day in range(40):
        for window in range(3):
            watch.at(NOON + day * DAY_MS + window * HOUR_MS)
            read(watch, APPLICATION, 10 * (window + 1))
    watch.at(NOON + 41 * DAY_MS)
    days = watch.ordinary["application"]
    assert len(days) == 30
    assert {day.users for day in days} == {30}


def test_a_clock_that_is_set_back_begins_anew() -> None:
    watch = tally("users = 50")
    read(watch, ANNA, 40)
    watch.at(NOON - 90 * DAY_MS)
    read(watch, ANNA, 40, first=40)
    assert watch.judge() == []
    read(watch, ANNA, 10, first=80)
    assert len(watch.judge()) == 1


def test_a_thousand_names_of_a_program_are_no_storm() -> None:
    watch = tally("programs = []")
    told = []
    for number in range(1000):
        one = Actor(standing="other", account=1001, program=f"/srv/tools/{number}")
        watch.add(one, OPENED, history(1))
        told += watch.judge()
    assert len(told) == 9


def test_memory_is_bounded_whoever_comes() -> None:
    watch = tally("programs = []\naccounts = []\nusers = 1000000")
    told = 0
    for number in range(20_000):
        one = Actor(standing="other", account=number, program=f"/srv/{number}/x")
        watch.add(one, OPENED, history(number))
        if number % 500 == 0:
            told += len(watch.judge())
    told += len(watch.judge())
    assert told < 500
    assert len(watch._groups) <= 65
    assert len(watch._strangers) <= 64 * 9
    assert len(watch._names._named) <= 64


def test_who_reads_behind_a_crowd_of_accounts_is_noticed() -> None:
    watch = tally("users = 50")
    for number in range(200):
        watch.add(Actor(standing="other", account=5000 + number), OPENED, history(1))
    read(watch, ANNA, 50)
    assert causes(watch.judge()) == [("bulk-read", "others")]


def test_distinct_things_are_counted_exactly_and_then_nearly() -> None:
    counted = Distinct()
    for number in range(MOST_EXACT):
        counted.add(b"%d" % number)
        counted.add(b"%d" % number)
    assert len(counted) == MOST_EXACT
    for number in range(100_000):
        counted.add(b"%d" % number)
    assert 95_000 < len(counted) < 105_000


paths = st.sampled_from(
    b"|users|histories|users/a.json|users/.json|users//x|histories//|histories/a|..|\n/\xff\x1b|"
    b"histories/a/x.json|histories/a/b/c|a/../b".split(b"|")
)
actors = st.sampled_from([ANNA, ROOT, APPLICATION, RSYNC, OWN, GONE, UNSEEN])


@given(st.lists(st.tuples(st.integers(-(10**6), 10**9), actors, st.integers(1, 7), paths)))
def test_whatever_comes_each_is_told_in_words_that_can_be_printed(
    events: list[tuple[int, Actor, int, bytes]],
) -> None:
    watch = tally('users = 1\nremoved = 1\nprograms = []\naccounts = []\nhours = "01:00-02:00"')
    now_ms = NOON
    for step_ms, actor, what, path in events:
        now_ms = max(0, now_ms + step_ms)
        watch.at(now_ms)
        watch.add(actor, what, path)
        for item in watch.judge():
            assert noticed_text(item).isprintable()
            assert item.first_ms <= item.last_ms


def test_a_path_is_its_users() -> None:
    assert owner_of(b"users/anna.json") == b"anna"
    assert owner_of(b"users/anna.json.gz") == b"anna"
    assert owner_of(b"histories/anna") == b"anna"
    assert owner_of(b"histories/anna/deep/er.json") == b"anna"
    for path in (b"", b"users", b"histories", b"users/anna", b"other/anna.json", b"users/.json"):
        assert owner_of(path) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('application = ["node"]', "neither a whole path nor"),
        ('programs = ["bin/node"]', "neither a whole path nor"),
        ('hours = "7-20"', "two times of the day"),
        ('hours = "07:00-07:00"', "two times of the day"),
        ('hours = "07:00-24:00"', "two times of the day"),
        ('window = "soon"', "not an age"),
        ('window = "2d"', "a day at most"),
        ("users = 0", "users"),
        ("nonsense = 1", "nonsense"),
    ],
)
def test_a_table_that_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(f"[watch]\n{text}", "x.toml")
