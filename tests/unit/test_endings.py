"""How a verb ended is told once, to whoever notes it, and as the program exits with."""

from collections.abc import Callable

import click
import pytest

from shenyu_data.cli.endings import Ending, told_the_end
from shenyu_data.model.errors import ConfigError, ShenyuDataError

ENDINGS: dict[str, tuple[BaseException, Ending]] = {
    "a status": (click.exceptions.Exit(4), Ending(4)),
    "an interrupt": (KeyboardInterrupt(), Ending(130, "interrupted")),
    "an answer that is no": (click.exceptions.Abort(), Ending(130, "interrupted")),
    "an error": (ShenyuDataError("no room"), Ending(3, "no room", ShenyuDataError.code)),
    "a wrong configuration": (ConfigError("no data"), Ending(2, "no data", ConfigError.code)),
    "a wrong flag": (click.UsageError("no such flag"), Ending(2, "no such flag", "usage")),
    "what nobody foresaw": (
        ValueError("carol's words"),
        Ending(3, "unexpected ValueError", "ValueError"),
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_whatever_ends_a_verb_is_told_and_goes_on(name: str) -> None:
    raised, expected = ENDINGS[name]
    told: list[Ending] = []
    with pytest.raises(type(raised)), told_the_end(told.append):
        raise raised
    assert told == [expected]


def test_a_verb_that_returns_is_told_as_done() -> None:
    told: list[Ending] = []

    def verb(tell: Callable[[Ending], None]) -> int:
        with told_the_end(tell):
            return 7

    assert verb(told.append) == 7
    assert told == [Ending(0)]
