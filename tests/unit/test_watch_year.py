"""Watching is quiet as long as people do what people do; and not on the day somebody does not."""

from __future__ import annotations

from datetime import UTC

import pytest

from benchmarks.accesses import accesses, watch_year
from benchmarks.ordinary import FIRST_MS, Year
from shenyu_data.model.alerts import DAY_MS, HOUR_MS
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.watch_rules import Tally
from shenyu_data.model.watch_terms import OPENED, Actor

ACCOUNT = Actor(standing="other", account=900, program="/usr/bin/node")
APPLICATION = Actor(standing="application", account=900, program="/usr/bin/node")
NAMED = WatchTable(application=["shenyu.service"], programs=[], accounts=["900"], users=20)


@pytest.mark.parametrize(("users", "days"), [(30, 365), (300, 365), (20_000, 8)])
def test_ordinary_use_is_quiet_without_a_configuration(users: int, days: int) -> None:
    found, most = watch_year(Year(users, 1), days, WatchTable(), ACCOUNT)
    assert found == []
    assert 0 < most < 100


def test_a_busy_application_that_is_named_is_quiet_whatever_the_limit() -> None:
    """Its first days exceed the limit by far, and are not judged."""
    found, most = watch_year(Year(20_000, 2), 10, NAMED, APPLICATION)
    assert found == []
    assert most > 2 * NAMED.users


@pytest.mark.parametrize("actor", [ACCOUNT, Actor(standing="other", account=1001)])
def test_who_reads_everybody_on_an_ordinary_day_is_noticed(actor: Actor) -> None:
    year = Year(300, 1)
    tally = Tally(WatchTable(), None, UTC)
    for day in range(30):
        for now_ms, what, path in accesses(year, day):
            tally.at(now_ms)
            tally.add(ACCOUNT, what, path)
        assert tally.judge() == []
    tally.at(FIRST_MS + 30 * DAY_MS + 3 * HOUR_MS)
    for user in range(300):
        tally.add(actor, OPENED, b"histories/%064x/chat-history.json" % user)
    (item,) = tally.judge()
    assert (item.cause, item.users) == ("bulk-read", 300)
