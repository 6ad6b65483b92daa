"""Measures the catalog: `python -m benchmarks.catalog DIR`, a data set that was made before.

Nothing of DIR is changed but by `--change`: then it must be a copy that may be. Prints a Markdown
table of whole commands; memory is watched in runs of their own, or with `--once`, for sets of which
a command takes minutes, in the only one.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.day import day_of_use
from benchmarks.measure import Command, output_of, run

_PAGE = 100

CATALOG_WORKS = {
    "catalog-build": "make the catalog, and the first page",
    "catalog-unchanged": "nothing changed: compare, and the first page",
    "catalog-changed": "a day of use: update, and the first page",
    "catalog-page": "the first page, --stale",
    "catalog-far-page": "the page after 1,000 pages (or the first), --stale",
    "catalog-search": "search for *the*: 20 of many, --stale",
    "catalog-search-none": "search for a word nobody wrote, no index, --stale",
}
"""What is measured of the catalog beside the other works, and its titles."""


class Program:
    """The command line with a state folder of its own, on one data directory."""

    def __init__(self, data: Path, state: Path) -> None:
        self._data = data
        self.state = state

    def call(self, *words: str, as_json: bool = True) -> Command:
        """Return a call of a verb."""
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(self.state),
            "SHENYU_DATA_PASSPHRASE": "benchmarks know it",
        }
        arguments = (sys.executable, "-m", "shenyu_data.cli.main", *words)
        flags = ("--data", str(self._data), *(["--json"] if as_json else []))
        return Command((*arguments, *flags), self.state, environment, statuses=(0, 1))

    def work(self, name: str) -> Command:
        """Return what one of :data:`CATALOG_WORKS` is; what it needs is made ready."""
        page = ("chats", "list", "--limit", str(_PAGE))
        if name == "catalog-build":
            self.forget()
        if name == "catalog-page":
            return self.call(*page, "--stale")
        if name == "catalog-far-page":
            cursor = self.cursor(1000)
            return self.call(*page, "--stale", *(("--after", cursor) if cursor else ()))
        if name.startswith("catalog-search"):
            word = "qqqqqq" if name.endswith("none") else "the"
            return self.call("chats", "search", word, "--stale", "--limit", "20")
        return self.call(*page)

    def forget(self) -> None:
        """Remove the catalog and the index of words."""
        for path in self.state.rglob("catalog*.db*"):
            path.unlink()

    def cursor(self, pages: int) -> str:
        """Return the cursor with which the page after so many begins."""
        after: list[str] = []
        left = pages
        while left:  # in strides of many pages, which end where single ones do
            stride = min(left, 500)
            words = ("chats", "list", "--stale", "--limit", str(stride * _PAGE))
            page = json.loads(output_of(self.call(*words, *after)))
            if page["next"] is None:
                break
            after = ["--after", page["next"]]
            left -= stride
        return after[1] if after else ""

    def bytes(self) -> dict[str, int]:
        """Return the sizes of what is kept."""
        return {path.name: path.stat().st_size for path in self.state.rglob("catalog*.db")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="each command once, watched")
    parser.add_argument("--words", nargs="*", default=["norselbel", "迁徙", "the", "qqqqqq"])
    parser.add_argument("--pages", type=int, default=1000, help="which page is the far one")
    parser.add_argument("--change", action="store_true", help="change 2 % of the histories, too")
    parser.add_argument("--index", action="store_true", help="make an index of words, too")
    parser.add_argument("--cleanup", action="store_true", help="plan cleanups with it, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        _measure(options, Program(options.data.resolve(), Path(state)))


class _Table:
    """Measures commands and prints a row of each."""

    def __init__(self, rounds: int, once: bool) -> None:
        self._rounds = rounds
        self._once = once
        print("| work | wall s, median | processor s | peak MB |\n| --- | ---: | ---: | ---: |")

    def row(
        self,
        name: str,
        command: Command,
        before: Callable[[int], object] = lambda _: None,
        *,
        once: bool = False,
    ) -> None:
        """Measure a command; ``before`` each run something is done. ``once``: it takes long."""
        walls, cpus = list[float](), list[float]()
        rounds = 0 if once or self._once else self._rounds
        for number in range(rounds):
            before(number)
            usage = run(command)
            walls.append(usage.wall_s)
            cpus.append(usage.cpu_s)
        before(rounds)
        watched = run(command, watch=True)
        wall_s, cpu_s = median(walls or [watched.wall_s]), median(cpus or [watched.cpu_s])
        peak = (watched.peak_bytes or 0) / 1e6
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} | {peak:.0f} |", flush=True)


def _measure(options: argparse.Namespace, program: Program) -> None:
    def change(number: int) -> None:
        day_of_use(options.data, seed=100 + number, fraction=0.02)

    table = _Table(options.rounds, options.once)
    listing = program.call("chats", "list", "--limit", str(_PAGE))
    stale = program.call("chats", "list", "--limit", str(_PAGE), "--stale")
    table.row("build, and the first page", listing, lambda _: program.forget())
    table.row("nothing changed: compare, and the first page", listing)
    if options.change:
        table.row("2 % of histories changed: update, and the first page", listing, change)
    table.row("the first page, --stale", stale)
    cursor = program.cursor(options.pages)
    if cursor:
        words = ("chats", "list", "--stale", "--limit", str(_PAGE), "--after", cursor)
        table.row(f"the page after {options.pages:,} pages, --stale", program.call(*words))
    users = json.loads(output_of(program.call("users", "list", "--order", "size", "--limit", "1")))
    largest = users["users"][0]["user"]
    chat = json.loads(output_of(program.call("chats", "list", "--user", largest, "--stale")))
    show = program.call("chats", "show", chat["chats"][-1]["id"], "--user", largest, "--stale")
    table.row("a chat of the largest user, --stale", show)
    if options.cleanup:
        _measure_cleanups(program, table)
    _measure_searches(program, table, "search", options.words)
    if options.index:
        make = program.call("chats", "search", "qqqqqq", "--index")
        table.row("make the index of words, and search", make, once=True)
        table.row("compare, and search with it", make)
        if options.change:
            changed = "2 % of histories changed: update both, and search"
            table.row(changed, make, lambda number: change(50 + number))
        _measure_searches(program, table, "search with an index", options.words)
    print("\nkept:", program.bytes())


def _measure_searches(program: Program, table: _Table, kind: str, words: list[str]) -> None:
    for word in words:
        command = program.call("chats", "search", word, "--stale", "--limit", "20")
        table.row(f"{kind} {word}, --stale", command)


def _measure_cleanups(program: Program, table: _Table) -> None:
    """Plan cleanups by which nothing, few and most users lose something. No snapshot is taken."""
    repository = ("--repo", str(program.state / "repository"))
    output_of(program.call("init", *repository))
    rules = {
        "nothing expires": ("--older-than", "99y"),
        "of few users something expires": ("--keep-newest", "40"),
        "of most users something expires": ("--keep-newest", "1"),
    }
    for name, rule in rules.items():
        words = ("cleanup", *rule, "--dry-run", "--unsaved-too", "--clock-is-right", *repository)
        table.row(f"plan a cleanup: {name}", program.call(*words, as_json=False))


if __name__ == "__main__":
    main()
