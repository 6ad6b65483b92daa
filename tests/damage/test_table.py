"""Each damage to each kind of object, and what each verb does: ``docs/damage.md`` is this table.

After a change that is meant, write the page anew and read the difference:

    .venv/bin/python -m tests.damage.test_table && git diff docs/damage.md
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shenyu_data.storage.local import LocalStorage
from tests.damage.cases import DAMAGES, KINDS, Case, Kind, case_of
from tests.damage.page import PAGE, beginning, section
from tests.damage.trial import UNKNOWABLE, Trial
from tests.damage.years import Years, enter, make_years

Cells = dict[str, str]
"""What each verb does, by its column."""


class Bench(NamedTuple):
    """A repository to damage, again and again; ``sound`` is what verbs say while it is not."""

    years: Years
    sound: dict[str, Any]
    undamaged: Cells

    def cells(
        self,
        case: Case | None,
        monkeypatch: pytest.MonkeyPatch,
        *,
        unknowable: bool = False,
    ) -> Cells:
        """Return what each verb does after a damage; None: without any."""
        years = self.years
        folder = years.folder / "trial"
        hurt = folder / "hurt"
        shutil.copytree(years.folder / "repo", hurt)
        try:
            if case is not None:
                case.apply(LocalStorage(str(hurt)))
            objects = case.objects if case is not None else ()
            with monkeypatch.context() as patch:
                enter(years.folder, years.secret, years.other_secret, patch)
                return Trial(years, hurt, objects, unknowable, self.sound, patch).run()
        finally:
            shutil.rmtree(folder)

    def rows(self, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> dict[str, Cells]:
        """Return the cells of each damage that there can be to a kind of object."""
        found = {}
        for damage in DAMAGES:
            case = case_of(self.years, kind, damage)
            if case is not None:
                unknowable = (kind.title, damage) in UNKNOWABLE
                found[damage] = self.cells(case, monkeypatch, unknowable=unknowable)
        return found


@contextmanager
def run_bench() -> Iterator[Bench]:
    """Make the repository; in memory, if the machine has such a folder: much is copied."""
    memory = "/dev/shm"
    base = memory if os.access(memory, os.W_OK | os.X_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="shenyu-data-test-", dir=base) as folder,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        with monkeypatch.context() as patch:
            years = make_years(Path(folder), patch)
        bench = Bench(years, {}, {})
        bench.undamaged.update(bench.cells(None, monkeypatch))
        yield bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with run_bench() as made:
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_damage_does_what_the_page_says(
    kind: Kind, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The principles, of every verb and damage, are asserted in :class:`Trial`."""
    assert section(kind, bench.rows(kind, monkeypatch)) in PAGE.read_text(encoding="utf-8")


def test_the_page_begins_with_what_is_sound(bench: Bench) -> None:
    assert PAGE.read_text(encoding="utf-8").startswith(beginning(bench.undamaged))


def test_the_page_tells_of_each_kind_once() -> None:
    titles = [
        line.removeprefix("## ")
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert titles == ["How to read it", *(kind.heading for kind in KINDS)]


def main() -> None:
    """Write the page."""
    with run_bench() as bench, pytest.MonkeyPatch.context() as monkeypatch:
        sections = [section(kind, bench.rows(kind, monkeypatch)) for kind in KINDS]
        PAGE.write_text("".join([beginning(bench.undamaged), *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
