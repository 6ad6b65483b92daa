"""Tripwires are quiet as long as people do what people do; and loud on the day they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ordinary import Year

DAYS = 45


@pytest.fixture(scope="module", params=[1, 2])
def year(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Year:
    """Twelve people, and some weeks of ordinary use that were backed up every night."""
    people = Year(12, request.param)
    people.begin(tmp_path_factory.mktemp("year"))
    assert [stats.trips for stats in people.live(DAYS)] == [[]] * DAYS
    return people


def histories(year: Year) -> list[Path]:
    return sorted((year.data / "histories").glob("*/*.json"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def halve(path: Path) -> None:
    chats = json.loads(path.read_bytes())
    path.write_text(json.dumps(chats[: len(chats) // 2]))


def begin_anew(path: Path) -> None:
    path.write_text(json.dumps([{"id": 5, "title": "new", "messages": [{"role": "user"}]}]))


@pytest.mark.parametrize(
    ("cause", "rule"),
    [
        (Path.unlink, "histories-vanished"),
        (halve, "chats-vanished"),
        (cut, "documents-torn"),
        (begin_anew, "history-overwritten"),
    ],
)
def test_what_is_no_ordinary_day_trips_after_ordinary_ones(
    year: Year, cause: Callable[[Path], None], rule: str
) -> None:
    before = {path: path.read_bytes() for path in histories(year)}
    year.live_a_day()
    for path in histories(year):
        cause(path)
    assert rule in {trip.rule for trip in year.back_up().trips}
    for path, data in before.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    year.live_a_day()
    year.back_up()
